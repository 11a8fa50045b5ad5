"""The pool with all its parts as real processes, against a real chain; the enclave is the fake behind a real socket."""

from __future__ import annotations

from functools import partial

from oracle.config import Settings
from oracle.store.rows import RequestState
from oracle.store.store import Store
from oracle.supervisor import running
from oracle.types.ids import RequestId
from tests.fakes import FakeEnclave, eventually, serving
from tests.integration.conftest import Chain


def test_request_is_settled_end_to_end(chain: Chain, settings: Settings) -> None:
    """P1."""
    assert settings.enclave_socket is not None
    with serving(FakeEnclave(), settings.enclave_socket), running(settings), Store.open(settings.database) as store:
        for number in range(20):
            request_id = chain.request(b"hello %d" % number).request.request_id
            eventually(partial(_is_settled_on_chain, chain, request_id))
            eventually(partial(_is_in_state, store, request_id, RequestState.SETTLED))
    assert set(chain.settlements().values()) == {1}


def _is_settled_on_chain(chain: Chain, request_id: RequestId) -> bool:
    return request_id in chain.settlements()


def _is_in_state(store: Store, request_id: RequestId, state: RequestState) -> bool:
    stored = store.requests.get(request_id)
    return stored is not None and stored.state is state
