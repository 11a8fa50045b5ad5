"""Project files and folders of any origin: read strictly, refused with one sentence, never followed outside."""

from __future__ import annotations

import pytest

from oracle.errors import AdytonError, ConfigurationError, LimitExceededError, ProjectError
from oracle.programs.building import build
from oracle.programs.creation import create
from oracle.programs.languages import LANGUAGES, language
from oracle.programs.project import MAX_FILES, MAX_TEXT_BYTES, PROJECT_FILE, load
from oracle.types.program import Limits, Manifest, Program

GOOD = 'name = "sample"\nlang = "js"\n'


@pytest.mark.parametrize("lang", LANGUAGES)
def test_create_each_language_gives_a_project_that_loads(make_project, lang):
    project = make_project(lang)
    assert load(project.root) == project
    assert project.manifest.engine is LANGUAGES[lang].engine
    assert (project.root / ".gitignore").read_text() == "/build/\n/node_modules/\n"
    assert "sample" in (project.root / "README.md").read_text()


def test_create_where_something_is_changes_nothing(make_project):
    project = make_project()
    with pytest.raises(ProjectError, match="exists already"):
        create(project.root, LANGUAGES["c"])
    assert load(project.root) == project


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "a.js", "a" * 65, "ä"])
def test_create_name_that_cannot_be_one_is_refused(tmp_path, name):
    with pytest.raises(ProjectError, match=r"is no name|exists"):
        create(tmp_path / name, LANGUAGES["js"])


def test_language_python_is_said_not_to_be_there():
    with pytest.raises(ProjectError, match=r"Python programs are not offered.*4 MiB"):
        language("python")
    with pytest.raises(ProjectError, match="no such language: 'cobol'; there are js, ts"):
        language("cobol")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks 'lang'"),
        ("name = ", "is not TOML"),
        ("name = 3\nlang = 'js'", "name must be a text"),
        ('name = "../x"\nlang = "js"', "is no name"),
        ('name = "x"\nlang = "lisp"', "no such language"),
        (GOOD + "extra = 1", "does not know 'extra'"),
        (GOOD + 'entry = "../other/main.js"', "leads out of the project"),
        (GOOD + 'entry = "/etc/passwd"', "leads out of the project"),
        (GOOD + 'entry = "src/absent.js"', "is no file"),
        (GOOD + 'entry = "src"', "is no file"),
        (GOOD + 'entry = "a\\u0000b"', "must be a text"),
        (GOOD + 'capabilities = ["root"]', "must be a list out of"),
        (GOOD + "capabilities = [1]", "must be a list out of"),
        (GOOD + "limits = 3", "must be a table"),
        (GOOD + "[limits]\nfuel = 0", "limits.fuel must be an integer from 1"),
        (GOOD + "[limits]\nfuel = true", "limits.fuel must be an integer from 1"),
        (GOOD + f"[limits]\nfuel = {2**60}", "limits.fuel must be an integer from 1"),
        (GOOD + "[limits]\ntime = 1", "does not know 'time'"),
        (GOOD + "[abi]\ninput = 'uint256'", "must be a list"),
        (GOOD + "[abi]\ninput = ['uint257']", "is no ABI type"),
        (GOOD + f"[abi]\ninput = ['uint8{'[]' * 40}']", "is too large"),
        (GOOD + f"[abi]\ninput = {['bool'] * 65}", "at most 64"),
        ("a." * 20_000 + "b = 1", "more than 500 dots"),
    ],
)
def test_load_project_file_that_is_wrong_is_one_sentence(make_project, text, said):
    root = make_project().root
    (root / PROJECT_FILE).write_text(text)
    with pytest.raises(AdytonError, match=said) as caught:
        load(root)
    assert len(str(caught.value)) < 500


def test_load_project_file_over_the_cap_is_refused(make_project):
    root = make_project().root
    (root / PROJECT_FILE).write_bytes(b"#" * (MAX_TEXT_BYTES + 1))
    with pytest.raises(LimitExceededError, match="over the limit"):
        load(root)


def test_load_no_project_says_how_to_make_one(tmp_path):
    with pytest.raises(ProjectError, match="adyton new NAME"):
        load(tmp_path)


def test_load_entry_by_a_link_out_of_the_project_is_refused(make_project, tmp_path):
    root = make_project().root
    (tmp_path / "secret.js").write_text("function main() {}")
    (root / "src" / "main.js").unlink()
    (root / "src" / "main.js").symlink_to(tmp_path / "secret.js")
    with pytest.raises(ProjectError, match="leads out of the project"):
        load(root)


def test_sources_links_and_too_many_files_are_refused(make_project, tmp_path):
    project = make_project("zig")
    (project.root / "src" / "more.zig").symlink_to(tmp_path)
    with pytest.raises(ProjectError, match="is not a regular file"):
        list(project.sources())
    (project.root / "src" / "more.zig").unlink()
    for number in range(MAX_FILES):
        (project.root / "src" / f"{number}.txt").touch()
    with pytest.raises(LimitExceededError, match="number of files"):
        list(project.sources())


def test_build_writes_artifact_and_canonical_manifest(make_project):
    built = build(make_project())
    built.write()
    manifest = (built.project.root / "build" / "manifest.json").read_bytes()
    code = (built.project.root / "build" / "sample.js").read_bytes()
    assert Manifest.parse(manifest).encode() == manifest
    assert Manifest.parse(manifest).limits == Limits(fuel=2_000_000_000)
    assert Program.of(manifest, code).program_id == built.program_id


def test_build_folder_that_is_a_link_elsewhere_is_refused(make_project, tmp_path):
    project = make_project()
    (tmp_path / "elsewhere").mkdir()
    (project.root / "build").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ProjectError, match="leads out of the project"):
        build(project).write()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_build_artifact_over_what_engines_take_is_refused(make_project):
    project = make_project()
    (project.root / "src" / "main.js").write_text("function main() {}" + " " * (4 << 20))
    with pytest.raises(LimitExceededError, match="size of the artifact"):
        build(project)


def test_build_typescript_that_does_not_parse_gives_the_compilers_words(make_project):
    project = make_project("ts")
    (project.root / "src" / "main.ts").write_text("export function main( {")
    with pytest.raises(ProjectError, match=r"esbuild refuses the program:\n(.|\n)*src/main.ts:1"):
        build(project)


def test_build_javascript_that_imports_is_bundled_and_settings_above_do_not_matter(make_project, tmp_path, bench):
    project = make_project("js")
    (project.root / "src" / "main.js").write_text(
        "import { Twice } from './twice.js';\nexport const main = () => new Twice().x;"
    )
    (project.root / "src" / "twice.js").write_text("export class Twice { x = 'ab'.repeat(2) }")
    before = build(project)
    (tmp_path / "tsconfig.json").write_text(
        '{"compilerOptions": {"useDefineForClassFields": false, "target": "es2015"}}'
    )
    assert build(project).code == before.code
    assert bench.run(before.manifest, before.code, b"").output == b"abab"


def test_build_import_from_outside_the_project_is_refused(make_project, tmp_path):
    project = make_project("ts")
    (tmp_path / "outside.ts").write_text("export const x = 1;")
    (project.root / "src" / "main.ts").write_text(
        "import { x } from '../../outside'; export const main = () => String(x);"
    )
    with pytest.raises(ProjectError, match="leads out of the project"):
        build(project)


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        ("rust", "no `rustc` here: .*rustup target add wasm32-unknown-unknown"),
        ("ts", "no `esbuild` here: run `npm install` in sample/"),
        ("js", "no `esbuild` here: run `npm install --prefix . esbuild` in sample/"),
        ("assemblyscript", "no `asc` here: run `npm install` in sample/"),
        ("zig", r"no Zig compiler here: run `pip install 'adyton\[build\]'`"),
    ],
)
def test_build_compiler_that_is_not_here_says_how_to_get_it(make_project, monkeypatch, lang, said):
    project = make_project(lang)
    (project.root / "src" / "main.js").write_text("export function main() {}")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=said):
        build(project)
