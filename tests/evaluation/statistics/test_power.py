"""The detectable difference against statsmodels and by simulation."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from musicrec.evaluation.statistics.power import detectable, noncentrality

# statsmodels 0.15.0: TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8) * sqrt(n)
STATSMODELS = {
    2: 16.33401073540419,
    3: 5.6534892716012415,
    5: 3.761059816267204,
    10: 3.1496345918890136,
    30: 2.898743336048761,
    500: 2.806987929037619,
    8000: 2.8017669026116137,
}


@pytest.mark.parametrize("users", STATSMODELS)
def test_equals_statsmodels(users: int) -> None:
    assert noncentrality(users - 1.0) == pytest.approx(STATSMODELS[users], rel=1e-4)


def test_such_a_difference_is_found_in_four_of_five_samples(generator: np.random.Generator) -> None:
    least = float(detectable(np.array(1 / np.sqrt(40)), 39))  # standard deviation 1, 40 users
    found = ttest_1samp(generator.normal(least, 1, (4000, 40)), 0, axis=1).pvalue < 0.05
    assert 0.78 < found.mean() < 0.82


def test_a_single_user_shows_nothing() -> None:
    assert np.isnan(detectable(np.array([0.1, 0.2]), 0)).all()
