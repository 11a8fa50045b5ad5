"""Rewritten modules are valid and do what the original did."""

from __future__ import annotations

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from oracle.enclave.wasm_binary import declared_memory_bytes, with_memory_image, with_start_exported

PAGE = 65_536


def wasm(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(text))


def instance(code: bytes) -> tuple[wasmtime.Store, wasmtime.Instance]:
    store = wasmtime.Store()
    return store, wasmtime.Instance(store, wasmtime.Module(store.engine, code), [])


def test_with_start_exported_start_no_longer_runs_by_itself() -> None:
    code, name = with_start_exported(
        wasm('(module (global (export "g") (mut i32) (i32.const 0)) (func $s (global.set 0 (i32.const 7))) (start $s))')
    )
    assert name == "start"
    store, made = instance(code)
    exports = made.exports(store)
    assert exports["g"].value(store) == 0  # type: ignore[union-attr]
    exports[name](store)  # type: ignore[operator]
    assert exports["g"].value(store) == 7  # type: ignore[union-attr]


def test_with_start_exported_name_that_is_taken_gets_another() -> None:
    text = '(module (func $s) (func (export "start") unreachable) (memory (export "start\'") 1) (start $s))'
    code, name = with_start_exported(wasm(text))
    assert name == "start''"
    store, made = instance(code)
    made.exports(store)[name](store)  # type: ignore[operator]


def test_with_start_exported_without_exports_makes_the_section() -> None:
    code, name = with_start_exported(wasm("(module (func $s) (table 1 funcref) (elem (i32.const 0) $s) (start $s))"))
    store, made = instance(code)
    assert name is not None
    made.exports(store)[name](store)  # type: ignore[operator]


def test_with_start_exported_without_start_is_unchanged() -> None:
    code = wasm('(module (func (export "run")))')
    assert with_start_exported(code) == (code, None)


@given(
    st.dictionaries(st.integers(0, 3 * PAGE - 1), st.integers(1, 255), max_size=40),
)
def test_with_memory_image_any_image_is_the_initial_memory(values: dict[int, int]) -> None:
    image = bytearray(3 * PAGE)
    for at, value in values.items():
        image[at] = value
    original = wasm('(module (memory (export "memory") 1) (func (export "f")) (data (i32.const 9) "gone"))')
    store, made = instance(with_memory_image(original, bytes(image), frozenset({"memory"})))
    assert list(made.exports(store)) == ["memory"]
    assert bytes(made.exports(store)["memory"].read(store, 0, 3 * PAGE)) == image  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "exports"), [("(module)", {"missing"}), ('(module (func (export "f")))', {"f", "missing"})]
)
def test_with_memory_image_missing_export_is_an_error(text: str, exports: set[str]) -> None:
    if text == "(module)":
        assert with_memory_image(wasm(text), b"", frozenset())
        return
    with pytest.raises(ValueError, match="missing"):
        with_memory_image(wasm(text), b"", frozenset(exports))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("(module)", 0),
        ("(module (memory 0))", 0),
        ("(module (memory 3 9))", 3 * PAGE),
        ("(module (memory 300))", 300 * PAGE),
    ],
)
def test_declared_memory_bytes_is_the_minimum(text: str, size: int) -> None:
    assert declared_memory_bytes(wasm(text)) == size
