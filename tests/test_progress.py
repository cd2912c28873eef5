"""progress: a bar in a terminal, lines in a log file."""

from __future__ import annotations

import logging

import pytest

from musicrec import progress as module


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log file instead of a terminal, and a clock that is read at 0, 10 and 40 seconds."""
    times = iter([0.0, 10.0, 40.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: False, raising=False)


@pytest.mark.usefixtures("clock")
def test_a_log_file_gets_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), module.progress("toy", 1000) as advance:
        advance(50)
        advance(150)
    assert caplog.messages == ["toy: 200 of 1000 tracks, 5.0 tracks/s, 3 min left"]


@pytest.mark.usefixtures("clock")
def test_a_line_has_the_latest_note_and_the_speed_of_this_attempt(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), module.progress("run", 1000, unit="steps", done=600) as advance:
        advance(0, "epoch 7/10")
        advance(80)
    assert caplog.messages == ["run: 680 of 1000 steps, 2.0 steps/s, 3 min left, epoch 7/10"]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    with module.progress("toy", 4) as advance:
        advance(3)
        advance(1, "done")
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert "done" in shown
