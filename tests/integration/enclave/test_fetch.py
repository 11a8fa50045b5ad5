"""F7: a locked-down enclave, which can open no socket, fetches over its host's pipe; its receipt says what."""

from __future__ import annotations

from pathlib import Path

from oracle.crypto.ecdsa import recover
from oracle.crypto.hashing import keccak256
from oracle.enclave.protocol import ErrorReply, Execute, ReceiptReply
from oracle.errors import EnclaveError
from oracle.jobs.dialer import Dialer
from oracle.jobs.enclave_client import EnclaveClient
from oracle.types.ids import Address
from oracle.types.pool import Pool
from oracle.types.program import Engine, Limits, Manifest, Program
from oracle.types.receipt import Outcome, Receipt
from oracle.types.request import Request
from oracle.types.transcript import context_of
from oracle.types.web import FetchTerms
from tests.integration.enclave.conftest import CHAIN_ID, CONSUMER, COPROCESSOR, PAYEE, Host, start
from tests.web import AUTHORITY, HOST, NOW_S, answers, net

CODE = f"""async function main() {{
  const first = await fetch("https://{HOST}/").then((response) => response.text());
  const second = await fetch("https://absent.example/").catch((error) => error.message);
  return first + " / " + second;
}}""".encode()
MANIFEST = Manifest(Engine.JS, Limits(), frozenset({"fetch"}), FetchTerms((HOST, "absent.example"))).encode()
CONTENTS = {keccak256(MANIFEST): MANIFEST, keccak256(CODE): CODE}


def order() -> Execute:
    program = Program.of(MANIFEST, CODE)
    ids = (program.program_id, Pool(Address(bytes(20)), 0, 0, 0).pool_id, keccak256(b""))
    request = Request(CHAIN_ID, COPROCESSOR, CONSUMER, *ids, 1, NOW_S, NOW_S + 600, 0, 0)
    return Execute(request, program.engine, program.manifest_hash, program.code_hash, b"", PAYEE)


def test_fetch_by_a_locked_enclave_reaches_the_program_and_the_signed_receipt(host: Host, socket_path: Path) -> None:
    running = start(socket_path, "--roots", str(AUTHORITY.roots_file()))
    with net(answers(b"1.25")) as (there, _):
        client = EnclaveClient(socket_path, dialer=there.dialer())
        reply = client.execute(order(), CONTENTS.get)
        again = client.execute(order(), CONTENTS.get)
    assert reply.output.startswith(b"1.25 / fetch failed: no connection to absent.example")
    assert [it.status for it in reply.transcript] == [200, 0]
    context = context_of(reply.transcript)
    receipt = Receipt(
        order().request.request_id, Outcome.COMPLETED, keccak256(reply.output), reply.fuel_used, PAYEE, context
    )
    assert recover(receipt.digest(CHAIN_ID, COPROCESSOR), reply.signature) == reply.signer
    assert again.output == reply.output
    usual = EnclaveClient(host.path).describe()
    assert client.describe().measurement != usual.measurement
    client.close()
    running.process.terminate()
    running.process.wait()
    assert running.process.stderr is not None
    assert "no_new_privs,landlock,seccomp" in running.process.stderr.read()


def test_fetch_where_the_host_connects_to_nobody_fails_and_the_receipt_says_so(host: Host) -> None:
    client = EnclaveClient(host.path, dialer=Dialer(is_on=False))
    reply = client.execute(order(), CONTENTS.get)
    assert b"no connection to prices.example" in reply.output
    assert "this host connects to nobody" in reply.logs[0]
    assert [it.status for it in reply.transcript] == [0]
    client.close()


def test_dial_answered_with_something_else_is_an_error_and_the_enclave_serves_on(host: Host) -> None:
    host.contents.update(CONTENTS)
    answer = host.ask(order())
    while not isinstance(answer, ErrorReply | ReceiptReply):
        answer = host.ask(order())
    assert isinstance(answer, ErrorReply)
    assert answer.code == "bad_message"
    try:
        EnclaveClient(host.path).execute(order(), CONTENTS.get)
    except EnclaveError as error:
        raise AssertionError("the enclave does not serve on") from error
