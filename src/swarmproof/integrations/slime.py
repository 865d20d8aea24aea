"""A guard in slime: two functions that slime calls by name.

| on_reject | filter alone | with `post_process` |
|---|---|---|
| `monitor`, `mask` | yes | yes |
| `drop`, `zero_reward` | no: refused in one line | yes |

`sample_filter` (`--rollout-sample-filter-path`) sets `remove_sample`, so that no token trains.
slime normalises rewards over all samples first, so such a row still votes. `post_process`
(`--custom-reward-post-process-path`) is slime's normalisation without the rows that do not vote:
the group's mean is subtracted for grpo, gspo, cispo and reinforce_plus_plus_baseline, and divided
by its deviation + 1e-6 for the first three with `--grpo-std-normalization`. Rows that do not vote,
and groups with one voting row, get 0. Groups are those of `group_index`, always: slime itself takes
one mean over everything where the number of samples is not groups times samples per prompt.

`post_process` alone is enough, because it sets `remove_sample`, too, before slime builds the loss
masks. It inspects what the filter has not seen, so that a rollout function that skips the filter
passes nothing by. Both see the whole step, so defences that compare completions work.

Written for slime at commit 624b824 (August 2026). It needs no import of slime.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

from swarmproof.defenses.senders import nothing
from swarmproof.integrations.configured import Hook, Seam, hook
from swarmproof.integrations.rows import TrainerRow
from swarmproof.types import Tokens

POST_PROCESS = "swarmproof.integrations.slime.post_process"
SEAM = Seam(
    "slime",
    ("monitor", "mask", "drop", "zero_reward"),
    "batch",
    'set on_reject = "drop"',
    weighs=True,
)
_STD_EPSILON = 1e-6  # slime's
_SEEN = "swarmproof"  # the key of what a sample's metadata keep
_CENTRED = ("grpo", "gspo", "cispo", "reinforce_plus_plus_baseline")
_SCALED = _CENTRED[:3]


def sample_filter(args: Any, samples: Sequence[Any]) -> None:
    """Set `remove_sample` of samples that do not train.

    Args:
        args: slime's arguments.
        samples: of a step, in lists of any depth.

    Raises:
        ValueError: a rule needs `post_process`, and slime is not told to call it.
    """
    inspector = _hook()
    for defense in inspector.guard.defenses:
        mode = inspector.guard.rules.by_defense[defense.name]
        if mode in ("drop", "zero_reward") and not _post_processes(args):
            raise ValueError(
                f"the defence {defense.name!r} has on_reject = {mode!r}, and slime's filter "
                f"can only mask: add --custom-reward-post-process-path {POST_PROCESS}"
            )
    _inspect(inspector, args, list(_flat(samples)))


def post_process(args: Any, samples: Sequence[Any]) -> tuple[list[float], list[float]]:
    """slime's normalisation of rewards, without rows that do not vote.

    Args:
        args: slime's arguments.
        samples: of a step, in lists of any depth.

    Returns:
        The rewards, and what slime trains with, in the order of the samples.
    """
    rows = list(_flat(samples))
    _inspect(_hook(), args, [sample for sample in rows if _SEEN not in (sample.metadata or {})])
    seen = [sample.metadata.pop(_SEEN) for sample in rows]
    raw = [_reward(args, sample) for sample in rows]
    keys = [sample.group_index for sample in rows]
    told = _zeroed(keys, [float(r or 0.0) for r in raw], [now["zeroed"] for now in seen])
    if not (args.rewards_normalization and args.advantage_estimator in _CENTRED):
        return raw, told
    weights = [now["weight"] for now in seen]
    return raw, _by_group(args, keys, told, weights)


def _zeroed(keys: Sequence[int], rewards: Sequence[float], zeroed: Sequence[bool]) -> list[float]:
    members = _members(keys)
    return [
        nothing([rewards[i] for i in members[key]]) if is_zeroed else reward
        for key, reward, is_zeroed in zip(keys, rewards, zeroed, strict=True)
    ]


def _members(keys: Sequence[int]) -> dict[int, list[int]]:
    members: dict[int, list[int]] = {}
    for i, key in enumerate(keys):
        members.setdefault(key, []).append(i)
    return members


def _by_group(
    args: Any, keys: Sequence[int], rewards: Sequence[float], weights: Sequence[float]
) -> list[float]:
    scaled = args.grpo_std_normalization and args.advantage_estimator in _SCALED
    result = np.zeros(len(keys))
    for group in _members(keys).values():
        of = [rewards[i] for i in group], [weights[i] for i in group]
        result[group] = normalised(*of, scaled=scaled)
    told: list[float] = result.tolist()
    return told


def normalised(
    rewards_G: Sequence[float], weights_G: Sequence[float], *, scaled: bool
) -> np.ndarray:
    """slime's normalisation of one group, (G,); 0 where the weight is 0."""
    rewards, weights = np.asarray(rewards_G, dtype=float), np.asarray(weights_G, dtype=float)
    votes = weights > 0
    result = np.zeros(len(rewards))
    if votes.sum() < 2:
        return result
    centred = rewards[votes] - np.average(rewards[votes], weights=weights[votes])
    if scaled:
        centred = centred / (rewards[votes].std(ddof=1) + _STD_EPSILON)
    result[votes] = centred * weights[votes]  # a loss that is weighed
    return result


@cache
def _hook() -> Hook:
    return hook(SEAM)


def _inspect(inspector: Hook, args: Any, samples: Sequence[Any]) -> None:
    if not samples:
        return
    rows = [_row(args, sample) for sample in samples]
    groups = [str(sample.group_index) for sample in samples]
    seen = inspector.look(rows, [str(sample.index) for sample in samples], groups=groups)
    for sample, treatment, columns in zip(samples, seen.treatments, seen.columns, strict=True):
        sample.remove_sample = sample.remove_sample or not treatment.trains
        # In the debug dump, too, where `swarmproof scan` reads the columns.
        sample.metadata = {
            **(sample.metadata or {}),
            **columns,
            _SEEN: {
                "zeroed": treatment.zeroed,
                "weight": treatment.weight if treatment.votes else 0.0,
            },
        }


def _row(args: Any, sample: Any) -> TrainerRow:
    if sample.group_index is None:
        raise ValueError(f"slime's sample {sample.index} has no group_index, so it has no group")
    prompt = _text(sample.prompt)
    return TrainerRow(
        group=(sample.group_index, prompt),
        prompt=prompt,
        text=sample.response,
        reward=_reward(args, sample),
        token_ids=_tokens(sample),
        question=None if isinstance(sample.prompt, str) else str(sample.prompt[-1]["content"]),
    )


def _tokens(sample: Any) -> Tokens | None:
    """The response's tokens.

    Raises:
        ValueError: tokens, mask and log-probabilities do not belong together.
    """
    length = sample.response_length
    if not sample.tokens and not length:
        return None
    for what, values in (("loss_mask", sample.loss_mask), ("log-probs", sample.rollout_log_probs)):
        if values is not None and len(values) != length:
            raise ValueError(
                f"not aligned: sample {sample.index} has {length} tokens, {len(values)} {what}"
            )
    if length > len(sample.tokens):
        raise ValueError(
            f"not aligned: sample {sample.index} has {len(sample.tokens)} tokens, a response of "
            f"{length}"
        )
    return tuple(map(int, sample.tokens[len(sample.tokens) - length :]))


def _reward(args: Any, sample: Any) -> Any:
    return sample.reward[args.reward_key] if args.reward_key else sample.reward


def _text(prompt: Any) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def _flat(samples: Iterable[Any]) -> Iterable[Any]:
    for sample in samples:
        if isinstance(sample, list):
            yield from _flat(sample)
        else:
            yield sample


def _post_processes(args: Any) -> bool:
    return getattr(args, "custom_reward_post_process_path", None) == POST_PROCESS
