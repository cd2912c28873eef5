"""W&B's login is what W&B itself finds; a server that does not answer is asked once a sweep; W&B's own sweeps."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from omegaconf import DictConfig

from musicrec import stages
from musicrec.config import config_dir
from musicrec.overrides import as_typed
from musicrec.tracking import wandb_access, wandb_runs
from musicrec.training.run_name import run_name
from tests.tracking.test_wandb_runs import SHORT, offline_runs, online


@pytest.fixture(autouse=True)
def forget_the_agent() -> Iterator[None]:
    """Makes wandb forget, after a test's environment is undone, that an agent of a sweep started this process."""
    yield
    wandb.teardown()


@pytest.fixture
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()
    yield
    monkeypatch.undo()
    wandb.teardown()


@pytest.mark.usefixtures("no_login")
@pytest.mark.parametrize("host", [None, "https://wandb.example.org"])
def test_the_login_is_where_wandb_puts_it(tmp_path: Path, host: str | None) -> None:
    assert not wandb_access.logged_in()
    if host:
        settings = tmp_path / "config" / "settings"
        settings.parent.mkdir()
        settings.write_text(f"[default]\nbase_url = {host}\n")
    wandb.teardown()
    server = str(wandb.setup().settings.base_url)
    name = server.removeprefix("https://")
    (tmp_path / "netrc").write_text(f"machine {name}\n  login user\n  password {'0' * 40}\n")
    (tmp_path / "netrc").chmod(0o600)
    wandb.teardown()
    assert host is None or server == host
    assert wandb_access.logged_in()
    (tmp_path / "netrc").write_text(f"machine other.example.org\n  login user\n  password {'0' * 40}\n")
    wandb.teardown()
    assert not wandb_access.logged_in()


def test_nobody_listens_at_a_closed_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert wandb_access.unreachable(f"http://127.0.0.1:{port}") is None
    reason = wandb_access.unreachable(f"http://127.0.0.1:{port}")
    assert reason is not None
    assert reason.startswith("127.0.0.1: ")
    assert wandb_access.unreachable("http://no-such-host.invalid:80") is not None


def test_a_proxy_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert wandb_access.unreachable("https://no-such-host.invalid") is None


def test_a_sweep_asks_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    started = online(monkeypatch, fails=True)
    asked: list[str] = []

    def unreachable(url: str) -> str:
        asked.append(url)
        return "api.example.org: no route"

    monkeypatch.setattr(wandb_access, "sweep_folder", lambda: tmp_path / "sweep")
    monkeypatch.setattr(wandb_access, "unreachable", unreachable)
    for run in ("a", "b", "c"):
        assert wandb_runs.start_run(str(tmp_path), run, mode="online") is not None
    assert len(asked) == 1
    assert [options["mode"] for options in started] == ["offline"] * 3
    assert caplog.text.count("W&B does not answer; the run is logged offline: api.example.org: no route") == 3


def test_the_documented_sweep_runs_and_a_drawn_duplicate_says_so(
    compose: Callable[..., DictConfig], tiny_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (config_dir().parent / "docs" / "wandb.md").read_text()
    block = re.search(r"(?:^    .*\n)+", text[text.index("    program: train.py") :], re.MULTILINE)
    assert block is not None
    sweep = yaml.safe_load(block[0])
    assert sweep["program"] == "train.py" and (config_dir().parent / sweep["program"]).is_file()
    values: dict[str, Any] = {
        key: drawn["values"][1] if "values" in drawn else drawn["min"] for key, drawn in sweep["parameters"].items()
    }
    words = [f"{key}={value}" for key, value in values.items()]
    command = [word for word in sweep["command"] if not word.startswith("${")]
    assert sweep["command"][:2] == ["${interpreter}", "${program}"] and sweep["command"][-1] == "${args_no_hyphens}"
    overrides = as_typed([*command, *words])

    short = [word for word in SHORT if not word.startswith(("recommender=", "embedding"))]
    cfg = compose(*short, *overrides, "embedding=random", "logger=wandb", "eval.k=50", "eval.top_k=50")
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    stages.train(cfg)
    stages.train(cfg)
    first, again = offline_runs(tiny_workspace)
    assert first.run["name"] == again.run["name"] == run_name(cfg)
    assert "finished already" not in first.run["tags"]
    assert "finished already" in again.run["tags"]
    assert again.summary["note"] == "finished already"
    name = sweep["metric"]["name"]
    assert again.summary[name] == first.summary[name]
    assert first.summary[f"{name} conf95"] > 0
    assert first.summary["device"] == "cpu"
    assert first.summary["seconds"] > 0


def test_an_agents_run_keeps_the_id_that_the_agent_chose(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started = online(monkeypatch)
    monkeypatch.setattr(wandb_access, "unreachable", lambda url: None)
    monkeypatch.setenv("WANDB_RUN_ID", "chosen01")
    wandb_runs.start_run(str(tmp_path), "a", mode="online")
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    wandb_runs.start_run(str(tmp_path), "b", mode="online")
    assert started[0]["id"] != "chosen01"
    assert started[1]["id"] == "chosen01"
