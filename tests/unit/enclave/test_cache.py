"""The cache never keeps more bytes than it may."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oracle.enclave.cache import BoundedCache


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 60))))
def test_cache_any_sequence_keeps_the_bound_and_true_values(puts: list[tuple[int, int]]) -> None:
    cache: BoundedCache[int, tuple[int, int]] = BoundedCache(100)
    first: dict[int, int] = {}
    for key, size in puts:
        held = cache.get(key)
        assert held is None or held[0] == key
        if held is None:
            first[key] = size
        cache.put(key, (key, size), size)
        kept = [held for key in range(10) if (held := cache.get(key)) is not None]
        assert sum(size for _, size in kept) <= 100


def test_cache_forgets_what_was_not_used_for_longest() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)
    cache.get("a")
    cache.put("c", 3, 1)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_cache_larger_than_the_cache_is_not_kept() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache.put("a", 1, 1)
    cache.put("b", 2, 3)
    assert [cache.get(key) for key in "ab"] == [1, None]
