"""How sure a pool wants to be, as settings say it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oracle.errors import ConfigurationError
from oracle.types.finality import LATEST, Finality, FinalityPolicy
from oracle.types.ids import Address

CAREFUL, OTHER = Address(b"\xcc" * 20), Address(b"\xdd" * 20)


@given(st.one_of(st.sampled_from(["latest", "safe", "finalized"]), st.integers(1, 10_000).map(str)))
def test_parse_reads_what_str_writes(text: str) -> None:
    assert str(Finality.parse(text)) == text
    assert Finality.parse(f" {text.upper()} ") == Finality.parse(text)


def test_parse_no_confirmations_is_latest() -> None:
    assert Finality.parse("0") == LATEST


@pytest.mark.parametrize("text", ["", "soon", "-1", "1.5", "10001", "٣", "safe finalized"])
def test_parse_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="finality must be"):
        Finality.parse(text)


def test_policy_consumer_overrides_its_pool() -> None:
    """N8."""
    policy = FinalityPolicy.parse("2", [f"0x{CAREFUL.hex()} = finalized"])
    assert str(policy.of(CAREFUL)) == "finalized"
    assert str(policy.of(OTHER)) == "2"


@pytest.mark.parametrize(
    "entries", [["finalized"], ["0x12=safe"], [f"0x{CAREFUL.hex()}=soon"], [f"0x{CAREFUL.hex()}=1"] * 2]
)
def test_policy_malformed_entry_is_refused(entries: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="finality"):
        FinalityPolicy.parse("latest", entries)
