"""
Keep an enclave registered on chain: attest, submit, watch it become live, renew before it ends.

An enclave makes its keys at boot, so every restart is a new registration. Runs next to the enclaves, in each worker
process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from oracle.jobs.ports import Enclave, Queue
from oracle.store.enclaves import Enclaves
from oracle.store.rows import EnclaveState, StoredEnclave
from oracle.types.block import BlockRef
from oracle.types.ids import Address, MeasurementId, hex_of

_LOG = logging.getLogger(__name__)


class Registry(Protocol):
    """What registration reads from the chain. Every method may raise `RetryableError`."""

    def anchor(self) -> BlockRef:
        """A recent block that no reorganisation is likely to remove."""
        ...

    def live_until(self, signer: Address) -> int:
        """The last second in which `signer` counts, 0 if it does not count now."""
        ...


@dataclass(frozen=True, slots=True)
class RegisterDependencies:
    """What `ensure_registered` works with."""

    enclaves: Enclaves
    registry: Registry
    queue: Queue
    chain_id: int
    registry_address: Address
    operator: Address
    now_ms: Callable[[], int]
    wake_receipts: Callable[[Address], None]  # submit what this enclave signed before it was live
    started_at_ms: int = 0  # of this process: what was live before is confirmed once
    renew_before_s: int = 3_600
    give_up_after_ms: int = 60_000  # on a registration that does not become live: attest again


def ensure_registered(dependencies: RegisterDependencies, enclave: Enclave) -> EnclaveState:
    """
    Take the next step towards `enclave` being registered, and return where it stands. Call it again and again.

    Raises:
        RetryableError: enclave, chain or store is away.
        EnclaveError: the enclave refuses to attest.
    """
    description = enclave.describe()
    known = dependencies.enclaves.get(description.signer)
    now_ms = dependencies.now_ms()
    if known is not None and known.state is EnclaveState.ATTESTED and not _is_old(dependencies, known, now_ms):
        dependencies.queue.register(known.signer)
        return known.state
    live_until_s = dependencies.registry.live_until(description.signer)
    if _is_fresh(dependencies, known, live_until_s, now_ms):
        if known is None:
            known = _attest(dependencies, enclave)
        is_news = known.state is not EnclaveState.LIVE or known.live_until_s != live_until_s
        if is_news or known.seen_at_ms < dependencies.started_at_ms:
            dependencies.enclaves.record_live(description.signer, live_until_s, now_ms)
            _LOG.info("enclave %s is registered", hex_of(description.signer), extra={"live_until_s": live_until_s})
            dependencies.wake_receipts(description.signer)
        return EnclaveState.LIVE
    if known is not None and known.state is EnclaveState.SUBMITTED and not _is_old(dependencies, known, now_ms):
        return known.state
    if known is not None and known.state is EnclaveState.DEAD and not _is_old(dependencies, known, now_ms, shorter=6):
        return known.state
    dependencies.queue.register(_attest(dependencies, enclave).signer)
    return EnclaveState.ATTESTED


def _is_fresh(dependencies: RegisterDependencies, known: StoredEnclave | None, live_until_s: int, now_ms: int) -> bool:
    """Whether the registration has longer to live than an hour, or than a quarter of its life if that is shorter."""
    left_s = live_until_s - now_ms // 1_000
    whole_s = live_until_s - known.seen_at_ms // 1_000 if known is not None else left_s
    return left_s > min(dependencies.renew_before_s, whole_s // 4)


def _is_old(dependencies: RegisterDependencies, known: StoredEnclave, now_ms: int, shorter: int = 1) -> bool:
    return now_ms - known.seen_at_ms > dependencies.give_up_after_ms // shorter


def _attest(dependencies: RegisterDependencies, enclave: Enclave) -> StoredEnclave:
    """A fresh quote over a recent block, stored."""
    anchor = dependencies.registry.anchor()
    quote = enclave.attest(dependencies.chain_id, dependencies.registry_address, dependencies.operator, anchor.hash)
    description = enclave.describe()
    attested = StoredEnclave(
        signer=description.signer,
        sealing_key=description.sealing_key,
        measurement=MeasurementId(description.measurement),
        operator=dependencies.operator,
        state=EnclaveState.ATTESTED,
        quote=quote,
        anchor_block=anchor.number,
        live_until_s=0,
        seen_at_ms=dependencies.now_ms(),
    )
    dependencies.enclaves.record_quote(attested)
    _LOG.info("attested enclave %s", hex_of(description.signer), extra={"anchor_block": anchor.number})
    return attested
