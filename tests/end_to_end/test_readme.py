"""What README shows works as pasted."""

import re
import sys

import pytest
import solcx

from demo.stack import Stack
from oracle.chain.contracts import parse_artifact
from oracle.chain.rpc import Rpc, data
from oracle.chain.settlement import find_end
from oracle.devnet import OWNER, SETTINGS_FILE, wallet
from oracle.types.ids import Address, hex_of, parse_hex
from tests.end_to_end.conftest import ROOT, code_block, run
from tests.fakes import eventually

sys.path.insert(0, str(ROOT / "scripts"))
import build_contracts
import toolchain

QUESTION = (100_000).to_bytes(32)
PRIMES = (9_592).to_bytes(32)


@pytest.fixture(scope="module")
def program_id(stack: Stack, tmp_path_factory):
    file = tmp_path_factory.mktemp("readme") / "primes.js"
    file.write_text(code_block("js"))
    done = run("program", "publish", str(file), ADYTON_CONFIG=str(stack.directory / SETTINGS_FILE))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_program_of_readme_requested_from_the_command_line_answers(adyton, program_id):
    done = adyton("request", program_id, "--input", hex_of(QUESTION))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == hex_of(PRIMES)


def test_contract_of_readme_compiled_and_deployed_is_called_back(stack, program_id):
    settings = stack.settings
    rpc, coprocessor = Rpc(settings.rpc_url), Address(parse_hex(settings.coprocessor, 20, "coprocessor"))
    account, contract = wallet(rpc, OWNER), compiled("JustAsk", code_block("solidity"))
    created = account.send(Address(b""), contract.creation(settings.coprocessor))
    just_ask = Address(parse_hex(created["contractAddress"], 20, "JustAsk"))

    ids = (parse_hex(program_id, 32, "program"), parse_hex(settings.pool_id, 32, "pool"))
    asked = account.send(just_ask, contract.encode("ask", *ids, QUESTION), value_wei=10**15)
    request_id = data(asked["logs"][0]["topics"][1])
    eventually(lambda: find_end(rpc, settings.chain_id, coprocessor, request_id, settings.start_block))

    call = {"to": hex_of(just_ask), "data": hex_of(contract.encode("answer"))}
    assert contract.decode("answer", data(rpc.call("eth_call", call, "latest"))) == PRIMES


def compiled(name, source):
    compiler_input = build_contracts.compiler_input(build_contracts.settings())
    compiler_input["sources"][f"{name}.sol"] = {"content": source}
    outputs = compiler_input["settings"]["outputSelection"].pop("*")["*"]
    compiler_input["settings"]["outputSelection"][f"{name}.sol"] = {name: outputs}
    output = solcx.compile_standard(compiler_input, solc_binary=toolchain.solc())
    return parse_artifact(name, build_contracts.artifact(f"{name}.sol", output["contracts"][f"{name}.sol"][name]))


def test_links_of_readme_point_to_files_that_exist():
    links = re.findall(r"\]\(((?:docs|demo)/[^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
