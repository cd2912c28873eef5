"""PlayKeys: a play as one number that sorts by user, time and track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SECOND = 1_000_000


@dataclass(frozen=True)
class PlayKeys:
    """How a play is packed into 63 bits: the user's rank, then the time, then the track idx.

    Attributes:
        first: the earliest time, in microseconds since 1970.
        unit: microseconds that one step of the packed time stands for.
        time_bits: bits of the packed time.
        track_bits: bits of the track idx.
    """

    first: int
    unit: int
    time_bits: int
    track_bits: int

    @classmethod
    def of(cls, users: int, last_track: int, first: int, last: int, unit: int) -> PlayKeys | None:
        """Returns the packing for so many users, idx up to `last_track` and these times; None if they do not fit.

        >>> PlayKeys.of(users=3, last_track=4, first=0, last=9_000_000, unit=1_000_000)
        PlayKeys(first=0, unit=1000000, time_bits=4, track_bits=3)
        """
        keys = cls(first, unit, ((last - first) // unit).bit_length(), last_track.bit_length())
        return keys if users.bit_length() + keys.time_bits + keys.track_bits <= 63 else None

    def pack(self, users: np.ndarray, times: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        """Returns (rows,) int64 of (rows,) ranks of users, times in microseconds and track idx."""
        keys = times - self.first
        if self.unit > 1:
            keys //= self.unit
        keys |= users.astype(np.int64) << self.time_bits
        keys <<= self.track_bits
        keys |= tracks
        return keys

    def unpack(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns (rows,) ranks of users, times in microseconds and track idx, all int64."""
        tracks = keys & ((1 << self.track_bits) - 1)
        keys = keys >> self.track_bits
        times = keys & ((1 << self.time_bits) - 1)
        times *= self.unit
        times += self.first
        keys >>= self.time_bits
        return keys, times, tracks
