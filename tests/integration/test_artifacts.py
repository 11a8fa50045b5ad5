"""One compiler, one source of settings: forge and py-solc-x give the same bytecode, and large inputs compile."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import build_contracts
import toolchain


@pytest.fixture(scope="module")
def forge_output(tmp_path_factory):
    out = tmp_path_factory.mktemp("forge")
    command = [toolchain.BIN / "forge", "build", "--skip", "tests/**", "--out", out, "--cache-path", out / "cache"]
    subprocess.run(command, check=True, cwd=ROOT, env=toolchain.environment(), capture_output=True)
    return out


@pytest.mark.parametrize(
    "name", ["Coprocessor", "EnclaveRegistry", "ProgramRegistry", "DcapVerifier", "CollateralParser", "RainInsurance"]
)
def test_artifact_is_what_forge_compiles(forge_output, name):
    ours = json.loads((build_contracts.ARTIFACTS / f"{name}.json").read_text())
    forges = json.loads((forge_output / f"{name}.sol" / f"{name}.json").read_text())
    assert ours["bytecode"] == forges["bytecode"]["object"]
    assert ours["runtimeBytecode"] == forges["deployedBytecode"]["object"]
    assert canonical(ours["abi"]) == canonical(forges["abi"])


def test_sources_recorded_with_the_artifacts_are_those_in_the_tree():
    recorded = json.loads(build_contracts.SOURCES.read_text())
    assert recorded == build_contracts.fingerprints(build_contracts.sources(build_contracts.settings()))


def canonical(abi):
    """The entries in an order of their own: forge sorts them, the compiler does not."""
    return sorted(json.dumps(entry, sort_keys=True) for entry in abi)


def test_solc_wrapper_input_of_several_megabytes_compiles():
    comment = "// " + "x" * 97 + "\n"
    source = (
        "// SPDX-License-Identifier: Apache-2.0\npragma solidity ^0.8.30;\n" + comment * 40_000 + "contract Big {}\n"
    )
    document = {"language": "Solidity", "sources": {"Big.sol": {"content": source}},
                "settings": {"outputSelection": {"*": {"*": ["evm.bytecode.object"]}}}}  # fmt: skip
    done = subprocess.run(
        [ROOT / "scripts" / "solc", "--standard-json"],
        check=True, input=json.dumps(document), capture_output=True, text=True, env=dict(os.environ),
    )  # fmt: skip
    output = json.loads(done.stdout)
    assert "errors" not in output
    assert output["contracts"]["Big.sol"]["Big"]["evm"]["bytecode"]["object"]
