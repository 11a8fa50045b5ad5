"""
Write the vectors that Solidity and Python are both tested against: `python tests/vectors/generate.py`.

Values come from third parties (eth_abi for layouts, eth_account for EIP-712 and signatures), not from the code under
test. Numbers are decimal strings, bytes are 0x-hex, each file is `{"cases": [...]}` with the same keys in each case.
Development DCAP evidence comes from `oracle.attestation.development`, which other verifiers accept.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak

from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.dcap.trim import onchain_evidence
from oracle.attestation.development.collateral import NEW_S, OLD_S
from oracle.attestation.development.dcap import DevelopmentPki, processor_platform
from oracle.attestation.development.keys import point_of
from oracle.attestation.development.quotes import QuoteKind

HERE = Path(__file__).parent
ROOT_KEY = keccak(b"adyton development root")
SIGNER_KEY = keccak(b"adyton test signer")
CHAINS = (31_337, 1, 2**64 - 1)
EDGE_U64 = 2**64 - 1


def address(name: str) -> str:
    """An address nobody has the key of."""
    return "0x" + keccak(name.encode())[12:].hex()


def hexed(value: bytes) -> str:
    """The bytes as 0x-hex."""
    return "0x" + value.hex()


def write(name: str, cases: Sequence[Mapping[str, Any]]) -> None:
    """Write one file of vectors."""
    (HERE / f"{name}.json").write_text(json.dumps({"cases": cases}, indent=2) + "\n")


def pack(*fields: tuple[int, int]) -> int:
    """Fields of (value, bits), high to low, in one number."""
    word = 0
    for value, bits in fields:
        assert 0 <= value < 1 << bits
        word = word << bits | value
    return word


def pool_id(verifier: str, base: int, gas: int, fuel: int) -> bytes:
    """The pool id of these parameters."""
    return pack((int(verifier, 16), 160), (base, 32), (gas, 32), (fuel, 32)).to_bytes(32)


def pools() -> None:
    """Pool ids, and what a receipt costs there before the cap."""
    u32, u24 = 2**32 - 1, 2**24 - 1
    rows = [
        (1_000, 2_000, 50, 100_000, 123_456),
        (0, 0, 0, u24, EDGE_U64),
        (1, 1, 1, 1, 1),
        (0, 0, 999, 0, 1),
        (0, 0, 1_000, 0, 7),
        (u32, u32, u32, u24, EDGE_U64),
    ]
    cases = []
    for number, (base, gas, fuel, callback_gas, used) in enumerate(rows):
        verifier = address(f"verifier {number}")
        fee = base * 10**9 + callback_gas * gas * 10**6 + -(-used * fuel // 1_000)
        cases.append({
            "verifier": verifier, "baseFeeGwei": str(base), "gasPriceMwei": str(gas), "fuelPriceWei": str(fuel),
            "poolId": hexed(pool_id(verifier, base, gas, fuel)),
            "callbackGas": str(callback_gas), "fuelUsed": str(used), "fee": str(fee),
        })  # fmt: skip
    write("pools", cases)


def requests() -> None:
    """Terms, the word stored for an open request, and request ids."""
    cases = []
    limits = (2**64 - 1, 2**64 - 1, 2**32 - 1, 2**24 - 1, 2**40 - 1)
    rows = [(0, 1_764_000_000, 1_764_003_600, 100_000, 10_000_000), (7, 1, 2, 0, 0), limits]
    for number, (nonce, created, deadline, gas, fee) in enumerate(rows):
        chain, coprocessor, consumer = CHAINS[number], address("coprocessor"), address(f"consumer {number}")
        program, pool = keccak(b"program %d" % number), pool_id(address("verifier"), 1_000, 2_000, number)
        data = b"input " * number
        terms = pack((0, 32), (nonce, 64), (created, 64), (deadline, 32), (gas, 24), (fee, 40))
        types = ["uint256", "address", "address", "bytes32", "bytes32", "bytes32", "uint256"]
        request_id = keccak(encode(types, [chain, coprocessor, consumer, program, pool, keccak(data), terms]))
        cases.append({
            "chainId": str(chain), "coprocessor": coprocessor, "consumer": consumer, "programId": hexed(program),
            "poolId": hexed(pool), "input": hexed(data), "inputHash": hexed(keccak(data)), "nonce": str(nonce),
            "createdAt": str(created), "deadline": str(deadline), "callbackGas": str(gas), "maxFeeGwei": str(fee),
            "terms": str(terms), "openRequest": str(pack((int(consumer, 16), 160), (terms % 2**96, 96))),
            "requestId": hexed(request_id),
        })  # fmt: skip
    write("requests", cases)


def programs() -> None:
    """Program ids."""
    cases = []
    for number, engine in enumerate((1, 2, 2)):
        manifest, code = b'{"version":1,"number":%d}' % number, b"code %d" % number
        parts = [keccak(b"Adyton program v1"), engine, keccak(manifest), keccak(code)]
        program_id = keccak(encode(["bytes32", "uint8", "bytes32", "bytes32"], parts))
        cases.append({
            "engine": str(engine), "manifest": hexed(manifest), "manifestHash": hexed(keccak(manifest)),
            "code": hexed(code), "codeHash": hexed(keccak(code)), "programId": hexed(program_id),
        })  # fmt: skip
    write("programs", cases)


def digest_of(primary: str, message: Mapping[str, Any], chain: int, contract: str) -> bytes:
    """The EIP-712 digest, by eth_account."""
    fields = {
        "requestId": "bytes32",
        "outcome": "uint8",
        "outputHash": "bytes32",
        "fuelUsed": "uint64",
        "payee": "address",
        "context": "bytes32",
    }
    types = {"Receipt": [{"name": name, "type": kind} for name, kind in fields.items()]}
    if primary == "ReceiptBatch":
        types["ReceiptBatch"] = [{"name": "receipts", "type": "Receipt[]"}]
    domain = {"name": "Adyton", "version": "1", "chainId": chain, "verifyingContract": contract}
    signable = encode_typed_data(domain_data=domain, message_types=types, message_data=dict(message))
    digest: bytes = keccak(b"\x19" + signable.version + signable.header + signable.body)
    return digest


def compact(digest: bytes) -> bytes:
    """The test signer's EIP-2098 signature."""
    signature = PrivateKey(SIGNER_KEY).sign_msg_hash(digest)
    packed: bytes = signature.r.to_bytes(32) + (signature.s | signature.v << 255).to_bytes(32)
    return packed


def receipt(number: int, output: bytes) -> dict[str, Any]:
    """An EIP-712 message."""
    return {
        "requestId": keccak(b"request %d" % number),
        "outcome": number % 10 + 1,
        "outputHash": keccak(output),
        "fuelUsed": EDGE_U64 if number == 2 else number * 123_456,
        "payee": address(f"payee {number}"),
        "context": keccak(b"context %d" % number) if number % 2 else bytes(32),
    }


def receipts() -> None:
    """Digests and signatures of single receipts."""
    cases = []
    for number, chain in enumerate(CHAINS):
        output = b"output " * number
        message, contract = receipt(number, output), address(f"coprocessor {number}")
        digest = digest_of("Receipt", message, chain, contract)
        cases.append({
            "chainId": str(chain), "coprocessor": contract, "requestId": hexed(message["requestId"]),
            "outcome": str(message["outcome"]), "output": hexed(output), "outputHash": hexed(message["outputHash"]),
            "fuelUsed": str(message["fuelUsed"]), "payee": message["payee"],
            "context": hexed(message["context"]), "digest": hexed(digest),
            "privateKey": hexed(SIGNER_KEY), "signer": Account.from_key(SIGNER_KEY).address.lower(),
            "signature": hexed(compact(digest)),
        })  # fmt: skip
    write("receipts", cases)


def batches() -> None:
    """Digests and signatures of batches; the receipts are parallel lists."""
    cases = []
    for count in (1, 2, 10):
        contract = address("coprocessor")
        messages = [receipt(number, b"output " * number) for number in range(count)]
        digest = digest_of("ReceiptBatch", {"receipts": messages}, 31_337, contract)
        cases.append({
            "chainId": "31337", "coprocessor": contract, "requestIds": [hexed(m["requestId"]) for m in messages],
            "outcomes": [str(m["outcome"]) for m in messages],
            "outputHashes": [hexed(m["outputHash"]) for m in messages],
            "fuelUsed": [str(m["fuelUsed"]) for m in messages], "payees": [m["payee"] for m in messages],
            "contexts": [hexed(m["context"]) for m in messages],
            "digest": hexed(digest), "signer": Account.from_key(SIGNER_KEY).address.lower(),
            "signature": hexed(compact(digest)),
        })  # fmt: skip
    write("batches", cases)


def registrations() -> None:
    """Report data."""
    cases = []
    for number, chain in enumerate(CHAINS):
        registry, operator = address(f"registry {number}"), address(f"operator {number}")
        signer, sealing, anchor = (
            address(f"signer {number}"),
            keccak(b"sealing %d" % number),
            keccak(b"block %d" % number),
        )
        domain = keccak(b"Adyton enclave registration v1")
        types = ["bytes32", "uint256", "address", "address", "bytes32", "address", "bytes32"]
        report = keccak(encode(types, [domain, chain, registry, signer, sealing, operator, anchor]))
        cases.append({
            "chainId": str(chain), "registry": registry, "signer": signer, "sealingKey": hexed(sealing),
            "operator": operator, "anchor": hexed(anchor), "reportData": hexed(report),
        })  # fmt: skip
    write("registrations", cases)


def settlements() -> None:
    """The data word of `RequestSettled`."""
    rows = [(0, 0, 1, False), (1_234_567_890_123, 123_456, 2, True), (2**128 - 1, EDGE_U64, 10, True)]
    write("settlements", [
        {
            "fee": str(fee), "fuelUsed": str(fuel), "outcome": str(outcome), "callbackSucceeded": called,
            "settlement": str(pack((fee, 128), (fuel, 64), (0, 48), (outcome, 8), (int(called), 8))),
        }
        for fee, fuel, outcome, called in rows
    ])  # fmt: skip


def secret(key: Any) -> str:
    """A development P-256 key; all of them are public."""
    return str(key.private_numbers().private_value)


def measurement(kind: QuoteKind, report: bytes) -> bytes:
    """The hash of what names a build in a report."""
    if kind is not QuoteKind.SGX_V3:
        return keccak(keccak(b"Adyton TDX measurement v1") + report[120:520])
    parts = ((16, 20), (32, 48), (48, 56), (64, 96), (128, 160), (192, 256), (256, 262), (304, 320))
    return keccak(keccak(b"Adyton SGX measurement v1") + b"".join(report[first:end] for first, end in parts))


def dcap() -> None:
    """Development quotes of each kind, the collateral and the keys behind them, and what they attest."""
    now_s = 1_764_000_000
    pki = DevelopmentPki(now_s=now_s - 86_400)
    processor = pki.on(processor_platform())
    rows: list[tuple[str, DevelopmentPki, QuoteKind, str, tuple[int, ...]]] = [
        ("SGX version 3", pki, QuoteKind.SGX_V3, "UpToDate", ()),
        ("TDX version 4", pki, QuoteKind.TDX_V4, "UpToDate", ()),
        ("TDX version 5, TD 1.0", pki, QuoteKind.TDX_V5, "UpToDate", ()),
        ("TDX version 5, TD 1.5", pki, QuoteKind.TDX_V5_TD15, "UpToDate", ()),
        ("processor authority", processor, QuoteKind.SGX_V3, "SWHardeningNeeded", (615,)),
        ("configuration", pki, QuoteKind.SGX_V3, "ConfigurationNeeded", ()),
        ("configuration and software", pki, QuoteKind.SGX_V3, "ConfigurationAndSWHardeningNeeded", (289, 615)),
        ("out of date", pki, QuoteKind.TDX_V4, "OutOfDate", (960, 982, 986)),
        ("out of date and misconfigured", pki, QuoteKind.TDX_V5, "OutOfDateConfigurationNeeded", (1,)),
    ]
    statuses = ["UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded"]
    statuses += ["OutOfDate", "OutOfDateConfigurationNeeded"]
    cases = []
    for number, (name, machine, kind, status, advisories) in enumerate(rows):
        report_data = keccak(b"report data %d" % number)
        quote = parse_quote(machine.quote(kind, report_data, keccak(b"build %d" % number)))
        evidence = onchain_evidence(quote)
        texts = tuple(f"INTEL-SA-{advisory:05}" for advisory in advisories)
        collateral = machine.collateral(kind.tee, status=status, advisories=texts)
        body = quote.signed[54 if "5" in kind.value[:6] else 48 :]
        root_x, root_y = machine.root_point
        cases.append({
            "name": name, "now": str(now_s), "rootX": hexed(root_x), "rootY": hexed(root_y),
            "rootKey": secret(machine.root.key), "authorityKey": secret(machine.pck_authority.key),
            "signerKey": secret(machine.tcb_signer.key), "pckKey": secret(machine.pck.key),
            "attestationKey": secret(machine.quoting_enclave(kind.tee).attestation_key),
            "root": hexed(machine.root.der), "authority": hexed(machine.pck_authority.der),
            "signer": hexed(machine.tcb_signer.der), "pck": hexed(machine.pck.der),
            "authorityId": hexed(keccak(point_of(machine.pck_authority.key))),
            "signerId": hexed(keccak(point_of(machine.tcb_signer.key))),
            "pckId": hexed(keccak(point_of(machine.pck.key))),
            "rootCrl": hexed(collateral.root_ca_crl), "pckCrl": hexed(collateral.pck_crl),
            "tcbInfo": collateral.tcb_info, "tcbInfoSignature": hexed(collateral.tcb_info_signature),
            "qeIdentity": collateral.qe_identity, "qeIdentitySignature": hexed(collateral.qe_identity_signature),
            "evidence": hexed(evidence.evidence), "shortEvidence": hexed(evidence.cached),
            "measurement": hexed(measurement(kind, body)), "reportData": hexed(report_data),
            "platform": hexed(keccak(machine.platform.ppid + machine.platform.pce_id)),
            "validUntil": str(machine.now_s + 30 * 86_400), "status": str(statuses.index(status)),
            "evaluationNumber": "18", "outOfDateSince": str(NEW_S if OLD_S < NEW_S and "OutOf" in status else 0),
            "advisories": str(sum(advisory << 16 * place for place, advisory in enumerate(advisories))),
        })  # fmt: skip
    write("dcap", cases)


if __name__ == "__main__":
    for generate in (pools, requests, programs, receipts, batches, registrations, settlements, dcap):
        generate()
