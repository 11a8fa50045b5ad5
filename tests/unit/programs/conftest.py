"""One workbench for all tests here, and projects made from the templates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oracle.programs.creation import create
from oracle.programs.languages import LANGUAGES
from oracle.programs.project import Project
from oracle.programs.running import Workbench

MakeProject = Callable[..., Project]


@pytest.fixture(scope="session")
def bench() -> Iterator[Workbench]:
    with Workbench() as running:
        yield running


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    def make(lang: str = "js", name: str = "sample") -> Project:
        return create(tmp_path / name, LANGUAGES[lang])

    return make
