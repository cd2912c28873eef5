"""Words on the command line: text stays as typed, and what Hydra cannot read is shown as it can."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from musicrec.config import is_group, option
from musicrec.errors import MusicrecError
from musicrec.overrides import TEXT_KEYS, as_typed, given_to_each_job

WORDS = (
    *("/music/Música", "/music/音楽", "/music/Live, 1991", "/music/Demos (old)", "R&B", "Guns N' Roses", "a=b"),
    *("{artist} - {title}", "{title}", 'say "yes"', "a\\b", 'back\\"', 'it\'s "both"', "[brackets", "x]", "100%"),
    *("#1", "a:b", "!!!", "?", "*", "~x", "a;b", "<a|b>", "a\tb", "007", "1e5", "1_000", "true", "Yes", "inf", "nan"),
    *("0x1F", "-1", "+1", "3.10", ".5", "@me", "`x`", "$5", "^", "°", "🎵", "(", ")", ",", "a,b", "{", "}", "'", '"'),
)


def value_of(word: str) -> object:
    return OverridesParser.create().parse_override(word).value()


@pytest.mark.parametrize("value", WORDS)
@pytest.mark.parametrize("key", sorted(TEXT_KEYS))
def test_text_stays_as_typed(key: str, value: str) -> None:
    [word] = as_typed([f"{key}={value}"])
    kept = value_of(word)
    assert getattr(kept, "text", kept) == value


@pytest.mark.parametrize("value", WORDS)
def test_what_hydra_cannot_read_is_shown_ready_to_copy(value: str) -> None:
    word = f"logger.wandb.project={value}"
    try:
        assert as_typed([word]) == [word]
    except MusicrecError as error:
        assert "\n" not in str(error)
        [copied] = shlex.split(str(error).split("write it as: ")[1].split(", as a list: ")[0])
        assert as_typed([copied]) == [copied]
        kept = value_of(copied)
        assert getattr(kept, "text", kept) == value


def test_values_of_sweeps_lists_and_nothing_are_kept() -> None:
    words = [
        "-m",
        "recommender=knn,bert",
        "seed=range(3)",
        "data.plays=[a.csv,b.csv]",
        "data.plays=null",
        "paths.root=x",
    ]
    assert as_typed(words) == words
    assert as_typed(["-m", "data.plays=a,b"]) == ["-m", "data.plays=a,b"]
    assert as_typed(["--cfg", "job", "seed=1"]) == ["--cfg", "job", "seed=1"]
    assert as_typed(["~logger", "+x=1"]) == ["~logger", "+x=1"]


def test_a_comma_without_a_sweep_shows_all_three_meanings() -> None:
    with pytest.raises(MusicrecError, match="add -m; as one value .*'recommender=\"knn,bert\"', as a list: 'recom"):
        as_typed(["recommender=knn,bert"])


def test_a_value_cut_by_the_shell() -> None:
    with pytest.raises(MusicrecError, match="'Songs' is not KEY=VALUE; .*quotes: 'data.audio_dir=/music/My Songs'"):
        as_typed(["data.audio_dir=/music/My", "Songs"])


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        ("[a b.tsv,c.tsv]", ["a b.tsv", "c.tsv"]),
        ("[/x/Café (1).csv,/y/R&B.csv]", ["/x/Café (1).csv", "/y/R&B.csv"]),
        ("[1e5,007]", ["1e5", "007"]),
        ("[true,null]", ["true", "null"]),
        ("[{a}.csv, b=c.csv]", ["{a}.csv", "b=c.csv"]),
        ('["a, b.csv",[x].csv]', ["a, b.csv", "[x].csv"]),
        ("[Guns N' Roses.csv,$HOME.csv,~x.csv]", ["Guns N' Roses.csv", "$HOME.csv", "~x.csv"]),
    ],
)
@pytest.mark.parametrize("key", ["data.plays", "data.train", "data.columns"])
def test_entries_of_lists_stay_as_typed(key: str, value: str, entries: list[str]) -> None:
    [word] = as_typed([f"{key}={value}"])
    kept = value_of(word)
    assert isinstance(kept, list)
    assert [getattr(entry, "text", entry) for entry in kept] == entries


def test_a_file_whose_name_is_like_a_list(tmp_path: Path) -> None:
    path = tmp_path / "[a (1),b].csv"
    path.touch()
    for name in (str(path), "[a (1)].csv"):
        [word] = as_typed([f"data.plays={name}"])
        kept = value_of(word)
        assert getattr(kept, "text", kept) == name


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        (["-m", "recommender=shallow,knn", "recommender.max_epochs=1"], {2: "recommender.max_epochs=choice(1)"}),
        (
            ["recommender.tags=[a,b]", "--multirun", "recommender=choice(knn,bert)"],
            {0: "recommender.tags=choice([a,b])"},
        ),
        (["-m", "recommender=knn,bert", "recommender.lr=1,2", "+recommender.x=1", "recommender.y="], {}),
        (["-m", "recommender=bert", "recommender.lr=1", "embedding=a,b", "data.name=x"], {}),
        (["recommender=bert", "recommender.lr=1"], {}),
        (["-m", "experiment=paper_2026", "embedding.layer=3"], {2: "embedding.layer=choice(3)"}),
        (["experiment=shallow_grid", "recommender.margin=1"], {}),
        (["-m", "hydra.sweep.dir=a,b", "recommender=knn"], {}),
    ],
)
def test_single_values_of_swept_groups_are_given_to_each_job(words: list[str], changed: dict[int, str]) -> None:
    expected = [changed.get(position, word) for position, word in enumerate(words)]
    assert given_to_each_job(words, is_group, lambda name: option("experiment", name).get("hydra", {})) == expected
