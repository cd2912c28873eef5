"""Files that hold more than their headers announce, against what ffmpeg decodes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile

from musicrec.audio.decode import AudioError, decode

RATE = 44_100
SECONDS = 12
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg program is not on the PATH")


def ffmpeg(*arguments: str) -> bytes:
    return subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True, capture_output=True
    ).stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Returns a function that gives the bytes of a quiet beginning and a loud rest in some format."""
    folder = tmp_path_factory.mktemp("made")
    time = np.arange(RATE * SECONDS) / RATE
    noise = np.random.default_rng(0).standard_normal(len(time))
    wave = np.where(time < SECONDS / 2, 0.001 * np.sin(1382 * time), 0.1 * noise).astype(np.float32)
    soundfile.write(folder / "source.wav", np.stack([wave, wave / 2], 1), RATE, subtype="PCM_16")
    known: dict[tuple[str, ...], bytes] = {}

    def bytes_of(extension: str, *options: str) -> bytes:
        key = (extension, *options)
        if key not in known:
            path = folder / f"clip.{extension}"
            ffmpeg("-i", str(folder / "source.wav"), *options, str(path))
            known[key] = path.read_bytes()
        return known[key]

    return bytes_of


def decoded_by_ffmpeg(path: Path) -> bytes:
    command = ["ffmpeg", "-nostdin", "-v", "quiet", "-i", str(path), "-f", "f32le", "pipe:1"]
    return subprocess.run(command, capture_output=True, check=False).stdout


def patched(content: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    at = content.index(mark) + offset
    return content[:at] + value + content[at + len(value) :]


def flac_total(content: bytes, seconds: int) -> bytes:
    return content[:21] + bytes([content[21] & 0xF0]) + (seconds * RATE).to_bytes(4, "big") + content[26:]


def sized(content: bytes, mark: bytes, offset: int, length: int, size: int, order: Literal["little", "big"]) -> bytes:
    return patched(content, mark, offset, (size % (1 << 8 * length)).to_bytes(length, order))


TAG = b"ID3\x04\0\0\0\0\x02\0" + bytes(256)
VBR = ("-q:a", "2", "-write_xing", "0")
CASES: dict[str, tuple[str, Callable[[Callable[..., bytes]], bytes]]] = {
    "mp3 without information": ("mp3", lambda made: made("mp3", *VBR)),
    "mp3 with ID3v2": ("mp3", lambda made: b"ID3\x04\0\0\0\0\x0f\x76" + bytes(2038) + made("mp3", *VBR)),
    "mp3 with ID3v1": ("mp3", lambda made: made("mp3", *VBR) + b"TAG" + bytes(125)),
    "mp3 after junk": ("mp3", lambda made: bytes(3000) + made("mp3", *VBR)),
    "mp3 cut at the front": ("mp3", lambda made: made("mp3", "-q:a", "2")[5000:]),
    "mp3 of constant bit rate": ("mp3", lambda made: made("mp3", "-b:a", "128k", "-write_xing", "0")),
    "mp3 of low rate": ("mp3", lambda made: made("mp3", *VBR, "-ar", "22050", "-ac", "1")),
    "two mp3s": ("mp3", lambda made: made("mp3", "-q:a", "2") * 2),
    "two kinds of mp3": ("mp3", lambda made: made("mp3", "-b:a", "64k", "-write_xing", "0") + made("mp3", *VBR)),
    "mp2": ("mp2", lambda made: made("mp2", "-b:a", "192k")),
    "flac without a total": ("flac", lambda made: flac_total(made("flac"), 0)),
    "flac that says less": ("flac", lambda made: flac_total(made("flac"), 3)),
    "flac that says more": ("flac", lambda made: flac_total(made("flac"), 30)),
    "two flacs": ("flac", lambda made: made("flac") * 2),
    "two oggs": ("ogg", lambda made: made("ogg", "-q:a", "4") * 2),
    "two opus files": ("opus", lambda made: made("opus", "-b:a", "96k") * 2),
    "wav of size 0": ("wav", lambda made: patched(made("wav"), b"data", 4, bytes(4))),
    "wav of unknown size": ("wav", lambda made: patched(made("wav"), b"data", 4, b"\xff" * 4)),
    "wav, both sizes 0": ("wav", lambda made: b"RIFF\0\0\0\0" + patched(made("wav"), b"data", 4, bytes(4))[8:]),
    "wav that says less": ("wav", lambda made: patched(made("wav"), b"data", 4, (400_000).to_bytes(4, "little"))),
    "au of size 0": ("au", lambda made: patched(made("au"), b".snd", 8, bytes(4))),
    "au of unknown size": ("au", lambda made: patched(made("au"), b".snd", 8, b"\xff" * 4)),
    "au that says less": ("au", lambda made: patched(made("au"), b".snd", 8, (400_000).to_bytes(4, "big"))),
    "caf of unknown size": ("caf", lambda made: patched(made("caf"), b"data", 4, b"\xff" * 8)),
    "aiff that says less": ("aiff", lambda made: patched(made("aiff"), b"COMM", 10, (3 * RATE).to_bytes(4, "big"))),
    "ogg with junk between": ("ogg", lambda made: made("ogg", "-q:a", "4") + bytes(500) + made("ogg", "-q:a", "4")),
    "flac with a tag after it": ("flac", lambda made: made("flac") + b"TAG" + bytes(125)),
    "flac in ogg, twice": ("oga", lambda made: made("oga", "-c:a", "flac") * 2),
    "mp3 with a tag inside": ("mp3", lambda made: made("mp3", *VBR) + TAG + made("mp3", *VBR)),
    "mp3 that announces less": ("mp3", lambda made: sized(made("mp3", "-q:a", "2"), b"Xing", 8, 4, 200, "big")),
    "adts twice": ("aac", lambda made: made("aac") * 2),
    "adts after a tag": ("aac", lambda made: TAG + made("aac")),
    "adts called mp3": ("mp3", lambda made: made("aac")),
    "m4a with an edit list": ("m4a", lambda made: sized(made("m4a"), b"elst", 12, 4, 4000, "big")),
    "m4a with a wrong duration": ("m4a", lambda made: sized(made("m4a"), b"mdhd", 20, 4, 4 * RATE, "big")),
    "webm without a duration": ("webm", lambda made: made("webm", "-c:a", "libopus", "-live", "1")),
    "matroska cut": ("mkv", lambda made: made("mkv", "-c:a", "libvorbis")[:60_000]),
    "fragmented mp4": ("m4a", lambda made: made("m4a", "-movflags", "empty_moov", "-frag_duration", "1000000")),
}  # fmt: skip


@needs_ffmpeg
@pytest.mark.parametrize("name", CASES)
def test_what_is_decoded_is_what_ffmpeg_decodes(
    tmp_path: Path, made: Callable[..., bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extension, make = CASES[name]
    path = tmp_path / f"clip.{extension}"
    path.write_bytes(make(made))
    raw = decoded_by_ffmpeg(path)
    channels = 1 if "low rate" in name else 2
    expected = np.frombuffer(raw, "<f4").reshape(-1, channels).mean(axis=1)
    audio = decode(path, None)
    # Its header says more: listed, and as long but for a frame.
    if audio.note and audio.note.startswith("truncated: "):
        expected = expected[: len(audio.wave)]
    assert len(audio.wave) == len(expected)
    np.testing.assert_allclose(audio.wave, expected, atol=2e-4)
    monkeypatch.setenv("PATH", str(tmp_path))  # without ffmpeg what is missing is at least listed
    try:
        alone = decode(path, None)
    except AudioError:
        return
    assert len(alone.wave) == len(expected) or alone.note


# Extension, further options, where a length lies (after these bytes, at this offset, so many bytes) and its byte order.
LENGTHS: dict[str, tuple[str, tuple[str, ...], bytes, int, int, Literal["little", "big"]]] = {
    "wav data": ("wav", (), b"data", 4, 4, "little"),
    "wav file": ("wav", (), b"RIFF", 4, 4, "little"),
    "rf64 data": ("wav", ("-rf64", "always"), b"ds64", 16, 8, "little"),
    "rf64 samples": ("wav", ("-rf64", "always"), b"ds64", 24, 8, "little"),
    "w64 data": ("w64", (), b"data\xf3\xac", 16, 8, "little"),
    "w64 file": ("w64", (), b"riff\x2e", 16, 8, "little"),
    "aiff data": ("aiff", (), b"SSND", 4, 4, "big"),
    "aiff file": ("aiff", (), b"FORM", 4, 4, "big"),
    "aiff samples": ("aiff", (), b"COMM", 10, 4, "big"),
    "caf data": ("caf", (), b"data", 4, 8, "big"),
    "au data": ("au", (), b".snd", 8, 4, "big"),
}


@needs_ffmpeg
@pytest.mark.parametrize("length", ["half", "an odd part", "double", "nothing", "a little", "unknown"])
@pytest.mark.parametrize("field", LENGTHS)
def test_a_wrong_length_is_read_as_by_ffmpeg_or_listed(
    tmp_path: Path, made: Callable[..., bytes], field: str, length: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extension, options, mark, offset, count, order = LENGTHS[field]
    content = made(extension, *options)
    at = content.index(mark) + offset
    right = int.from_bytes(content[at : at + count], order)
    size = {"half": right // 2, "an odd part": right // 3 | 1, "double": 2 * right, "nothing": 0, "a little": 32}
    path = tmp_path / f"clip.{extension}"
    path.write_bytes(sized(content, mark, offset, count, size.get(length, -1), order))
    expected = np.frombuffer(decoded_by_ffmpeg(path), "<f4").reshape(-1, 2).mean(axis=1)
    for least in (RATE * SECONDS // 3, 0):  # with ffmpeg, and without
        try:
            audio = decode(path, None)
        except AudioError:
            pass
        else:
            assert audio.note or len(audio.wave) == len(expected)
            assert len(audio.wave) >= min(len(expected), least)
            np.testing.assert_allclose(audio.wave[: len(expected)], expected[: len(audio.wave)], atol=2e-4)
        monkeypatch.setenv("PATH", str(tmp_path))


@needs_ffmpeg
@pytest.mark.parametrize(("extension", "twice"), [("wav", 2), ("aiff", 2), ("caf", 2), ("w64", 2), ("wav", 3)])
def test_joined_files_are_listed(tmp_path: Path, made: Callable[..., bytes], extension: str, twice: int) -> None:
    path = tmp_path / f"clip.{extension}"
    path.write_bytes(made(extension) * twice)
    assert "longer than its header says" in str(decode(path, None).note)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "opus", "w64", "rf64"])
def test_intact_files_are_not_suspected(tmp_path: Path, extension: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    wave = np.random.default_rng(1).normal(scale=0.1, size=(48_000 * 3, 2)).astype(np.float32)
    path = tmp_path / f"clip.{extension}"
    container = {"opus": "OGG"}.get(extension, extension.upper())
    soundfile.write(path, wave, 48_000, format=container, subtype="OPUS" if extension == "opus" else None)
    assert decode(path, None).note is None


def test_metadata_after_the_samples_is_no_music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.zeros(8001, np.int16), 8000)
    path.write_bytes(path.read_bytes() + b"LIST" + (100).to_bytes(4, "little") + b"INFO" + bytes(96) + bytes(500))
    assert decode(path, None).note is None


@pytest.mark.parametrize("rate", [1, 999, 4_000_000_000])
def test_impossible_rates_are_failed_tracks(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.zeros(1000, np.int16), 8000)
    path.write_bytes(patched(path.read_bytes(), b"fmt ", 12, rate.to_bytes(4, "little")))
    with pytest.raises(AudioError, match=f"{rate:,} samples per second|not decodable as audio"):
        decode(path, 16_000)


def test_rates_of_recordings_are_read(tmp_path: Path) -> None:
    for rate in (1_000, 96_000, 2_822_400):
        soundfile.write(tmp_path / "clip.wav", np.zeros(3000, np.int16), rate)
        assert len(decode(tmp_path / "clip.wav", 16_000).wave) == -(-3000 * 16_000 // rate)
