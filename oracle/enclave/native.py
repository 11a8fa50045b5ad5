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
from ctypes import POINTER, byref, c_bool, c_char_p, c_int64, c_size_t, c_uint8, c_uint64, c_void_p
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
    "wasmtime_instance_pre_instantiate",
    "wasmtime_instance_t",
    "wasmtime_memory_grow",
    "wasmtime_store_context",
    "wasmtime_store_delete",
    "wasmtime_store_limiter",
    "wasmtime_store_new",
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
_WORD = c_uint64()  # for results; one thread at a time runs guests
_WORD_AT = ctypes.addressof(_WORD)
set_epoch_deadline = ctypes.CFUNCTYPE(None, c_void_p, c_uint64)(("wasmtime_context_set_epoch_deadline", _library))


_new_store = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p)(("wasmtime_store_new", _library))
_context_of = ctypes.CFUNCTYPE(c_void_p, c_void_p)(("wasmtime_store_context", _library))
_limit_store = ctypes.CFUNCTYPE(None, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64)(
    ("wasmtime_store_limiter", _library)
)
_instantiate = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)(
    ("wasmtime_instance_pre_instantiate", _library)
)
_get_export = ctypes.CFUNCTYPE(c_bool, c_void_p, c_void_p, c_char_p, c_size_t, c_void_p)(
    ("wasmtime_instance_export_get", _library)
)
_grow_memory = ctypes.CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_uint64, c_void_p)(("wasmtime_memory_grow", _library))
delete_store = ctypes.CFUNCTYPE(None, c_void_p)(("wasmtime_store_delete", _library))
_encoded = lru_cache(maxsize=256)(str.encode)


def address_of(owner: wasmtime.Engine | wasmtime.InstancePre) -> int:
    """Where the C object behind `owner` is, as long as `owner` lives."""
    return ctypes.cast(owner.ptr(), c_void_p).value or 0


def new_store(engine: int, memory_bytes: int, table_elements: int) -> tuple[int, int]:
    """A store for one instance of this engine within these limits, and its context. `delete_store` it."""
    store = _new_store(engine, None, None)
    _limit_store(store, memory_bytes, table_elements, 1, 1, 1)
    return store, _context_of(store)


def instantiate(context: int, module: int) -> Any:
    """
    A new instance of the `wasmtime.InstancePre` at address `module`.

    Raises:
        wasmtime.Trap: the start function or an active segment trapped.
        wasmtime.WasmtimeError: a limit forbids it, or the pool is full.
    """
    instance, trap = _ffi.wasmtime_instance_t(), c_void_p()
    error = _instantiate(module, context, ctypes.addressof(instance), ctypes.addressof(trap))
    if error:
        raise wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, POINTER(_ffi.wasmtime_error_t)))  # noqa: SLF001
    if trap.value:
        raise wasmtime.Trap._from_ptr(ctypes.cast(trap, POINTER(_ffi.wasm_trap_t)))  # noqa: SLF001
    return instance


def find_export(context: int, instance: Any, name: str) -> Any | None:
    """The `wasmtime_extern_t` of an export, or None. 2 µs; listing all exports of QuickJS would take 8 ms."""
    extern, encoded = _ffi.wasmtime_extern_t(), _encoded(name)
    found = _get_export(context, ctypes.addressof(instance), encoded, len(encoded), ctypes.addressof(extern))
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
    if _get_fuel(context, _WORD_AT):
        raise RuntimeError("this engine does not meter fuel")
    return _WORD.value


def set_fuel(context: int, fuel: int) -> None:
    """Set the fuel left; also from inside a host function."""
    if _set_fuel(context, fuel):
        raise RuntimeError("this engine does not meter fuel")


def grow_memory(context: int, memory: Any, pages: int) -> bool:
    """Grow by `pages` of 64 KiB, within the store's limits; False if they forbid it."""
    error = _grow_memory(context, ctypes.addressof(memory), pages, _WORD_AT)
    if error:
        _ffi.wasmtime_error_delete(ctypes.cast(error, POINTER(_ffi.wasmtime_error_t)))
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
