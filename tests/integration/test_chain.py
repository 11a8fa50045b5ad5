"""Reading from and sending to a real node with the real contracts."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from oracle import anvil
from oracle.chain.contracts import encode_expire, encode_fulfill, encode_register
from oracle.chain.dcap import DcapOnChain
from oracle.chain.deployment import deploy, development_root
from oracle.chain.errors import NodeUnreachableError, NotANodeError, RevertedError, TooManyLogsError
from oracle.chain.gas import settlement_gas
from oracle.chain.node import RpcNode
from oracle.chain.reader import ChainReader
from oracle.chain.rpc import Rpc
from oracle.crypto.ecdsa import SigningKey
from oracle.crypto.hashing import keccak256
from oracle.errors import ChainMismatchError, ConfigurationError
from oracle.jobs.collateral import chain_evidence
from oracle.types.block import Created, Expired, Settled
from oracle.types.ids import Address, ProgramId, hex_of, parse_hex
from oracle.types.pool import Pool
from oracle.types.receipt import Outcome, Receipt
from tests.fakes import FakeEnclave
from tests.integration.conftest import CODE, PRICES, Chain


def register(chain: Chain, enclave: FakeEnclave) -> None:
    """Put the enclave's key into the registry."""
    registry, operator = chain.coprocessor, chain.asker.address
    anchor = chain.reader.block(chain.reader.head().number - 1)
    quote = enclave.attest(anvil.CHAIN_ID, registry, operator, anchor.hash)
    description = enclave.describe()
    chain.asker.send(
        registry,
        encode_register(description.signer, description.sealing_key, operator, anchor.number, chain_evidence(quote)),
    )


def fulfillment(created: Created, enclave: FakeEnclave, output: bytes = b"olleh") -> bytes:
    request = created.request
    payee = Address(b"\x99" * 20)
    receipt = Receipt(request.request_id, Outcome.COMPLETED, keccak256(output), 7, payee)
    signature = enclave.key.sign(receipt.digest(request.chain_id, request.coprocessor))
    return encode_fulfill(request.pool_id, (receipt, output), signature)


def test_request_event_rebuilds_the_request_that_was_made(chain: Chain) -> None:
    made = chain.request(b"facts", callback_gas=1_000)
    (read,) = chain.reader.events(made.block_number, made.block_number)
    assert isinstance(read, Created)
    assert read == made
    assert read.input == b"facts"
    assert read.request.program_id == chain.program.program_id
    assert read.request.max_fee_wei == 10**16


def test_fulfill_and_expire_events_are_read_in_order(chain: Chain) -> None:
    enclave = FakeEnclave()
    register(chain, enclave)
    first, second = chain.request(b"hello"), chain.request(b"late", wait_s=100)
    chain.asker.send(chain.coprocessor, fulfillment(first, enclave))
    chain.rpc.call("evm_increaseTime", 200)
    chain.rpc.call("evm_mine")
    chain.asker.send(chain.coprocessor, encode_expire(second.request.request_id, chain.pool_id))
    _, _, settled, expired = chain.reader.events(first.block_number, chain.reader.head().number)
    assert isinstance(settled, Settled)
    assert isinstance(expired, Expired)
    fee = Pool.from_id(chain.pool_id).fee_wei(0, 7, len(b"olleh"), 10**16)
    assert (settled.request_id, settled.fee_wei, settled.fuel_used) == (first.request.request_id, fee, 7)
    assert expired.request_id == second.request.request_id


def test_other_pools_requests_are_not_read(chain: Chain) -> None:
    made = chain.request()
    other = ChainReader(chain.rpc, anvil.CHAIN_ID, chain.coprocessor, Pool(chain.coprocessor, 1, 1, 1).pool_id)
    assert other.events(made.block_number, made.block_number) == []


@pytest.mark.parametrize("output_bytes", [0, 32, 1_000, 65_536])
@pytest.mark.parametrize("callback_gas", [0, 50_000, 5_000_000])
def test_settlement_gas_is_enough_for_the_exact_gas_callback(
    chain: Chain, output_bytes: int, callback_gas: int
) -> None:
    """P10: `simulate` runs with the very gas limit that is sent. The consumer is a contract that burns all it gets."""
    enclave = FakeEnclave()
    register(chain, enclave)
    # PUSH0 JUMPDEST JUMP-to-itself: an endless loop as the consumer's code
    chain.rpc.call("anvil_setCode", hex_of(chain.asker.address), "0x5b600056")
    chain.rpc.call("anvil_setBalance", hex_of(anvil.ACCOUNTS[3].address), hex(10**20))
    created = chain.request(b"x", callback_gas=callback_gas)
    data = fulfillment(created, enclave, b"\xff" * output_bytes)
    gas = settlement_gas(data, [callback_gas])
    RpcNode(chain.rpc).simulate(Address(anvil.ACCOUNTS[3].address), chain.coprocessor, data, gas)


def test_program_is_recovered_from_the_chain(chain: Chain) -> None:
    registry = Address(parse_hex(chain.deployment.program_registry, 20, "registry"))
    program_id = chain.program.program_id
    assert chain.reader.program(registry, program_id) == chain.program
    assert chain.reader.code(registry, program_id) == CODE
    assert keccak256(chain.reader.manifest(registry, program_id)) == chain.program.manifest_hash
    assert chain.reader.program(registry, ProgramId(b"\x01" * 32)) is None
    assert chain.reader.code(registry, ProgramId(b"\x01" * 32)) is None


def test_unregistered_signer_is_refused_by_name(chain: Chain) -> None:
    created, enclave = chain.request(), FakeEnclave()
    data = fulfillment(created, enclave)
    with pytest.raises(RevertedError) as raised:
        RpcNode(chain.rpc).simulate(chain.asker.address, chain.coprocessor, data, 1_000_000)
    assert raised.value.name == "SignerUnknown"
    registry = chain.coprocessor
    assert chain.reader.live_until(registry, Address(enclave.key.address)) == 0
    register(chain, enclave)
    assert chain.reader.live_until(registry, Address(enclave.key.address)) > chain.reader.head().timestamp_s


def test_development_root_is_the_published_one(chain: Chain) -> None:
    verifier = Address(parse_hex(chain.deployment.attestation_verifier, 20, "verifier"))
    assert DcapOnChain(chain.reader, verifier).root() == development_root()
    assert DcapOnChain.of_registry(chain.reader, chain.coprocessor).address == verifier


def test_deploy_development_root_is_refused_off_the_development_chain(chain: Chain) -> None:
    elsewhere = replace(chain.asker, chain_id=1)
    with pytest.raises(ConfigurationError, match="insecure-development-root"):
        deploy(elsewhere, PRICES, [], development_root())
    with pytest.raises(ChainMismatchError):  # insisted on: the chain is asked
        deploy(elsewhere, PRICES, [], development_root(), insecure_development_root=True)


def test_check_wrong_chain_or_missing_contract_is_refused(chain: Chain) -> None:
    chain.reader.check()
    with pytest.raises(ChainMismatchError, match="serves chain 31337, not 1"):
        ChainReader(chain.rpc, 1, chain.coprocessor).check()
    with pytest.raises(ChainMismatchError, match="no contract"):
        ChainReader(chain.rpc, anvil.CHAIN_ID, Address(b"\x01" * 20)).check()


def test_wallet_without_money_is_refused(chain: Chain) -> None:
    from oracle.chain.errors import RelayUnfundedError  # noqa: PLC0415
    from oracle.config import Settings  # noqa: PLC0415
    from oracle.wiring import open_wallet  # noqa: PLC0415

    poor = open_wallet(Settings(), chain.rpc, SigningKey())
    with pytest.raises(RelayUnfundedError):
        poor.send(chain.coprocessor, b"")


# -- nodes that misbehave ----------------------------------------------------------------------------------------------


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """An HTTP server that gives the same answer to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b"<html>a web page</html>", NotANodeError),
        (200, b"[]", NotANodeError),
        (200, b'{"jsonrpc":"2.0","id":999,"result":"0x1"}', NotANodeError),
        (404, b"not found", NotANodeError),
        (429, b"slow down", NodeUnreachableError),
        (503, b"", NodeUnreachableError),
    ],
)
def test_something_else_at_the_url_is_told_apart(status: int, body: bytes, error: type[Exception]) -> None:
    with answering(status, body) as url, pytest.raises(error, match=url):
        Rpc(url).call("eth_chainId")


def test_answer_over_the_size_cap_is_refused() -> None:
    with answering(200, b" " * 10_000) as url, pytest.raises(TooManyLogsError):
        Rpc(url, max_response_bytes=9_999).call("eth_getLogs")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no.such.host.invalid:8545"])
def test_nobody_at_the_url_is_retryable(url: str) -> None:
    with pytest.raises(NodeUnreachableError, match="cannot reach"):
        Rpc(url).call("eth_chainId")


@pytest.mark.parametrize("url", ["ftp://localhost", "localhost:8545", ""])
def test_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(NotANodeError):
        Rpc(url).call("eth_chainId")
