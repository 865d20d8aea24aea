"""The leverage of poisoned completions: the effect of their share of a group on its loss.

Leverage is A * c/G: the advantage of a poisoned completion times the share of poisoned completions
in the group. It is the weight with which the group's loss raises what all of them have in common.
Source: "Hail to the Thief" (arXiv 2511.09780), Figs. 7 and 8. Pure functions, no torch. They
describe one group in one iteration, not a training run.

The advantage is that of `guard.advantages`: the standard deviation is the sample's (n - 1), and
1e-4 is added to it. The paper writes (r - mean) / std and does not say which deviation it means.
With the population's (n), every value here would be sqrt(G / (G - 1)) times as large (4 % at
G = 12, 2 % at 32), and `leverage` without honest right answers would be sqrt(s(1 - s)) at a share
of s, for every G. There is no option for it: TRL uses the sample's, as `torch.std` does, and so
does `guard.advantages`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from swarmproof.guard.advantages import STD_EPSILON
from swarmproof.records.summary import Interval, t_interval

# N(mu_h, 0.25) is read as mean and variance, as usual. The standard deviation is then 0.5, like
# that of a reward of 0 or 1 with equal probability.
VARIANCE = 0.25


@dataclass(frozen=True, slots=True)
class Estimate:
    """The mean of independent draws, with its 95 % interval."""

    mean: float
    ci95: Interval


def leverage(group_size: int, poisoned: int, honest_right: int = 0) -> float:
    """Leverage in a group of rewards 0 and 1, in closed form (Fig. 7).

    Args:
        group_size: G, the number of completions of one problem, at least 2.
        poisoned: c, the number of poisoned completions; each has reward 1.
        honest_right: the number of other completions with reward 1; the rest have reward 0.

    Returns:
        A * c/G; 0 if nothing is poisoned or all rewards are equal. At most 1/2.

    Raises:
        ValueError: the counts exceed the group.
    """
    _check(group_size, poisoned)
    if not 0 <= honest_right <= group_size - poisoned:
        raise ValueError(
            f"{honest_right} right of {group_size - poisoned} honest completions: give 0 to "
            f"{group_size - poisoned}"
        )
    right = poisoned + honest_right
    wrong = group_size - right
    # The standard deviation of `right` ones and `wrong` zeros.
    deviation = math.sqrt(right * wrong / (group_size * (group_size - 1)))
    return poisoned / group_size * (wrong / group_size) / (deviation + STD_EPSILON)


def expected_leverage(group_size: int, poisoned: int, accuracy: float) -> float:
    """Expected leverage if honest completions are right independently, with chance `accuracy`.

    Exact: the sum of `leverage` over the binomial distribution of the number of right ones.

    Args:
        group_size: G, at least 2.
        poisoned: c; each has reward 1.
        accuracy: in [0, 1]; 0 gives `leverage(group_size, poisoned)`.

    Raises:
        ValueError: the counts exceed the group, or the accuracy is outside [0, 1].
    """
    _check(group_size, poisoned)
    if not 0 <= accuracy <= 1:
        raise ValueError(f"an accuracy of {accuracy}: give a share from 0 to 1")
    honest = group_size - poisoned
    right = np.arange(honest + 1)
    log_chances = (
        special.gammaln(honest + 1)
        - special.gammaln(right + 1)
        - special.gammaln(honest - right + 1)
        + special.xlogy(right, accuracy)
        + special.xlog1py(honest - right, -accuracy)
    )
    values = [leverage(group_size, poisoned, count) for count in right.tolist()]
    return float(np.exp(log_chances) @ np.array(values))


def simulated_leverage(
    group_size: int,
    poisoned: int,
    honest_mean: float,
    *,
    variance: float = VARIANCE,
    draws: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Mean leverage with normally distributed honest rewards, by Monte Carlo (Fig. 8).

    The noise depends only on the seed and the counts, so two values of `honest_mean` are compared
    on the same draws. The estimate falls as `honest_mean` rises, because every single draw does.

    Args:
        group_size: G, at least 2.
        poisoned: c; each has reward 1.
        honest_mean: mu_h. The rewards are not clipped to [0, 1], and often lie outside.
        variance: of an honest reward, greater than 0; for the default see `VARIANCE`.
        draws: the number of groups, at least 2.
        seed: of the draws.

    Raises:
        ValueError: a number is out of bounds.
    """
    _check(group_size, poisoned)
    if not (math.isfinite(honest_mean) and math.isfinite(variance) and variance > 0):
        raise ValueError(
            f"honest rewards of mean {honest_mean} and variance {variance}: give a finite mean "
            "and a variance greater than 0"
        )
    if draws < 2:
        raise ValueError(f"{draws} draws give no interval; give at least 2")
    if poisoned in (0, group_size):
        return Estimate(0.0, (0.0, 0.0))
    rng = np.random.default_rng([seed, group_size, poisoned])
    rewards = np.ones((draws, group_size))
    noise = rng.standard_normal((draws, group_size - poisoned))
    rewards[:, poisoned:] = honest_mean + math.sqrt(variance) * noise
    deviation = rewards.std(axis=1, ddof=1)
    values = poisoned / group_size * (1 - rewards.mean(axis=1)) / (deviation + STD_EPSILON)
    interval = t_interval(values.tolist())
    assert interval is not None
    return Estimate(float(values.mean()), interval)


def best_count(group_size: int, accuracy: float = 0.0) -> int:
    """The smallest number of poisoned completions that has the highest expected leverage.

    Raises:
        ValueError: as in `expected_leverage`.
    """
    values = [expected_leverage(group_size, c, accuracy) for c in range(group_size + 1)]
    # c and G - c give the same value up to rounding.
    return next(c for c, value in enumerate(values) if value >= max(values) - 1e-12)


def _check(group_size: int, poisoned: int) -> None:
    if group_size < 2:
        raise ValueError(f"a group of {group_size}: advantages need at least 2 completions")
    if not 0 <= poisoned <= group_size:
        raise ValueError(f"{poisoned} poisoned in a group of {group_size}: give 0 to {group_size}")
