"""README, docs and guides: links lead somewhere, lines are short, and commands compose."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from musicrec.config import config_dir
from musicrec.overrides import combined_experiments

ROOT = config_dir().parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob(".github/*.md")])
STAGE = re.compile(r"^ +python (?:prepare|extract|train|evaluate)\.py +(.*)$", re.M)


def names(pages: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in pages]


def commands() -> list[str]:
    """Returns the options of every stage command in the pages' indented blocks, continued lines joined."""
    found = {options for page in PAGES for options in STAGE.findall(page.read_text().replace("\\\n", " "))}
    return sorted(options for options in found if "…" not in options)


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_lines_are_short(page: Path) -> None:
    lines = page.read_text().splitlines()
    # Tables and blocks of commands or output cannot be wrapped.
    assert [line for line in lines if len(line) > 120 and not line.startswith(("|", "    "))] == []


def test_readme_is_short() -> None:
    """The layout is as long as the tree; what is to be read before it is not."""
    before_layout = (ROOT / "README.md").read_text().partition("## Layout")[0]
    assert len(before_layout.splitlines()) < 180


def test_readme_names_make_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert len(targets) <= 10
    for page in ("README.md", ".github/CONTRIBUTING.md"):
        named = set(re.findall(r"(?:^ +|`)make ([a-z-]+)", (ROOT / page).read_text(), re.M))
        assert named and named <= targets, f"{page} names {named - targets}"


@pytest.mark.parametrize("options", commands())
def test_commands_compose(compose: Callable[..., DictConfig], options: str) -> None:
    words = shlex.split(options.replace("$HOME", "/home/me"), comments=True)
    # Of a swept option the first value; options of Hydra itself are for the command line only.
    words = [re.sub(r"=range\(.*\)$", "=0", re.sub(r"=([^\[{(,]+),.*$", r"=\1", word)) for word in words]
    words = combined_experiments(words, lambda name: (config_dir() / "experiment" / name).is_dir())
    cfg = compose(*(word for word in words if word != "-m" and not word.startswith("hydra")))
    assert cfg.data.name
