"""
Rewrite WebAssembly binaries: bake a memory image into a module, and turn its start function into an export.

Only ever used on modules that wasmtime has already validated, so malformed bytes do not reach this code; they would
raise `IndexError` or `ValueError`, never run anything. Format: https://webassembly.github.io/spec/core/binary/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

_HEADER = b"\0asm\1\0\0\0"
_PAGE_BYTES = 65_536
_IMAGE_GRAIN_BYTES = 4_096
_CUSTOM, _MEMORY, _EXPORT, _START, _DATA, _DATA_COUNT = 0, 5, 7, 8, 11, 12


def with_memory_image(module: bytes, image: bytes, exports: frozenset[str]) -> bytes:
    """
    `module` with `image` as its initial memory and with no other exports than `exports`.

    wasmtime maps such a memory copy-on-write, so an instance costs the pages it writes. The module must have one memory
    of its own, no live passive data segments, no start function left to run, and its globals at their initial values.
    """
    sections = list(_sections(module))
    segments = list(_nonzero_runs(image))
    replaced: dict[int, Callable[[bytes], bytes]] = {
        _MEMORY: lambda body: _grown_memory(body, -(-len(image) // _PAGE_BYTES)),
        _EXPORT: lambda body: _kept_exports(body, exports),
        _DATA_COUNT: lambda _: _unsigned(len(segments)),
        _DATA: lambda _: _unsigned(len(segments)) + b"".join(_active_segment(at, run) for at, run in segments),
    }
    output = bytearray(_HEADER)
    for kind, body in sections:
        if kind not in (_CUSTOM, _START):
            output += _section(kind, replaced[kind](body) if kind in replaced else body)
    return bytes(output)


def with_start_exported(module: bytes) -> tuple[bytes, str | None]:
    """`module` without a start function, and the name under which that function is exported now, if there was one."""
    sections = list(_sections(module))
    start = next((body for kind, body in sections if kind == _START), None)
    if start is None:
        return module, None
    exports = next((body for kind, body in sections if kind == _EXPORT), b"\0")
    taken = {name for name, _ in _exports(exports)}
    name = "start"
    while name in taken:
        name += "'"
    count, at = _read_unsigned(exports, 0)
    entry = _name(name) + b"\0" + start  # kind 0 is a function, and a start section is a function index
    section = _section(_EXPORT, _unsigned(count + 1) + exports[at:] + entry)
    output, written = bytearray(_HEADER), False
    for kind, body in sections:
        if not written and kind in (_EXPORT, _START):
            output += section
            written = True
        if kind not in (_EXPORT, _START):
            output += _section(kind, body)
    return bytes(output), name


def declared_memory_bytes(module: bytes) -> int:
    """How much memory an instance of `module` starts with; 0 if it has none of its own."""
    body = next((body for kind, body in _sections(module) if kind == _MEMORY), b"\0")
    count, at = _read_unsigned(body, 0)
    return _read_unsigned(body, at + 1)[0] * _PAGE_BYTES if count else 0


def _sections(module: bytes) -> Iterator[tuple[int, bytes]]:
    if module[: len(_HEADER)] != _HEADER:
        raise ValueError("not a WebAssembly module")
    at = len(_HEADER)
    while at < len(module):
        size, body = _read_unsigned(module, at + 1)
        yield module[at], module[body : body + size]
        at = body + size


def _section(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + _unsigned(len(body)) + body


def _nonzero_runs(image: bytes) -> Iterator[tuple[int, bytes]]:
    """Offsets and bytes of the runs of 4 KiB pages that are not all zero."""
    start = None
    for at in range(0, len(image) + _IMAGE_GRAIN_BYTES, _IMAGE_GRAIN_BYTES):
        is_zero = not any(image[at : at + _IMAGE_GRAIN_BYTES])
        if start is None and not is_zero:
            start = at
        elif start is not None and is_zero:
            yield start, image[start:at]
            start = None


def _active_segment(offset: int, data: bytes) -> bytes:
    return b"\0\x41" + _signed(offset) + b"\x0b" + _unsigned(len(data)) + data  # i32.const offset; end


def _grown_memory(body: bytes, pages: int) -> bytes:
    count, at = _read_unsigned(body, 0)
    if count != 1:
        raise ValueError("a module to bake has one memory")
    flags = body[at]
    least, after = _read_unsigned(body, at + 1)
    return _unsigned(1) + bytes([flags]) + _unsigned(max(least, pages)) + body[after:]


def _exports(body: bytes) -> Iterator[tuple[str, bytes]]:
    count, at = _read_unsigned(body, 0)
    for _ in range(count):
        size, start = _read_unsigned(body, at)
        _, end = _read_unsigned(body, start + size + 1)
        yield body[start : start + size].decode(), body[at:end]
        at = end


def _kept_exports(body: bytes, names: frozenset[str]) -> bytes:
    kept = [entry for name, entry in _exports(body) if name in names]
    if len(kept) != len(names):
        raise ValueError("an export to keep is missing")
    return _unsigned(len(kept)) + b"".join(kept)


def _name(text: str) -> bytes:
    return _unsigned(len(text.encode())) + text.encode()


def _unsigned(value: int) -> bytes:
    """LEB128."""
    output = bytearray()
    while value > 0x7F:
        output.append(value & 0x7F | 0x80)
        value >>= 7
    output.append(value)
    return bytes(output)


def _signed(value: int) -> bytes:
    """Signed LEB128."""
    output = bytearray()
    while not -64 <= value < 64:
        output.append(value & 0x7F | 0x80)
        value >>= 7
    output.append(value & 0x7F)
    return bytes(output)


def _read_unsigned(data: bytes, at: int) -> tuple[int, int]:
    """The LEB128 number at `at`, and the offset after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
