"""`adyton attestation show` and `verify`: what they print, and that the exit code is 0 only for what is accepted."""

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import oracle
from oracle.attestation.development.nitro import DevelopmentNitro
from oracle.attestation.development.quotes import QuoteKind
from oracle.attestation.development.reports import TD_DEBUG, TD_SEPT_VE_DISABLE
from oracle.cli import adyton
from oracle.errors import AdytonError
from tests.unit.attestation.samples import NOW_S, PKI, QUOTES, REPORT_DATA, real

NITRO = DevelopmentNitro(now_s=NOW_S)
DOCUMENT = NITRO.document(REPORT_DATA, NITRO.pcrs(b"build"))
QUOTE = PKI.quote(QuoteKind.TDX_V4, REPORT_DATA)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "collateral.json").write_text(PKI.collateral("TDX").json())
    (tmp_path / "root.pem").write_bytes(PKI.root.pem)

    def run(command, evidence, *options):
        path = tmp_path / "evidence"
        path.write_bytes(evidence)
        return CliRunner().invoke(adyton, ["attestation", command, str(path), *options])

    return run


@pytest.fixture
def development(tmp_path):
    return ("--root", str(tmp_path / "root.pem"), "--collateral", str(tmp_path / "collateral.json"), "--at", str(NOW_S))


@pytest.mark.parametrize(
    "encode",
    [bytes, lambda raw: raw.hex().encode(), lambda raw: b"0x" + raw.hex().encode() + b"\n", base64.encodebytes],
)
@pytest.mark.parametrize(("evidence", "kind"), [(QUOTE, "TDX"), (DOCUMENT, "Nitro")])
def test_show_reads_raw_hex_and_base64(run, encode, evidence, kind):
    result = run("show", encode(evidence), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["kind"] == kind


def test_show_says_that_nothing_was_verified(run):
    result = run("show", QUOTE)
    assert "not verified" in result.stderr
    assert PKI.platform.ppid.hex() in result.stdout


def test_verify_accepted_evidence_exits_0(run, development):
    result = run("verify", QUOTE, *development, "--own-report-data", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (document["accepted"], document["status"], document["report_data"]) == (
        True,
        "UpToDate",
        "0x" + REPORT_DATA.hex(),
    )
    assert "insecure" in document["root"]


def test_verify_without_the_development_root_exits_1(run, development):
    result = run("verify", QUOTE, *development[2:])
    assert result.exit_code == 1
    assert "NOT genuine: the chain ends in a root that is not trusted" in result.stdout


@pytest.mark.parametrize(
    ("status", "options", "exit_code"),
    [
        ("OutOfDate", (), 1),
        ("OutOfDate", ("--accept-status", "OutOfDate"), 1),
        ("OutOfDate", ("--accept-status", "OutOfDate", "--grace", "9999"), 1),
        ("OutOfDate", ("--accept-status", "OutOfDate", "--grace", "9999", "--accept-advisory", "INTEL-SA-00960"), 0),
    ],
)
def test_verify_policy_comes_from_options(run, development, tmp_path, status, options, exit_code):
    given = PKI.collateral("TDX", status=status, advisories=("INTEL-SA-00960",))
    (tmp_path / "collateral.json").write_text(given.json())
    result = run("verify", QUOTE, *development, *options)
    assert result.exit_code == exit_code
    assert ("accepted" if exit_code == 0 else "genuine, but refused") in result.stdout


def test_verify_debug_evidence_exits_1(run, development):
    evidence = PKI.quote(QuoteKind.TDX_V4, REPORT_DATA, td_attributes=TD_SEPT_VE_DISABLE | TD_DEBUG)
    result = run("verify", evidence, *development, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["refused"] == ["debug TD"]


def test_verify_platform_option_accepts_listed_machines_only(run, development):
    own = json.loads(run("show", QUOTE, "--json").stdout)["platform"]
    assert run("verify", QUOTE, *development, "--platform", own).exit_code == 0
    assert run("verify", QUOTE, *development, "--platform", "0x" + "00" * 32).exit_code == 1


def test_verify_without_collateral_says_what_is_missing(run):
    result = run("verify", QUOTE)
    assert result.exit_code == 1
    assert "there is no TCB info for TDX" in result.stdout


def test_show_prints_no_control_characters_of_strangers(run):
    result = run("show", NITRO.document(REPORT_DATA, NITRO.pcrs(b"build"), module_id="i-0\x1b[2Jx"))
    assert "\x1b" not in result.stdout
    assert "\\x1b[2Jx" in result.stdout


@pytest.mark.parametrize(
    ("evidence", "options", "sentence"),
    [
        (b"hello", (), "neither an SGX or TDX quote"),
        (b"", (), "neither an SGX or TDX quote"),
        (QUOTE, ("--at", "yesterday"), "is not a time"),
        (QUOTE, ("--collateral", "/nonexistent"), "cannot read /nonexistent"),
        (QUOTE, ("--collateral", __file__), "is not collateral"),
        (QUOTE, ("--accept-advisory", "615"), "not an Intel security advisory"),
        (QUOTE, ("--platform", "0x00"), "a platform must be"),
        (QUOTE, ("--root", __file__), "cannot be read"),
    ],
)
def test_verify_mistakes_end_in_one_sentence(run, evidence, options, sentence):
    result = run("verify", evidence, *options)
    assert isinstance(result.exception, AdytonError)  # which the `adyton` command prints, with exit code 1
    assert sentence in str(result.exception)
    assert "\n" not in str(result.exception).strip()


def test_verify_folders_of_recorded_collateral_are_searched():
    real("tdx/gotdx__cos-113-tdx-quote.dat")
    folders = ("--collateral", str(QUOTES / "tdx"), "--collateral", str(QUOTES / "sgx"))
    arguments = [
        "attestation",
        "verify",
        str(QUOTES / "tdx/gotdx__cos-113-tdx-quote.dat"),
        *folders,
        "--at",
        "2025-07-20",
    ]
    assert CliRunner().invoke(adyton, arguments).exit_code == 0
    assert CliRunner().invoke(adyton, [*arguments[:-1], "2025-07-01"]).exit_code == 1


def test_enclave_does_not_load_the_verifier():
    code = "import sys, oracle.enclave.main; sys.exit(any(name in sys.modules for name in sys.argv[1:]))"
    names = ["dcap_qvl", "oracle.attestation.verifier", "oracle.attestation.dcap", "oracle.attestation.policy"]
    assert subprocess.run([sys.executable, "-c", code, *names], check=False).returncode == 0


def test_dcap_qvl_is_imported_by_the_verifying_module_only():
    package = Path(oracle.__file__).parent
    importing = [path.relative_to(package) for path in package.rglob("*.py") if "import dcap_qvl" in path.read_text()]
    assert importing == [Path("attestation/dcap/verifier.py")]
