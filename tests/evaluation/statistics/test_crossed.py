"""Intervals over users and seeds: against Student's t, against analysis of variance, and by simulation."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from musicrec.evaluation.statistics.crossed import Crossed, crossed
from musicrec.evaluation.statistics.seed_pairs import of_seeds

# fmt: off
SCORES = np.array([
    [0.289, 0.3, 0.297], [0.202, 0.212, 0.243], [0.289, 0.303, 0.245],
    [0.053, 0.088, 0.098], [0.128, 0.202, 0.128], [0.275, 0.315, 0.339]])
# fmt: on
# statsmodels 0.15.0: anova_lm(ols("y ~ C(user) + C(seed)")), mean squares of users, seeds and the rest
USERS, SEEDS, REST = 0.02483115555555555, 0.0014375555555555604, 0.0006793555555555555


def test_error_is_that_of_the_analysis_of_variance() -> None:
    found = crossed(SCORES)
    assert found.error**2 == pytest.approx((USERS - REST + SEEDS) / 18)
    assert found.seed_share == pytest.approx(SEEDS / (USERS - REST + SEEDS))


def test_one_seed_is_students_t() -> None:
    found, expected = crossed(SCORES[:, :1]), ttest_1samp(SCORES[:, 0], 0)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p_value() == pytest.approx(expected.pvalue)


def test_no_noise_in_training_is_students_t_too() -> None:
    """KNN gives the same lists with every seed."""
    same = crossed(np.repeat(SCORES[:, :1], 3, axis=1))
    assert same.interval() == pytest.approx(crossed(SCORES[:, :1]).interval())
    nothing = crossed(np.zeros((5, 3)))
    assert nothing.p_value() == 1 and nothing.interval() == (0, 0) and nothing.p_equivalence(0.1) == 0
    alone = crossed(np.ones((1, 3)))
    assert alone.p_value() == 1 == alone.p_equivalence(2) and np.isnan([*alone.interval(), alone.detectable()]).all()


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
@pytest.mark.parametrize(("of_users", "rest"), [(1.0, 0.5), (0.2, 1.0)])
def test_intervals_of_made_worlds(noise: float, of_users: float, rest: float) -> None:
    """From scores to intervals; the bounds are those below and three standard errors."""
    generator = np.random.default_rng(17)
    worlds, users, seeds = 1200, 100, 3
    held = 0
    for _ in range(worlds):
        effects = generator.normal(0, of_users, (users, 1)) + generator.normal(0, noise, (1, seeds))
        low, high = crossed(effects + generator.normal(0, rest, (users, seeds))).interval()
        held += low <= 0 <= high
    assert 0.949 - 0.019 <= held / worlds <= 0.972 + 0.014


@pytest.mark.parametrize(("seeds", "least", "most"), [(2, 0.939, 0.979), (3, 0.949, 0.9725), (5, 0.949, 0.966)])
def test_coverage_and_false_positives(seeds: int, least: float, most: float) -> None:
    """200,000 worlds each: with three seeds and more, 5 % tests find nothing in 94.9 %, whichever effect is greater.

    The worlds are drawn as mean squares, which are independent multiples of chi-square.
    """
    generator, users, worlds = np.random.default_rng(5), 100, 200_000
    ends = [Crossed(0, 1, share, users, seeds).quantile(0.025) for share in (0.0, 0.5, 1.0)]
    assert ends[1] == pytest.approx((ends[0] + ends[2]) / 2)  # linear in the share
    coverage = []
    for of_users, rest in ((1.0, 0.5), (0.2, 1.0), (1.0, 0.05), (0.05, 1.0)):
        for noise in (0.0, 0.05, 0.1, 0.15, 0.2, 0.5, 1.0):
            expected = (rest**2 + seeds * of_users**2, rest**2 + users * noise**2, rest**2)
            freedom = (users - 1, seeds - 1, (users - 1) * (seeds - 1))
            squares = [mean * generator.chisquare(df, worlds) / df for mean, df in zip(expected, freedom, strict=True)]
            total = np.maximum(squares[0] - squares[2], 0) + squares[1]
            quantiles = ends[0] + (ends[2] - ends[0]) * squares[1] / total
            means = generator.normal(0, (expected[0] + expected[1] - expected[2]) ** 0.5, worlds)
            coverage.append((np.abs(means) <= quantiles * np.sqrt(total)).mean())
    assert least <= min(coverage) and max(coverage) <= most


def test_p_values_agree_with_intervals(generator: np.random.Generator) -> None:
    for _ in range(300):
        noise = generator.normal(0, generator.choice([0.0, 0.1, 1.0]), (1, 3))
        mean = crossed(generator.normal(0.15, 1, (60, 1)) + noise + generator.normal(0, 0.5, (60, 3)))
        low, high = mean.interval()
        assert (mean.p_value() < 0.05) == (not low <= 0 <= high)
        low, high = mean.interval(0.9)
        assert (mean.p_equivalence(0.4) < 0.05) == (low > -0.4 and high < 0.4)


def test_a_test_over_users_alone_is_fooled_by_the_noise_of_training() -> None:
    """Two systems that differ in the luck of their seed only."""
    generator = np.random.default_rng(3)
    fooled = honest = 0
    for _ in range(600):
        first, second = (generator.normal(0, 0.05, (1, 3)) + generator.normal(0, 0.5, (200, 3)) for _ in range(2))
        fooled += ttest_1samp(first[:, 0] - second[:, 0], 0).pvalue < 0.05
        honest += of_seeds(first, second).p_value() < 0.05
    assert fooled / 600 > 0.15 and honest / 600 <= 0.065


def test_a_system_with_a_single_run_stands_beside_every_seed() -> None:
    first, second = SCORES, SCORES[:, :1] * 0
    assert of_seeds(first, second).mean == pytest.approx(SCORES.mean())
    assert of_seeds(first, SCORES[:, :2]).seeds == 2
