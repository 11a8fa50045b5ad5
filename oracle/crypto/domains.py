"""
The table of all signing and key domains.

| domain | who signs or derives | over |
|---|---|---|
| EIP-712 (Adyton, 1, chain id, Coprocessor) | an enclave's signer | Receipt, ReceiptBatch |
| REGISTRATION_DOMAIN | the hardware, by quote | chain id, registry, signer, sealing key, operator, anchor block hash |
| PROGRAM_DOMAIN | nobody: it names programs | engine, manifest hash, code hash |
| MEASUREMENT_DOMAIN | nobody: it names builds | paths and hashes of the measured files |
| EIP-712 type `Context`, no domain | nobody: it is a field of Receipt | what a run fetched: `oracle.types.transcript` |
| SEALING_DOMAIN | HKDF-SHA256 salt, inside an enclave | platform secret; info: quoter's name, purpose |

A domain is never reused for another purpose: a change of the fields is a new version and a new string.
"""

from __future__ import annotations

from oracle.crypto.hashing import keccak256

REGISTRATION_DOMAIN = keccak256(b"Adyton enclave registration v1")
PROGRAM_DOMAIN = keccak256(b"Adyton program v1")
MEASUREMENT_DOMAIN = keccak256(b"Adyton measurement v1")
SEALING_DOMAIN = keccak256(b"Adyton sealing key v1")
