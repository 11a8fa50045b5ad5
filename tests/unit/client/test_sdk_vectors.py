"""What the SDKs of all languages must say about the same receipts; the TypeScript SDK reads the same vectors."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oracle.attestation.policy import Policy
from oracle.client import ReceiptDocument, Trust, verify_receipt
from oracle.client.errors import OtherSignerError, TranscriptMismatchError
from oracle.client.verification import check_signature
from oracle.errors import AdytonError
from oracle.types.ids import Address, MeasurementId
from oracle.types.receipt import batch_digest
from oracle.types.transcript import Fetched, context_of

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "sdk.json").read_text())
DOCUMENTS = VECTORS["documents"]


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def document_of(case: dict[str, Any]) -> Any:
    document = copy.deepcopy(DOCUMENTS[case["document"]]["document"])
    for path, value in case["changes"].items():
        *parents, name = path.split(".")
        owner = document
        for parent in parents:
            owner = owner[parent]
        if value is None:
            del owner[name]
        else:
            owner[name] = value
    return document


def trust_of(case: dict[str, Any]) -> Trust:
    return Trust(
        int(case["chainId"]),
        Address(raw(case["coprocessor"])),
        frozenset(MeasurementId(raw(each)) for each in case["measurements"]),
        Policy(roots=frozenset({raw(case["root"])}), is_insecure_development=True),
    )


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_verify_receipt_says_the_verdict_of_the_vectors(case):
    def verify():
        return verify_receipt(ReceiptDocument.parse(document_of(case)), trust_of(case), int(case["at"]))

    if case["verdict"] != "Accepted":
        with pytest.raises(AdytonError) as raised:
            verify()
        assert type(raised.value).__name__ == case["verdict"], raised.value
        return
    attestation = verify().attestation
    assert attestation is not None
    assert attestation.measurement == raw(DOCUMENTS[case["document"]]["measurement"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_ids_and_digests_are_the_vectors(name):
    vector = DOCUMENTS[name]
    document = ReceiptDocument.parse(vector["document"])
    request, receipt = document.request, document.receipt
    domain = (request.chain_id, request.coprocessor)
    digest = receipt.digest(*domain) if document.batch is None else batch_digest(document.batch, *domain)
    assert (request.request_id, digest) == (raw(vector["requestId"]), raw(vector["digest"]))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_parsed_and_written_is_the_same(name):
    document = ReceiptDocument.parse(DOCUMENTS[name]["document"])
    assert json.loads(document.json()) == DOCUMENTS[name]["document"]
    assert ReceiptDocument.parse(document.json().encode()) == document


FETCHED = Fetched("https://prices.example/", "GET", bytes(32), 200, bytes(32), bytes(32), 1)


def test_document_with_a_transcript_is_read_written_and_checked():
    """F5: another transcript than the committed one is refused, before anybody asks about the signer."""
    document = ReceiptDocument.parse({**DOCUMENTS["single"]["document"], "transcript": [FETCHED.document()]})
    assert ReceiptDocument.parse(document.json()) == document
    request = document.request
    with pytest.raises(TranscriptMismatchError):
        check_signature(document, request.chain_id, request.coprocessor)
    committed = replace(document, receipt=replace(document.receipt, context=context_of([FETCHED])))
    with pytest.raises(OtherSignerError):
        check_signature(committed, request.chain_id, request.coprocessor)
