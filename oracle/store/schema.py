"""
The tables, and nothing else. SQL lives in this package only.

Money is kept as decimal text (wei exceed 64 bits), ids as raw bytes, times with their unit in the name. A row of
`requests` without `block_number` was orphaned by a reorganisation: kept, but nobody works on it until it is seen
again.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

SCHEMA_VERSION = 4

metadata = MetaData()


def _where(condition: ColumnElement[bool]) -> dict[str, Any]:
    """A partial index, on either database."""
    return {"sqlite_where": condition, "postgresql_where": condition}


identity = Table(
    "identity",
    metadata,
    Column("id", Integer, primary_key=True),  # always 1
    Column("schema_version", Integer, nullable=False),
    Column("chain_id", BigInteger),
    Column("coprocessor", LargeBinary),
    Column("start_number", BigInteger),
    Column("start_hash", LargeBinary),
)

blocks = Table(  # the start block, and the newest that the cursor stood on: the last is the cursor
    "blocks",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary, nullable=False),
    Column("timestamp_s", BigInteger, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", LargeBinary, primary_key=True),
    Column("state", Text, nullable=False),
    Column("chain_id", BigInteger, nullable=False),
    Column("coprocessor", LargeBinary, nullable=False),
    Column("consumer", LargeBinary, nullable=False),
    Column("program_id", LargeBinary, nullable=False),
    Column("pool_id", LargeBinary, nullable=False),
    Column("input_hash", LargeBinary, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("created_at_s", BigInteger, nullable=False),
    Column("deadline_s", BigInteger, nullable=False),
    Column("callback_gas", BigInteger, nullable=False),
    Column("max_fee_gwei", BigInteger, nullable=False),
    Column("block_number", BigInteger),
    Column("transaction_hash", LargeBinary, nullable=False),
    Column("finality", Integer, nullable=False, default=0),  # as `oracle.types.finality` packs it
    Column("seen_at_ms", BigInteger, nullable=False),
    Column("due_at_ms", BigInteger, nullable=False),  # when the sweeper wakes it again
    Column("held_until_ms", BigInteger, nullable=False),  # PENDING, EXECUTED: nobody takes it before
    Column("held_by", Text),  # PENDING: the worker that has it; EXECUTED: the relay account
    Column("attempts", Integer, nullable=False, default=0),
    Column("reason", Text),  # why the last attempt failed
    Column("executed_at_ms", BigInteger),
    Column("sent_account", LargeBinary),  # the transaction that carries its receipt
    Column("sent_nonce", BigInteger),
    Column("sent_at_ms", BigInteger),
    Column("ended_block", BigInteger),
    Column("ended_hash", LargeBinary),
    Column("outcome", Integer),
    Column("payee", LargeBinary),
    Column("fee_wei", Text),
    Column("callback_succeeded", Boolean),
    Index("requests_by_due", "state", "due_at_ms"),
    Index("requests_by_deadline", "state", "deadline_s"),
    Index("requests_by_consumer", "consumer", "state", "deadline_s", "nonce"),
    Index("requests_by_block", "block_number"),
    Index("requests_by_end", "ended_block"),
    Index("requests_by_transaction", "sent_account", "sent_nonce"),
)

consumers = Table(  # see oracle.store.turns
    "consumers",
    metadata,
    Column("consumer", LargeBinary, primary_key=True),
    Column("served_us", BigInteger, nullable=False),  # enclave time that it was given
    Column("cost_us", BigInteger, nullable=False),  # of its last request
    Column("ready_at_ms", BigInteger),  # when it may have something to take; none: nothing waits
    Column("news", BigInteger, nullable=False),  # counts what became takeable, so that none is overlooked
)
Index("consumers_waiting", consumers.c.served_us, **_where(consumers.c.ready_at_ms.is_not(None)))

fair_clock = Table(  # one row: who takes a request holds it
    "fair_clock",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("served_us", BigInteger, nullable=False),  # the least that anybody who waits was given
)

inputs = Table(
    "inputs",
    metadata,
    Column("request_id", LargeBinary, ForeignKey("requests.request_id"), primary_key=True),
    Column("input", LargeBinary, nullable=False),
)

receipts = Table(
    "receipts",
    metadata,
    Column("request_id", LargeBinary, ForeignKey("requests.request_id"), primary_key=True),
    Column("outcome", Integer, nullable=False),
    Column("output", LargeBinary, nullable=False),
    Column("fuel_used", BigInteger, nullable=False),
    Column("payee", LargeBinary, nullable=False),
    Column("signer", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("logs", LargeBinary, nullable=False),
    Column("context", LargeBinary, nullable=False),  # the receipt's; zero: no transcript
    Column("transcript", LargeBinary, nullable=False),
)

enclaves = Table(
    "enclaves",
    metadata,
    Column("signer", LargeBinary, primary_key=True),
    Column("sealing_key", LargeBinary, nullable=False),
    Column("measurement", LargeBinary, nullable=False),
    Column("operator", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("quote", LargeBinary, nullable=False),
    Column("anchor_block", BigInteger, nullable=False),
    Column("live_until_s", BigInteger, nullable=False),
    Column("seen_at_ms", BigInteger, nullable=False),
    Column("evaluation_number", BigInteger, nullable=False, default=0),
    Column("refusal", Text),
    Column("refused_at_ms", BigInteger, nullable=False, default=0),
    Index("enclaves_by_state", "state", "seen_at_ms"),
)

calls = Table(  # what else somebody should send: collateral for the attestation verifier
    "calls",
    metadata,
    Column("call_id", LargeBinary, primary_key=True),
    Column("to", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("made_at_ms", BigInteger, nullable=False),
    Column("refusal", Text),  # by the contract, if it was asked
)

accounts = Table(
    "accounts",
    metadata,
    Column("address", LargeBinary, primary_key=True),
    Column("next_nonce", BigInteger, nullable=False),
    Column("owner", Text, nullable=False, default=""),  # the only process that may sign, until it loses the account
    Column("held_until_ms", BigInteger, nullable=False, default=0),  # then another may take the account over
)

transactions = Table(
    "transactions",
    metadata,
    Column("account", LargeBinary, ForeignKey("accounts.address"), primary_key=True),
    Column("nonce", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("mined_block", BigInteger),
    Column("mined_hash", LargeBinary),
    Column("cost_wei", Text),  # of its gas
    Index("transactions_by_state", "account", "state"),
)

subjects = Table(
    "subjects",
    metadata,
    Column("account", LargeBinary, primary_key=True),
    Column("nonce", BigInteger, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("subject", LargeBinary, nullable=False),
    Index("subjects_by_subject", "subject"),
)

versions = Table(  # one per signature of a nonce: the first, then each replacement by a higher fee
    "versions",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("account", LargeBinary, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("number", Integer, nullable=False),
    Column("to", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("gas_limit", BigInteger, nullable=False),
    Column("max_fee_per_gas", Text, nullable=False),
    Column("max_priority_fee_per_gas", Text, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("sent_at_ms", BigInteger, nullable=False),
    Index("versions_by_nonce", "account", "nonce", "number", unique=True),
)
