"""Sets the threshold of a defence on honest completions, at a chosen rate of false rejections.

For any defence that reads texts and has a `threshold` above which its score refuses: the judge is
one. Half of the problems set the threshold, the other half tell what it does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from swarmproof import registry
from swarmproof.config import TrialConfig
from swarmproof.defenses import Defense
from swarmproof.records.summary import refused

_DRAWN_EACH = 12  # completions of a problem


def threshold_for(scores: Sequence[float], rate: float) -> float:
    """The lowest of the scores that refuses a new honest completion with probability <= `rate`.

    The k-th smallest of n scores, k = ceil((n + 1)(1 - rate)): if the new score is exchangeable
    with these, it lies above with probability at most `rate` (split conformal prediction, Vovk
    et al. 2005). Refusing is `score > threshold`.

    Raises:
        ValueError: too few scores for so low a rate.
    """
    # The small step back is for products such as 100 * 0.98 that are no whole number in binary.
    k = math.ceil((len(scores) + 1) * (1 - rate) - 1e-9)
    if k > len(scores):
        raise ValueError(
            f"{len(scores)} completions are too few for a false-rejection rate of {rate:g}; it "
            f"takes {math.ceil(1 / rate - 1e-9) - 1} in each half: more --completions, or a "
            "higher --false-rejections"
        )
    return sorted(scores)[k - 1]


def halves(keys: Sequence[str]) -> list[bool]:
    """Which half each item is in: those with the same key in the same one, every second key."""
    rank = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return [rank[key] % 2 == 0 for key in keys]


def find(trial: TrialConfig, arm: str) -> tuple[int, Defense]:
    """The defence of an arm that has a threshold, and its place in the list.

    Raises:
        ValueError: there is none, or it cannot be calibrated on texts.
    """
    built = [cast(Defense, registry.build("defense", table)) for table in trial.defenses]
    for i, defense in enumerate(built):
        if "threshold" in type(defense).model_fields:
            if defense.reads_scores:
                raise ValueError(f"{defense.name!r} reads a model's scores, not texts alone")
            if getattr(defense, "decision", "scored") != "scored":
                raise ValueError(
                    f"the arm {arm!r} decides by a sampled word, which has no threshold; set "
                    'decision = "scored"'
                )
            return i, defense
    raise ValueError(
        f"the arm {arm!r} has no defence with a threshold; add one, such as "
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
    """Draw or read honest completions, score them, choose the threshold, and test it.

    Returns:
        `threshold`, `defenses` (those of the arm with it), and `false_rejections`, which is
        `{"count", "of", "rate", "ci95"}` of the half that the threshold was not chosen on.

    Raises:
        ValueError: the arm has nothing to calibrate, or too few completions were right.
    """
    place, defense = find(trial, arm)
    defense.require()
    from swarmproof.measure import honest

    if run is not None:
        task, pairs = honest.recorded(run, run_arm, completions)
    else:
        task = cast(Any, registry.build("task", trial.task))
        policy = honest.load_policy(trial.model, trial.sampling)
        pairs = honest.draw(
            policy, task, task.problems("train"), completions, each=_DRAWN_EACH, seed=seed
        )
    pairs = sorted(pairs, key=lambda pair: pair[0].id)
    scores = [verdict.score for verdict in honest.verdicts(defense, task, pairs, seed)]
    first = halves([problem.id for problem, _ in pairs])
    chosen_on = [score for score, is_first in zip(scores, first, strict=True) if is_first]
    tested_on = [score for score, is_first in zip(scores, first, strict=True) if not is_first]
    threshold = threshold_for(chosen_on, rate)
    tables = [dict(table) for table in trial.defenses]
    tables[place]["threshold"] = threshold
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


def toml_line(defenses: Sequence[Mapping[str, Any]]) -> str:
    """The line of an experiment's TOML that has these defences."""
    return f"defenses = {_toml(list(defenses))}"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
