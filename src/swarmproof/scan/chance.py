"""Tails of the binomial distribution, corrected for the number of things looked at."""

from __future__ import annotations

import numpy as np

# A finding needs a p-value below this after the correction.
LEVEL = 1e-4


def tail(count: np.ndarray | float, of: np.ndarray | float, rate: np.ndarray | float) -> np.ndarray:
    """P(Binomial(of, rate) >= count), elementwise; 1 where the count is 0."""
    from scipy import special

    count, of = np.asarray(count, np.float64), np.asarray(of, np.float64)
    rate = np.clip(np.asarray(rate, np.float64), 0.0, 1.0)
    with np.errstate(invalid="ignore"):
        inside = special.betainc(np.maximum(count, 1e-9), of - count + 1, rate)
    result: np.ndarray = np.where(count <= 0, 1.0, np.where(count > of, 0.0, inside))
    return result


def corrected(p_value: float, looked_at: int) -> float:
    """Bonferroni's correction."""
    return min(1.0, p_value * max(1, looked_at))


def upper(count: int, of: int) -> float:
    """The upper end of the 95 % interval of a share; 1 if there is nothing to judge by."""
    from swarmproof.records.summary import wilson_interval

    interval = wilson_interval(count, of)
    return 1.0 if interval is None else interval[1]


def percent(count: float, of: float) -> str:
    """A share, for a person."""
    return f"{100 * count / of:.1f} %" if of else "none"


def middle(values: np.ndarray) -> float:
    """The upper median: fewer than half of the values cannot move it out of the others' range."""
    return float(np.sort(values)[len(values) // 2])
