"""The command line: what works, and that every mistake is one sentence that says what to do."""

import json
import re

import pytest
from click.testing import CliRunner

from oracle.attestation.development.dcap import DevelopmentPki
from oracle.attestation.quoters.simulated import simulated_measurement
from oracle.cli import adyton as group
from oracle.config import load
from oracle.devnet import SETTINGS_FILE
from oracle.enclave.measurement import measure
from oracle.types.ids import hex_of
from tests.end_to_end.conftest import ROOT, run

DOUBLE = (
    "function main(input) { const [n] = abi.decode(['uint256'], input); return abi.encode(['uint256'], [n * 2n]); }"
)
SEVEN, FOURTEEN = hex_of((7).to_bytes(32)), hex_of((14).to_bytes(32))


@pytest.fixture(scope="module")
def program_id(stack, tmp_path_factory):
    return publish(stack, tmp_path_factory.mktemp("cli") / "double.js", DOUBLE)


@pytest.fixture(scope="module")
def receipt(stack, program_id):
    environment = {"ADYTON_CONFIG": str(stack.directory / SETTINGS_FILE)}
    request_id = json.loads(run("request", program_id, "--json", "--input", SEVEN, **environment).stdout)["request_id"]
    return json.loads(run("receipt", "show", request_id, **environment).stdout)


def publish(stack, path, source, *options):
    path.write_text(source)
    done = run("program", "publish", str(path), *options, ADYTON_CONFIG=str(stack.directory / SETTINGS_FILE))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def requested(adyton, program_id, *options):
    done = adyton("request", program_id, "--json", *options)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def assert_one_sentence(done, said, code=1):
    assert done.returncode == code
    assert re.search(said, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


@pytest.mark.parametrize(
    "command", [(), *((name,) for name in group.commands), ("program", "publish"), ("receipt", "verify")]
)
def test_help_of_every_command_needs_no_settings(command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(group, [*command, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_request_completed_prints_output_and_exits_0(adyton, program_id):
    code, document = requested(adyton, program_id, "--input", SEVEN)
    assert (code, document["outcome"], document["output"]) == (0, "COMPLETED", FOURTEEN)


def test_request_same_input_twice_is_two_requests(adyton, program_id):
    first, second = (requested(adyton, program_id, "--input", SEVEN)[1] for _ in range(2))
    assert first["output"] == second["output"]
    assert first["request_id"] != second["request_id"]


@pytest.mark.parametrize(
    ("source", "outcome", "reason"),
    [
        ("function main() { throw new Error('no rain'); }", "TRAPPED", b"no rain"),
        ("function main( {", "INVALID_PROGRAM", b"SyntaxError"),
        ("function main() { for (;;); }", "OUT_OF_FUEL", b"fuel"),
    ],
)
def test_request_failing_program_gives_its_outcome_and_exits_1(stack, adyton, tmp_path, source, outcome, reason):
    failing = publish(stack, tmp_path / "failing.js", source, "--fuel", "20000000")
    code, document = requested(adyton, failing)
    assert (code, document["outcome"]) == (1, outcome)
    assert reason in bytes.fromhex(document["output"][2:])


def test_request_program_off_chain_is_served_from_the_pools_content(stack, adyton, tmp_path):
    program_id = publish(stack, tmp_path / "off.js", DOUBLE + "// off chain", "--off-chain")
    assert requested(adyton, program_id, "--input", SEVEN)[1]["output"] == FOURTEEN


def test_receipt_shown_then_verified_from_its_file(adyton, program_id, tmp_path):
    request_id = requested(adyton, program_id, "--input", SEVEN)[1]["request_id"]
    shown = adyton("receipt", "show", request_id)
    file = tmp_path / "receipt.json"
    file.write_text(shown.stdout)
    verified = adyton("receipt", "verify", str(file))
    assert verified.returncode == 0, verified.stderr
    assert f"verified: COMPLETED for request {request_id}" in verified.stdout
    assert adyton("receipt", "verify", request_id).returncode == 0


def test_receipt_verified_offline_under_a_root_and_build_of_ones_own(bare_adyton, stack, receipt, tmp_path):
    file, root = tmp_path / "receipt.json", tmp_path / "root.der"
    file.write_text(json.dumps(receipt))
    root.write_bytes(DevelopmentPki().root.der)
    where = {"ADYTON_CONFIG": str(stack.directory / SETTINGS_FILE), "ADYTON_RPC_URL": "http://127.0.0.1:9"}
    build = hex_of(simulated_measurement(measure()))
    options = ("receipt", "verify", str(file), "--offline", "--measurement", build)
    done = bare_adyton(*options, "--root", str(root), **where)
    assert done.returncode == 0, done.stderr
    assert build in done.stdout
    assert_one_sentence(bare_adyton(*options, **where), "a root that is not trusted")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("output", "0x00", "output hashes to"),
        ("fuel_used", 1, "signature is by"),
        ("payee", "0x" + "11" * 20, "signature is by"),
        ("outcome", "TRAPPED", "signature is by"),
        ("chain_id", 1, "of chain 1, not of chain 31337"),
        ("signer", "0x" + "11" * 20, "signature is by"),
        ("signature", "0x" + "ff" * 64, "canonical|could have made"),
        ("output", None, "not a receipt"),
        ("attestation", {}, "not a receipt"),
        ("version", 1, "root that is not trusted"),
    ],
)
def test_receipt_changed_in_any_field_is_refused(adyton, receipt, tmp_path, field, value, said):
    document = receipt | {field: value}
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(document))
    assert_one_sentence(adyton("receipt", "verify", str(file), "--offline"), said)


def test_receipt_of_unknown_request_says_so(adyton):
    assert_one_sentence(adyton("receipt", "show", "0x" + "11" * 32), "there is no request 0x1111.* on chain 31337")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("request", "0x12"), "program id must be 0x and 64"),
        (("request", "0x" + "11" * 32), "not published on chain 31337: run `adyton program publish"),
        (("receipt", "verify", "0x12"), "must be 0x and 64"),
        (("content", "get", "0x" + "11" * 32), "no content"),
    ],
)
def test_wrong_argument_is_one_sentence(adyton, arguments, said):
    assert_one_sentence(adyton(*arguments), said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--input", "zz"), "not hexadecimal"),
        (("--fee", "0.00000001"), r"FeeTooSmall"),
        (("--input-file", str(ROOT / "demo" / "seattle-weather.csv"), "--fee", "0"), "FeeTooSmall"),
    ],
)
def test_request_that_the_contract_would_refuse_costs_nothing(adyton, program_id, options, said):
    assert_one_sentence(adyton("request", program_id, *options), said)


def test_request_input_over_the_programs_cap_is_refused(adyton, program_id, tmp_path):
    (tmp_path / "big").write_bytes(bytes(70_000))
    done = adyton("request", program_id, "--input-file", str(tmp_path / "big"))
    assert_one_sentence(done, "input size in bytes .* over the limit")


def test_missing_setting_says_where_to_set_it(bare_adyton):
    assert_one_sentence(bare_adyton("up"), r"setting `coprocessor` is missing: .*ADYTON_COPROCESSOR.*adyton deploy")


def test_unknown_setting_is_named(bare_adyton, tmp_path):
    (tmp_path / "adyton.toml").write_text("coprocesor = '0x00'\n")
    assert_one_sentence(bare_adyton("status"), "unknown setting `coprocesor`")


def test_node_unreachable_is_said(bare_adyton, stack):
    environment = {"ADYTON_CONFIG": str(stack.directory / SETTINGS_FILE), "ADYTON_RPC_URL": "http://127.0.0.1:9"}
    assert_one_sentence(
        bare_adyton("request", "0x" + "11" * 32, **environment), "cannot reach a node at http://127.0.0.1:9"
    )


def test_chain_of_another_id_is_refused(bare_adyton, stack):
    environment = {"ADYTON_CONFIG": str(stack.directory / SETTINGS_FILE), "ADYTON_CHAIN_ID": "1"}
    assert_one_sentence(bare_adyton("request", "0x" + "11" * 32, **environment), "serves chain 31337, not 1")


def test_dev_port_taken_says_which(bare_adyton, stack):
    port = load(stack.directory / SETTINGS_FILE, {}).rpc_url.rsplit(":", 1)[1]
    assert_one_sentence(bare_adyton("dev", "--port", port), f"port {port} is taken")


def test_up_second_on_the_same_data_is_refused(bare_adyton, stack):
    environment = {"ADYTON_CONFIG": str(stack.directory / SETTINGS_FILE)}
    assert_one_sentence(bare_adyton("up", **environment), "a pool already runs in")


def test_key_readable_by_others_is_refused(bare_adyton, stack, tmp_path):
    key = tmp_path / "account.key"
    key.write_text("0x" + "11" * 32)
    key.chmod(0o644)
    environment = {"ADYTON_CONFIG": str(stack.directory / SETTINGS_FILE), "ADYTON_ACCOUNT_KEY_FILE": str(key)}
    (tmp_path / "a.js").write_text("function main() {}")
    assert_one_sentence(bare_adyton("program", "publish", "a.js", **environment), "chmod 600")


def test_doctor_running_pool_is_content(adyton):
    done = adyton("doctor", "--json")
    assert [finding for finding in json.loads(done.stdout) if finding["problem"]] == []
    assert done.returncode == 0


def test_doctor_looks_at_every_relay_account(adyton, bare_adyton, stack, tmp_path):
    poor = tmp_path / "poor.key"
    poor.write_text("0x" + "11" * 32)
    poor.chmod(0o600)
    settings = load(stack.directory / SETTINGS_FILE, {})
    keys = ",".join(str(path) for path in (*settings.relay_keys, poor))
    environment = {"ADYTON_CONFIG": str(stack.directory / SETTINGS_FILE), "ADYTON_RELAY_KEY_FILES": keys}
    done = bare_adyton("doctor", "--json", **environment)
    (finding,) = (finding for finding in json.loads(done.stdout) if finding["what"] == "relay account")
    assert "0 settlements" in str(finding["problem"])


def test_doctor_nothing_set_up_says_what_to_do(bare_adyton):
    done = bare_adyton("doctor", "--json", ADYTON_RPC_URL="http://127.0.0.1:9")
    problems = {finding["what"]: finding["problem"] for finding in json.loads(done.stdout) if finding["problem"]}
    assert done.returncode == 1
    assert "cannot reach a node" in problems["node"]
    assert "relay_key_file" in problems["relay account"]


def test_status_counts_settled_requests(adyton, program_id):
    requested(adyton, program_id, "--input", SEVEN)
    document = json.loads(adyton("status", "--json").stdout)
    assert document["requests"]["settled"] >= 1
    assert document["enclaves"][0]["state"] == "live"
