"""Build a project: the artifact and its canonical manifest, written under `build/`, and the program id they give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oracle.errors import ProjectError
from oracle.programs.compilers import compile_project
from oracle.programs.project import BUILD_DIR, Project
from oracle.types.ids import ProgramId
from oracle.types.program import Program

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class Built:
    """What `build` made."""

    project: Project
    code: bytes
    manifest: bytes
    compiler: str

    @property
    def program_id(self) -> ProgramId:
        """The id that this program has on every chain."""
        return Program.of(self.manifest, self.code).program_id

    @property
    def code_file(self) -> Path:
        """Where `write` puts the artifact."""
        return self.project.inside(Path(BUILD_DIR, self.project.name + self.project.language.artifact_suffix))

    @property
    def manifest_file(self) -> Path:
        """Where `write` puts the manifest."""
        return self.project.inside(Path(BUILD_DIR, MANIFEST_FILE))

    def write(self) -> None:
        """
        Write both files.

        Raises:
            ProjectError: they cannot be written.
        """
        try:
            self.code_file.parent.mkdir(exist_ok=True)
            self.code_file.write_bytes(self.code)
            self.manifest_file.write_bytes(self.manifest)
        except OSError as error:
            raise ProjectError(f"{BUILD_DIR}/ cannot be written: {error.strerror}") from error


def build(project: Project) -> Built:
    """Compile `project`. Raises as `compile_project`."""
    compiled = compile_project(project)
    return Built(project, compiled.code, project.manifest.encode(), compiled.compiler)
