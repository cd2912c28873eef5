"""Batches of listening histories with masked positions (BERT4Rec)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from musicrec.data.batches.base import BatchSource

# Tokens that are not items.
MASK = -1
PAD = -2


class MaskedBatch(NamedTuple):
    """Padded sequences and what stood at the masked positions.

    Attributes:
        tokens: (batch, length) int64 items, MASK, or PAD on the right; length is that of the longest sequence.
        masked: (masked,) int64 positions in `tokens.flatten()`.
        targets: (masked,) int64 items there.
    """

    tokens: torch.Tensor
    masked: torch.Tensor
    targets: torch.Tensor


class Sequences:
    """Ragged sequences in one flat array.

    Args:
        items: (rows,) int64, the sequences one after the other, each in order of time.
        offsets: (sequences + 1,) int64: sequence s is items[offsets[s]:offsets[s + 1]].
    """

    def __init__(self, items: np.ndarray, offsets: np.ndarray):
        self.items = torch.from_numpy(items)
        self.stops = torch.from_numpy(offsets[1:].copy())
        self.lengths = torch.from_numpy(np.diff(offsets))

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device) -> Sequences:
        """Returns itself, its tensors moved to `device`."""
        self.items, self.stops, self.lengths = (part.to(device) for part in (self.items, self.stops, self.lengths))
        return self

    def padded(self, which: torch.Tensor, longest: int) -> torch.Tensor:
        """Returns (len(which), length) int64: the last `longest` items of these sequences, PAD on the right."""
        lengths = self.lengths[which].clamp(max=longest)
        column = torch.arange(int(lengths.max()), device=which.device)
        inside = column < lengths[:, None]
        rows = ((self.stops[which] - lengths)[:, None] + column).where(inside, 0)
        return self.items[rows].where(inside, PAD)

    def with_mask_at_end(self, which: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns tokens (len(which), length): the last `longest` − 1 items and MASK; and the position of each MASK."""
        lengths = self.lengths[which].clamp(max=longest - 1)
        if longest > 1:
            tokens = torch.nn.functional.pad(self.padded(which, longest - 1), (0, 1), value=PAD)
        else:
            tokens = torch.full((len(which), 1), PAD, device=which.device)
        tokens[torch.arange(len(which), device=which.device), lengths] = MASK
        return tokens, lengths


class MaskedSource(BatchSource):
    """Sequences of which each position is masked with probability `mlm_probability` ("masked language model").

    Sun et al., "BERT4Rec" (CIKM 2019, arXiv 1904.06690), section 3.6; as in the study a masked position always becomes
    MASK. If chance masks nothing in a whole batch, one position of it is masked.
    """

    def __init__(
        self,
        sequences: Sequences,
        *,
        max_seq_len: int,
        mlm_probability: float,
        batch_size: int,
        seed: int,
        shuffle: bool,
    ):
        super().__init__(len(sequences), batch_size, seed, shuffle)
        self.sequences = sequences
        self.max_seq_len = max_seq_len
        self.mlm_probability = mlm_probability

    def tensors(self) -> Sequence[str]:
        """Returns the attributes that move to the device."""
        return ("sequences",)

    def make(self, examples: torch.Tensor, generator: torch.Generator) -> MaskedBatch:
        """Returns these sequences with newly drawn masks."""
        tokens = self.sequences.padded(examples, self.max_seq_len)
        draws = torch.rand(tokens.shape, generator=generator, device=tokens.device).masked_fill(tokens == PAD, 2)
        masked = (draws < self.mlm_probability) | (draws == draws.min()) & (draws.min() >= self.mlm_probability)
        targets = tokens[masked]
        return MaskedBatch(tokens.masked_fill(masked, MASK), masked.flatten().nonzero()[:, 0], targets)


class NextSource(BatchSource):
    """Sequences with MASK appended, where the next item stands: the validation loss of `data.split=leave_one_out`."""

    def __init__(self, sequences: Sequences, targets: np.ndarray, *, max_seq_len: int, batch_size: int):
        super().__init__(len(sequences), batch_size, seed=0, shuffle=False)
        self.sequences = sequences
        self.targets = torch.from_numpy(targets)
        self.max_seq_len = max_seq_len

    def tensors(self) -> Sequence[str]:
        """Returns the attributes that move to the device."""
        return "sequences", "targets"

    def make(self, examples: torch.Tensor, generator: torch.Generator) -> MaskedBatch:
        """Returns these sequences with MASK appended."""
        tokens, position = self.sequences.with_mask_at_end(examples, self.max_seq_len)
        row = torch.arange(len(tokens), device=tokens.device)
        return MaskedBatch(tokens, row * tokens.shape[1] + position, self.targets[examples])
