"""Sets the threshold of a defence on honest completions, at a chosen rate of false rejections.

For any defence that refuses scores above a threshold. A defence that judges completions one by one
scores right completions. A defence that compares rounds or reads a model's scores scores all
completions of whole rounds. Half of the problems set the threshold, the other half test it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmproof import registry
from swarmproof.config import TrialConfig
from swarmproof.defenses import Defense
from swarmproof.policies import DrawEngine
from swarmproof.records.summary import refused
from swarmproof.swarm import warmup
from swarmproof.tasks import Task

if TYPE_CHECKING:
    from swarmproof.policies.policy import Policy

_DRAWN_EACH = 12  # completions sampled per problem


def threshold_for(scores: Sequence[float], rate: float) -> float:
    """The lowest of the scores that refuses a new honest completion with probability <= `rate`.

    It is the k-th smallest of n scores, k = ceil((n + 1)(1 - rate)). If the new score is
    exchangeable with these, it lies above with probability at most `rate` (split conformal
    prediction, Vovk et al. 2005). A completion is refused if `score > threshold`.

    Raises:
        ValueError: too few scores for so low a rate.
    """
    # The small correction is for products such as 100 * 0.98, which are not integers in binary.
    k = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    if k > len(scores):
        raise ValueError(
            f"{len(scores)} completions are too few for a false-rejection rate of {rate:g}; it "
            f"takes {math.ceil(1 / rate - 1e-9) - 1} in each half: more --completions, or a "
            "higher --false-rejections"
        )
    return sorted(scores)[k - 1]


def halves(keys: Sequence[str]) -> list[bool]:
    """Assign each item to a half by its key; the keys alternate between the halves."""
    rank = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return [rank[key] % 2 == 0 for key in keys]


def find(trial: TrialConfig, arm: str) -> tuple[int, Defense]:
    """The first defence of an arm that has a threshold, and its place in the list.

    Raises:
        ValueError: no defence has a threshold, or its settings do not use it.
    """
    built = [registry.build(Defense, table) for table in trial.defenses]
    for i, defense in enumerate(built):
        if defense.threshold_field:
            try:
                defense.require_threshold()
            except ValueError as error:
                raise ValueError(f"the arm {arm!r}: {error}") from None
            return i, defense
    have = ", ".join(defense.name for defense in built) or "none at all"
    raise ValueError(
        f"the arm {arm!r} has no defence with a threshold (its defences: {have}); add one, such as "
        'defenses = [{ name = "judge" }], or name another --arm'
    )


def calibrate(
    trial: TrialConfig,
    arm: str,
    *,
    rate: float,
    completions: int,
    seed: int,
    run: Path | None = None,
    run_arm: str = "no-attack",
) -> dict[str, Any]:
    """Sample or read honest completions, score them, choose the threshold, and test it.

    Returns:
        `threshold`, `defenses` (those of the arm, with this threshold), and `false_rejections`:
        `{"count", "of", "rate", "ci95"}` of the half that was not used to choose the threshold.

    Raises:
        ValueError: the arm has nothing to calibrate, or too few completions were right.
    """
    place, defense = find(trial, arm)
    defense.require()
    if defense.only_rewarded:
        scored = _scores_of_right(trial, defense, completions, seed, run, run_arm)
    elif run is not None:
        raise ValueError(
            f"the defence {defense.name!r} compares whole rounds, or reads the current model, "
            "which a run does not record; leave out --run"
        )
    else:
        scored = _scores_of_rounds(trial, defense, completions, seed)
    first = halves([key for key, _ in scored])
    chosen_on = [score for (_, score), is_first in zip(scored, first, strict=True) if is_first]
    tested_on = [score for (_, score), is_first in zip(scored, first, strict=True) if not is_first]
    threshold = threshold_for(chosen_on, rate)
    tables = [dict(table) for table in trial.defenses]
    tables[place][defense.threshold_field] = threshold
    try:
        registry.build(Defense, tables[place])
    except ValueError:
        raise ValueError(
            f"at this rate the honest scores of {defense.name!r} end at {threshold:g}, which its "
            f"{defense.threshold_field} may not be; keep the one that it has"
        ) from None
    return {
        "arm": arm,
        "defense": defense.name,
        "threshold": threshold,
        "wanted": rate,
        "chosen_on": len(chosen_on),
        "false_rejections": refused(sum(s > threshold for s in tested_on), len(tested_on)),
        "scores": {"chosen_on": sorted(chosen_on), "tested_on": sorted(tested_on)},
        "defenses": tables,
        "from": {"run": run.name, "arm": run_arm} if run else {"model": trial.model.path},
        "seed": seed,
    }


# The problem that a completion answers, and its score by the defence.
Scored = tuple[str, float]


def _scores_of_right(
    trial: TrialConfig, defense: Defense, count: int, seed: int, run: Path | None, run_arm: str
) -> list[Scored]:
    """Scores of rewarded completions, one by one."""
    from swarmproof.measure import honest

    if run is not None:
        task, pairs = honest.recorded(run, run_arm, count)
    else:
        task = warmup.task_of(trial)
        policy = _policy(trial, task)
        train = warmup.split(trial, task.problems("train"))
        pairs = honest.draw(policy, task, train, count, each=_DRAWN_EACH, seed=seed)
    pairs = sorted(pairs, key=lambda pair: pair[0].id)
    verdicts = honest.verdicts(defense, task, pairs, seed)
    return [(of.id, verdict.score) for (of, _), verdict in zip(pairs, verdicts, strict=True)]


def _scores_of_rounds(trial: TrialConfig, defense: Defense, count: int, seed: int) -> list[Scored]:
    """Scores of all completions of whole rounds, under the model that sampled them, in its
    precision."""
    from swarmproof.guard.guard import Guard
    from swarmproof.measure import honest

    task = warmup.task_of(trial)
    policy = _policy(trial, task)
    guard = Guard(
        [defense], model=policy, sampling=trial.sampling, seed=seed, programs=task.writes_programs
    )
    drawn = honest.rounds(
        policy,
        task,
        warmup.split(trial, task.problems("train")),
        trial.swarm,
        trial.batch,
        count=count,
        seed=seed,
    )
    found = []
    for round, groups in enumerate(drawn):
        rewards = task.group_rewards([(group.problem, group.texts) for group in groups])
        for group, row in zip(groups, guard(groups, rewards, round).verdicts, strict=True):
            found += [(group.problem.id, verdicts[-1].score) for verdicts in row]
    return found


def _policy(trial: TrialConfig, task: Task) -> Policy:
    """The model of the first round, which draws as in a run."""
    from swarmproof.policies.policy import load

    engine = registry.build(DrawEngine, trial.generator)
    engine.require(trial.model)
    return load(warmup.start_model(trial, task), trial.sampling, engine=engine)


def toml_line(defenses: Sequence[Mapping[str, Any]]) -> str:
    """The line that sets these defences in an experiment's TOML."""
    return f"defenses = {_toml(list(defenses))}"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
