"""
The Python SDK: ask contracts' questions from Python, and believe the answers.

    from oracle.client import Adyton

    with Adyton.from_settings("adyton.toml") as adyton:
        program = adyton.publish("function main(input) { return input.reverse() }")
        answer = adyton.wait(adyton.request(program, b"abc"))

`AsyncAdyton` is the same for asyncio. `verify_receipt` believes a receipt without any network. docs/SDK.md shows more.
"""

from oracle.client.adyton import Adyton
from oracle.client.asynchronous import AsyncAdyton
from oracle.client.document import ReceiptDocument, SignerEvidence
from oracle.client.results import Answer, Result
from oracle.client.streaming import Cursor, Undone
from oracle.client.verification import Trust, VerifiedReceipt, trusting_root, verify_receipt
from oracle.types.block import Created, Expired, Settled
from oracle.types.program import Engine, Limits, Manifest, Program
from oracle.types.receipt import Outcome, Receipt

__all__ = [
    "Adyton",
    "Answer",
    "AsyncAdyton",
    "Created",
    "Cursor",
    "Engine",
    "Expired",
    "Limits",
    "Manifest",
    "Outcome",
    "Program",
    "Receipt",
    "ReceiptDocument",
    "Result",
    "Settled",
    "SignerEvidence",
    "Trust",
    "Undone",
    "VerifiedReceipt",
    "trusting_root",
    "verify_receipt",
]
