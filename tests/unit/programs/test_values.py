"""Values as people write them become ABI bytes and come back."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from oracle.errors import ProjectError
from oracle.programs.values import check_types, decode_values, encode_values

ADDRESS = "0x" + "ab" * 20
TYPES = ["int256", "address", "bytes", "bytes4[]", "(bool,string)[2]"]


@given(number=st.integers(-(2**255), 2**255 - 1), data=st.binary(max_size=50), text=st.text(max_size=20))
def test_encode_then_decode_gives_the_values_back(number, data, text):
    values = [number, ADDRESS, "0x" + data.hex(), ["0x01020304"], [[True, text], [False, ""]]]
    assert decode_values(TYPES, encode_values(TYPES, values)) == values


@pytest.mark.parametrize("value", [255, "255", "0xff"])
def test_encode_integers_as_numbers_or_text_is_the_same(value):
    assert encode_values(["uint256"], [value]) == encode(["uint256"], [255])


def test_encode_tuples_within_arrays_are_soliditys():
    assert encode_values(["(uint8,string)[]"], [[[1, "a"], [2, "b"]]]) == encode(
        ["(uint8,string)[]"], [[(1, "a"), (2, "b")]]
    )


def test_check_types_says_them_in_full():
    assert check_types(["uint", "(int,address)[]"]) == ("uint256", "(int256,address)[]")


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("uint8", 256, "are not"),
        ("uint8", -1, "are not"),
        ("uint8", "x", "is an integer"),
        ("uint8", True, "is an integer"),
        ("uint8", 1.5, "is an integer"),
        ("uint256", "9" * 5_000, "is an integer"),
        ("address", "0x12", "has 20 bytes"),
        ("address", 3, "0x… text"),
        ("bytes32", "0x12", "has 32 bytes"),
        ("bytes", "12", "0x… text"),
        ("bool", 1, "bool is not"),
        ("string", 1, "string is not"),
        ("uint8[]", 1, "is a list"),
        ("uint8[2]", [1], "are not"),
        ("(uint8,bool)", [1], "takes 2 values"),
        ("uint7", 1, "is no ABI type"),
        ("fixed128x18", 1, "is no ABI type"),
        ("(uint8", 1, "is no ABI type"),
    ],
)
def test_encode_value_or_type_that_is_wrong_is_refused(kind, value, said):
    with pytest.raises(ProjectError, match=said):
        encode_values([kind], [value])


def test_decode_what_is_no_encoding_is_refused():
    with pytest.raises(ProjectError, match="the output is not"):
        decode_values(["uint256", "string"], b"\1" * 40)
