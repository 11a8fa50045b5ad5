"""Make a project out of the templates that come with this package. Nothing that is there is overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from oracle.errors import ProjectError
from oracle.programs.languages import Language
from oracle.programs.project import PROJECT_FILE, Project, check_name, load

TEMPLATES: Final = Path(__file__).parent / "templates"
_PROJECT_TEXT = """\
name = "{name}"
lang = "{language}"
entry = "{entry}"
capabilities = []  # "blob": read content by its hash

[abi]  # what goes in and out
input = ["uint256"]
output = ["uint256"]

[limits]  # of one run; left out: the defaults of docs/PROGRAMS.md
fuel = 2_000_000_000
memory_bytes = 67_108_864
"""
_README_TEXT = """\
# {name}
A program for Adyton in {title}: how many primes are there up to n?

    adyton test                          # runs tests/cases.toml in the enclave's engine
    adyton run --abi uint256 100000      # one run, with fuel, memory and guest calls
    adyton build                         # build/{artifact} and build/manifest.json
    adyton publish                       # on chain, with the settings of ADYTON_CONFIG

Source: `{entry}`. What goes in and out, and the limits: `{project_file}`.
"""


def create(directory: Path, language: Language) -> Project:
    """
    Make a project in the new folder `directory`, whose name becomes the project's.

    Raises:
        ProjectError: the name will not do, or the folder is there already.
    """
    name = check_name(directory.name)
    try:
        directory.mkdir()
    except FileExistsError as error:
        raise ProjectError(f"{directory} exists already: choose another name") from error
    except OSError as error:
        raise ProjectError(f"{directory} cannot be made: {error.strerror}") from error
    for template in language.templates:
        _copy(TEMPLATES / template, directory)
    words = {
        "name": name,
        "language": language.name,
        "title": language.title,
        "entry": language.entry,
        "artifact": name + language.artifact_suffix,
        "project_file": PROJECT_FILE,
    }
    (directory / PROJECT_FILE).write_text(_PROJECT_TEXT.format(**words))
    (directory / "README.md").write_text(_README_TEXT.format(**words))
    return load(directory)


def _copy(template: Path, directory: Path) -> None:
    for source in sorted(template.rglob("*")):
        if source.is_file():
            relative = source.relative_to(template)
            target = directory / relative.with_name(relative.name.replace("dot-", ".", 1))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
