"""YambdaSource: the events of Yambda as published, flat or sequential, of any size.

Ploshkin et al.: "Yambda-5B: A Large-Scale Multi-modal Dataset for Ranking And Retrieval", arXiv 2505.22238.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from musicrec.data.filters import Filters
from musicrec.data.log.conditions import Condition
from musicrec.data.log.formats import LogSettings
from musicrec.data.source import DataSource, LogPart, SideFiles
from musicrec.data.splits.settings import SplitSettings
from musicrec.errors import MusicrecError, demand
from musicrec.values import Told
from musicrec.workspace import Workspace

# Name of a file to the value of `event_type` in multi_event.parquet.
EVENTS = {
    "listens": "listen",
    "likes": "like",
    "dislikes": "dislike",
    "unlikes": "unlike",
    "undislikes": "undislike",
}
LAYOUTS = ("flat", "sequential")
_RATIO = "played_ratio_pct"


Percentage = Annotated[float, Ge(0), Told("a percentage of 0 or more")]


@dataclass(frozen=True)
class YambdaEvents:
    """Which events are taken.

    Attributes:
        size: the folder of a subset: 50m, 500m or 5b.
        events: listens, likes, dislikes, unlikes or undislikes.
        min_played: listens of a smaller share of the track, in percent, are left out; 0 = none are.

    Raises:
        MusicrecError: for other events, or a share that cannot be.
    """

    size: str = "50m"
    events: str = "listens"
    min_played: Percentage = 50

    def __post_init__(self) -> None:
        demand("data.events", self.events, self.events in EVENTS, f"one of: {', '.join(EVENTS)}")
        if 0 < self.min_played < 1:
            demand("data.min_played", self.min_played, False, "a percentage: 50 is half a track, 0.5 is not")


class YambdaSource(DataSource):
    """The folder of Yambda with `flat/` or `sequential/`, or one of its files of events.

    Args:
        name: names the workspace.
        plays: the folder or the file.
        subset: which events are taken.
        log: the columns; those of Yambda by default.
        splits: how they are split.
        filters: which of them are split.
        side_files: artist_item_mapping.parquet or album_item_mapping.parquet as `artists`.
        audio_dir: folder of audio files; none was published.
        make_missing: whether train.py may run the earlier stages itself.
        memory_limit: memory of prepare.py.
    """

    def __init__(
        self,
        name: str,
        plays: str | Path | Sequence[str | Path] | None = None,
        *,
        subset: YambdaEvents = YambdaEvents(),
        log: LogSettings = LogSettings(format="table", user_column="uid", track_column="item_id"),
        splits: SplitSettings = SplitSettings("global_temporal"),
        filters: Filters = Filters(),
        side_files: SideFiles = SideFiles(),
        audio_dir: str | Path | None = None,
        make_missing: bool = False,
        memory_limit: str = "4GB",
    ):
        super().__init__(
            name,
            audio_dir,
            plays,
            log=log,
            splits=splits,
            filters=filters,
            side_files=side_files,
            make_missing=make_missing,
            memory_limit=memory_limit,
        )
        self.subset = subset

    def parts(self, workspace: Workspace) -> list[LogPart]:
        """Returns the file of the events.

        Raises:
            MusicrecError: if no path was given, or the folder has no such file.
        """
        return [LogPart([self._file(path) for path in self.plays_paths(workspace)])]

    def conditions(self) -> tuple[Condition, ...]:
        """Returns that listens count from `min_played` on, and of several kinds of events only those asked for."""
        kind = EVENTS[self.subset.events]
        found = [Condition("event_type", f"events other than {self.subset.events}", equal=kind)]
        if self.subset.events == "listens" and self.subset.min_played > 0:
            share = f"{self.subset.min_played:g}"
            found.append(
                Condition(
                    _RATIO,
                    f"listens to less than {share} % of the track",
                    least=self.subset.min_played,
                    key=f"min_played={share}",
                )
            )
        return tuple(found)

    def log_settings(self) -> dict[str, Any]:
        """Returns the settings that decide how the log is read, with the events."""
        return {**super().log_settings(), "events": self.subset.events, "min_played": self.subset.min_played}

    def _file(self, path: Path) -> Path:
        """Returns the file of the events that a path stands for: itself, or one in the folder."""
        if not path.is_dir():
            return path
        name = f"{self.subset.events}.parquet"
        places = [path / layout / self.subset.size / name for layout in LAYOUTS]
        places += [path / self.subset.size / name, path / name]
        if found := next((place for place in places if place.is_file()), None):
            return found
        there = sorted(str(file.relative_to(path)) for file in path.rglob("*.parquet"))
        raise MusicrecError(
            f"data.plays={path} has no {LAYOUTS[0]}/{self.subset.size}/{name} (data.size, data.events); it has "
            f"{', '.join(there[:10]) or 'no Parquet files'}"
        )
