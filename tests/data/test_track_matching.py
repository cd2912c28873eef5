"""Matching names of a log to paths: what is folded, what is not, Unicode forms, and what two tracks could be."""

import unicodedata
from pathlib import Path
from typing import Literal

import pytest

from musicrec.data.prepare import prepare
from musicrec.data.source import DataSource
from musicrec.data.track_matching import match_tracks, plain
from musicrec.workspace import TrackIndex, Workspace
from tests.data.made_log import flat

Form = Literal["NFC", "NFD"]


@pytest.mark.parametrize(
    "path",
    [
        *("Björk/Post/02 Hyperballad", "Bjork - Hyperballad"),
        *("music/Björk - Post - 02 - Hyperballad", "BJÖRK/1-02. hyperballad!"),
    ],
)
def test_names_are_found_in_paths(path: str) -> None:
    index = TrackIndex(["other/track", path])
    assert match_tracks(["Björk - Hyperballad", "Björk - Hyper"], index, by_name=True).rows == [1, None]
    assert match_tracks(["Björk - Hyperballad"], index, by_name=False).rows == [None]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("दिल", "दाल"),  # Devanagari vowel signs
        ("தமிழ", "தமழ"),  # Tamil
        ("বাংলা", "বংল"),  # Bengali
        ("ไม้", "ไม่"),  # Thai tones
        ("สี", "สิ"),  # Thai vowels
        ("ဖူး", "ဖုး"),  # Burmese
        ("ខ្មែរ", "ខ្មរ"),  # Khmer
        ("가", "각"),  # Hangul
        ("かき", "がき"),  # Japanese voicing marks
        ("ハハ", "パパ"),
        ("كَتَبَ", "كُتُب"),  # Arabic points
        ("آن", "ان"),  # Arabic madda
        ("שָׁלוֹם", "שלום"),  # Hebrew points
        ("мой", "мои"),  # another Cyrillic letter, not an accent
        ("їх", "іх"),
        ("÷", "×"),  # symbols as titles
        ("♥", "☂"),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_marks_that_make_another_word_stay(one: str, other: str, form: Form) -> None:
    one, other = unicodedata.normalize(form, one), unicodedata.normalize(form, other)
    index = TrackIndex([f"Artist/Album/01 {one}"])
    assert match_tracks([f"Artist - {other}", f"ARTIST - {one}"], index, by_name=True).rows == [None, 0]
    both = TrackIndex([f"Artist/Album/01 {one}", f"Artist/Album/02 {other}"])
    assert match_tracks([f"artist - {other}", f"artist - {one}"], both, by_name=True).rows == [1, 0]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Ångström", "angstrom"),
        ("Motörhead!", "motorhead"),
        ("Việt Nam", "vietnam"),
        ("Ἀθῆναι", "αθηναι"),
        ("всё", "все"),
        ("Ёлка", "елка"),
        ("Straße", "strasse"),
        ("İstanbul", "istanbul"),
        ("ﬁn Ⅳ", "finiv"),
        ("❤\ufe0f", "❤"),
        ("d’Argent", "dargent"),
        ("!!!", ""),
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_what_is_folded(text: str, key: str, form: Form) -> None:
    assert plain(unicodedata.normalize(form, text)) == key


def test_an_exact_name_wins_over_a_folded_one() -> None:
    index = TrackIndex(["A/x/Resume", "A/x/Résumé", "B/x/Déjà"])
    matches = match_tracks(["A - Résumé", "A - Resume", "A - RESUME", "B - Deja"], index, by_name=True)
    assert matches.rows == [1, 0, None, 2]
    assert matches.ambiguous == {2: "could be 'A/x/Resume' or 'A/x/Résumé'"}


def test_titles_of_punctuation_and_borders_of_words() -> None:
    index = TrackIndex(["A/x/!!!", "AB/x/C", "D - E/x/F"])
    assert match_tracks(["A - ???", "A - BC", "A - !!!", "d - e - f"], index, by_name=True).rows == [None, None, 0, 2]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_unicode_forms_of_an_id_are_one_track(tmp_path: Path, form: Form) -> None:
    other: Form = "NFD" if form == "NFC" else "NFC"
    music = tmp_path / "music"
    music.mkdir()
    for name in ("Café", "Ämter", "x"):
        (music / (unicodedata.normalize(form, name) + ".mp3")).write_bytes(b"x")
    names = [unicodedata.normalize(other, name) for name in ("Café", "Ämter", "x")]
    names.append(unicodedata.normalize(form, "Café"))
    log = tmp_path / "log.tsv"
    lines = [f"{user}\t{names[(user + day) % 4]}\t2019-01-0{day + 1}\n" for user in range(4) for day in range(4)]
    log.write_text("user_id\ttrack_id\ttimestamp\n" + "".join(lines))
    workspace = Workspace(tmp_path / "w")
    report = prepare(flat(DataSource, audio_dir=music, plays=log, split="leave_one_out"), workspace)
    assert (report.plays.unknown_tracks, report.tracks) == (0, 3)
    assert TrackIndex.load(workspace.track_index).ids == ["Café", "x", "Ämter"]


def test_unicode_forms_in_a_log_without_audio_and_in_an_older_index(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Café")
    assert TrackIndex([]).extended([decomposed, "Café"]).ids == ["Café"]
    index = TrackIndex([decomposed, "b"])
    assert "Café" in index and index.row("Café") == 0
    assert index.extended(["Café"]) is index
    assert match_tracks(["Café", decomposed, "b"], index, by_name=False).rows == [0, 0, 1]


def test_the_list_of_unknown_tracks_says_what_was_ambiguous(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w")
    TrackIndex(["A/Resume", "A/Résumé", "A/b"]).save(workspace.track_index)
    log = tmp_path / "log.csv"
    titles = ["Resume", "b", "Résumé", "RESUME", "c"]
    lines = [f"{user},A,{titles[(user + day) % 5]},2019-01-0{day + 1}\n" for user in range(5) for day in range(5)]
    log.write_text("user,artist,track,timestamp\n" + "".join(lines))
    prepare(flat(DataSource, plays=log, split="leave_one_out"), workspace)
    assert (workspace.data_dir / "unknown_tracks.csv").read_text() == (
        "trackid,plays,reason\nA - RESUME,5,could be 'A/Resume' or 'A/Résumé'\nA - c,5,\n"
    )
