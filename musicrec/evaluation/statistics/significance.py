"""Paired tests between embeddings on per-user scores (t, Wilcoxon, equivalence; Holm), and critical differences."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, rankdata, ttest_rel, wilcoxon

from musicrec.evaluation.confidence import LEVEL
from musicrec.evaluation.statistics.equivalence import MARGIN, p_equivalence
from musicrec.evaluation.statistics.power import detectable

ALPHA = 0.05
P_VALUES = ("p_t", "p_wilcoxon", "p_equivalence")  # those that are corrected for the number of tests
PAIRED = ("difference", "low", "high", "p_t", "p_wilcoxon", "effect", "detectable", "margin", "p_equivalence")


def holm(p_values: np.ndarray) -> np.ndarray:
    """Returns p values corrected for all tests made (Holm 1979): each is the level at which its test still rejects.

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    stepped = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected


def paired_tests(first: np.ndarray, second: np.ndarray, margin: float = MARGIN) -> dict[str, np.ndarray]:
    """Returns the tests of systems on the same users, along the first axis; uncorrected.

    Args:
        first: (users, ...) scores.
        second: (users, ...) scores of the systems to compare with.
        margin: share of the better mean below which a difference does not matter.

    Returns:
        difference: mean of first - second.
        low, high: its 95 % interval (Student's t); NaN for a single user.
        p_t: paired t test, two-sided.
        p_wilcoxon: signed-rank test, two-sided, normal approximation; zero differences take part in the ranking (Pratt
            1959), because most users may score 0 with both.
        effect: Cohen's d of the differences, mean / standard deviation (0.2 small, 0.5 medium, 0.8 large).
        detectable: the smallest true difference that p_t < 0.05 would have shown with a probability of 80 %.
        margin: the share of the better of both means.
        p_equivalence: of a true difference of at least the margin, see `p_equivalence`.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    differences = first - second
    mean = differences.mean(axis=0) if len(differences) else np.full(differences.shape[1:], np.nan)
    least = margin * np.maximum(np.abs(first.mean(axis=0)), np.abs(second.mean(axis=0))) if len(differences) else mean
    if len(differences) < 2:
        unknown, untested = np.full_like(mean, np.nan), np.ones_like(mean)
        return {
            "difference": mean,
            "low": unknown,
            "high": unknown,
            "p_t": untested,
            "p_wilcoxon": untested,
            "effect": np.zeros_like(mean),
            "detectable": unknown,
            "margin": least,
            "p_equivalence": untested,
        }
    alike = ~differences.any(axis=0)
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        # The same difference for every user: an infinite effect that no t test can doubt. No difference: none.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        effect = np.where(alike, 0.0, mean / differences.std(axis=0, ddof=1))
        test = ttest_rel(first, second, axis=0)
        interval = test.confidence_interval(LEVEL)
        p_t = np.where(np.isinf(effect), 0.0, np.where(alike, 1.0, test.pvalue))
        p_wilcoxon = wilcoxon(np.where(alike, 1.0, differences), zero_method="pratt", method="approx", axis=0).pvalue
    certain = alike | np.isinf(effect)
    df = len(differences) - 1
    error = np.where(certain, 0.0, differences.std(axis=0, ddof=1) / np.sqrt(len(differences)))
    return {
        "difference": mean,
        "low": np.where(certain, mean, interval.low),
        "high": np.where(certain, mean, interval.high),
        "p_t": p_t,
        "p_wilcoxon": np.where(alike, 1.0, p_wilcoxon),
        "effect": effect,
        "detectable": detectable(error, df),
        "margin": least,
        "p_equivalence": p_equivalence(mean, error, df, least),
    }


def pairwise(scores: Mapping[str, np.ndarray], *, corrected: bool = True, margin: float = MARGIN) -> pd.DataFrame:
    """Returns one row per pair of systems: first, second and the columns of `paired_tests`, p values Holm-corrected.

    Args:
        scores: system to (users,) scores of one metric, the same users in the same order.
        corrected: False leaves the correction to the caller, who makes more tests than these.
        margin: see `paired_tests`.
    """
    pairs = list(combinations(scores, 2))
    if not pairs:
        return pd.DataFrame(columns=["first", "second", *PAIRED])
    first, second = (np.stack([scores[name] for name in names], axis=1) for names in zip(*pairs, strict=True))
    tests = paired_tests(first, second, margin)
    if corrected:
        tests |= {name: holm(tests[name]) for name in P_VALUES}
    return pd.DataFrame(pairs, columns=["first", "second"]).assign(**tests)


@dataclass(frozen=True)
class CriticalDifference:
    """A critical-difference diagram in numbers (Demšar 2006, with Wilcoxon-Holm in place of Nemenyi's test).

    Attributes:
        ranks: system to its mean rank over users (1 = best, ties share), the best first.
        groups: maximal stretches of neighbours among which no pair differs significantly; only those of 2 and more.
        p_friedman: of the hypothesis that all systems are alike; NaN for fewer than 3.
    """

    ranks: pd.Series
    groups: list[list[str]]
    p_friedman: float


def critical_difference(
    scores: Mapping[str, np.ndarray], pairs: pd.DataFrame, alpha: float = ALPHA
) -> CriticalDifference:
    """Returns mean ranks and the groups whose members do not differ significantly.

    Args:
        scores: system to (users,) scores of one metric.
        pairs: what `pairwise` returned for them.
        alpha: level of the Wilcoxon-Holm tests.
    """
    names = list(scores)
    ranks = rankdata([-np.asarray(scores[name]) for name in names], axis=0).mean(axis=1)
    ordered = pd.Series(ranks, index=names).sort_values(kind="stable")
    different = {frozenset(pair) for pair in pairs.loc[pairs["p_wilcoxon"] < alpha, ["first", "second"]].to_numpy()}
    groups: list[list[str]] = []
    names = list(ordered.index)
    for start in range(len(names)):
        end = start + 1
        while end < len(names) and not any(frozenset((name, names[end])) in different for name in names[start:end]):
            end += 1
        stretch = names[start:end]
        if len(stretch) > 1 and not (groups and set(stretch) <= set(groups[-1])):
            groups.append(stretch)
    alike = np.ptp(ordered.to_numpy()) == 0 if len(ordered) else True
    p_friedman = float("nan")
    if len(names) > 2:
        p_friedman = 1.0 if alike else float(friedmanchisquare(*scores.values()).pvalue)
    return CriticalDifference(ordered, groups, p_friedman)


def worse_than_best(means: pd.Series, pairs: pd.DataFrame, alpha: float = ALPHA) -> set[str]:
    """Returns the systems significantly worse than the one with the best mean (paired t, Holm-corrected).

    Args:
        means: system to its mean.
        pairs: what `pairwise` returned for the same metric.
        alpha: level of the tests.
    """
    best = means.idxmax()
    with_best = pairs[(pairs["first"] == best) | (pairs["second"] == best)]
    rejected = with_best[with_best["p_t"] < alpha]
    return (set(rejected["first"]) | set(rejected["second"])) - {best}
