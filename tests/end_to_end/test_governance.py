"""What the contracts' owner and whoever brings collateral do from the command line."""

import json
import re

import pytest

from oracle.attestation.quoters.simulated import SimulatedQuoter
from oracle.config import load
from oracle.devnet import SETTINGS_FILE
from oracle.store.store import Store
from oracle.types.ids import hex_of
from tests.end_to_end.conftest import run

BUILD = bytes(range(32))
OTHER = hex_of(b"\x0c" * 32)
PLATFORM = hex_of(b"\x0d" * 32)


def document(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_registry_approve_shows_the_conditions_and_replaces_them(adyton):
    accepted = ("--accept-status", "SWHardeningNeeded", "--accept-advisory", "INTEL-SA-00615", "--grace", "30")
    assert adyton("registry", "approve", OTHER, *accepted, "--minimum-evaluation", "17").returncode == 0
    shown = document(adyton("registry", "show", OTHER, "--json"))
    assert (shown["approved"], shown["accepted_statuses"]) == (True, "UpToDate, SWHardeningNeeded")
    assert (shown["grace_period_s"], shown["accepted_advisories"]) == (30 * 86_400, "INTEL-SA-00615")
    assert adyton("registry", "approve", OTHER, "--listed-platforms-only").returncode == 0
    shown = document(adyton("registry", "show", OTHER, "--json"))
    assert (shown["accepted_statuses"], shown["listed_platforms_only"], shown["accepted_advisories"]) == (
        "UpToDate",
        True,
        "",
    )


def test_registry_revoke_what_is_not_approved_is_refused(adyton):
    adyton("registry", "approve", OTHER)
    assert adyton("registry", "revoke", OTHER).returncode == 0
    assert document(adyton("registry", "show", OTHER, "--json"))["approved"] is False
    again = adyton("registry", "revoke", OTHER)
    assert (again.returncode, "MeasurementNotApproved" in again.stderr) == (1, True)


@pytest.mark.parametrize("wrong", ["0x12", "nonsense"])
def test_registry_wrong_identifier_is_one_sentence(adyton, wrong):
    for command in (("approve", wrong), ("revoke", wrong), ("show", wrong), ("platform", "deny", wrong)):
        done = adyton("registry", *command)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert len(done.stderr.strip().splitlines()) == 1


def test_registry_platform_goes_from_denied_to_forgotten(adyton):
    for decision, standing in (("allow", "allowed"), ("deny", "denied"), ("forget", "unlisted")):
        assert adyton("registry", "platform", decision, PLATFORM).returncode == 0
        assert document(adyton("registry", "show", PLATFORM, "--json"))["platform_is"] == standing


def test_registry_show_signer_names_its_machine(adyton):
    signer = re.search(r"signer (0x[0-9a-f]{40})", adyton("doctor").stdout.replace("\n", " "))[1]
    shown = document(adyton("registry", "show", signer, "--json"))
    assert (shown["live"], shown["platform"] != hex_of(bytes(32))) == (True, True)


def test_collateral_sync_brings_what_is_due_and_then_nothing(adyton):
    brought = document(adyton("collateral", "sync", "--margin", "31", "--json"))
    assert brought["usable"] is True
    again = document(adyton("collateral", "sync", "--json"))
    assert (again["sent"], again["missing"]) == ([], [])
    assert "sync would send" in adyton("collateral", "show").stdout


def test_collateral_sync_of_a_machine_that_never_registered_brings_its_certificate(adyton, tmp_path):
    quote = tmp_path / "quote.bin"
    quote.write_bytes(SimulatedQuoter(BUILD, number=77).quote(bytes(32)))
    assert document(adyton("collateral", "show", "--quote", str(quote), "--json"))["has_pck"] is False
    sent = document(adyton("collateral", "sync", "--quote", str(quote), "--json"))["sent"]
    assert [call["function"] for call in sent] == ["addPck"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--source", "nonsense"), "no source of collateral"),
        (("--source", "http://127.0.0.1:1"), "no collateral from"),
        (("--quote", "pyproject.toml"), "neither|not a quote"),
        (("--quote", "missing"), "missing"),
    ],
)
def test_collateral_wrong_source_or_quote_is_one_sentence(adyton, options, said):
    done = adyton("collateral", "sync", *options)
    assert done.returncode != 0
    assert re.search(said, done.stderr)
    assert "Traceback" not in done.stderr


def test_collateral_empty_folder_lacks_parts(adyton, tmp_path):
    done = adyton("collateral", "sync", "--source", str(tmp_path))
    assert (done.returncode, "among the collateral" in done.stderr) == (1, True)


def test_deploy_development_root_off_the_development_chain_is_refused(stack, tmp_path):
    settings = stack.directory / SETTINGS_FILE
    for chain_id, options, said in (
        ("1", ("--root", "development"), "--insecure-development-root"),
        ("1", (), "serves chain 31337, not 1"),  # Intel's root is no play: only the chain is wrong
        ("1", ("--insecure-development-root",), "serves chain 31337, not 1"),
    ):
        done = run("deploy", *options, ADYTON_CONFIG=str(settings), ADYTON_CHAIN_ID=chain_id)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_deploy_intels_root_accepts_no_simulated_enclave(stack, adyton, tmp_path):
    saved = tmp_path / "intel.toml"
    assert adyton("deploy", "--root", "intel", "--save", str(saved)).returncode == 0
    text = saved.read_text() + f'account_key_file = "{stack.directory / "account.key"}"\n'
    saved.write_text(text)
    assert "collateral_source" not in text
    quote = tmp_path / "quote.bin"
    quote.write_bytes(SimulatedQuoter(BUILD).quote(bytes(32)))
    done = run("collateral", "sync", "--source", "development", "--quote", str(quote), ADYTON_CONFIG=str(saved))
    assert (done.returncode, "SignatureWrong" in done.stderr) == (1, True), done.stderr


def test_doctor_names_the_root_and_a_refused_registration(stack, adyton):
    findings = {it["what"]: it for it in document(adyton("doctor", "--json"))}
    assert "proves nothing" in findings["attestation root"]["seen"]
    assert findings["registration"]["problem"] is None
    with Store.open(load(stack.directory / SETTINGS_FILE, {}).database) as store:
        (newest, *_) = store.enclaves.newest()
        store.enclaves.record_refusal(newest.signer, "StatusNotAccepted(OutOfDate)", newest.seen_at_ms)
        done = adyton("doctor", "--json")
        store.enclaves.record_live(newest.signer, newest.live_until_s, newest.seen_at_ms)
    (finding,) = (it for it in json.loads(done.stdout) if it["what"] == "registration")
    assert (done.returncode, "StatusNotAccepted" in finding["problem"]) == (1, True)
