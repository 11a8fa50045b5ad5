#!/usr/bin/env python3
"""
Lay out what an enclave runs, the same bytes on every machine: `scripts/enclave_root.py [--with QUOTER]`.

    OUT/oracle, OUT/requirements.lock   the measured files of Adyton and the JavaScript engine
    OUT/...                             the locked packages that an enclave imports, and those of QUOTER
    OUT/MANIFEST                        sha256 of each file, sorted by name

Every recipe in `deploy/` copies OUT and runs `python3 -m oracle.enclave.main` with it as PYTHONPATH. Packages are the
locked wheels, checked by hash, for one version of Python; what installers add to them is removed, and modes and times
are fixed. It sets up the working tree first.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from toolchain import BIN, ROOT, UV_VENV, VENV, say_on_stderr, set_up

ENCLAVE = ("cbor2", "coincurve", "cryptography", "h11", "safe-pysha3", "wasmtime")
QUOTERS = {"nitro": ("aws-nsm-interface",), "dstack": ("dstack-sdk",)}
NOT_OF_THE_PACKAGE = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")
MADE_AT_S = 1
_PLATFORM = "x86_64-manylinux_2_28"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def locked(lock: str, wanted: tuple[str, ...]) -> str:
    """The part of `lock` with the packages `wanted` and all that they require."""
    blocks = {found[0]: block for block in re.split(r"\n(?=\w)", lock) if (found := _NAME.match(block))}
    required_by = {name: _requirers(block) for name, block in blocks.items()}
    names, seen = list(wanted), set[str]()
    while names:
        name = names.pop()
        if name not in blocks:
            sys.exit(f"{name} is not in requirements.lock: lock it first")
        seen.add(name)
        names += [other for other, requirers in required_by.items() if name in requirers and other not in seen]
    return "".join(blocks[name].rstrip() + "\n" for name in sorted(seen))


def _requirers(block: str) -> set[str]:
    """Whom the comments behind a package name as the reason for it."""
    comments = block.partition("# via")[2]
    return {found[0] for line in comments.splitlines() if (found := _NAME.search(line))}


def install(requirements: str, site: Path, python: str) -> None:
    """Put the locked wheels for that version of Python into `site`, without an installer's traces."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "requirements.txt"
        file.write_text(requirements)
        options = ["--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--link-mode", "copy"]
        options += ["--python-version", python, "--python-platform", _PLATFORM, "--python", sys.executable]
        subprocess.run([UV_VENV / "bin" / "uv", "pip", "install", *options, "--target", site, "-r", file], check=True)
    shutil.rmtree(site / "bin", ignore_errors=True)
    (site / ".lock").unlink(missing_ok=True)
    for info in site.glob("*.dist-info"):
        for name in NOT_OF_THE_PACKAGE:
            (info / name).unlink(missing_ok=True)
    for cache in [*site.rglob("__pycache__")]:
        shutil.rmtree(cache)


def copy_measured(out: Path) -> str:
    """Copy the measured files and the engine that they name; the build's hash."""
    sys.path.insert(0, str(ROOT))
    from oracle.enclave.engine_files import ENGINE_DIR  # noqa: PLC0415  # of the tree that is laid out, once set up
    from oracle.enclave.measurement import measure, measured_files  # noqa: PLC0415

    lock, measured = "requirements.lock", measured_files()
    measured["enclave/web/roots.pem"] = measured.pop("roots.pem")
    files = {out / (name if name == lock else f"oracle/{name}"): path for name, path in measured.items()}
    files |= {out / "oracle" / "enclave" / "engine" / path.name: path for path in ENGINE_DIR.iterdir()}
    for target, source in files.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return measure(out / "oracle").hex()


def write_manifest(out: Path) -> str:
    """Fix modes and times, write MANIFEST; its hash."""
    paths = sorted(path for path in out.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(out).as_posix()}\n" for path in paths]
    manifest = out / "MANIFEST"
    manifest.write_text("".join(lines))
    for path in [*out.rglob("*"), out]:
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (MADE_AT_S, MADE_AT_S))
    return hashlib.sha256(manifest.read_bytes()).hexdigest()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Lay out what an enclave runs, the same bytes on every machine.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "enclave", help="where; emptied first")
    parser.add_argument("--with", dest="quoter", choices=QUOTERS, help="add the packages of this quoter")
    parser.add_argument("--python", default="3.11", metavar="VERSION", help="of the Python that will run it")
    arguments = parser.parse_args()
    if Path(sys.prefix) != VENV:
        set_up(say_on_stderr)
        os.execv(BIN / "python", [str(BIN / "python"), *sys.argv])  # noqa: S606  # ourselves, with the locked packages
    shutil.rmtree(arguments.out, ignore_errors=True)
    wanted = ENCLAVE + QUOTERS.get(arguments.quoter, ())
    install(locked((ROOT / "requirements.lock").read_text(), wanted), arguments.out, arguments.python)
    build = copy_measured(arguments.out)
    print(f"build    {build}\nmanifest {write_manifest(arguments.out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
