"""
The only file that touches private names of wasmtime-py.

wasmtime-py's public calls convert and check every value, which costs 10-50 µs each; these are the same functions of
wasmtime's stable C API without the conversions, 0.4-1.3 µs each. Importing this module fails at once if a name is
missing, so an upgrade of wasmtime cannot break a running enclave.

Nothing here checks pointers, lengths or types: `oracle.enclave.sandbox` does, and is the only caller.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_size_t, c_uint8, c_uint64, c_void_p
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import wasmtime
from wasmtime import _bindings, _ffi

RAW_VALUE_WORDS = 2  # a `wasmtime_val_raw_t` is 16 bytes, of which scalars use the first 8
MAX_ARGUMENTS = 16
HOST_TRAP = -1

_REQUIRED = (
    "dll",
    "wasm_functype_t",
    "wasm_trap_t",
    "wasmtime_error_t",
    "wasmtime_extern_t",
    "wasmtime_func_unchecked_callback_t",
    "wasmtime_linker_define_func_unchecked",
    "wasmtime_instance_export_get",
    "wasmtime_memory_grow",
    "wasmtime_trap_code",
    "wasmtime_trap_new",
    "wasm_trap_delete",
    "wasmtime_context_get_fuel",
    "wasmtime_context_set_fuel",
    "wasmtime_pooling_allocation_config_new",
    "wasmtime_pooling_allocation_config_delete",
    "wasmtime_pooling_allocation_strategy_set",
    "wasmtime_config_async_stack_size_set",
)
_missing = [name for name in _REQUIRED if not hasattr(_bindings, name)]
_version = version("wasmtime")
if _missing or not _version.startswith("50."):
    raise ImportError(
        f"the enclave is written for wasmtime 50, not {_version} (missing: {_missing}); "
        "install the version of requirements.lock"
    )

Callback = Callable[[Any, Any, Any, int], int]  # 0, or a trap
_CALLBACK = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p, POINTER(c_uint64), c_size_t)
_NO_FINALIZER = ctypes.cast(0, ctypes.CFUNCTYPE(None, c_void_p))

_library: Any = getattr(_bindings, "dll")  # noqa: B009  # not exported for type checkers
# Plain integers in and out: no ctypes object is made per call.
_func_call = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p)(
    ("wasmtime_func_call_unchecked", _library)
)
memory_base = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p)(("wasmtime_memory_data", _library))
memory_bytes = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p)(("wasmtime_memory_data_size", _library))
_get_fuel = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p)(("wasmtime_context_get_fuel", _library))
_set_fuel = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_uint64)(("wasmtime_context_set_fuel", _library))
_FUEL = c_uint64()
_FUEL_AT = ctypes.addressof(_FUEL)
set_epoch_deadline = ctypes.CFUNCTYPE(None, c_void_p, c_uint64)(("wasmtime_context_set_epoch_deadline", _library))


def context_of(store: wasmtime.Store) -> int:
    """The address of the store's context, valid until the store is closed."""
    return ctypes.cast(store._context(), c_void_p).value or 0  # noqa: SLF001  # see the module docstring


_encoded = lru_cache(maxsize=256)(str.encode)


def find_export(store: wasmtime.Store, instance: wasmtime.Instance, name: str) -> Any | None:
    """The `wasmtime_extern_t` of an export, or None. 2 µs; listing all exports of QuickJS would take 8 ms."""
    extern, encoded = _ffi.wasmtime_extern_t(), _encoded(name)
    found = _ffi.wasmtime_instance_export_get(
        store._context(),  # noqa: SLF001
        byref(instance._instance),  # noqa: SLF001
        encoded,
        len(encoded),
        byref(extern),
    )
    return extern if found else None


def call(context: int, function: int, values: Any, count: int) -> int | None:
    """
    Call the function at address `function` with raw `values`, which receive the results.

    Returns:
        The trap code; `HOST_TRAP` if a host function stopped the guest; None if the function returned.
    """
    trap = c_void_p()
    error = _func_call(context, function, ctypes.addressof(values), max(count, 1), ctypes.addressof(trap))
    if error:
        _ffi.wasmtime_error_delete(ctypes.cast(error, POINTER(_ffi.wasmtime_error_t)))
        return HOST_TRAP
    if not trap.value:
        return None
    pointer, code = ctypes.cast(trap, POINTER(_ffi.wasm_trap_t)), c_uint8()
    known = _ffi.wasmtime_trap_code(pointer, byref(code))
    _ffi.wasm_trap_delete(pointer)
    return code.value if known else HOST_TRAP


def get_fuel(context: int) -> int:
    """Fuel left. Exact at any time that guest code is not running. For one thread at a time."""
    if _get_fuel(context, _FUEL_AT):
        raise RuntimeError("this engine does not meter fuel")
    return _FUEL.value


def set_fuel(context: int, fuel: int) -> None:
    """Set the fuel left; also from inside a host function."""
    if _set_fuel(context, fuel):
        raise RuntimeError("this engine does not meter fuel")


def grow_memory(store: wasmtime.Store, memory: Any, pages: int) -> bool:
    """Grow by `pages` of 64 KiB, within the store's limits; False if they forbid it."""
    error = _ffi.wasmtime_memory_grow(store._context(), byref(memory), pages, byref(c_uint64()))  # noqa: SLF001
    if error:
        _ffi.wasmtime_error_delete(error)
    return not error


def host_trap() -> int:
    """A trap for a host function to return."""
    return ctypes.cast(_ffi.wasmtime_trap_new(b"host", 4), c_void_p).value or 0


def define(linker: wasmtime.Linker, module: str, name: str, kind: wasmtime.FuncType, body: Callback) -> Any:
    """Define a host function. The caller keeps the returned object alive as long as the linker."""
    callback = _CALLBACK(body)
    error = _bindings.wasmtime_linker_define_func_unchecked(
        linker.ptr(),
        module.encode(),
        len(module.encode()),
        name.encode(),
        len(name.encode()),
        kind.ptr(),
        ctypes.cast(callback, _bindings.wasmtime_func_unchecked_callback_t),
        None,
        _NO_FINALIZER,
    )
    if error:
        raise wasmtime.WasmtimeError._from_ptr(error)  # noqa: SLF001
    return callback


def use_stack(config: wasmtime.Config, size: int) -> None:
    """Let guest code use `size` bytes of its thread's stack. wasmtime wants async stacks, unused, no smaller."""
    _ffi.wasmtime_config_async_stack_size_set(config.ptr(), size)
    config.max_wasm_stack = size


def use_pool(config: wasmtime.Config, **limits: int) -> None:
    """Allocate instances from a pool with these limits, named as `wasmtime_pooling_allocation_config_*_set`."""
    pool = _ffi.wasmtime_pooling_allocation_config_new()
    for name, value in limits.items():
        getattr(_ffi, f"wasmtime_pooling_allocation_config_{name}_set")(pool, value)
    _ffi.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    _ffi.wasmtime_pooling_allocation_config_delete(pool)
