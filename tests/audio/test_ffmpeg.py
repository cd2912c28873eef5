"""Containers that libsndfile does not read, made and decoded by the real ffmpeg program."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicrec.audio.decode import AudioError, decode, load_audio
from musicrec.audio.library import scan

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not on the PATH")

RATE = 44_100
SECONDS = 3.0


def tone(channels: int) -> np.ndarray:
    """Returns tones of different loudness, (samples, channels)."""
    time = np.arange(int(RATE * SECONDS)) / RATE
    wave = np.sin(2 * np.pi * 440 * time) * np.linspace(0.1, 0.6, len(time))
    return (wave[:, None] * np.linspace(1.0, 0.4, channels)).astype(np.float32)


def made(path: Path, *options: str, channels: int = 2) -> Path:
    """Makes `path` by ffmpeg from a tone."""
    source = path.with_name("source.wav")
    soundfile.write(source, tone(channels), RATE, subtype="FLOAT")
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(source), *options, str(path)]
    subprocess.run(command, check=True)
    source.unlink()
    return path


@pytest.mark.parametrize(
    ("name", "options", "channels"),
    [
        ("clip.m4a", "-c:a aac -b:a 192k", 2),
        ("surround.m4a", "-c:a aac -b:a 384k", 6),
        ("lossless.m4a", "-c:a alac", 2),
        ("clip.aac", "-c:a aac -b:a 192k", 2),
        ("clip.wma", "-c:a wmav2 -b:a 192k", 2),
        ("video.mp4", "-f lavfi -i testsrc=size=64x64:rate=5:duration=3 -c:v mpeg4 -c:a aac", 2),
        ("video.mkv", "-f lavfi -i testsrc=size=64x64:rate=5:duration=3 -c:v mpeg4 -c:a pcm_s16le", 2),
        ("video.avi", "-f lavfi -i testsrc=size=64x64:rate=5:duration=3 -c:v mpeg4 -c:a pcm_s16le", 2),
        ("video.mov", "-f lavfi -i testsrc=size=64x64:rate=5:duration=3 -c:v mpeg4 -c:a pcm_s24le", 2),
        ("clip.webm", "-c:a libopus -b:a 192k", 2),
    ],
)
def test_containers(tmp_path: Path, name: str, options: str, channels: int) -> None:
    path = made(tmp_path / name, *options.split(), channels=channels)
    assert list(scan(tmp_path).values()) == [path]
    audio = decode(path, 16_000)
    assert audio.note is None
    assert abs(len(audio.wave) - 16_000 * SECONDS) < 0.15 * 16_000  # codecs pad to whole frames
    expected = tone(channels).mean(axis=1)
    # The loudness of each half second, roughly: codecs delay it, and AAC filters the bass channel of 5.1.
    for begin in np.arange(0.5, 2.5, 0.5):
        level = np.abs(audio.wave[int(begin * 16_000) : int((begin + 0.5) * 16_000)]).mean()
        assert level == pytest.approx(np.abs(expected[int(begin * RATE) : int((begin + 0.5) * RATE)]).mean(), rel=0.2)
    start = load_audio(path, 16_000, max_seconds=1.0)
    assert len(start) == 16_000
    np.testing.assert_allclose(start[:15_000], audio.wave[:15_000], atol=1e-6)


def test_lossless_is_exact(tmp_path: Path) -> None:
    path = made(tmp_path / "clip.mkv", "-c:a", "pcm_f32le", channels=8)
    np.testing.assert_array_equal(load_audio(path, RATE), tone(8).mean(axis=1, dtype=np.float32))


def test_an_mp3_with_a_cover_picture(tmp_path: Path) -> None:
    cover = "-f lavfi -i testsrc=size=600x600:duration=0.1 -map 0:a -map 1:v -frames:v 1 -c:v png -id3v2_version 3"
    audio = decode(made(tmp_path / "clip.mp3", *cover.split()), RATE)
    assert audio.note is None
    assert len(audio.wave) == pytest.approx(RATE * SECONDS, abs=2500)


def test_opus_that_libsndfile_breaks_off(tmp_path: Path) -> None:
    """A stream whose header says 24 kHz; what is really cut is still noted."""
    path = made(tmp_path / "clip.opus", "-ar", "24000", "-c:a", "libopus")
    audio = decode(path, 16_000)
    assert audio.note is None
    assert len(audio.wave) == pytest.approx(16_000 * SECONDS, rel=0.01)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert (decode(path, 16_000).note or "").startswith("truncated: ")


def test_half_a_file_is_used_and_noted(tmp_path: Path) -> None:
    path = made(tmp_path / "clip.m4a", "-c:a", "aac", "-movflags", "faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    audio = decode(path, RATE)
    assert 0.3 < len(audio.wave) / RATE / SECONDS < 0.7
    assert audio.note is not None
    assert audio.note.startswith("damaged: ")


@pytest.mark.parametrize("content", ["text", "video without sound", "no index"])
def test_what_has_no_sound(tmp_path: Path, content: str) -> None:
    path = tmp_path / "clip.mp4"
    if content == "text":
        path.write_text("not music\n" * 50)
    elif content == "no index":
        made(path, "-c:a", "aac")
        path.write_bytes(path.read_bytes()[:5_000])
    else:
        silent = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=1", "-map", "1:v", "-c:v", "mpeg4"]
        made(path, *silent)
    with pytest.raises(AudioError, match=r"not decodable as audio \(ffmpeg: ") as error:
        load_audio(path, RATE)
    assert str(tmp_path) not in str(error.value)


def test_a_playlist_opens_nothing_else(tmp_path: Path) -> None:
    made(tmp_path / "secret.aac", "-c:a", "aac")
    playlist = tmp_path / "clip.mp3"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{tmp_path / 'secret.aac'}\n#EXT-X-ENDLIST\n")
    with pytest.raises(AudioError, match="not decodable"):
        load_audio(playlist, RATE)
