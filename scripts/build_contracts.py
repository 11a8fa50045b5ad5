"""
Compile the contracts for the Python side: `oracle/chain/artifacts/NAME.json` with ABI and bytecode.

py-solc-x drives the compiler and foundry.toml is the one source of settings, so forge compiles to the same bytecode;
`tests/integration/test_artifacts.py` holds the two against each other. The artifacts go into the wheel: an operator
needs no compiler. The Solidity tests deploy them too, after they have seen by SOURCES that they are of these sources.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import solcx
from toolchain import ROOT, solc

ARTIFACTS = ROOT / "oracle" / "chain" / "artifacts"
TEST_ARTIFACTS = ROOT / "build" / "artifacts"
SOURCES = ROOT / "build" / "sources.json"
SETTINGS = "foundry.toml"
CONSUMERS = ("GasConsumer", "GasMeter", "LoadConsumer")  # those whose own gas is part of a measurement
TEST_CONTRACTS = tuple(f"tests/contracts/consumers/{name}.sol" for name in CONSUMERS)
_IMPORT = re.compile(r'^import\s[^;"]*"([^"]+)"\s*;', re.MULTILINE)


def settings() -> dict[str, Any]:
    """The `profile.default` table of foundry.toml."""
    profile: dict[str, Any] = tomllib.loads((ROOT / SETTINGS).read_text())["profile"]["default"]
    return profile


def sources(profile: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Every contract of ours and whatever it imports, by the path that forge would give it."""
    remappings = dict(entry.split("=", 1) for entry in profile["remappings"])
    pending = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / profile["src"]).rglob("*.sol"))]
    pending += TEST_CONTRACTS
    found: dict[str, dict[str, str]] = {}
    while pending:
        unit = pending.pop()
        if unit not in found:
            text = (ROOT / unit).read_text()
            found[unit] = {"content": text}
            pending += _imports(unit, text, remappings)
    return found


def _imports(unit: str, text: str, remappings: Mapping[str, str]) -> Iterator[str]:
    for target in _IMPORT.findall(text):
        if target.startswith("."):
            yield (ROOT / unit).parent.joinpath(target).resolve().relative_to(ROOT).as_posix()
            continue
        prefix = next((prefix for prefix in remappings if target.startswith(prefix)), None)
        yield remappings[prefix] + target.removeprefix(prefix) if prefix else target


def compiler_input(profile: Mapping[str, Any]) -> dict[str, Any]:
    """The compiler's standard JSON input that forge's settings amount to."""
    return {
        "language": "Solidity",
        "sources": sources(profile),
        "settings": {
            "remappings": profile["remappings"],
            "optimizer": {"enabled": profile["optimizer"], "runs": profile["optimizer_runs"]},
            "viaIR": profile["via_ir"],
            "evmVersion": profile["evm_version"],
            "metadata": {
                "bytecodeHash": profile["bytecode_hash"],
                "appendCBOR": profile["cbor_metadata"],
                "useLiteralContent": False,
            },
            "outputSelection": {"*": {"*": _OUTPUTS}},
        },
    }


_OUTPUTS = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]


def build() -> list[str]:
    """Write the artifacts and return their names. Abstract contracts and interfaces have an ABI and no bytecode."""
    SOURCES.unlink(missing_ok=True)
    profile = settings()
    document = compiler_input(profile)
    origin = fingerprints(document["sources"])
    output = solcx.compile_standard(document, solc_binary=solc())
    for directory in (ARTIFACTS, TEST_ARTIFACTS):
        directory.mkdir(parents=True, exist_ok=True)
        for stale in directory.glob("*.json"):
            stale.unlink()
    names = []
    for unit, contracts in sorted(output["contracts"].items()):
        is_ours = unit.startswith(profile["src"] + "/")
        if not is_ours and unit not in TEST_CONTRACTS:
            continue
        directory = ARTIFACTS if is_ours else TEST_ARTIFACTS
        for name, contract in sorted(contracts.items()):
            (directory / f"{name}.json").write_text(artifact(unit, contract))
            names.append(name)
    SOURCES.write_text(json.dumps(origin, indent=1) + "\n")
    return names


def fingerprints(units: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """The SHA-256 of the settings and of every source of ours, in the same order as the paths."""
    texts = {unit: source["content"] for unit, source in units.items() if not unit.startswith("node_modules/")}
    texts[SETTINGS] = (ROOT / SETTINGS).read_text()
    hashes = ["0x" + hashlib.sha256(text.encode()).hexdigest() for text in texts.values()]
    return {"paths": list(texts), "sha256": hashes}


def artifact(unit: str, contract: Mapping[str, Any]) -> str:
    """The JSON text that `oracle.chain.contracts.parse_artifact` reads, from the compiler's output for one contract."""
    evm = contract["evm"]
    document = {
        "source": unit,
        "abi": contract["abi"],
        "bytecode": "0x" + evm["bytecode"]["object"],
        "runtimeBytecode": "0x" + evm["deployedBytecode"]["object"],
    }
    return json.dumps(document, indent=1) + "\n"


if __name__ == "__main__":
    print("compiled " + ", ".join(build()))
