"""Damaged files: each file of a workspace empty, cut, overwritten or of another type, before each stage."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.hostile.trial import STAGES, Count, differing, results, run

Damage = Callable[[Path, random.Random], None]
# Made by other libraries, or not read by any stage.
_LEFT_OUT = ("audio", "logs", "wandb", "plots", "listen")


def make_world(root: Path) -> None:
    """Makes a workspace in which every stage has run."""
    for stage in ("extract", "train knn", "train shallow", "evaluate"):
        outcome = run(stage, root)
        assert outcome.error is None and outcome.crashed is None, (stage, outcome)


def _written(content: bytes) -> Damage:
    return lambda path, rng: _write(path, content)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _half(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _garbage(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(path.stat().st_size or 100))


def _flipped(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(8):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _tail(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: -rng.randint(1, min(40, len(content)))])


def _typed(path: Path, rng: random.Random) -> None:
    """Gives one entry of a JSON file another type."""
    content = json.loads(path.read_text())
    key = rng.choice(sorted(content))
    content[key] = rng.choice([None, 3, -1.5, "text", [], {}, [1], {"a": 1}, True])
    path.write_text(json.dumps(content))


def _missing(path: Path, rng: random.Random) -> None:
    path.unlink()


DAMAGES: dict[str, Damage] = {
    "empty": _written(b""),
    "half": _half,
    "garbage": _garbage,
    "flipped": _flipped,
    "without its end": _tail,
    "missing": _missing,
}
JSON_DAMAGES: dict[str, Damage] = {
    **{f"JSON {text}": _written(text.encode()) for text in ("[]", "{}", "3", '"text"', "null", "[[", "{}{}")},
    "another type in": _typed,
}


def cases(root: Path) -> list[tuple[str, str, str]]:
    """Returns all (stage, file, damage)."""
    files = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".lock"]
    files = [path for path in files if path.parts[0] not in _LEFT_OUT and not path.name.endswith(".lock")]
    kinds = {path: [*DAMAGES, *(JSON_DAMAGES if path.suffix == ".json" else ())] for path in files}
    return [(stage, str(path), damage) for path in files for damage in kinds[path] for stage in STAGES]


def try_case(world: Path, root: Path, case: tuple[str, str, str], seed: int) -> str | None:
    """Damages one file of a copy of the world and runs a stage; returns what was not clean."""
    stage, file, damage = case
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(world, root)
    expected = results(root)
    path = root / file
    (DAMAGES | JSON_DAMAGES)[damage](path, random.Random(seed))
    outcome = run(stage, root)
    if outcome.crashed:
        return f"crashed: {outcome.crashed[:300]}"
    if outcome.error is not None:
        if "\n" in outcome.error or len(outcome.error) > 1000:
            return f"more than a line: {outcome.error[:300]}"
        helps = any(word in outcome.error for word in ("python", "=", "data."))
        return None if helps else f"names no command: {outcome.error}"
    own = {name: frame for name, frame in expected.items() if name != file}
    if (wrong := differing(root, own)) and not any(path.stem in line or path.name in line for line in outcome.said):
        return f"{', '.join(wrong)} differ and nothing was said"
    return None


def trial(folder: Path, count: int, seed: int = 0) -> Count:
    """Tries `count` cases, chosen evenly over the damages by `seed`."""
    world = folder / "world"
    make_world(world)
    chosen = cases(world)
    random.Random(seed).shuffle(chosen)
    counted = Count("damaged files")
    for number, case in enumerate(chosen[:count]):
        counted.add(
            f"{case[0]} with {case[1]} {case[2]} (seed {seed + number})",
            try_case(world, folder / "trial", case, seed + number),
        )
    return counted
