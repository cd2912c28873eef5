"""PeakCorrelation against the convolution that it replaces, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from musicrec.embeddings.networks.peak_correlation import PeakCorrelation


@pytest.mark.parametrize(
    ("bands", "width"),
    [(96, 38), (96, 67), (12, 4), (12, 9), (12, 12), (12, 1), (13, 4), (13, 5), (13, 13), (2, 2), (2, 1)],
)
def test_equals_the_maximum_of_a_convolution(bands: int, width: int) -> None:
    torch.manual_seed(bands * 100 + width)
    filters, image = torch.randn(5, 3, width), torch.randn(2, 1, 60, bands) + 2
    found = PeakCorrelation(filters, bands)(image)
    expected = F.conv2d(image.double(), filters[:, None].double()).amax(dim=3)
    assert found.shape == (2, 5, 58)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


def test_rounding_errors_are_no_larger_than_those_of_the_convolution() -> None:
    torch.manual_seed(0)
    filters, image = torch.randn(16, 7, 38), torch.randn(1, 1, 30, 96) + 1
    exact = F.conv2d(image.double(), filters[:, None].double()).amax(dim=3)
    found = (PeakCorrelation(filters, 96)(image) - exact).square().mean()
    convolved = (F.conv2d(image, filters[:, None]).amax(dim=3) - exact).square().mean()
    assert found < 2 * convolved
