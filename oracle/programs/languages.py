"""The languages that programs can be written in: the engine of each, where its project begins, what its template is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from oracle.errors import ProjectError
from oracle.types.program import Engine


@dataclass(frozen=True, slots=True)
class Language:
    """One language. `templates` are folders of `oracle/programs/templates`, the later ones on top."""

    name: str
    title: str
    engine: Engine
    entry: str
    templates: tuple[str, ...]

    @property
    def artifact_suffix(self) -> str:
        """How the built file's name ends."""
        return f".{self.engine.name.lower()}"


LANGUAGES: Final = {
    language.name: language
    for language in (
        Language("js", "JavaScript", Engine.JS, "src/main.js", ("all", "js-types", "js")),
        Language("ts", "TypeScript", Engine.JS, "src/main.ts", ("all", "js-types", "ts")),
        Language("c", "C", Engine.WASM, "src/main.c", ("all", "c")),
        Language("zig", "Zig", Engine.WASM, "src/main.zig", ("all", "zig")),
        Language("rust", "Rust", Engine.WASM, "src/main.rs", ("all", "rust")),
        Language("assemblyscript", "AssemblyScript", Engine.WASM, "src/main.ts", ("all", "assemblyscript")),
    )
}
_NOT_YET = {
    "python": (
        "Python programs are not offered: CPython as WebAssembly is at least 20 MB, a module may have 4 MiB; "
        "write it in js or ts, whose BigInt and abi come closest"
    )
}


def language(name: str) -> Language:
    """
    The language called `name`.

    Raises:
        ProjectError: there is none.
    """
    found = LANGUAGES.get(name)
    if found is None:
        raise ProjectError(_NOT_YET.get(name, f"no such language: {name[:40]!r}; there are {', '.join(LANGUAGES)}"))
    return found
