"""Group-relative advantages, and what a rejection does to its group. Pure, no torch.

The loss itself, which needs a model, is in `policies/loss.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from swarmproof.config import OnReject

# Added to the standard deviation, as in TRL's GRPOTrainer.
STD_EPSILON = 1e-4


def advantages(
    rewards_G: Sequence[float],
    refused_G: Sequence[bool],
    *,
    on_reject: OnReject,
    scale_rewards: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Advantages of one group, (r - mean) / (std + 1e-4), and who was kept.

    Args:
        rewards_G: the task's rewards.
        refused_G: whether any defence refused the completion.
        on_reject: `zero_reward` keeps a refused completion in the mean and the deviation with
            reward 0 (r = r_task * r_judge, the paper's judge); `drop` takes it out of the group,
            so that the rest are compared with one another only.
        scale_rewards: divide by the deviation (False: Dr. GRPO).

    Returns:
        advantages, float64 of shape (G,), 0 where dropped; and kept, bool of shape (G,).
        The deviation is the sample's (n - 1), as in TRL. With fewer than two kept, or equal
        rewards, all are 0.
    """
    rewards = np.asarray(rewards_G, dtype=np.float64)
    refused = np.asarray(refused_G, dtype=bool)
    if on_reject == "zero_reward":
        rewards = np.where(refused, 0.0, rewards)
        kept = np.ones_like(refused)
    else:
        kept = ~refused
    result = np.zeros_like(rewards)
    among = rewards[kept]
    if len(among) < 2 or np.all(among == among[0]):
        return result, kept
    centred = among - among.mean()
    result[kept] = centred / (among.std(ddof=1) + STD_EPSILON) if scale_rewards else centred
    return result, kept
