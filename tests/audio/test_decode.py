from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from musicrec.audio.decode import AudioError, decode, load_audio
from musicrec.audio.resample import resample
from musicrec.audio.waveform import Waveform

CLIPS = Path(__file__).parents[1] / "golden" / "musicnn"
RATE = 16_000


def tone(seconds: float = 1.0, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """Returns a fading tone, (samples,) or (samples, channels) with a different loudness in each channel."""
    time = np.arange(int(seconds * rate)) / rate
    wave = (0.5 * np.sin(2 * np.pi * 440 * time) * np.exp(-time)).astype(np.float32)
    return wave if channels == 1 else wave[:, None] * np.linspace(1, 0.2, channels, dtype=np.float32)


@pytest.mark.parametrize(
    ("extension", "subtype", "error"),
    [
        ("wav", "PCM_U8", 2**-7),
        ("wav", "PCM_16", 2**-15),
        ("wav", "PCM_24", 2**-23),
        ("wav", "PCM_32", 1e-7),
        ("wav", "FLOAT", 0),
        ("wav", "DOUBLE", 0),
        ("flac", "PCM_16", 2**-15),
        ("flac", "PCM_24", 2**-23),
        ("aiff", "PCM_16", 2**-15),
        ("ogg", "VORBIS", 0.02),
        ("opus", "OPUS", 0.05),
        ("mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_formats(tmp_path: Path, extension: str, subtype: str, error: float) -> None:
    path = tmp_path / f"clip.{extension}"
    container = "OGG" if extension == "opus" else extension.upper()
    soundfile.write(path, tone(), RATE, subtype=subtype, format=container)
    wave = load_audio(path, RATE)
    assert wave.dtype == np.float32
    assert abs(len(wave) - RATE) <= 2 * 1152  # MP3 is made of frames of 1152 samples
    assert np.abs(wave[: RATE // 2] - tone()[: RATE // 2]).max() <= error


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_channels_are_averaged_before_resampling(tmp_path: Path, channels: int) -> None:
    stereo = tone(rate=44_100, channels=channels)
    soundfile.write(tmp_path / "clip.wav", stereo, 44_100, subtype="FLOAT")
    expected = soxr.resample(stereo.mean(axis=1), 44_100, RATE, "HQ")
    np.testing.assert_array_equal(load_audio(tmp_path / "clip.wav", RATE), expected)


def test_long_files_are_read_in_blocks_without_a_seam(tmp_path: Path) -> None:
    music, rate = soundfile.read(CLIPS / "etr_freezingpoint_44k_stereo.ogg", dtype="float32")
    assert len(music) > 1 << 18  # more than one block
    np.testing.assert_array_equal(load_audio(CLIPS / "etr_freezingpoint_44k_stereo.ogg", rate), music.mean(axis=1))


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_max_seconds_gives_the_beginning(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"clip.{extension}"
    soundfile.write(path, tone(3.0, channels=2), RATE)
    wave = load_audio(path, RATE, max_seconds=1.25)
    assert len(wave) == 20_000
    np.testing.assert_array_equal(wave, load_audio(path, RATE)[:20_000])
    assert len(load_audio(path, 8_000, max_seconds=1.25)) == 10_000
    assert len(load_audio(path, RATE, max_seconds=100)) == len(load_audio(path, RATE))


def test_samples_above_one_are_kept() -> None:
    assert np.abs(load_audio(CLIPS / "etr_spunkyrace_44k_stereo.mp3", 44_100)).max() > 1


def test_nothing_is_promised_by_the_extension(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "really.flac", tone(), RATE)
    (tmp_path / "really.flac").rename(tmp_path / "called.mp3")
    assert len(load_audio(tmp_path / "called.mp3", RATE)) == RATE


def write_bad(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("this is not music\n" * 100)
    elif kind == "zero bytes":
        path.write_bytes(b"")
    elif kind == "no samples":
        soundfile.write(path, np.zeros(0), RATE, format="WAV")
    elif kind == "nan":
        soundfile.write(path, np.array([0.1, np.nan, 0.2]), RATE, subtype="FLOAT", format="WAV")
    elif kind == "infinite":
        soundfile.write(path, np.array([0.1, np.inf, 0.2]), RATE, subtype="FLOAT", format="WAV")
    elif kind == "folder":
        path.mkdir()
    elif kind == "random bytes":
        path.write_bytes(np.random.default_rng(0).bytes(5000))


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("a.mp3", "text", "not decodable as audio"),
        ("a.wav", "text", "not decodable as audio"),
        ("a.ogg", "random bytes", "not decodable as audio"),
        ("a.mp3", "zero bytes", "empty file (0 bytes)"),
        ("a.wav", "no samples", "empty: no audio samples"),
        ("a.wav", "nan", "has NaN or infinite samples"),
        ("a.wav", "infinite", "has NaN or infinite samples"),
        ("a.wav", "missing", "cannot be read: No such file or directory"),
        ("a.wav", "folder", "cannot be read: Is a directory"),
    ],
)
def test_bad_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, reason: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "without-ffmpeg"))
    write_bad(tmp_path / name, kind)
    with pytest.raises(AudioError) as error:
        load_audio(tmp_path / name, RATE)
    assert str(error.value) == reason


@pytest.mark.parametrize("extension", ["mp3", "flac"])
def test_truncated_files_give_what_is_left_and_a_note(tmp_path: Path, extension: str) -> None:
    soundfile.write(tmp_path / f"whole.{extension}", tone(10, 44_100), 44_100)
    content = (tmp_path / f"whole.{extension}").read_bytes()
    path = tmp_path / f"half.{extension}"
    path.write_bytes(content[: len(content) // 2])
    audio = decode(path, RATE)
    assert 3 * RATE < len(audio.wave) < 8 * RATE
    assert audio.note is not None
    assert audio.note.startswith("truncated: ")
    assert audio.note.endswith(" of 10.0 s decoded")
    np.testing.assert_allclose(audio.wave[:RATE], load_audio(tmp_path / f"whole.{extension}", RATE)[:RATE], atol=1e-6)
    assert decode(path, RATE, max_seconds=1.0).note is None  # the beginning is whole


@pytest.mark.parametrize(
    ("extension", "reason"),
    [("wav", "bytes are missing"), ("aiff", "bytes are missing"), ("ogg", "the end of the stream is missing")],
)
def test_files_without_a_length_show_the_cut_otherwise(tmp_path: Path, extension: str, reason: str) -> None:
    path = tmp_path / f"clip.{extension}"
    soundfile.write(path, tone(10, 44_100), 44_100)
    assert decode(path, RATE).note is None
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    audio = decode(path, RATE)
    assert 2 * RATE < len(audio.wave) < 7 * RATE
    assert audio.note is not None
    assert audio.note.startswith("truncated: ")
    assert audio.note.endswith(reason)
    assert decode(path, RATE, max_seconds=1.0).note is None  # the beginning is whole


def test_a_wav_from_a_pipe_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, tone(), RATE, subtype="PCM_16")
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff\xff\xff\xff" + content[8:40] + b"\xff\xff\xff\xff" + content[44:])
    audio = decode(path, RATE)
    assert (len(audio.wave), audio.note) == (RATE, None)


def test_a_long_file_is_decoded_only_as_far_as_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hour.wav"
    with soundfile.SoundFile(path, "w", 8_000, 1, subtype="PCM_U8") as file:
        for _ in range(60):
            file.write(np.full(60 * 8_000, 0.5))
    read = soundfile.SoundFile.read
    frames: list[int] = []

    def counted(self: soundfile.SoundFile, count: int, **options: Any) -> np.ndarray:
        frames.append(count)
        return read(self, count, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    assert len(load_audio(path, 8_000, max_seconds=12.5)) == 100_000
    assert sum(frames) == 100_000


def test_of_a_very_long_track_the_first_hour_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicrec.audio.waveform.LONGEST_SECONDS", 60)
    path = tmp_path / "long.flac"
    wave = np.random.default_rng(0).normal(scale=0.1, size=8_000 * 61).astype(np.float32)
    soundfile.write(path, wave, 8_000)
    audio = decode(path, RATE)
    assert audio.note == "longer than 1 min: only that much is used (embedding.max_seconds sets it)"
    np.testing.assert_array_equal(audio.wave, decode(path, RATE, 60).wave)
    assert decode(path, RATE, 61).note is None
    assert len(decode(path, RATE, 61).wave) == RATE * 61
    soundfile.write(path, wave[: 8_000 * 60], 8_000)
    assert decode(path, RATE).note is None


@pytest.mark.parametrize("rate", [44_100, 48_000, 22_050, 8_000, 44_101, 96_000])
@pytest.mark.parametrize("sample_rate", [16_000, 24_000, 48_000])
def test_resampling_while_decoding_changes_no_bit(tmp_path: Path, rate: int, sample_rate: int) -> None:
    wave = np.random.default_rng(0).normal(scale=0.1, size=(700_001, 2)).astype(np.float32)  # several blocks
    soundfile.write(tmp_path / "clip.wav", wave, rate, subtype="FLOAT")
    expected = resample(wave.mean(axis=1), rate, sample_rate)
    np.testing.assert_array_equal(decode(tmp_path / "clip.wav", sample_rate).wave, expected)


def test_many_channels_are_read_in_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.wav"
    wave = np.random.default_rng(0).normal(scale=0.1, size=(20_000, 500)).astype(np.float32)
    soundfile.write(path, wave, 8_000, subtype="FLOAT")
    sizes: list[int] = []
    add = Waveform.add

    def counted(self: Waveform, block: np.ndarray) -> None:
        sizes.append(block.size)
        add(self, block)

    monkeypatch.setattr(Waveform, "add", counted)
    np.testing.assert_array_equal(load_audio(path, 8_000), wave.mean(axis=1))
    assert sum(sizes) == wave.size and max(sizes) <= 1 << 22


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp3")
    with pytest.raises(AudioError, match="not a file: a pipe or socket"):
        load_audio(tmp_path / "a.mp3", RATE)


@pytest.mark.parametrize("name", ["a.m4a", "a.wma", "a.mkv", "a.avi", "a.aac"])
def test_containers_of_ffmpeg_without_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    head = {
        ".m4a": b"\0\0\0 ftypM4A ",
        ".wma": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        ".mkv": b"\x1a\x45\xdf\xa3",
        ".avi": b"RIFF\0\0\0\0AVI LIST",
        ".aac": b"\xff\xf1",
    }
    path = tmp_path / name
    path.write_bytes(head[path.suffix] + b"\0" * 100)
    with pytest.raises(AudioError) as error:
        load_audio(path, RATE)
    assert str(error.value) == f"{path.suffix} needs the ffmpeg program, which is not on the PATH"


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts a program called ffmpeg on the PATH that answers as ffmpeg does: Sun AU on stdout, or an error."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(
        f"""#!{sys.executable}
import struct, sys
source = sys.argv[sys.argv.index("-i") + 1].removeprefix("file:")
if "broken" in source:
    sys.exit(f"file:{{source}}: Invalid data found when processing input")
out = sys.stdout.buffer
out.write(struct.pack(">4s5I", b".snd", 32, 0xFFFFFFFF, 6, 8000, 2) + bytes(8))
for frame in range(16000):
    out.write(struct.pack(">2f", 0.5, -0.25))
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


def test_ffmpeg_decodes_what_libsndfile_cannot(tmp_path: Path, fake_ffmpeg: Path) -> None:
    path = tmp_path / "clip.m4a"
    path.write_bytes(b"\0\0\0 ftypM4A " + b"\0" * 100)
    np.testing.assert_array_equal(load_audio(path, 8_000), np.full(16_000, 0.125, dtype=np.float32))
    assert len(load_audio(path, 8_000, max_seconds=0.5)) == 4_000
    assert len(load_audio(path, RATE)) == 32_000


def test_ffmpeg_cannot_either(tmp_path: Path, fake_ffmpeg: Path) -> None:
    path = tmp_path / "broken.mp3"
    path.write_text("not music" * 50)
    with pytest.raises(AudioError) as error:
        load_audio(path, RATE)
    assert str(error.value) == "not decodable as audio (ffmpeg: Invalid data found when processing input)"
