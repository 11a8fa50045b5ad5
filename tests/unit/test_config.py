"""Settings come from file, environment and options, and every mistake is one sentence."""

from pathlib import Path

import pytest

from oracle.config import Settings, load, read_secret
from oracle.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_load_nothing_set_gives_the_defaults():
    assert load(environment={}) == Settings()


def test_load_later_source_wins():
    Path("adyton.toml").write_text('chain_id = 1\nconfirmations = 3\nrpc_url = "http://a"\n')
    settings = load(environment={"ADYTON_CHAIN_ID": "2", "ADYTON_CONFIRMATIONS": "4"}, confirmations=5)
    assert (settings.chain_id, settings.confirmations, settings.rpc_url) == (2, 5, "http://a")


def test_load_paths_in_a_file_are_relative_to_the_file(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "a.toml").write_text('relay_key_file = "relay.key"\n')
    assert load(Path("etc/a.toml"), environment={}).relay_key_file == Path("etc/relay.key")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chain_idd = 1", "unknown setting `chain_idd`"),
        ("chain_id = 'x'", "must be of type int"),
        ("chain_id = true", "must be of type int"),
        ("chain_id = -1", "must be of type int"),
        ("log_format = 'xml'", "must be one of text, json"),
        ("chain_id = ", "cannot read the settings file"),
        ("rpc_url = 5", "must be of type str"),
    ],
)
def test_load_mistake_in_file_is_named(text, said):
    Path("adyton.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        load(environment={})


def test_load_named_file_missing_is_an_error():
    with pytest.raises(ConfigurationError, match="there is no settings file"):
        load(Path("nowhere.toml"), environment={})


def test_require_missing_setting_says_where_to_set_it():
    with pytest.raises(ConfigurationError, match="ADYTON_COPROCESSOR"):
        Settings().require("chain_id", "coprocessor")


def secret_file(text, mode=0o600):
    path = Path("key")
    path.write_text(text)
    path.chmod(mode)
    return path


def test_read_secret_good_file_gives_32_bytes():
    assert read_secret(secret_file("0x" + "11" * 32 + "\n"), "relay key") == b"\x11" * 32


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [("0x11", 0o600, "64 hexadecimal"), ("zz" * 32, 0o600, "64 hexadecimal"), ("0x" + "11" * 32, 0o644, "chmod 600")],
)
def test_read_secret_bad_file_is_refused_without_showing_it(text, mode, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_secret(secret_file(text, mode), "relay key")
    assert text not in str(caught.value)


def test_read_secret_missing_file_is_refused():
    with pytest.raises(ConfigurationError, match="cannot read the relay key file"):
        read_secret(Path("nowhere"), "relay key")
