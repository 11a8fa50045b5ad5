"""
Record what programs burn in this build of the engines: `python tests/vectors/generate_fuel.py`.

Fuel is what users pay, so a change of it is a decision: run this after a change of QuickJS, of the prelude, of wasmtime
or of what host calls cost, and look at the difference. Artifacts already recorded stay as they are.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import wasmtime
from eth_abi.abi import encode

from oracle.programs.building import build
from oracle.programs.creation import TEMPLATES, create
from oracle.programs.languages import LANGUAGES
from oracle.programs.running import Workbench
from oracle.types.program import Engine, Limits, Manifest

HERE = Path(__file__).parent
FILE = HERE / "fuel.json"
EXAMPLES = HERE.parents[1] / "examples" / "programs"
HARD = """
async function main(input) {
  const words = new TextDecoder().decode(input).split(' ').sort();
  await null;
  const table = new Map(words.map((word, i) => [word, { i, word }]));
  try { null.x } catch (error) { table.set('error', error.message) }
  return JSON.stringify([[...table], Math.random(), (3n ** 300n).toString(36), Math.sin(1e9), /b+/.exec('abbb')[0],
    adyton.keccak256(input).toHex(), new Date().toISOString()]);
}"""


def programs() -> dict[str, tuple[Engine, bytes, bytes]]:
    """Name -> engine, code, input. Compiled code is taken from the file that is there, so that no compiler matters."""
    known = {case["name"]: bytes.fromhex(case["code"][2:]) for case in recorded()}
    n = encode(["uint256"], [20_000])
    found = {
        "js primes": (Engine.JS, (TEMPLATES / "js" / "src" / "main.js").read_bytes(), n),
        "js many features": (Engine.JS, HARD.encode(), b"b a c d"),
        "js trap": (Engine.JS, b"function main() { throw new Error('no') }", b""),
        "js endless": (Engine.JS, b"function main() { for (;;); }", b""),
        "wat digest": (Engine.WASM, bytes(wasmtime.wat2wasm((EXAMPLES / "digest.wat").read_text())), b"data"),
        "wat endless": (Engine.WASM, bytes(wasmtime.wat2wasm('(module (func (export "run") (loop (br 0))))')), b""),
    }
    for lang in ("c", "zig"):
        name = f"{lang} primes"
        found[name] = (Engine.WASM, known.get(name) or compiled(lang), n)
    return found


def compiled(lang: str) -> bytes:
    """The artifact of a language's template."""
    with tempfile.TemporaryDirectory() as temporary:
        return build(create(Path(temporary, "primes"), LANGUAGES[lang])).code


def recorded() -> list[dict[str, Any]]:
    """The cases as they are in the file."""
    return json.loads(FILE.read_text())["cases"] if FILE.exists() else []


def main() -> None:
    """Write the file."""
    cases = []
    with Workbench() as bench:
        for name, (engine, code, data) in programs().items():
            manifest = Manifest(engine, Limits(fuel=200_000_000)).encode()
            run = bench.run(manifest, code, data)
            cases.append(
                {
                    "name": name,
                    "manifest": manifest.decode(),
                    "code": "0x" + code.hex(),
                    "input": "0x" + data.hex(),
                    "outcome": run.outcome.name,
                    "output": "0x" + run.output.hex(),
                    "fuelUsed": str(run.fuel_used),
                }
            )
    FILE.write_text(json.dumps({"cases": cases}, indent=2) + "\n")


if __name__ == "__main__":
    main()
