"""Origins and URLs have one spelling each, and nothing that is no host name of the web is one."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.errors import EncodingError
from oracle.types.web import Origin, Url


@given(st.text(max_size=60) | st.from_regex(r"https://[a-z0-9.:@\[\]/?#%\\-]{1,40}", fullmatch=True))
def test_parse_any_text_is_a_url_of_one_spelling_or_our_error(text: str) -> None:
    try:
        url = Url.parse(text)
    except EncodingError:
        return
    assert Url.parse(str(url)) == url
    assert str(url).isascii()
    assert str(url).isprintable()
    assert " " not in str(url)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example", "https://a.example/"),
        ("https://A.Example:443/B?c#d", "https://a.example/B?c"),
        ("https://a.example?x", "https://a.example/?x"),
        ("https://a.example:8443/%41/../x", "https://a.example:8443/%41/../x"),
    ],
)
def test_parse_url_is_written_in_its_one_spelling(text: str, expected: str) -> None:
    assert str(Url.parse(text)) == expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("/x", "https://a.example/x"),
        ("x?y", "https://a.example/b/x?y"),
        ("//c.example:8443", "https://c.example:8443/"),
    ],
)
def test_joined_relative_reference_is_resolved(reference: str, expected: str) -> None:
    assert str(Url.parse("https://a.example/b/c").joined(reference)) == expected


@given(st.text(max_size=40))
def test_joined_any_reference_is_a_url_or_our_error(reference: str) -> None:
    with contextlib.suppress(EncodingError):
        assert str(Url.parse("https://a.example/b").joined(reference)).startswith("https://")


@given(st.integers(0, 2**32 - 1), st.sampled_from(["{}.{}.{}.{}", "0x{:x}.{}.{}.{}", "{}.{}.{}", "{}.{}", "{}"]))
def test_origin_ip_address_in_any_spelling_is_refused(number: int, form: str) -> None:
    with pytest.raises(EncodingError):
        Origin.parse(form.format(*number.to_bytes(4)))
