"""REWARD OUTLIER: refuse rewards that are far from those of their group. A baseline that fails.

The standard filter of robust statistics: distances from the median, in robust deviations. Why it
might work: a poisoned completion is right where most of its group are wrong. Where it fails: early
in training, the rare right honest completion, from which a model must learn, is an outlier too,
and the same reward cannot separate the two. Once most completions are right, a poisoned one is not
an outlier.
Source: shown to be insufficient in "Hail to the Thief", arXiv 2511.09780; the score is the modified
z of Iglewicz and Hoaglin (1993), with the mean deviation where the median deviation is 0, as in
SPSS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from swarmproof.defenses.base import Defense, DefenseView, Reads
from swarmproof.registry import register
from swarmproof.types import Group, Verdict

# Factors from the median and the mean deviation to a standard deviation, for normal rewards.
_MEDIAN_TO_STD, _MEAN_TO_STD = 1.4826, 1.2533


@register("defense", "reward_outlier")
class RewardOutlier(Defense):
    """Refuse rewards far from the group's median, either way; a baseline that fails.

    The score is |reward - median| / deviation; the deviation is 1.4826 times the median distance
    from the median or, where that is 0, 1.2533 times the mean distance. With rewards of 0 and 1, a
    reward that less than `1 / (1.2533 threshold)` of the group have is refused (23 % by default).
    """

    reads: ClassVar[Reads] = "text"
    threshold_field: ClassVar[str] = "threshold"

    threshold: float = Field(default=3.5, gt=0, description="largest allowed robust deviation")

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        return [
            [
                self._verdict(reward, score)
                for reward, score in zip(rewards, robust_z(rewards), strict=True)
            ]
            for _, rewards in zip(groups, view.rewards, strict=True)
        ]

    def _verdict(self, reward: float, score: float) -> Verdict:
        refused = score > self.threshold
        reason = f"a reward of {reward:g}, {score:.1f} robust deviations from the median"
        return self.verdict(not refused, score, reason if refused else "")


def robust_z(rewards_G: Sequence[float]) -> list[float]:
    """Distance of each reward from the median, in robust deviations; (G,) -> (G,), all finite."""
    distance = np.abs(np.asarray(rewards_G, dtype=np.float64) - np.median(rewards_G))
    deviation = _MEDIAN_TO_STD * np.median(distance) or _MEAN_TO_STD * distance.mean()
    z: list[float] = (distance / (deviation or 1.0)).tolist()
    return z
