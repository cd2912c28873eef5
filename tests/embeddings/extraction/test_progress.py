from __future__ import annotations

import logging

import pytest

from musicrec.embeddings.extraction import progress as module


def test_a_log_file_gets_lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = iter([0.0, 10.0, 40.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO), module.progress("toy", 1000) as advance:
        advance(50)
        advance(150)
    assert caplog.messages == ["toy: 200 of 1000 tracks, 5.0 tracks/s, 3 min left"]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: True, raising=False)
    with module.progress("toy", 4) as advance:
        advance(3)
        advance(1)
    assert "4/4" in capsys.readouterr().err
