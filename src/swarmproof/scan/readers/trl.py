"""TRL: `completions_STEP.parquet` of `GRPOTrainer` and `RLOOTrainer` with `log_completions`.

Columns `step, prompt, completion`, one for each reward function, those of `log_extra`, `advantage`.
Groups are runs of equal prompts. A row that all reward functions left out has NaN for a reward.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

from swarmproof.scan.readers.chat import asked, written
from swarmproof.scan.readers.groups import PromptRuns
from swarmproof.scan.readers.values import FileRow, Rows, verdict
from swarmproof.scan.rollout import Rollout

NAME = "TRL completions_STEP.parquet"
_OWN = ("step", "prompt", "completion", "advantage")
# The raw reward that a guard logs: TRL's own is NaN where the guard refused.
_GUARD_REWARD = "guard/reward"
# As a guard logs it, and as `swarmproof export` does.
_SENDERS = ("guard/sender", "sender", "swarmproof/node")


def matches(columns: Collection[str]) -> bool:
    return set(_OWN) <= set(columns)


def read(rows: Rows, path: str, floats: Sequence[str]) -> Iterator[Rollout]:
    """Rollouts of a file.

    Args:
        rows: all rows.
        path: the file, which begins the names of its groups.
        floats: the columns of floats. Those without a `/` in their name are taken for rewards, and
            their sum for the reward: TRL writes neither weights nor which columns are rewards.
    """
    rewards = [name for name in floats if name not in _OWN and "/" not in name]
    runs = PromptRuns(path)
    for row in rows:
        step, prompt = row.step("step"), asked(row, "prompt")
        refused, reason = verdict(row)
        yield Rollout(
            id=row.where,
            where=row.where,
            prompt=prompt,
            text=written(row, "completion"),
            group=runs.group(step, prompt),
            step=step,
            reward=_reward(row, rewards),
            advantage=_number(row, "advantage"),
            sender=next(filter(None, map(row.name, _SENDERS)), None),
            masked=refused,
            verdict=reason,
        )


def _reward(row: FileRow, names: Sequence[str]) -> float | None:
    if (raw := _number(row, _GUARD_REWARD)) is not None:
        return raw
    given = [number for name in names if (number := _number(row, name)) is not None]
    return sum(given) if given else None


def _number(row: FileRow, key: str) -> float | None:
    """A number; NaN is TRL's word for none."""
    value = row.data.get(key)
    return None if isinstance(value, float) and math.isnan(value) else row.number(key)
