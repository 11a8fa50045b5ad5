"""What a quote binds (`report_data`) and what a verified quote says (`Attestation`)."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.crypto.domains import REGISTRATION_DOMAIN
from oracle.crypto.eip712 import word
from oracle.crypto.hashing import keccak256
from oracle.types.ids import Address, MeasurementId


@dataclass(frozen=True, slots=True)
class Attestation:
    """The verified content of a quote."""

    measurement: MeasurementId
    report_data: bytes  # 32 bytes
    platform: bytes  # 32 bytes, names the machine
    valid_until_s: int  # unix seconds


def report_data(
    chain_id: int,
    registry: Address,
    signer: Address,
    sealing_key: bytes,
    operator: Address,
    anchor_block_hash: bytes,
) -> bytes:
    """
    The 32 bytes that an enclave puts into a quote to register `signer`: they bind the keys to one chain, one registry,
    one operator and a recent block.
    """
    fields = (chain_id, registry, signer, sealing_key, operator, anchor_block_hash)
    return keccak256(REGISTRATION_DOMAIN + b"".join(word(field) for field in fields))
