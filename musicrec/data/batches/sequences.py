"""Batches of listening histories: with masked positions (BERT4Rec), or with the next item of each (SASRec)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from musicrec.data.batches.base import BatchSource
from musicrec.data.batches.pairs import Complement

# Tokens that are not items.
MASK = -1
PAD = -2


class MaskedBatch(NamedTuple):
    """Padded sequences and what is to be predicted at some of their positions.

    Attributes:
        tokens: (batch, length) int64 items, MASK, or PAD on the right; length is that of the longest sequence.
        masked: (masked,) int64 ascending positions in `tokens.flatten()` where something is predicted.
        targets: (masked,) int64 items: what stood at a mask, or follows the position.
        negatives: (masked,) int64 items that the sequence does not hold; None where the loss needs none.
    """

    tokens: torch.Tensor
    masked: torch.Tensor
    targets: torch.Tensor
    negatives: torch.Tensor | None = None


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

    def padded(self, which: torch.Tensor, longest: int, back: torch.Tensor | None = None) -> torch.Tensor:
        """Returns (len(which), length) int64: `longest` items of these sequences, PAD on the right.

        Args:
            which: (n,) numbers of sequences.
            longest: items of a sequence at most.
            back: (n,) how far before the end of the sequence its items end; by default they are the last ones.
        """
        lengths = self.lengths[which].clamp(max=longest)
        column = torch.arange(int(lengths.max()), device=which.device)
        inside = column < lengths[:, None]
        starts = self.stops[which] - lengths
        rows = ((starts if back is None else starts - back)[:, None] + column).where(inside, 0)
        return self.items[rows].where(inside, PAD)

    def random_back(self, which: torch.Tensor, longest: int, generator: torch.Generator) -> torch.Tensor:
        """Returns (len(which),) for `padded`: a random one of the windows of `longest` items that fit."""
        spare = (self.lengths[which] - longest).clamp(min=0)
        return (torch.rand(len(which), generator=generator, device=which.device) * (spare + 1)).long()

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

    Args:
        sequences: the histories.
        max_seq_len: items of a history that are read at once.
        mlm_probability: of masking a position.
        batch_size: histories per step.
        seed: decides order, windows and masks.
        shuffle: False gives every epoch the same batches.
        window: of a longer history the `last` items, or in each epoch a `random` stretch of it.
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
        window: str = "last",
    ):
        super().__init__(len(sequences), batch_size, seed, shuffle)
        self.sequences = sequences
        self.max_seq_len = max_seq_len
        self.mlm_probability = mlm_probability
        self.window = window

    def tensors(self) -> Sequence[str]:
        """Returns the attributes that move to the device."""
        return ("sequences",)

    def make(self, examples: torch.Tensor, generator: torch.Generator) -> MaskedBatch:
        """Returns these sequences with newly drawn masks."""
        tokens = _windows(self.sequences, examples, self.max_seq_len, self.window, generator)
        draws = torch.rand(tokens.shape, generator=generator, device=tokens.device).masked_fill(tokens == PAD, 2)
        masked = (draws < self.mlm_probability) | (draws == draws.min()) & (draws.min() >= self.mlm_probability)
        targets = tokens[masked]
        return MaskedBatch(tokens.masked_fill(masked, MASK), masked.flatten().nonzero()[:, 0], targets)


class NextItemsSource(BatchSource):
    """Sequences of which each position predicts the next (Kang and McAuley, "Self-Attentive Sequential …", ICDM 2018).

    Args:
        sequences: the histories, of two items or more.
        max_seq_len: items of a history that are read at once.
        batch_size: histories per step.
        seed: decides order, windows and negatives.
        window: see `MaskedSource`.
        pool: (pool,) sorted items of which one that the history does not hold is drawn for each position; None: no
            negatives are drawn.
    """

    def __init__(
        self,
        sequences: Sequences,
        *,
        max_seq_len: int,
        batch_size: int,
        seed: int,
        window: str = "last",
        pool: np.ndarray | None = None,
    ):
        super().__init__(len(sequences), batch_size, seed, shuffle=True)
        self.sequences = sequences
        self.max_seq_len = max_seq_len
        self.window = window
        self.pool = None if pool is None else torch.from_numpy(pool)
        if pool is not None:
            owners = np.repeat(np.arange(len(sequences)), sequences.lengths.numpy())
            held = np.searchsorted(pool, sequences.items.numpy())
            self.complement = Complement(owners, held, len(sequences), len(pool))

    def tensors(self) -> Sequence[str]:
        """Returns the attributes that move to the device."""
        return ("sequences",) if self.pool is None else ("sequences", "pool", "complement")

    def make(self, examples: torch.Tensor, generator: torch.Generator) -> MaskedBatch:
        """Returns the items but the last of each window, and the item after each of them."""
        tokens = _windows(self.sequences, examples, self.max_seq_len + 1, self.window, generator)
        following = tokens[:, 1:]
        has_next = following != PAD
        wanted = has_next.flatten().nonzero()[:, 0]
        negatives = None
        if self.pool is not None:
            rows = examples[wanted // has_next.shape[1]]
            negatives = self.pool[self.complement.draw(rows, 1, generator)[:, 0].clamp(max=len(self.pool) - 1)]
        return MaskedBatch(tokens[:, :-1].where(has_next, PAD), wanted, following[has_next], negatives)


class NextSource(BatchSource):
    """Sequences and the item that follows each: the validation loss of SASRec, and of `data.split=leave_one_out`.

    Args:
        sequences: what is known of the users.
        targets: (sequences,) the item that follows each.
        max_seq_len: tokens that are read.
        batch_size: sequences per step.
        mask: whether the item stands at a MASK after the sequence, or is predicted at its last item.
    """

    def __init__(
        self, sequences: Sequences, targets: np.ndarray, *, max_seq_len: int, batch_size: int, mask: bool = True
    ):
        super().__init__(len(sequences), batch_size, seed=0, shuffle=False)
        self.sequences = sequences
        self.targets = torch.from_numpy(targets)
        self.max_seq_len = max_seq_len
        self.mask = mask

    def tensors(self) -> Sequence[str]:
        """Returns the attributes that move to the device."""
        return "sequences", "targets"

    def make(self, examples: torch.Tensor, generator: torch.Generator) -> MaskedBatch:
        """Returns these sequences with the position at which the next item is predicted."""
        tokens, position = asked(self.sequences, examples, self.max_seq_len, self.mask)
        return MaskedBatch(tokens, position, self.targets[examples])


def asked(sequences: Sequences, which: torch.Tensor, longest: int, mask: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns tokens (len(which), length) and the positions in tokens.flatten() where the next items are predicted.

    Args:
        sequences: each of one item or more.
        which: numbers of sequences.
        longest: tokens of a sequence at most.
        mask: append a MASK, where the next item is predicted; else it is at the last item.
    """
    if mask:
        tokens, position = sequences.with_mask_at_end(which, longest)
    else:
        tokens = sequences.padded(which, longest)
        position = sequences.lengths[which].clamp(max=longest) - 1
    return tokens, torch.arange(len(which), device=which.device) * tokens.shape[1] + position


def _windows(
    sequences: Sequences, which: torch.Tensor, longest: int, window: str, generator: torch.Generator
) -> torch.Tensor:
    """Returns the part of each sequence that is read in training, see `MaskedSource`."""
    back = sequences.random_back(which, longest, generator) if window == "random" else None
    return sequences.padded(which, longest, back)
