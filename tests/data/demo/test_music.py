"""The music of the demo world: audible, unclipped, of the right shape, different from style to style."""

import numpy as np
import pytest

from musicrec.data.demo.instruments import INSTRUMENTS, drum
from musicrec.data.demo.music import SCALES, STYLES, Piece, Style, compose, render

DRUMS = ("kick", "snare", "hat", "open_hat", "clap", "shaker", "rim", "tom", "brush")


def _piece(style: Style, seed: int = 0, production: float = 0.7, seconds: float = 3.2) -> Piece:
    return compose(style, production, seconds, np.random.default_rng(seed))


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
@pytest.mark.parametrize(("sample_rate", "channels"), [(16000, 1), (48000, 2)])
def test_every_style_is_audible_throughout_and_does_not_clip(style: Style, sample_rate: int, channels: int) -> None:
    sound = render(_piece(style), sample_rate, channels)
    assert sound.shape == (int(3.2 * sample_rate), channels)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert 0.4 < np.abs(sound).max() < 0.95
    assert np.sqrt(np.mean(sound**2)) > 0.03
    assert abs(sound.mean()) < 0.02
    # No second of it is silent: the quietest half second is within 40 dB of the whole.
    halves = np.array_split(sound, 6)
    assert min(np.sqrt(np.mean(half**2)) for half in halves) > 0.01 * np.sqrt(np.mean(sound**2))


def test_stereo_has_two_different_channels() -> None:
    sound = render(_piece(STYLES[0]), 22050, 2)
    assert np.abs(sound[:, 0] - sound[:, 1]).max() > 0.01


def test_a_piece_sounds_the_same_every_time_and_another_sounds_different() -> None:
    first, again, other = (render(_piece(STYLES[3], seed), 16000, 1) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_pieces_of_a_style_vary() -> None:
    pieces = [_piece(STYLES[0], seed) for seed in range(20)]
    assert len({piece.key for piece in pieces}) > 5
    assert len({piece.progression for piece in pieces}) > 1
    low, high = STYLES[0].tempo
    assert all(low <= piece.tempo <= high for piece in pieces)


def test_a_home_recording_is_duller_than_a_studio_recording() -> None:
    def brightness(production: float) -> float:
        spectrum = np.abs(np.fft.rfft(render(_piece(STYLES[0], 1, production), 16000, 1)[:, 0])) ** 2
        return float(spectrum[len(spectrum) // 2 :].sum() / spectrum.sum())

    assert brightness(0.0) < 0.5 * brightness(1.0)


@pytest.mark.parametrize("name", INSTRUMENTS)
@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_instruments_play_the_pitch(name: str, sample_rate: int) -> None:
    frequency = 220.0
    note = INSTRUMENTS[name](frequency, 0.5, sample_rate, 0.5, np.random.default_rng(0))
    assert len(note) == sample_rate // 2
    spectrum = np.abs(np.fft.rfft(note * np.hanning(len(note)), 8 * len(note)))
    frequencies = np.fft.rfftfreq(8 * len(note), 1 / sample_rate)
    near = (frequencies > 0.97 * frequency) & (frequencies < 1.03 * frequency)
    between = (frequencies > 1.2 * frequency) & (frequencies < 1.35 * frequency)
    assert spectrum[near].max() > 5 * spectrum[between].max()


@pytest.mark.parametrize("name", ["gamelan", "rock", "chiptune", "jazz"])
def test_the_highest_notes_do_not_fold_back_below_the_nyquist_frequency(name: str) -> None:
    style = next(style for style in STYLES if style.name == name)
    assert np.isfinite(render(_piece(style, 3), 16000, 1)).all()


@pytest.mark.parametrize("name", DRUMS)
def test_drums_sound_and_die_away(name: str) -> None:
    stroke = drum(name, 22050, np.random.default_rng(0))
    assert 0.02 < np.abs(stroke).max() < 2.0
    tail = stroke[-len(stroke) // 10 :]
    assert np.abs(tail).max() < 0.3 * np.abs(stroke).max()


def test_an_unknown_drum_is_refused() -> None:
    with pytest.raises(ValueError, match="cowbell"):
        drum("cowbell", 16000, np.random.default_rng(0))


def test_styles_are_sixteen_distinct_well_formed_recipes() -> None:
    assert len(STYLES) == len({style.name for style in STYLES}) == 16
    for style in STYLES:
        assert style.scale in SCALES
        assert {style.comp} | {style.lead} | {style.bass} <= {*INSTRUMENTS, ""}
