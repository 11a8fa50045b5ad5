"""The encodings that Solidity and Python share; `tests/contracts/unit/Vectors.t.sol` reads the same vectors."""

import json
from pathlib import Path

import pytest

from oracle.chain.contracts import SETTLED, decode_event
from oracle.crypto.ecdsa import SigningKey, recover
from oracle.crypto.hashing import keccak256
from oracle.types.attestation import report_data
from oracle.types.pool import Pool
from oracle.types.program import Engine, Program
from oracle.types.receipt import Outcome, Receipt, batch_digest
from oracle.types.request import Request

VECTORS = Path(__file__).parents[1] / "vectors"


def cases(name):
    found = json.loads((VECTORS / f"{name}.json").read_text())["cases"]
    assert found
    return found


def raw(text):
    return bytes.fromhex(text.removeprefix("0x"))


@pytest.mark.parametrize("case", cases("requests"))
def test_request_terms_and_id_are_the_vectors(case):
    numbers = (int(case[name]) for name in ("nonce", "createdAt", "deadline", "callbackGas", "maxFeeGwei"))
    ids = (raw(case[name]) for name in ("coprocessor", "consumer", "programId", "poolId", "inputHash"))
    request = Request(int(case["chainId"]), *ids, *numbers)
    assert keccak256(raw(case["input"])) == request.input_hash
    assert request.terms == int(case["terms"])
    assert request.request_id == raw(case["requestId"])


@pytest.mark.parametrize("case", cases("pools"))
def test_pool_id_and_fee_are_the_vectors(case):
    prices = (int(case[name]) for name in ("baseFeeGwei", "gasPriceMwei", "fuelPriceWei"))
    pool = Pool(raw(case["verifier"]), *prices)
    assert pool.pool_id == raw(case["poolId"])
    assert pool.cost_wei(int(case["callbackGas"]), int(case["fuelUsed"]), 0) == int(case["fee"])


@pytest.mark.parametrize("case", cases("programs"))
def test_program_id_is_the_vectors(case):
    hashes = (keccak256(raw(case["manifest"])), keccak256(raw(case["code"])))
    assert hashes == (raw(case["manifestHash"]), raw(case["codeHash"]))
    assert Program(Engine(int(case["engine"])), *hashes).program_id == raw(case["programId"])


@pytest.mark.parametrize("case", cases("receipts"))
def test_receipt_digest_and_signature_are_the_vectors(case):
    output_hash = keccak256(raw(case["output"]))
    fields = (
        raw(case["requestId"]),
        Outcome(int(case["outcome"])),
        output_hash,
        int(case["fuelUsed"]),
        raw(case["payee"]),
        raw(case["context"]),
    )
    digest = Receipt(*fields).digest(int(case["chainId"]), raw(case["coprocessor"]))
    assert digest == raw(case["digest"])
    assert SigningKey(raw(case["privateKey"])).sign(digest) == raw(case["signature"])
    assert recover(digest, raw(case["signature"])) == raw(case["signer"])


@pytest.mark.parametrize("case", cases("batches"))
def test_batch_digest_and_signer_are_the_vectors(case):
    columns = zip(
        map(raw, case["requestIds"]),
        (Outcome(int(value)) for value in case["outcomes"]),
        map(raw, case["outputHashes"]),
        map(int, case["fuelUsed"]),
        map(raw, case["payees"]),
        map(raw, case["contexts"]),
        strict=True,
    )
    digest = batch_digest([Receipt(*row) for row in columns], int(case["chainId"]), raw(case["coprocessor"]))
    assert digest == raw(case["digest"])
    assert recover(digest, raw(case["signature"])) == raw(case["signer"])


@pytest.mark.parametrize("case", cases("registrations"))
def test_report_data_is_the_vectors(case):
    names = ("registry", "signer", "sealingKey", "operator", "anchor")
    assert report_data(int(case["chainId"]), *(raw(case[name]) for name in names)) == raw(case["reportData"])


@pytest.mark.parametrize("case", cases("settlements"))
def test_settlement_word_is_the_vectors(case):
    log = {
        "topics": ["0x" + SETTLED.hex(), "0x" + "11" * 32, "0x" + "00" * 12 + "22" * 20],
        "data": "0x" + int(case["settlement"]).to_bytes(32).hex(),
        "blockNumber": "0x1",
        "transactionHash": "0x" + "33" * 32,
        "address": "0x" + "44" * 20,
    }
    settled = decode_event(log, 1)
    assert (settled.fee_wei, settled.fuel_used) == (int(case["fee"]), int(case["fuelUsed"]))
    assert (settled.outcome, settled.callback_succeeded) == (Outcome(int(case["outcome"])), case["callbackSucceeded"])
