"""Sets the threshold of a defence on honest completions, at a chosen rate of false rejections.

For any defence that refuses scores above a threshold. A defence that judges completions one by one
scores right completions. A defence that compares rounds or reads a model's scores scores all
completions of whole rounds. Half of the problems set the threshold, the other half test it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmproof import registry
from swarmproof.config import TrialConfig
from swarmproof.defenses import Defense, DefenseView
from swarmproof.policies import DrawEngine
from swarmproof.records.summary import refused, wilson_interval
from swarmproof.swarm import warmup
from swarmproof.tasks import Task
from swarmproof.types import Group, Verdict

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


def first_half(keys: Sequence[str]) -> frozenset[str]:
    """Every second of the different keys."""
    return frozenset(list(dict.fromkeys(keys))[::2])


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
    drawn: Drawn | None = None
    if defense.only_rewarded:
        scored = _scores_of_right(trial, defense, completions, seed, run, run_arm)
    else:
        _require_no_run(defense, run)
        drawn = Drawn.of(trial, completions, seed)
        scored = [(of, verdict.score) for of, verdict in drawn.verdicts(defense)]
    chosen = first_half([of for of, _ in scored])
    chosen_on = [score for of, score in scored if of in chosen]
    tested_on = [score for of, score in scored if of not in chosen]
    threshold = threshold_for(chosen_on, rate)
    tables = [dict(table) for table in trial.defenses]
    tables[place][defense.threshold_field] = threshold
    try:
        defense = registry.build(Defense, tables[place])
    except ValueError:
        raise ValueError(
            f"at this rate the honest scores of {defense.name!r} end at {threshold:g}, which its "
            f"{defense.threshold_field} may not be; keep the one that it has"
        ) from None
    if drawn is None:
        num_refused = sum(s > threshold for s in tested_on)
    else:  # it may refuse for more than its score
        tables[place] |= drawn.rates(defense, chosen)
        num_refused = drawn.num_refused(registry.build(Defense, tables[place]), chosen)
    return {
        "arm": arm,
        "defense": defense.name,
        "threshold": threshold,
        "wanted": rate,
        "chosen_on": len(chosen_on),
        "false_rejections": refused(num_refused, len(tested_on)),
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


@dataclass(frozen=True)
class Drawn:
    """Honest completions of whole rounds, and the model that drew them, in its precision."""

    policy: Policy
    task: Task
    rounds: Sequence[Sequence[Group]]
    seed: int

    @classmethod
    def of(cls, trial: TrialConfig, count: int, seed: int) -> Drawn:
        from swarmproof.measure import honest

        task = warmup.task_of(trial)
        policy = _policy(trial, task)
        problems = warmup.split(trial, task.problems("train"))
        rounds = honest.rounds(
            policy, task, problems, trial.swarm, trial.batch, count=count, seed=seed
        )
        return cls(policy, task, list(rounds), seed)

    def verdicts(self, defense: Defense) -> list[tuple[str, Verdict]]:
        """On each completion, with its problem."""
        from swarmproof.guard.guard import Guard

        guard = Guard(
            [defense],
            model=self.policy,
            sampling=self.policy.sampling,
            seed=self.seed,
            programs=self.task.writes_programs,
        )
        found = []
        for round, groups in enumerate(self.rounds):
            rewards = self.task.group_rewards([(group.problem, group.texts) for group in groups])
            for group, row in zip(groups, guard(groups, rewards, round).verdicts, strict=True):
                found += [(group.problem.id, verdicts[-1]) for verdicts in row]
        return found

    def num_refused(self, defense: Defense, without: frozenset[str]) -> int:
        """How many completions it refuses, without those of these problems.

        A defence that abstains from all that the model itself draws would refuse, of another
        model's text, what has a score above its threshold.
        """
        verdicts = [verdict for of, verdict in self.verdicts(defense) if of not in without]
        if all(verdict.accepted is None for verdict in verdicts):
            threshold = getattr(defense, defense.threshold_field)
            return sum(verdict.score > threshold for verdict in verdicts)
        return sum(verdict.accepted is False for verdict in verdicts)

    def rates(self, defense: Defense, problems: frozenset[str]) -> dict[str, float]:
        """The fields of `Defense.rates`, by the completions of these problems."""
        groups = [group for row in self.rounds for group in row if group.problem.id in problems]
        columns = self.policy.scorer.score(
            [group.prompt for group in groups],
            [group.token_ids for group in groups],
            [group.slot_seeds for group in groups],
            defense.kept,
        )
        view = DefenseView(
            rewards=[[0.0] * len(group.completions) for group in groups],
            seed=self.seed,
            sampling=self.policy.sampling,
            source=columns,
            codec=self.policy.codec,
        )
        counts = defense.rates(groups, view)
        ends = {field: wilson_interval(*each) for field, each in counts.items()}
        return {field: end[1] for field, end in ends.items() if end}


def _require_no_run(defense: Defense, run: Path | None) -> None:
    if run is not None:
        raise ValueError(
            f"the defence {defense.name!r} compares whole rounds, or reads the current model, "
            "which a run does not record; leave out --run"
        )


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
