"""Settings come from file, environment and options, and every mistake is one sentence."""

from pathlib import Path

import pytest

from oracle.config import Settings, load, read_secret
from oracle.errors import ConfigurationError
from oracle.wiring import finality_policy


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


CAREFUL = "0x" + "cc" * 20


@pytest.mark.parametrize(
    "text",
    [
        'rpc_url = "http://a, http://b"\n',
        'rpc_urls = ["http://a", "http://b"]\n',
        'rpc_url = "http://c"\nrpc_urls = "http://a,http://b"\n',
    ],
)
def test_load_several_nodes_by_commas_or_as_a_list(text):
    Path("adyton.toml").write_text(text)
    assert load(environment={}).nodes == ("http://a", "http://b")
    assert load(environment={"ADYTON_RPC_URLS": "http://x"}).nodes == ("http://x",)


def test_load_table_becomes_entries():
    Path("adyton.toml").write_text(f'finality = "2"\n[finality_of_consumer]\n"{CAREFUL}" = "finalized"\n')
    settings = load(environment={})
    assert settings.finality_of_consumer == (f"{CAREFUL}=finalized",)
    assert load(environment={"ADYTON_FINALITY_OF_CONSUMER": f"{CAREFUL}=finalized"}).finality_of_consumer == (
        settings.finality_of_consumer
    )


@pytest.mark.parametrize("text", ["rpc_urls = 5", "rpc_urls = [5]"])
def test_load_list_of_something_else_is_refused(text):
    Path("adyton.toml").write_text(text)
    with pytest.raises(ConfigurationError, match="must be a list of text"):
        load(environment={})


def test_finality_and_confirmations_together_are_refused():
    assert str(finality_policy(Settings(confirmations=3)).of_pool) == "3"
    assert str(finality_policy(Settings(finality="safe")).of_pool) == "safe"
    with pytest.raises(ConfigurationError, match="not both"):
        finality_policy(Settings(finality="safe", confirmations=3))


def test_load_relay_keys_are_beside_the_file_and_each_counts_once(tmp_path: Path) -> None:
    (tmp_path / "adyton.toml").write_text('relay_key_file = "a.key"\nrelay_key_files = ["b.key", "/c.key", "a.key"]\n')
    settings = load(tmp_path / "adyton.toml", environment={})
    assert settings.relay_keys == (tmp_path / "a.key", tmp_path / "b.key", Path("/c.key"))
    assert load(environment={"ADYTON_RELAY_KEY_FILES": "a.key, b.key"}).relay_keys == (Path("a.key"), Path("b.key"))
