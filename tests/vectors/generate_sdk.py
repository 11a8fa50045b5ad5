"""
Write `sdk.json`, which drives the SDKs of all languages: `python tests/vectors/generate_sdk.py`.

    {"documents": {name: {"document": …, "requestId", "digest", "reportData", "measurement"}},
     "cases": [{"name", "document", "changes", "chainId", "coprocessor", "measurements", "root", "at", "verdict"}]}

A case takes a receipt document by its name, sets each path of `changes` (members and list indices, separated by dots;
null removes), and verifies it offline: trusting that chain, contract, builds and root (SHA-256 of its certificate) as
of `at`, unix seconds, with the strictest policy. `verdict` is `Accepted`, or the name of the error. Numbers over 2^53-1
are decimal text. Values come from third parties, as in `generate.py`; evidence from the development PKI.
"""

import hashlib
import json
from typing import Any

from eth_abi.abi import encode
from eth_keys.datatypes import PrivateKey, Signature
from eth_utils.crypto import keccak
from generate import EDGE_U64, HERE, address, compact, digest_of, hexed, measurement, pack, pool_id, receipt

from oracle.attestation.dcap.quote import parse_quote
from oracle.attestation.dcap.trim import onchain_evidence
from oracle.attestation.development.dcap import DevelopmentPki
from oracle.attestation.development.quotes import QuoteKind

NOW_S = 1_764_000_000
DAY_S = 86_400
CHAIN = 31_337
COPROCESSOR = address("coprocessor")
POOL = pool_id(COPROCESSOR, 50_000, 1_000, 1_000)
PKI = DevelopmentPki(now_s=NOW_S - DAY_S)
BUILD = keccak(b"a trusted build")
OUTCOMES = ["", "COMPLETED", "TRAPPED"]
OTHER_KEY = keccak(b"adyton other signer")


def snake(name: str) -> str:
    """camelCase as snake_case."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def number(value: int) -> int | str:
    """As JSON readers agree on it."""
    return value if value < 2**53 else str(value)


def members(message: dict[str, Any]) -> dict[str, Any]:
    """An EIP-712 message as the flat members of a document."""
    written = {name: hexed(value) if isinstance(value, bytes) else value for name, value in message.items()}
    numbers = {name: number(value) if isinstance(value, int) else value for name, value in written.items()}
    return {snake(name): value for name, value in (numbers | {"outcome": OUTCOMES[message["outcome"]]}).items()}


def asked(nonce: int, given: bytes, program: bytes) -> tuple[bytes, dict[str, Any]]:
    """A request id, and the request's members."""
    fields = (nonce, NOW_S, NOW_S + 300, 100_000, 675_360)
    terms = pack((0, 32), *zip(fields, (64, 64, 32, 24, 40), strict=True))
    types = ["uint256", "address", "address", "bytes32", "bytes32", "bytes32", "uint256"]
    consumer = address("consumer")
    request_id = keccak(encode(types, [CHAIN, COPROCESSOR, consumer, program, POOL, keccak(given), terms]))
    names = ("nonce", "created_at_s", "deadline_s", "callback_gas", "max_fee_gwei")
    return request_id, {
        "consumer": consumer, "program_id": hexed(program), "pool_id": hexed(POOL),
        **{name: number(value) for name, value in zip(names, fields, strict=True)}, "input": hexed(given),
    }  # fmt: skip


def attestation(signer: str, kind: QuoteKind, status: str, *, is_trimmed: bool) -> tuple[dict[str, Any], bytes, bytes]:
    """What vouches for a signer, its report data, and its measurement."""
    sealing, operator, anchor = keccak(b"sealing key"), address("operator"), keccak(b"anchor")
    types = ["bytes32", "uint256", "address", "address", "bytes32", "address", "bytes32"]
    domain = keccak(b"Adyton enclave registration v1")
    report_data = keccak(encode(types, [domain, CHAIN, COPROCESSOR, signer, sealing, operator, anchor]))
    whole = PKI.quote(kind, report_data, BUILD)
    parts = parse_quote(whole)
    collateral = json.loads(PKI.collateral(kind.tee, status=status).json())
    if is_trimmed:
        collateral["pck_certificate_chain"] = PKI.pck_chain.decode()
    return {
        "sealing_key": hexed(sealing), "operator": operator, "anchor_block": 7, "anchor_hash": hexed(anchor),
        "quote": hexed(onchain_evidence(parts).trimmed if is_trimmed else whole), "collateral": collateral,
    }, report_data, measurement(kind, parts.body)  # fmt: skip


def document(kind: QuoteKind, *, batch: int = 0, status: str = "UpToDate") -> dict[str, Any]:
    """A receipt document that convinces; with `batch` its receipt is the last of so many that were signed together."""
    given, output = b"input", b"output" if not batch else b"it threw"
    request_id, request = asked(EDGE_U64 if batch else 3, given, keccak(b"program"))
    own = receipt(1, output) | {"requestId": request_id, "outcome": 2 if batch else 1}
    own["payee"] = address("payee")
    messages = [receipt(each, b"other") | {"outcome": 1, "payee": own["payee"]} for each in range(batch - 1)] + [own]
    name, message = ("ReceiptBatch", {"receipts": messages}) if batch else ("Receipt", own)
    digest = digest_of(name, message, CHAIN, COPROCESSOR)
    signature = compact(digest)
    signer = signer_of(digest, signature)
    vouching, report_data, measured = attestation(signer, kind, status, is_trimmed=not batch)
    return {
        "document": {
            "version": 1, "chain_id": CHAIN, "coprocessor": COPROCESSOR, **members(own), "output": hexed(output),
            "signature": hexed(signature), "signer": signer, "request": request,
            **({"batch": [members(each) for each in messages]} if batch else {}), "attestation": vouching,
            "settlement": {"block": 9, "transaction": hexed(keccak(b"transaction")), "fee_wei": "50150000000000000",
                           "callback_succeeded": True},
        },
        "requestId": hexed(request_id), "digest": hexed(digest), "reportData": hexed(report_data),
        "measurement": hexed(measured),
    }  # fmt: skip


def signer_of(digest: bytes, signature: bytes) -> str:
    """The address behind a compact signature."""
    tail = int.from_bytes(signature[32:])
    vrs = (tail >> 255, int.from_bytes(signature[:32]), tail & (1 << 255) - 1)
    found: str = Signature(vrs=vrs).recover_public_key_from_msg_hash(digest).to_address()
    return found


def flipped(text: str, bit: int) -> str:
    """0x-hex with one bit, counted from the end, changed."""
    return "0x" + f"{int(text, 16) ^ 1 << bit:0{len(text) - 2}x}"


Row = tuple[str, str, dict[str, Any], str]


def signed(documents: dict[str, Any]) -> list[Row]:
    """Cases about what was asked and signed: name, document, changes, verdict."""
    single, batch = documents["single"]["document"], documents["batch"]["document"]
    digest = bytes.fromhex(documents["single"]["digest"][2:])
    other = PrivateKey(OTHER_KEY)
    made = other.sign_msg_hash(digest)
    by_other = hexed(made.r.to_bytes(32) + (made.s | made.v << 255).to_bytes(32))
    fields = {"fuel_used": 1, "payee": address("thief"), "outcome": "TRAPPED"}
    terms = {"program_id": hexed(keccak(b"o")), "input": "0x00", "deadline_s": 1, "consumer": address("thief")}
    return [
        ("one receipt", "single", {}, "Accepted"),
        ("one of a batch", "batch", {}, "Accepted"),
        ("numbers as text", "single", {"chain_id": "31337", "fuel_used": str(single["fuel_used"])}, "Accepted"),
        ("nobody settled it", "single", {"settlement": None}, "Accepted"),
        ("document of another chain", "single", {"chain_id": 1}, "OtherChainError"),
        ("document of another contract", "single", {"coprocessor": address("other")}, "OtherCoprocessorError"),
        *((f"other {name}", "single", {f"request.{name}": value}, "RequestMismatchError")
          for name, value in terms.items()),
        ("other request id", "single", {"request_id": hexed(keccak(b"o"))}, "RequestMismatchError"),
        ("other output", "single", {"output": "0x00"}, "OutputMismatchError"),
        ("other output with its hash", "single", {"output": "0x00", "output_hash": hexed(keccak(b"\0"))},
         "OtherSignerError"),
        *((f"other {name}", "single", {name: value}, "OtherSignerError") for name, value in fields.items()),
        ("signature flipped in s", "single", {"signature": flipped(single["signature"], 0)}, "OtherSignerError"),
        ("signature flipped in parity", "single", {"signature": flipped(single["signature"], 255)}, "OtherSignerError"),
        ("signature with the upper s", "single", {"signature": single["signature"][:66] + "ff" * 32},
         "SignatureRefusedError"),
        ("signature of nobody", "single", {"signature": "0x" + "00" * 64}, "SignatureRefusedError"),
        ("other signer named", "single", {"signer": other.public_key.to_address()}, "OtherSignerError"),
        ("other signer", "single", {"signer": other.public_key.to_address(), "signature": by_other},
         "SignerNotAttestedError"),
        ("not in the batch", "batch", {"batch": batch["batch"][:2]}, "NotInBatchError"),
        ("batch in another order", "batch", {"batch": batch["batch"][::-1]}, "OtherSignerError"),
        ("batch taken away", "batch", {"batch": None}, "OtherSignerError"),
    ]  # fmt: skip


def attested(single: dict[str, Any]) -> list[Row]:
    """Cases about what vouches for the signer, and about form."""
    quote = single["attestation"]["quote"]
    bound = {"sealing_key": hexed(keccak(b"other")), "operator": address("thief"), "anchor_hash": hexed(keccak(b"o"))}
    return [
        ("no evidence", "single", {"attestation": None}, "EvidenceMissingError"),
        *((f"evidence of another {name}", "single", {f"attestation.{name}": value}, "SignerNotAttestedError")
          for name, value in bound.items()),
        ("quote flipped in its body", "single", {"attestation.quote": flipped(quote, 8 * (len(quote) // 2 - 61))},
         "NotGenuineError"),
        ("quote of nothing", "single", {"attestation.quote": "0x00"}, "EncodingError"),
        ("no collateral", "single", {"attestation.collateral": None}, "CollateralError"),
        ("platform out of date", "outdated", {}, "PolicyError"),
        ("another version", "single", {"version": 2}, "EncodingError"),
        ("output without 0x", "single", {"output": "00"}, "EncodingError"),
        ("signature too short", "single", {"signature": "0x00"}, "EncodingError"),
        ("unknown outcome", "single", {"outcome": "FINE"}, "EncodingError"),
        ("number with a fraction", "single", {"fuel_used": 1.5}, "EncodingError"),
        ("no request", "single", {"request": None}, "EncodingError"),
    ]  # fmt: skip


def trusting() -> list[tuple[str, dict[str, Any], str]]:
    """Cases about what is trusted, of the single receipt: name, trust, verdict."""
    intel = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
    return [
        ("trust in another chain", {"chainId": "1"}, "OtherChainError"),
        ("trust in another contract", {"coprocessor": address("other")}, "OtherCoprocessorError"),
        ("trust in another build", {"measurements": [hexed(keccak(b"another build"))]}, "UnknownMeasurementError"),
        ("trust in no build", {"measurements": []}, "UnknownMeasurementError"),
        ("trust in the vendor's root", {"root": "0x" + intel}, "UntrustedRootError"),
        ("end of the collateral", {"at": str(NOW_S + 29 * DAY_S - 1)}, "Accepted"),
        ("collateral expired", {"at": str(NOW_S + 29 * DAY_S + 1)}, "CollateralError"),
        ("collateral not issued yet", {"at": str(NOW_S - DAY_S - 1)}, "CollateralError"),
    ]


def sdk() -> None:
    """Write the file."""
    documents = {
        "single": document(QuoteKind.SGX_V3),
        "batch": document(QuoteKind.TDX_V4, batch=3),
        "outdated": document(QuoteKind.SGX_V3, status="OutOfDate"),
    }
    trust = {
        "chainId": str(CHAIN), "coprocessor": COPROCESSOR,
        "measurements": [documents[name]["measurement"] for name in ("single", "batch")],
        "root": hexed(hashlib.sha256(PKI.root.der).digest()), "at": str(NOW_S),
    }  # fmt: skip
    rows = [(*row, {}) for row in (*signed(documents), *attested(documents["single"]["document"]))]
    rows += [(name, "single", {}, verdict, changes) for name, changes, verdict in trusting()]
    cases = [
        {"name": name, "document": of, "changes": changes, **trust, **trusted, "verdict": verdict}
        for name, of, changes, verdict, trusted in rows
    ]
    (HERE / "sdk.json").write_text(json.dumps({"documents": documents, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    sdk()
