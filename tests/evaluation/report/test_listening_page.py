"""What a user played and was recommended, with the files to play."""

import html
import re
import threading
import urllib.parse
import urllib.request
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from musicrec.errors import MusicrecError
from musicrec.evaluation.report.listening_page import Entry, UserView, inspect_user, print_user, write_user
from musicrec.evaluation.runs import find_runs
from musicrec.workspace import TrackIndex
from tests.evaluation.made_up import MadeUp


@pytest.fixture
def view(made_up: MadeUp) -> UserView:
    made_up.run("knn", "musicnn", 1)
    made_up.run("bert", "musicnn", 3)
    TrackIndex([f"t{i:02d}" for i in range(40)]).save(made_up.workspace.track_index)
    files = {f"t{i:02d}": Path(f"music/t{i:02d}.flac") for i in range(30)}
    return inspect_user(made_up.workspace, "user1", find_runs(made_up.workspace), files, k=5)


def test_lists(view: UserView) -> None:
    # user1 holds out tracks 3 and 4; trained on those 10 and 20 further; the odd user's hits stand one lower.
    assert {entry.track for entry in view.history} == {"t13", "t14", "t23", "t24"}
    assert [entry.track for entry in view.held_out] == ["t03", "t04"]
    assert [entry.track for entry in view.lists["knn_musicnn_s0"]] == ["t00", "t03", "t04", "t01", "t02"]
    assert [entry.hit for entry in view.lists["bert_musicnn_s0"]] == [False, False, False, True, True]
    assert view.lists["knn_musicnn_s0"][1].path == Path("music/t03.flac")


def test_print_and_page(view: UserView, made_up: MadeUp, capsys: pytest.CaptureFixture[str]) -> None:
    print_user(view)
    printed = capsys.readouterr().out
    assert "✓ music/t03.flac" in printed and "knn_musicnn_s0" in printed and "bert_musicnn_s0" in printed
    path = write_user(made_up.workspace, view)
    text = path.read_text()
    assert path.name == "user1.html" and text.count("<audio") == sum(map(len, view.lists.values())) + 4 + 2
    assert text.count('class="hit"') == 2 + 2 + 2
    assert "file://" not in text
    print_user(view, {"knn_musicnn_s0"})
    assert "bert_musicnn_s0" not in capsys.readouterr().out


def test_players_find_their_files_through_a_web_server(view: UserView, made_up: MadeUp, tmp_path: Path) -> None:
    music = tmp_path / "elsewhere" / "R&B (ä, #1)"
    music.mkdir(parents=True)
    (music / "t03.flac").write_bytes(b"sound")
    here = UserView("x", [Entry("t03", music / "t03.flac")], [], {})
    path = write_user(made_up.workspace, here)
    (source,) = re.findall(r'src="([^"]+)"', path.read_text())
    handler = partial(SimpleHTTPRequestHandler, directory=str(path.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{html.unescape(source)}") as answer:
            assert answer.read() == b"sound"
        server.shutdown()
    assert (path.parent / urllib.parse.unquote(html.unescape(source))).read_bytes() == b"sound"


def test_without_index_or_files_the_idx_is_shown(made_up: MadeUp) -> None:
    made_up.run("knn", "musicnn", 1)
    view = inspect_user(made_up.workspace, "user1", find_runs(made_up.workspace))
    assert view.lists["knn_musicnn_s0"][1].text == "✓ 3"


def test_unknown_user(made_up: MadeUp) -> None:
    with pytest.raises(MusicrecError, match="inspect.user=nobody: unknown user; .* include user0"):
        inspect_user(made_up.workspace, "nobody", [])
