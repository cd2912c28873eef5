"""Fetching the published weights, from a server on this machine that breaks off, forgets and refuses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from musicrec.embeddings.checkpoints.jukebox_download import fetch, part_of, published
from musicrec.embeddings.jukemir import JukeMIR
from musicrec.errors import MusicrecError

DATA = Path(__file__).parents[2] / "golden" / "jukebox"


class Server:
    """A web server whose faults can be set.

    Attributes:
        files: path -> content.
        requests: path and Range header of each request, in order.
        break_after: bytes after which a connection is closed; None = never.
        ranges: whether parts of a file are given.
        version: the ETag.
        tell_length: whether Content-Length is sent.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.break_after: int | None = None
        self.ranges = True
        self.version = '"1"'
        self.tell_length = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.requests.append((request.path, wanted))
        content = self.files.get(request.path)
        if content is None:
            request.send_error(404)
            return
        start = 0
        if wanted and self.ranges and request.headers.get("If-Range") == self.version:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.tell_length:
            request.send_header("Content-Length", str(len(content) - start))
        request.send_header("ETag", self.version)
        request.end_headers()
        end = len(content) if self.break_after is None else start + self.break_after
        request.wfile.write(content[start:end])
        request.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSICREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


CONTENT = bytes(range(256)) * 4000


def begin(server: Server, folder: Path, content: bytes) -> None:
    """Writes what an earlier call has left behind."""
    part = part_of(f"{server.url}/a", folder / "a")
    part.write_bytes(content)
    part.with_suffix(".part.version").write_text(server.version)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_whole_file(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    fetch(f"{server.url}/a", tmp_path / "new" / "a", len(CONTENT))
    assert (tmp_path / "new" / "a").read_bytes() == CONTENT
    assert left(tmp_path / "new") == ["a"]


def test_goes_on_where_the_connection_broke(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    server.break_after = 300_000
    fetch(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.requests] == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_goes_on_in_a_later_call(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    begin(server, tmp_path, CONTENT[:1000])
    fetch(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert server.requests == [("/a", "bytes=1000-")]
    assert left(tmp_path) == ["a"]


def test_part_that_is_whole_already(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    begin(server, tmp_path, CONTENT)
    fetch(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("change", ["version", "ranges", "unknown version", "longer"])
def test_starts_anew_where_the_part_does_not_fit(change: str, server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    begin(server, tmp_path, b"x" * (len(CONTENT) + 1 if change == "longer" else 1000))
    if change == "version":
        server.version = '"2"'
    elif change == "ranges":
        server.ranges = False
    elif change == "unknown version":
        part_of(f"{server.url}/a", tmp_path / "a").with_suffix(".part.version").write_text("")
    fetch(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_gives_up_without_progress_and_keeps_the_part(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    server.break_after = 0
    with pytest.raises(OSError, match="closed too early"):
        fetch(f"{server.url}/a", tmp_path / "a")
    assert not (tmp_path / "a").exists()
    server.break_after = None
    fetch(f"{server.url}/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_gives_up_where_nothing_can_be_continued(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    server.version = ""
    server.break_after = 1000
    with pytest.raises(OSError, match="closed too early"):
        fetch(f"{server.url}/a", tmp_path / "a")
    assert len(server.requests) == 5


@pytest.mark.parametrize("tell_length", [True, False])
def test_too_short_to_be_the_weights(tell_length: bool, server: Server, tmp_path: Path) -> None:
    server.files["/a"] = b"<html>moved</html>"
    server.tell_length = tell_length
    with pytest.raises(ValueError, match="it has 18 bytes, the weights have at least 1000"):
        fetch(f"{server.url}/a", tmp_path / "a", 1000)
    assert left(tmp_path) == []


def test_no_space(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/a"] = CONTENT
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(ValueError, match=r"0\.0 GB needed"):
        fetch(f"{server.url}/a", tmp_path / "a")


def test_both_files_from_the_first_address_that_has_them(server: Server, cache: Path) -> None:
    least = {"vqvae.pth.tar": 10, "prior_level_2.pth.tar": 10}
    for name in least:
        server.files[f"/second/{name}"] = (DATA / name).read_bytes()
    addresses = [f"{server.url}/first/", f"{server.url}/second"]
    folder = published(addresses, least)
    assert folder == cache / "jukebox" / "5b"
    for name in least:
        assert (folder / name).read_bytes() == (DATA / name).read_bytes()
    asked = len(server.requests)
    assert published(addresses, least) == folder
    assert len(server.requests) == asked


def test_every_address_keeps_its_part(server: Server, tmp_path: Path) -> None:
    server.files |= {"/one/a": CONTENT, "/two/a": CONTENT[::-1]}
    one, two = (f"{server.url}/{folder}/a" for folder in ("one", "two"))
    part_of(one, tmp_path / "a").write_bytes(CONTENT[:1000])
    with pytest.raises(OSError, match="404"):
        fetch(f"{server.url}/nowhere/a", tmp_path / "a")
    assert part_of(one, tmp_path / "a").read_bytes() == CONTENT[:1000]
    fetch(two, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == CONTENT[::-1]
    assert left(tmp_path) == ["a"]


def test_unreachable_tells_the_way_by_hand(cache: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(MusicrecError) as error:
            JukeMIR(mirror=address).load()
    message = str(error.value)
    assert message.startswith("the weights of Jukebox 5b cannot be fetched (" + address)
    assert "refused" in message
    assert "embedding.checkpoint=FOLDER" in message
    assert "\n" not in message
    assert "Noncommercial" in next((cache / "licences").iterdir()).read_text()


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MUSICREC_CACHE", str(tmp_path / "file"))
    with pytest.raises(MusicrecError, match="set MUSICREC_CACHE to a folder with 16 GB"):
        JukeMIR().load()


def test_a_page_instead_of_the_weights(server: Server) -> None:
    server.files["/vqvae.pth.tar"] = b"<html>sign in</html>"
    with pytest.raises(MusicrecError, match=r"it has 20 bytes, the weights have at least 7000000"):
        JukeMIR(mirror=server.url).load()
    with pytest.raises(MusicrecError, match="HTTP Error 404|Not Found"):
        JukeMIR(mirror=f"{server.url}/nowhere").load()


@pytest.mark.parametrize("mirror", ["nonsense", "ftp://127.0.0.1:1", "file:///nowhere"])
def test_addresses_that_are_none(mirror: str) -> None:
    with pytest.raises(MusicrecError, match="cannot be fetched"):
        JukeMIR(mirror=mirror).load()
