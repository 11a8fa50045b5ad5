"""`program publish` and `content add`: programs on chain, and the bytes that hashes stand for."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from oracle.chain.publishing import publish as publish_program
from oracle.cli.context import Context, account, address, connect, pass_context, print_json
from oracle.errors import ConfigurationError
from oracle.jobs.content import ContentStore
from oracle.types.ids import hex_of, parse_hex
from oracle.types.program import Capability, Engine, Limits, Manifest

ENGINES = {".js": Engine.JS, ".mjs": Engine.JS, ".wasm": Engine.WASM}
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


def _limit_options(command: Any) -> Any:
    for field in reversed(fields(Limits)):
        name = f"--{field.name.replace('_', '-')}"
        command = click.option(name, field.name, type=click.IntRange(1), help=f"Default {field.default}.")(command)
    return command


@click.group()
def program() -> None:
    """Publish programs."""


@program.command()
@click.argument("code_file", metavar="FILE", type=_FILE)
@click.option("--engine", type=click.Choice(["js", "wasm"]), help="Default: by the file's ending.")
@click.option("--manifest", "manifest_file", type=_FILE, help="Manifest to use as it is, instead of the limits below.")
@click.option("--off-chain", is_flag=True, help="Publish the hash only; workers need the file: `adyton content add`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@_limit_options
@pass_context
def publish(
    context: Context,
    /,
    code_file: Path,
    engine: str | None,
    manifest_file: Path | None,
    off_chain: bool,
    as_json: bool,
    **limits: int | None,
) -> None:
    """
    Publish the program in FILE (JavaScript or WebAssembly) and print its id.

    Anyone can publish, and nobody can change what is published. The limits say what one run may use; a pool refuses
    programs that ask for more than it allows. See docs/PROGRAMS.md for how to write one.
    """
    code = code_file.read_bytes()
    manifest = _manifest(code_file, engine, manifest_file, {key: value for key, value in limits.items() if value})
    publish_code(context, str(code_file), manifest, code, off_chain=off_chain, as_json=as_json)


def publish_code(context: Context, name: str, manifest: bytes, code: bytes, *, off_chain: bool, as_json: bool) -> None:
    """Publish a program and print its id; `name` is what to call it when talking of it."""
    settings = context.settings()
    wallet, registry = account(settings, connect(settings)), address(settings, "program_registry")
    made = publish_program(wallet, registry, manifest, code, with_code=not off_chain)
    content_store = ContentStore(settings.content_dir)
    content_store.put(manifest)
    content_store.put(code)
    if as_json:
        print_json(
            {
                "program_id": made.program.program_id,
                "code_hash": made.program.code_hash,
                "manifest": manifest.decode(),
                "chunks": made.chunks,
                "transaction": made.transaction_hash,
            }
        )
        return
    click.echo(hex_of(made.program.program_id))
    where = "its code is not on chain" if off_chain else f"code on chain in {len(made.chunks)} piece(s)"
    click.echo(f"published {name} ({made.program.engine.name.lower()}, {len(code)} bytes, {where})", err=True)


def _manifest(code_file: Path, engine: str | None, manifest_file: Path | None, limits: dict[str, int]) -> bytes:
    if manifest_file is not None:
        if limits or engine:
            raise ConfigurationError("--manifest says it all: leave out --engine and the limits")
        manifest = manifest_file.read_bytes()
        Manifest.parse(manifest)
        return manifest
    kind = Engine[engine.upper()] if engine else ENGINES.get(code_file.suffix)
    if kind is None:
        raise ConfigurationError(f"cannot tell the engine from the name {code_file.name}: add --engine js or wasm")
    return Manifest(kind, replace(Limits(), **limits), Capability.USUAL).encode()


@click.group()
def content() -> None:
    """Keep the bytes that programs read by hash."""


@content.command()
@click.argument("files", metavar="FILE...", type=_FILE, nargs=-1, required=True)
@pass_context
def add(context: Context, files: tuple[Path, ...]) -> None:
    """
    Keep each FILE for this pool's workers and print its keccak-256 hash.

    A program reads it with `adyton.blob(hash)`; the enclave checks the bytes against the hash, so it matters not who
    keeps them. Workers on several machines need the file in each `data_dir`.
    """
    content_store = ContentStore(context.settings().content_dir)
    for file in files:
        click.echo(f"{hex_of(content_store.put(file.read_bytes()))}  {file}")


@content.command()
@click.argument("content_hash", metavar="HASH")
@pass_context
def get(context: Context, content_hash: str) -> None:
    """Write the bytes behind HASH to standard output."""
    wanted = parse_hex(content_hash, 32, "content hash")
    found = ContentStore(context.settings().content_dir).get(wanted)
    if found is None:
        raise ConfigurationError(f"no content {content_hash} in {context.settings().content_dir}: add it first")
    sys.stdout.buffer.write(found)
