"""The network of Shallow: two tables of vectors, one shared projection, cosine."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from musicrec.recommenders.networks.adapter import AudioSettings, ItemIds
from musicrec.recommenders.networks.embedding_table import EmbeddingTable

# Shortest length that a vector is divided by.
_EPS = 1e-8


class ShallowNet(nn.Module):
    """Scores (anchor, other) pairs by the cosine of their projected vectors.

    Args:
        users: vectors of users.
        items: vectors of items, of the same size.
        hidden_dim: outputs of the adapter and ReLU shared by both sides; 0 = compare the vectors as they are.
        audio: the adapter.
        ids: what is added to the projected items.
    """

    def __init__(
        self,
        users: EmbeddingTable,
        items: EmbeddingTable,
        hidden_dim: int,
        audio: AudioSettings = AudioSettings(),
        ids: ItemIds | None = None,
    ):
        super().__init__()
        self.users = users
        self.items = items
        layers = [*audio.layers(items.dim, hidden_dim), nn.ReLU()] if hidden_dim else []
        self.projection = nn.Sequential(*layers)
        self.ids = ids

    def project(self, vectors: torch.Tensor) -> torch.Tensor:
        """Returns (rows, hidden_dim) projected vectors of length 1; zero vectors stay zero."""
        result: torch.Tensor = _Normalise.apply(self.projection(vectors))
        return result

    def item_vectors(self) -> torch.Tensor:
        """Returns (items, hidden_dim) vectors of all items."""
        return self._of(self.items)

    def _of(self, table: EmbeddingTable, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the projected vectors of some rows of a table, by default of all."""
        if table is not self.items or self.ids is None:
            return self.project(table.weight if rows is None else table.weight[rows])
        vectors = self.projection(table.weight if rows is None else table.weight[rows])
        result: torch.Tensor = _Normalise.apply(self.ids(vectors, rows))
        return result

    def forward(
        self,
        anchor_table: EmbeddingTable,
        other_table: EmbeddingTable,
        anchors: torch.Tensor,
        positives: torch.Tensor,
        negatives: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns cosines (batch,) of the positive pairs and (batch, neg_samples) of the negative ones.

        Args:
            anchor_table: `self.items` if users are sampled, else `self.users`.
            other_table: the other one.
            anchors: (batch,) rows of `anchor_table`.
            positives: (batch,) rows of `other_table`.
            negatives: (batch, neg_samples) rows of `other_table`.
        """
        anchor_vectors, anchor_rows = self._distinct(anchor_table, anchors)
        other_vectors, other_rows = self._distinct(other_table, torch.cat([positives[:, None], negatives], dim=1))
        scores = sampled_products(anchor_vectors, other_vectors, anchor_rows, other_rows)
        return scores[:, 0], scores[:, 1:]

    def _distinct(self, table: EmbeddingTable, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns projected vectors, each row of the table at most once, and the index of each of `rows` among them."""
        if rows.numel() >= len(table):
            return self._of(table), rows
        ordered = rows.ndim == 1 and bool((rows[1:] >= rows[:-1]).all())  # as anchors are
        unique = torch.unique_consecutive if ordered else torch.unique
        distinct, inverse = unique(rows, return_inverse=True)
        return self._of(table, distinct), inverse


def sampled_products(
    left: torch.Tensor, right: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """Returns (batch, samples) inner products of left[rows[b]] and right[columns[b, s]].

    Args:
        left: (m, dim).
        right: (n, dim).
        rows: (batch,) int64.
        columns: (batch, samples) int64.
    """
    if len(left) * len(right) <= 8 * columns.numel():
        # The whole product costs less than picking entries.
        return (
            (left @ right.T)
            .flatten()
            .index_select(0, (rows[:, None] * len(right) + columns).flatten())
            .view_as(columns)
        )
    result: torch.Tensor = _SampledProducts.apply(left, right, rows, columns)
    return result


class _Normalise(torch.autograd.Function):
    """Divides rows by their length, as torch.nn.functional.normalize; its gradient takes few passes over memory."""

    @staticmethod
    def forward(context: Any, vectors: torch.Tensor) -> torch.Tensor:
        vectors = vectors.float()
        lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_min(_EPS)
        result = vectors / lengths
        context.save_for_backward(result, lengths)
        return result

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        result, lengths = context.saved_tensors
        along = torch.linalg.vecdot(result, gradient, dim=1)[:, None]
        return torch.addcmul(gradient, result, along, value=-1).div_(lengths)


class _SampledProducts(torch.autograd.Function):
    """The gradient goes through two sparse matrix products: no (batch, samples, dim) tensor is kept or made."""

    @staticmethod
    def forward(
        context: Any,
        left: torch.Tensor,
        right: torch.Tensor,
        rows: torch.Tensor,
        columns: torch.Tensor,
    ) -> torch.Tensor:
        context.save_for_backward(left, right, rows, columns)
        batch, samples = columns.shape
        if left.device.type == "cpu":
            # Torch's kernel for chosen entries of a product: some ten times faster on a CPU than gathering both sides.
            starts = torch.arange(0, batch * samples + 1, samples)
            wanted = _csr(starts, columns.flatten(), left.new_zeros(batch * samples), (batch, len(right)))
            return torch.sparse.sampled_addmm(wanted, left[rows], right.T, beta=0.0).values().view(batch, samples)
        # Gathered in blocks: all at once would be samples times the size of the batch.
        step = max(1, 2**26 // (samples * left.shape[1]))
        parts = [
            torch.bmm(right[columns[start : start + step]], left[rows[start : start + step], :, None])[:, :, 0]
            for start in range(0, batch, step)
        ]
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        left, right, rows, columns = context.saved_tensors
        # A hinge is flat for most pairs once the model has learnt something: they drop out here.
        active, sample = gradients[0].nonzero(as_tuple=True)
        values, row, column = gradients[0][active, sample], rows[active], columns[active, sample]
        need_left, need_right = context.needs_input_grad[:2]
        grad_left = _sparse_product(row, column, values, len(left), right) if need_left else None
        grad_right = _sparse_product(column, row, values, len(right), left) if need_right else None
        return grad_left, grad_right, None, None


def _sparse_product(
    rows: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, size: int, dense: torch.Tensor
) -> torch.Tensor:
    """Returns (size, dim): the sparse matrix with these entries times `dense`."""
    if not bool((rows[1:] >= rows[:-1]).all()):
        order = rows.argsort(stable=True)
        columns, values = columns[order], values[order]
    starts = torch.zeros(size + 1, dtype=torch.int64, device=rows.device)
    starts[1:] = torch.bincount(rows, minlength=size).cumsum(0)
    return _csr(starts, columns, values, (size, len(dense))) @ dense


def _csr(starts: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Returns a sparse matrix; torch's notice that this format is in beta is kept from the user's screen."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, columns, values, size, check_invariants=False)
