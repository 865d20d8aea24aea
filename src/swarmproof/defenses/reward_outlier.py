"""REWARD OUTLIER: refuse rewards that are far from those of their group. A baseline that fails.

The filter of robust statistics: distances from the median, in robust deviations. Why it might
work: a poisoned completion is right where most of its group are wrong. Where it fails: so is the
rare honest one that a model has to learn from early on, and the two cannot be told apart by a
number that both have earned; once most are right, poison is no outlier at all.
Source: found wanting in "Hail to the Thief", arXiv 2511.09780; the score is Iglewicz and Hoaglin's
(1993) modified z, with the mean deviation where the median one is 0, as in SPSS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from swarmproof.defenses.base import Defense, DefenseView, Reads
from swarmproof.registry import register
from swarmproof.types import Group, Verdict

# What makes a median and a mean deviation from the median a standard one, for normal rewards.
_MEDIAN_TO_STD, _MEAN_TO_STD = 1.4826, 1.2533


@register("defense", "reward_outlier")
class RewardOutlier(Defense):
    """Refuse rewards far from the group's median, either way; a baseline that fails.

    The score is |reward - median| / deviation; the deviation is 1.4826 times the median distance
    from the median or, where that is 0, 1.2533 times the mean one. With rewards of 0 and 1 those
    that less than `1 / (1.2533 threshold)` of the group have are refused, 23 % by default.
    """

    reads: ClassVar[Reads] = "text"
    threshold_field: ClassVar[str] = "threshold"

    threshold: float = Field(default=3.5, gt=0, description="robust deviations that may be")

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
