"""
`Adyton`: ask for computations, wait for them, follow them and verify them, from Python.

Safe to share between threads. Transactions of the account are sent one after the other, each when the one before is
mined. `oracle.client.asynchronous` offers the same to asyncio.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from oracle.attestation.policy import Policy
from oracle.chain.contracts import CREATED, abi, decode_event
from oracle.chain.publishing import publish
from oracle.chain.rpc import data
from oracle.client.collecting import read_created, read_document
from oracle.client.connection import Connection, Options, bytes_of, options_of, read_settings
from oracle.client.document import ReceiptDocument
from oracle.client.errors import ProgramNotPublishedError
from oracle.client.following import Following
from oracle.client.results import Result
from oracle.client.streaming import Confirmed, Cursor, Filter, Stream
from oracle.client.verification import (
    VerifiedReceipt,
    check_attestation,
    check_signature,
    trusting_root,
)
from oracle.client.waiting import Waiter
from oracle.config import Settings
from oracle.crypto.ecdsa import SigningKey
from oracle.errors import LimitExceededError
from oracle.types.block import Created
from oracle.types.ids import ZERO_ADDRESS, Address, MeasurementId, PoolId, ProgramId, RequestId, hex_of
from oracle.types.pool import GWEI, Pool
from oracle.types.program import Capability, Engine, Limits, Manifest, Program

ProgramLike = Program | ProgramId | bytes | str  # a program, its id, or its id as 0x… text
RequestLike = Created | RequestId | bytes | str
Document = ReceiptDocument | Mapping[str, Any] | str | bytes  # parsed, or as JSON
DEFAULT_WAIT_S = 300


class Adyton:
    """
    One deployment of Adyton, seen by somebody who asks.

    Nothing is connected to before the first call that needs it. Every method that asks the chain may raise
    `RetryableError` (not now), `ChainError` (the chain says no) and `ChainMismatchError` (another chain, no contract);
    those that send also `ConfigurationError` without an account. Ids and addresses are given as bytes or `0x…` text.
    """

    def __init__(
        self,
        rpc_urls: str | Sequence[str],
        *,
        account: SigningKey | Path | None = None,
        **options: Unpack[Options],
    ) -> None:
        """
        Reach the deployment that `options` describe through these nodes, the preferred one first.

        Args:
            rpc_urls: of one node, or of several, of which `rpc_agreement` must agree.
            account: who asks and pays, as key or as a file with a key; None: only reading is possible.
            options: see `Options`.
        """
        self._connection = Connection.of(rpc_urls, account, options)
        self._manifests: dict[ProgramId, Manifest] = {}

    @classmethod
    def from_settings(
        cls, settings: Settings | Path | str | None = None, *, account: SigningKey | Path | None = None
    ) -> Self:
        """
        As `adyton.toml` says, and the environment on top; None: the one that the command line would take.

        Raises:
            ConfigurationError: as `oracle.config.load`.
        """
        found = read_settings(settings)
        return cls(found.nodes, account=account or found.account_key_file, **options_of(found))

    # -- asking --------------------------------------------------------------------------------------------------------

    def publish(
        self,
        code: bytes | str,
        *,
        engine: Engine = Engine.JS,
        limits: Limits | None = None,
        manifest: Manifest | bytes | None = None,
        on_chain: bool = True,
    ) -> Program:
        """
        Put a program on chain, unless it is there already. Its id is a hash: nobody can change it.

        Args:
            code: JavaScript, or a WebAssembly module.
            engine: what runs it.
            limits: what one run may use; None: the defaults of `Limits`.
            manifest: in place of engine and limits; bytes are published as they are.
            on_chain: with the code. Otherwise operators have to be given it.

        Raises:
            EncodingError, LimitExceededError: the manifest does not parse, or there is too much code for the chain.
            RevertedError, RetryableError: as `Wallet.send`.
        """
        code = code.encode() if isinstance(code, str) else code
        manifest = Manifest(engine, limits or Limits(), Capability.USUAL) if manifest is None else manifest
        encoded = manifest.encode() if isinstance(manifest, Manifest) else manifest
        program, registry = Program.of(encoded, code), self._connection.program_registry
        reader = self._connection.reader
        is_known = reader.program(registry, program.program_id) is not None
        if is_known and (not on_chain or reader.code(registry, program.program_id) is not None):
            return program
        wallet = self._connection.wallet
        with self._connection.sending:
            return publish(wallet, registry, encoded, code, with_code=on_chain).program

    def quote(
        self,
        program: ProgramLike,
        *,
        callback_gas: int = 0,
        fuel: int | None = None,
        output_bytes: int | None = None,
        pool: PoolId | bytes | str | None = None,
    ) -> int:
        """
        What to send along with a request: wei, whole gwei. What is not charged is refunded.

        Args:
            program: what is to be run.
            callback_gas: what the consumer's callback gets.
            fuel: the most to be used; None: all that the manifest allows.
            output_bytes: the longest output; None: all that the manifest allows.
            pool: None: that of the settings.

        Raises:
            ProgramNotPublishedError: there is no such program.
        """
        limits = self._manifest(_program_id(program)).limits
        wanted_fuel = limits.fuel if fuel is None else fuel
        wanted_bytes = limits.output_bytes if output_bytes is None else output_bytes
        return -(-self._pool(pool).cost_wei(callback_gas, wanted_fuel, wanted_bytes) // GWEI) * GWEI

    def request(
        self,
        program: ProgramLike,
        input: bytes = b"",  # noqa: A002  # what it is called everywhere
        *,
        pool: PoolId | bytes | str | None = None,
        callback_gas: int = 0,
        wait_s: int = DEFAULT_WAIT_S,
        deadline_s: int | None = None,
        max_fee_wei: int | None = None,
    ) -> Created:
        """
        Ask for one run of a program, as the account itself, and return when the request is on chain.

        Args:
            program: what to run; published.
            input: at most the `input_bytes` of its manifest, and 64 KiB.
            pool: who is asked; None: that of the settings.
            callback_gas: only useful if the account is a contract.
            wait_s: seconds until the request expires and is refunded.
            deadline_s: the same as a time, unix seconds.
            max_fee_wei: escrowed, whole gwei; None: what `quote` says. What is not charged can be withdrawn.

        Raises:
            ProgramNotPublishedError: there is no such program.
            LimitExceededError: the input is too large for it.
            RevertedError: the contract refuses; nothing was sent.
        """
        connection, program_id = self._connection, _program_id(program)
        limits = self._manifest(program_id).limits
        if len(input) > limits.input_bytes:
            raise LimitExceededError("input size in bytes (by the program's manifest)", limits.input_bytes, len(input))
        fee_wei = self.quote(program_id, callback_gas=callback_gas, pool=pool) if max_fee_wei is None else max_fee_wei
        deadline_s = connection.now_s() + wait_s if deadline_s is None else deadline_s
        arguments = (program_id, self._pool(pool).pool_id, deadline_s, callback_gas, input)
        calldata = abi("Coprocessor").encode("request", *arguments)
        tx_receipt = connection.send(connection.coprocessor, calldata, fee_wei)
        log = next(log for log in tx_receipt["logs"] if data(log["topics"][0]) == CREATED)
        created = decode_event(log, connection.chain_id)
        assert isinstance(created, Created)
        return created

    def wait(self, request: RequestLike, timeout_s: float | None = None, *, confirmations: int = 0) -> Result:
        """
        Wait for a request to be settled or expired.

        Args:
            request: as `request` returned it, or its id.
            timeout_s: None: until the deadline of the request.
            confirmations: how many blocks must be on top of the one that ended it.

        Raises:
            WaitTimeoutError: it has not ended within `timeout_s`.
            RequestOverdueError: its deadline passed, and nobody has called `expire`.
            RequestUnknownError: there is no such request, or not any more.
        """
        waiter = self.waiter(request, timeout_s, confirmations)
        while (found := waiter.step()) is None:
            time.sleep(self.poll_s)
        return found

    def expire(self, request: RequestLike) -> None:
        """Close a request that nobody answered in time; its fee is refunded. Raises `RevertedError`: too early."""
        asked = self.created(request).request
        calldata = abi("Coprocessor").encode("expire", asked.request_id, asked.pool_id)
        self._connection.send(self._connection.coprocessor, calldata)

    def withdraw_refunds(self, payees: Iterable[Address | str] = (), *, to: Address | str | None = None) -> int:
        """
        Pull back what is left of the account's fees; the amount in wei.

        Args:
            payees: who earned from its requests (`Answer.payee`). Fees of expired requests are always withdrawn.
            to: who gets it; None: the account.
        """
        connection = self._connection
        others = [Address(bytes_of(payee, 20, "payee")) for payee in payees]
        receiver = connection.wallet.address if to is None else bytes_of(to, 20, "to")
        coprocessor = abi("Coprocessor")
        calldata = coprocessor.encode("withdrawRefunds", list(dict.fromkeys([*others, ZERO_ADDRESS])), receiver)
        tx_receipt = connection.send(connection.coprocessor, calldata)
        topic = coprocessor.topics["RefundsWithdrawn"]
        log = next(log for log in tx_receipt["logs"] if data(log["topics"][0]) == topic)
        return int.from_bytes(data(log["data"]))

    # -- reading -------------------------------------------------------------------------------------------------------

    def created(self, request: RequestLike) -> Created:
        """A request as the chain has it. Raises `RequestUnknownError`."""
        if isinstance(request, Created):
            return request
        return read_created(self._connection, RequestId(bytes_of(request, 32, "request id")))

    def stream(
        self,
        *,
        consumer: Address | bytes | str | None = None,
        program: ProgramLike | None = None,
        pool: PoolId | bytes | str | None = None,
        start: Cursor | int | None = None,
        confirmations: int = 0,
        until_head: bool = False,
    ) -> Following:
        """
        Iterate over what happens to requests: `Created`, `Settled`, `Expired`, and `Undone` for each of them that a
        reorganisation takes back. Ends of requests that were made before a numbered start are left out if only some
        requests are wanted; a cursor knows them.

        Args:
            consumer: whose requests; None: anybody's. The same for the next two.
            program: of which program.
            pool: of which pool.
            start: a cursor to go on from; the first block to read; None: the next block.
            confirmations: read so many blocks behind the head.
            until_head: end where the chain ends, instead of waiting for more.
        """
        return Following(
            self.open_stream(consumer, program, pool, start, confirmations, until_head=until_head),
            self._connection.poll_s,
        )

    # -- verifying -----------------------------------------------------------------------------------------------------

    def receipt(self, request: RequestLike, *, with_evidence: bool = True) -> ReceiptDocument:
        """
        The receipt of a settled request, with all that others need to verify it without a network.

        `with_evidence` asks the settings' source of collateral about the enclave's machine.

        Raises:
            NoReceiptError: open, expired, or settled through another contract.
            EvidenceUnavailableError, CollateralError: there is none for its signer.
        """
        return read_document(self._connection, self.created(request), with_evidence=with_evidence)

    def verify(
        self,
        document: Document,
        *,
        trusted_measurements: Collection[MeasurementId | bytes | str] | None = None,
        root: bytes | None = None,
        policy: Policy | None = None,
        at_s: int | None = None,
        offline: bool = False,
    ) -> VerifiedReceipt:
        """
        Verify a receipt of this deployment: signature and binding to chain, contract, program and input always; its
        signer by the word of the chain, by evidence against `trusted_measurements`, or by both.

        `oracle.client.verification.verify_receipt` has the steps, and what is left to the caller.

        Args:
            document: a receipt document.
            trusted_measurements: builds to trust; None: those that the registry counts now.
            root: a certificate, PEM or DER, to trust in place of the vendors' roots. Insecure: for development.
            policy: what to accept of platforms; None: the strictest.
            at_s: as of when evidence is judged, unix seconds; None: now.
            offline: do not ask the chain whether it counts the signer now.

        Raises:
            InvalidInputError: not a receipt document, or its evidence cannot be read.
            AttestationError: it does not convince; its children say why.
        """
        parsed = document if isinstance(document, ReceiptDocument) else ReceiptDocument.parse(document)
        connection, request = self._connection, parsed.request
        signer = check_signature(parsed, connection.chain_id, connection.coprocessor)
        verified = VerifiedReceipt(request, parsed.input, parsed.receipt, parsed.output, signer)
        if offline or trusted_measurements is not None:
            trusted = {MeasurementId(bytes_of(each, 32, "measurement")) for each in trusted_measurements or ()}
            judged_by = Policy() if policy is None else policy
            judged_by = judged_by if root is None else trusting_root(judged_by, root)
            at_s = int(time.time()) if at_s is None else at_s
            attestation = check_attestation(parsed.evidence, signer, request, trusted, judged_by, at_s)
            verified = replace(verified, attestation=attestation)
        return verified if offline else replace(verified, live_until_s=connection.live_until_s(request.pool_id, signer))

    # -- steps, for whoever waits otherwise than by sleeping -----------------------------------------------------------

    def waiter(self, request: RequestLike, timeout_s: float | None = None, confirmations: int = 0) -> Waiter:
        """What `wait` repeats."""
        return Waiter(self._connection.reader, self.created(request), timeout_s, confirmations)

    def open_stream(
        self,
        consumer: Address | bytes | str | None,
        program: ProgramLike | None,
        pool: PoolId | bytes | str | None,
        start: Cursor | int | None,
        confirmations: int,
        *,
        until_head: bool,
    ) -> Stream:
        """What `stream` iterates over."""
        wanted = Filter(
            None if consumer is None else Address(bytes_of(consumer, 20, "consumer")),
            None if program is None else _program_id(program),
            None if pool is None else PoolId(bytes_of(pool, 32, "pool")),
        )
        reader = self._connection.reader
        if not isinstance(start, Cursor):
            number = reader.head().number - confirmations if start is None else start - 1
            start = Cursor(reader.block(max(0, number)))
        narrowed = replace(reader, consumer=wanted.consumer, pool_id=wanted.pool_id)
        return Stream(Confirmed(narrowed, confirmations, start.block.number), wanted, start, until_head=until_head)

    @property
    def poll_s(self) -> float:
        """Between two steps."""
        return self._connection.poll_s

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def __enter__(self) -> Self:
        """For `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def _manifest(self, program_id: ProgramId) -> Manifest:
        """Of a published program; what is published never changes."""
        if program_id not in self._manifests:
            reader, registry = self._connection.reader, self._connection.program_registry
            if reader.program(registry, program_id) is None:
                raise ProgramNotPublishedError(
                    f"program {hex_of(program_id)} is not published on chain {reader.chain_id}: "
                    "run `adyton program publish FILE`, or call `publish`"
                )
            self._manifests[program_id] = Manifest.parse(reader.manifest(registry, program_id))
        return self._manifests[program_id]

    def _pool(self, pool: PoolId | bytes | str | None) -> Pool:
        return self._connection.pool if pool is None else Pool.from_id(PoolId(bytes_of(pool, 32, "pool")))


def _program_id(program: ProgramLike) -> ProgramId:
    return program.program_id if isinstance(program, Program) else ProgramId(bytes_of(program, 32, "program id"))
