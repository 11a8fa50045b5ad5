"""
Which requests are final enough to be served, and which have to wait again. Part of transactions of
`oracle.store.chain_log`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from oracle.store.rows import RequestState
from oracle.store.schema import requests
from oracle.types.finality import FINALIZED, LATEST, SAFE, Finality, Heights

_PARAMETERS = 500  # of one query


def awaited(connection: Connection) -> set[Finality]:
    """What the requests that are SEEN wait for."""
    query = select(requests.c.finality).where(requests.c.state == RequestState.SEEN).distinct()
    return {Finality(code) for code in connection.execute(query).scalars()}


def is_final(heights: Heights) -> ColumnElement[bool]:
    """SEEN, in a block, and as far below the head as was chosen."""
    at, choice = requests.c.block_number, requests.c.finality
    final = [and_(choice >= LATEST.code, at + choice <= heights.latest)]
    if heights.safe is not None:
        final.append(and_(choice == SAFE.code, at <= heights.safe))
    if heights.finalized is not None:
        final.append(and_(choice == FINALIZED.code, at <= heights.finalized))
    return and_(requests.c.state == RequestState.SEEN, at.is_not(None), or_(*final))


def wait_anew(connection: Connection, ids: Iterable[bytes]) -> None:
    """PENDING or FAILED -> SEEN where more than the latest block was chosen: these are in another block now."""
    wanted = list(ids)
    without_receipt = requests.c.state.in_((RequestState.PENDING, RequestState.FAILED))
    for first in range(0, len(wanted), _PARAMETERS):
        some = requests.c.request_id.in_(wanted[first : first + _PARAMETERS])
        connection.execute(
            update(requests)
            .where(some, without_receipt, requests.c.finality != LATEST.code)
            .values(state=RequestState.SEEN)
        )
