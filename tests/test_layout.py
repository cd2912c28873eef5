"""The README's Layout equals the tree, folders stay small, and the tests mirror the package."""

import re
import textwrap
from pathlib import Path

import pytest

from musicrec.config import config_dir

ROOT = config_dir().parent
LISTED = ("conf/", "musicrec/")  # their files are named one by one; other folders are only described
NAMES_AT = 24  # column at which the names start
MOST_MODULES = 17

Names = dict[str, set[str]]  # folder -> names


def ignored(root: Path) -> set[str]:
    """Returns the folders that .gitignore names: what the stages and tools leave."""
    return {line for line in (root / ".gitignore").read_text().splitlines() if line.endswith("/")}


def tree(root: Path) -> Names:
    """Returns folder -> names as the Layout lists them: modules and YAML files without extension, others with it."""
    names: Names = {"./": {path.name for path in root.glob("*.py")}}
    for top in root.iterdir():
        if top.is_dir() and not top.name.startswith(".") and f"{top.name}/" not in ignored(root):
            names[f"{top.name}/"] = set()
    for path in (path for top in LISTED for path in (root / top).rglob("*")):
        folder = f"{path.parent.relative_to(root).as_posix()}/"
        if path.is_file() and "__pycache__" not in folder and folder != "conf/local/":
            for parent in path.relative_to(root).parents[:-1]:
                names.setdefault(f"{parent.as_posix()}/", set())
            if path.name != "__init__.py":
                names[folder].add(path.stem if path.suffix in (".py", ".yaml") else path.name)
    return names


def read_layout(readme: str) -> tuple[Names, dict[str, str]]:
    """Returns folder -> names and folder -> description from the indented block below the heading Layout."""
    block = re.search(r"^## Layout\n\n((?:    .*\n)+)", readme, re.M)
    assert block, "README.md has no indented block below '## Layout'"
    names: Names = {}
    described: dict[str, str] = {}
    above: list[str] = []
    for line in textwrap.dedent(block[1]).splitlines():
        text = line.strip()
        if not line.startswith(" " * NAMES_AT):  # else the line continues the folder above it
            label, _, text = text.partition("/")
            above = [*above[: (len(line) - len(line.lstrip())) // 2], f"{label}/"]
            names["".join(above)] = set()
        folder = "".join(above)
        if folder not in described:
            listed, comment, text = text.partition("#")
            names[folder].update(listed.split())
            described |= {folder: ""} if comment else {}
        if folder in described:
            described[folder] = f"{described[folder]} {text.strip()}".strip()
    return names, described


def write_layout(names: Names, described: dict[str, str]) -> str:
    """Returns the block as README.md should show it."""
    lines = []
    for folder in sorted(names):
        parts = folder.rstrip("/").split("/")
        label = f"{'  ' * (len(parts) - 1)}{parts[-1]}/"
        text = " ".join(sorted(names[folder], key=str.casefold))
        text = f"{text}  # {described[folder]}".lstrip() if folder in described else text
        wrapped = textwrap.wrap(text, 116 - NAMES_AT, break_on_hyphens=False, break_long_words=False) or [""]
        lines += [f"{label:{NAMES_AT}}{wrapped[0]}".rstrip(), *(" " * NAMES_AT + more for more in wrapped[1:])]
    return "".join(f"    {line}\n" for line in lines)


def differences(root: Path, readme: str) -> list[str]:
    """Returns a line for each name that only the tree or only the README's Layout has."""
    real, (listed, _) = tree(root), read_layout(readme)
    outputs = listed.keys() & ignored(root)
    lines = [f"{folder} is not in the README" for folder in sorted(real.keys() - listed.keys())]
    lines += [f"{folder} is not in the tree" for folder in sorted(listed.keys() - real.keys() - outputs)]
    for folder in sorted(real.keys() & listed.keys()):
        if folder == "./" or folder.startswith(LISTED):
            lines += [f"{folder}{name} is not in the README" for name in sorted(real[folder] - listed[folder])]
            lines += [f"{folder}{name} is not in the tree" for name in sorted(listed[folder] - real[folder])]
    return lines


def test_layout_equals_the_tree() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found = differences(ROOT, readme)
    if found:
        listed, described = read_layout(readme)
        outputs = {folder: set[str]() for folder in listed.keys() & ignored(ROOT)}
        block = write_layout(tree(ROOT) | outputs, described)
        pytest.fail("\n".join([*found, "", "README.md should say below '## Layout':", "", block]), pytrace=False)


def test_folders_hold_few_modules() -> None:
    for folder in {path.parent for path in (ROOT / "musicrec").rglob("*.py")}:
        modules = [path.stem for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= MOST_MODULES, f"{folder.relative_to(ROOT)} has {len(modules)} modules: divide it"


def test_tests_mirror_the_package() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("*.py")}
    folders -= {Path("hostile")}  # trials of all stages together
    strangers = [str(folder) for folder in folders if not (ROOT / "musicrec" / folder / "__init__.py").is_file()]
    assert strangers == [], "folders of tests/ without a counterpart in musicrec/"


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, str]:
    """Returns a made-up tree and a README whose Layout fits it."""
    files = """run.py conf/config.yaml conf/a/b/x.yaml conf/local/mine.yaml docs/page.md .git/x multirun/x
        musicrec/__init__.py musicrec/cli.py musicrec/py.typed musicrec/audio/__init__.py musicrec/audio/decode.py
        musicrec/audio/library.py musicrec/audio/__pycache__/decode.pyc"""
    for name in files.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".gitignore").write_text("multirun/\nworkspaces/\n")
    layout = """\
    ./                      run.py
    conf/                   config  # Hydra groups
      a/
        b/                  x
    docs/                   # explained
                            in two lines
    multirun/               # outputs of sweeps
    musicrec/               cli py.typed
      audio/                decode
                            library  # files
    """
    return tmp_path, f"# x\n\n## Layout\n\n{layout.rstrip(' ')}\nafter\n"


def test_equal_tree_has_no_differences(small: tuple[Path, str]) -> None:
    root, readme = small
    assert differences(root, readme) == []
    names, described = read_layout(readme)
    assert described["docs/"] == "explained in two lines"
    rewritten = f"## Layout\n\n{write_layout(names, described)}"
    assert read_layout(rewritten) == (names, described)


@pytest.mark.parametrize(
    ("path", "folders", "found"),
    [
        ("musicrec/audio/speed.py", [], ["musicrec/audio/speed is not in the README"]),
        ("musicrec/new/__init__.py", ["musicrec/new"], ["musicrec/new/ is not in the README"]),
        ("conf/a/b/y.yaml", [], ["conf/a/b/y is not in the README"]),
        ("play.py", [], ["./play.py is not in the README"]),
        ("notebooks/one.ipynb", ["notebooks"], ["notebooks/ is not in the README"]),
    ],
)
def test_addition_is_found(small: tuple[Path, str], path: str, folders: list[str], found: list[str]) -> None:
    root, readme = small
    for folder in folders:
        (root / folder).mkdir()
    (root / path).touch()
    assert differences(root, readme) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("musicrec/audio/library.py", ["musicrec/audio/library is not in the tree"]),
        ("conf/a/b/x.yaml", ["conf/a/ is not in the tree", "conf/a/b/ is not in the tree"]),
        ("run.py", ["./run.py is not in the tree"]),
    ],
)
def test_removal_is_found(small: tuple[Path, str], path: str, found: list[str]) -> None:
    root, readme = small
    (root / path).unlink()
    assert differences(root, readme) == found
