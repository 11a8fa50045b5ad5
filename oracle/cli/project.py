"""`new`, `build`, `run`, `test` and `publish`: a program from nothing to the chain."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from oracle.cli.context import Context, pass_context, print_json
from oracle.cli.program import ENGINES, publish_code
from oracle.cli.showing import run_as_json, show_run
from oracle.errors import ConfigurationError, ProjectError
from oracle.programs.building import Built
from oracle.programs.building import build as build_project
from oracle.programs.cases import load_cases, parse_bytes, read_blob, run_case
from oracle.programs.creation import create
from oracle.programs.languages import LANGUAGES, language
from oracle.programs.project import load, types_of
from oracle.programs.running import DEFAULT_CREATED_AT_S, Facts, Run, Workbench
from oracle.programs.values import encode_values
from oracle.types.ids import PoolId, hex_of, parse_hex
from oracle.types.pool import Pool
from oracle.types.program import Capability, Limits, Manifest
from oracle.types.receipt import Outcome

_FOLDER = click.Path(path_type=Path, file_okay=False)
_PROJECT = click.argument("directory", metavar="[PROJECT]", type=_FOLDER, default=".")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command()
@click.argument("directory", metavar="NAME", type=_FOLDER)
@click.option("--lang", "lang", default="js", show_default=True, metavar="LANGUAGE", help=f"{', '.join(LANGUAGES)}.")
def new(directory: Path, lang: str) -> None:
    """
    Make the project of a program in the new folder NAME, with a test.

    Then, in that folder: `adyton test`, `adyton run --abi uint256 100000`, `adyton build`, `adyton publish`.
    """
    project = create(directory, language(lang))
    click.echo(f"made {directory}: a program in {project.language.title}. Next: cd {directory} && adyton test")


@click.command()
@_PROJECT
@_JSON
def build(directory: Path, *, as_json: bool) -> None:
    """
    Build the project in PROJECT (this folder): its artifact and canonical manifest, under `build/`.

    Prints the program's id, which is the same on every chain and changes with every byte.
    """
    built = build_project(load(directory))
    built.write()
    if as_json:
        print_json(
            {
                "program_id": built.program_id,
                "artifact": str(built.code_file),
                "bytes": len(built.code),
                "manifest": str(built.manifest_file),
                "compiler": built.compiler,
            }
        )
        return
    click.echo(hex_of(built.program_id))
    place = built.code_file.relative_to(built.project.root)
    click.echo(f"built {place} ({len(built.code)} bytes; {built.compiler}) and its manifest", err=True)


@click.command()
@click.argument("path", metavar="[PROJECT|FILE]", type=click.Path(path_type=Path, exists=True), default=".")
@click.option("--input", "input_hex", metavar="HEX", help="Input as 0x… bytes.")
@click.option("--input-text", metavar="TEXT", help="Input as UTF-8 text.")
@click.option("--input-file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Input from a file.")
@click.option("--abi", "typed", nargs=2, multiple=True, metavar="TYPE VALUE", help="One argument of abi.encode, its value as JSON; again for more.")  # fmt: skip  # noqa: E501
@click.option("--returns", "returned", multiple=True, metavar="TYPE", help="How to decode the output; again for more. Default: the project's [abi].")  # fmt: skip  # noqa: E501
@click.option("--manifest", "manifest_file", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="For a FILE: its manifest instead of the default one.")  # fmt: skip  # noqa: E501
@click.option("--blob", "blobs", multiple=True, type=click.Path(path_type=Path, dir_okay=False, exists=True), help="A file that the program may read by its hash; again for more.")  # fmt: skip  # noqa: E501
@click.option(
    "--created-at",
    type=click.IntRange(0, 2**31 - 1),
    help=f"The request's time, unix seconds. Default: {DEFAULT_CREATED_AT_S}; now, for a program that fetches.",
)
@click.option("--nonce", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True, help="Another one is another request: other random numbers.")  # fmt: skip  # noqa: E501
@click.option("--pool-id", metavar="ID", help="Whose prices to reckon with. Default: the setting, if there is one.")
@click.option("--trace", "is_traced", is_flag=True, help="List every call of the host, in order.")
@_JSON
@pass_context
def run(
    context: Context,
    /,
    path: Path,
    input_hex: str | None,
    input_text: str | None,
    input_file: Path | None,
    typed: tuple[tuple[str, str], ...],
    returned: tuple[str, ...],
    manifest_file: Path | None,
    blobs: tuple[Path, ...],
    created_at: int | None,
    nonce: int,
    pool_id: str | None,
    *,
    is_traced: bool,
    as_json: bool,
) -> None:
    """
    Run a program on this machine in the enclave's own engine, and say what it took.

    PROJECT is built first; FILE is JavaScript or WebAssembly as it is. Outcome, output and fuel are what an enclave of
    this version would sign for the same request. The exit code is 0 only if the outcome is Completed.
    """
    given = _input(input_hex, input_text, input_file, typed)
    manifest, code, types = _program(path, manifest_file)
    types = types_of(list(returned), "--returns") if returned else types
    contents = tuple(read_blob(blob) for blob in blobs)
    parsed, pool = Manifest.parse(manifest), _pool(context, pool_id)
    with Workbench() as bench:
        done = bench.run(manifest, code, given, facts=_facts(parsed, created_at, nonce), blobs=contents)
    if as_json:
        print_json(run_as_json(done, parsed, types, pool))
    else:
        show_run(done, parsed, types, pool, is_traced=is_traced)
    click.get_current_context().exit(0 if done.outcome is Outcome.COMPLETED else 1)


@click.command()
@_PROJECT
@_JSON
def test(directory: Path, *, as_json: bool) -> None:
    """
    Build the project in PROJECT (this folder) and run the cases of its `tests/` in the enclave's own engine.

    The exit code is 0 only if all pass. docs/PROGRAMS.md says how cases are written.
    """
    built = build_project(load(directory))
    cases = load_cases(built.project)
    with Workbench() as bench:
        results = [(case, *run_case(built.project, bench, built.manifest, built.code, case)) for case in cases]
    failed = sum(bool(wrong) for _, _, wrong in results)
    if as_json:
        shown = [{"name": case.name, "wrong": wrong, **_summary(done)} for case, done, wrong in results]
        print_json({"passed": len(results) - failed, "failed": failed, "cases": shown})
    else:
        for case, done, wrong in results:
            click.echo(f"{'FAIL' if wrong else 'ok  '}  {case.name}  ({done.fuel_used:,} fuel)")
            for line in wrong:
                click.echo(f"        {line}")
        click.echo(f"{len(results) - failed} passed, {failed} failed", err=True)
    click.get_current_context().exit(1 if failed else 0)


@click.command()
@_PROJECT
@click.option("--off-chain", is_flag=True, help="Publish the hash only; workers need the file: `adyton content add`.")
@_JSON
@pass_context
def publish(context: Context, /, directory: Path, *, off_chain: bool, as_json: bool) -> None:
    """
    Build the project in PROJECT (this folder), publish it on chain and print its id.

    The same as `adyton build` and then `adyton program publish` of the artifact with its manifest, but that a program
    which no enclave would run is refused.
    """
    built = build_project(load(directory))
    with Workbench() as bench:
        bench.require_valid(built.manifest, built.code)
    built.write()
    publish_code(context, built.code_file.name, built.manifest, built.code, off_chain=off_chain, as_json=as_json)


def _summary(done: Run) -> dict[str, Any]:
    return {"outcome": done.outcome.name, "output": done.output, "fuel_used": done.fuel_used}


def _input(input_hex: str | None, text: str | None, file: Path | None, typed: tuple[tuple[str, str], ...]) -> bytes:
    if sum(value is not None for value in (input_hex, text, file)) + bool(typed) > 1:
        raise click.UsageError("give one of --input, --input-text, --input-file and --abi")
    if typed:
        return encode_values([kind for kind, _ in typed], [_json_value(kind, value) for kind, value in typed])
    if input_hex is not None:
        return parse_bytes(input_hex, "--input")
    return text.encode() if text is not None else file.read_bytes() if file is not None else b""


def _facts(manifest: Manifest, created_at_s: int | None, nonce: int) -> Facts:
    """Servers' certificates are judged by the request's time, so what fetches needs the present one."""
    if created_at_s is None:
        created_at_s = DEFAULT_CREATED_AT_S if manifest.fetch is None else int(time.time())
    return Facts(created_at_s, nonce)


def _json_value(kind: str, text: str) -> Any:
    """JSON; but an address or a word may stand there without quotes."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if text[:1] in ("[", "{", '"'):
            raise ProjectError(f"the value of {kind[:80]} is not JSON: {text[:80]!r}") from error
        return text


def _program(path: Path, manifest_file: Path | None) -> tuple[bytes, bytes, tuple[str, ...]]:
    if path.is_dir():
        if manifest_file is not None:
            raise ConfigurationError("--manifest is for a FILE: a project says its own in adyton-program.toml")
        built: Built = build_project(load(path))
        return built.manifest, built.code, built.project.output_types
    code = path.read_bytes()
    if manifest_file is not None:
        return manifest_file.read_bytes(), code, ()
    engine = ENGINES.get(path.suffix)
    if engine is None:
        raise ConfigurationError(f"cannot tell the engine from the name {path.name}: give --manifest, or rename it")
    return Manifest(engine, Limits(), Capability.USUAL).encode(), code, ()


def _pool(context: Context, pool_id: str | None) -> Pool | None:
    wanted = pool_id or context.settings().pool_id
    return Pool.from_id(PoolId(parse_hex(wanted, 32, "pool id"))) if wanted else None
