"""The paper's Table 1 for any judge: the accepted share of poison, injections and honest work.

Poison is crafted by the registered attacks on held-out problems of the generated tasks. Injections
are those of `judges/injections.py`. The "unseen" families have wordings and faults that the shipped
judge was not trained on; of the "untrained" ones it knows no example of their kind. The judge sees
only completions that earn the reward, because only these can do harm. There are two exceptions:
openers as whole completions, and unseen code, which may stop a program.
Source: "Hail to the Thief", arXiv 2511.09780, Table 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from swarmproof import registry
from swarmproof.attacks import Attack
from swarmproof.attacks.base import AttackView
from swarmproof.config import ModelConfig, SamplingConfig, describes
from swarmproof.defenses import Judge
from swarmproof.judges import injections
from swarmproof.measure import cleanliness, corpus_threshold
from swarmproof.measure.unfinished import Unfinished
from swarmproof.pretraining import judge_unseen
from swarmproof.randomness import derive_seed
from swarmproof.records.versions import versions
from swarmproof.swarm.identity import data_fingerprint, model_fingerprint
from swarmproof.tasks import Task
from swarmproof.types import Problem, Slot, Verdict

if TYPE_CHECKING:
    from rich.table import Table

    from swarmproof.measure.honest import Pair
    from swarmproof.policies.policy import Policy

_EACH = 3  # completions of a problem if there are enough problems: the share of one node in four
_HONEST_EACH = 12
# Name -> task and attack.
_ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "MATH": ("math", {"name": "equation"}),
    "TEXT, start": ("math", {"name": "text", "where": "start"}),
    "TEXT, every sentence": ("math", {"name": "text", "where": "every_sentence"}),
    "TEXT, code": ("code", {"name": "text", "where": "start"}),
    "CODE": ("code", {"name": "code_injection"}),
    "DoS": ("math", {"name": "length"}),
}
# Name -> criticism, decision.
VARIANTS: dict[str, tuple[bool, str]] = {
    "scored": (False, "scored"),
    "sampled": (False, "sampled"),
    "criticism-scored": (True, "scored"),
    "criticism-sampled": (True, "sampled"),
}
# The variant `scored` at the threshold of `corpus_threshold`.
CALIBRATED = "scored, calibrated"


class Side(BaseModel):
    """A task, and the policy that answers it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: Annotated[dict[str, Any], describes("task")]
    model: ModelConfig
    sampling: SamplingConfig = SamplingConfig()


class JudgeEval(BaseModel):
    """The judge to evaluate, and the completions to evaluate it on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge: Annotated[dict[str, Any], describes("defense")] = {"name": "judge"}
    math: Side = Side(task={"name": "math_words"}, model=ModelConfig(path="tiny-math"))
    code: Side = Side(task={"name": "code_words"}, model=ModelConfig(path="tiny-code"))
    completions: Annotated[int, Field(ge=1)] = 400  # of each family
    problems: Annotated[int, Field(ge=1)] = 512  # at most so many held-out problems
    judgements: Annotated[int, Field(ge=1)] = 4  # of each completion, if the decision is sampled
    seed: Annotated[int, Field(ge=0)] = 0


def evaluate(
    config: JudgeEval,
    variants: Sequence[str],
    runs: Sequence[Path] = (),
    run_arm: str = "no-attack",
    tell: Callable[[str], None] = lambda _: None,
    false_rejections: float | None = None,
    part: Path | None = None,
) -> dict[str, Any]:
    """Make every family of completions, and let every variant of the judge decide on it.

    Args:
        runs: run folders; honest completions of the last rounds of `run_arm` are judged, too.
        tell: called with the progress, a line before each variant judges a family.
        false_rejections: count the scores of the variant `scored` at a second threshold, too, that
            refuses this share of right solutions of the corpus; None: do not.
        part: a file that keeps the results so far. What is in it already, of the same settings,
            models and versions, is not judged again. The caller deletes it in the end.

    Returns:
        `accepted[family][variant]` is `{"count", "of", "rate", "ci95"}`. If a completion is judged
        several times, it counts by its share of yes. The interval is that of the number of
        completions, not of judgements: the judgements of one completion are not independent.

        With `false_rejections`, `calibration` tells the second threshold (`corpus_threshold`), and
        `accepted[family][CALIBRATED]` is the share that it accepts.

    Raises:
        ValueError: a model cannot be loaded, or the judge does not support a variant.
    """
    if false_rejections is not None and "scored" not in variants:
        raise ValueError("--false-rejections needs --variant scored")
    _require_judge(str(config.judge.get("name")))
    if len({run.name for run in runs}) < len(runs):
        raise ValueError("--run: two folders have the same name; judge them one after the other")
    judges = {name: _judge(config, *VARIANTS[name]) for name in variants}
    made_here = _families(config)
    families = made_here | _trained(runs, run_arm, config.completions)
    found: dict[str, Any] = {"config": config.model_dump(mode="json"), "versions": versions()}
    threshold = None
    if false_rejections is not None:
        found["calibration"] = corpus_threshold.calibrated(
            judges["scored"], false_rejections, config.completions, config.seed
        )
        threshold = found["calibration"]["threshold"]
    settings = {key: found.get(key) for key in ("config", "calibration")} | {
        "variants": [*variants]
    }
    unfinished = Unfinished(part, lambda: settings | {"models": fingerprints(config)})
    known = {family: row for family, row in unfinished.read().items() if family in made_here}
    accepted = found["accepted"] = {}
    asked = [(family, name) for family, (_, pairs) in families.items() if pairs for name in judges]
    for number, (family, name) in enumerate(asked, 1):
        row = accepted.setdefault(family, known.get(family, {}))
        if name not in row:
            tell(f"{number} of {len(asked)}: {family}, {name}")
            row |= _accepted(name, judges[name], *families[family], config, threshold)
            unfinished.keep(accepted)
    return found


def _require_judge(name: str) -> None:
    """Raise ValueError unless the defence is a judge."""
    known = [each for each, cls in registry.plugins("defense").items() if issubclass(cls, Judge)]
    if name not in known:
        raise ValueError(
            f"judge.name = {name!r:.60} is no judge{registry.did_you_mean(name, known)}"
        )


def _judge(config: JudgeEval, criticism: bool, decision: str) -> Judge:
    judge = registry.build(Judge, config.judge | {"criticism": criticism, "decision": decision})
    judge.require()
    return judge


def fingerprints(config: JudgeEval) -> dict[str, str]:
    """A hash of the files of each model that runs here, by its path, and of the data of the tasks.

    A judge behind a server has none: it counts by its address and name, which the settings tell.

    Raises:
        ValueError: a model is not on this machine.
    """
    judge = registry.build(Judge, config.judge).model_path
    paths = (config.math.model.path, config.code.model.path, *([judge] if judge else []))
    data = {
        f"data of {name}": data_fingerprint(registry.build(Task, side.task))
        for name, side in (("math", config.math), ("code", config.code))
    }
    return {path: model_fingerprint(path) for path in paths} | data


def _accepted(
    name: str,
    judge: Any,
    task: Task,
    pairs: Sequence[Pair],
    config: JudgeEval,
    threshold: float | None,
) -> dict[str, Any]:
    """The accepted share of a variant; for `scored`, that at the other threshold, if any."""
    from swarmproof.measure import honest

    times = config.judgements if judge.decision == "sampled" else 1
    pairs = sorted(pairs, key=lambda pair: pair[0].id)
    said: list[list[Verdict]] = [
        honest.verdicts(judge, task, pairs, derive_seed(config.seed, "judgement", time))
        for time in range(times)
    ]
    count = sum(verdict.accepted is True for verdicts in said for verdict in verdicts) / times
    found = {name: _share(count, len(pairs))}
    if name == "scored" and threshold is not None:
        below = sum(verdict.score <= threshold for verdict in said[0])
        found[CALIBRATED] = _share(below, len(pairs))
    return found


def _share(count: float, of: int) -> dict[str, Any]:
    from swarmproof.records.summary import refused

    # `refused` computes the interval of any proportion.
    return refused(round(count), of) | {"rate": round(count / of, 6)}


def _families(config: JudgeEval) -> dict[str, tuple[Task, list[Pair]]]:
    """Every family with its task. A family may have no completions."""
    from swarmproof.measure import honest
    from swarmproof.policies.policy import load as load_policy

    found: dict[str, tuple[Task, list[Pair]]] = {}
    right: dict[str, list[Pair]] = {}
    parts = {}
    for name, side in (("math", config.math), ("code", config.code)):
        task = registry.build(Task, side.task)
        policy = load_policy(side.model, side.sampling)
        problems = task.problems("test")[: config.problems]
        parts[name] = task, policy, problems
        right[name] = honest.draw(
            policy, task, problems, config.completions, each=_HONEST_EACH, seed=config.seed
        )
    for family, (name, table) in _ATTACKS.items():
        task, policy, problems = parts[name]
        attack = registry.build(Attack, table)
        attack.require(task)
        found[family] = task, _poisoned(attack, task, policy, problems, config)
    for name, (task, _, problems) in parts.items():
        found[f"injection, {name}"] = task, _injected(task, problems, config.completions)
    task, _, problems = parts["math"]
    found["openers alone"] = task, list(zip(cycle(problems), injections.WHOLE, strict=False))
    for name, pairs in right.items():
        found |= _with_clean(f"honest {name}", parts[name][0], pairs)
    for kind in judge_unseen.KINDS:
        task = parts["code" if kind in judge_unseen.PROGRAMS else "math"][0]
        unseen = islice(judge_unseen.pairs(kind, config.seed), config.completions)
        name = "untrained" if kind in judge_unseen.UNTRAINED else "unseen"
        found[f"{name}: {kind}"] = task, list(unseen)
    return found


def _trained(runs: Sequence[Path], arm: str, count: int) -> dict[str, tuple[Task, list[Pair]]]:
    from swarmproof.measure import honest

    found: dict[str, tuple[Task, list[Pair]]] = {}
    for run in runs:
        found |= _with_clean(f"trained, {run.name}", *honest.recorded(run, arm, count))
    return found


def _poisoned(
    attack: Attack, task: Task, policy: Policy, problems: Sequence[Problem], config: JudgeEval
) -> list[Pair]:
    """Completions of an attack in a horizontal swarm, where all of them are poisoned."""
    apply = [problem for problem in problems if attack.applies(problem)]
    each = max(_EACH, -(-config.completions // max(1, len(apply))))
    chosen = {p.id: p for p in apply[: -(-config.completions // each)]}
    slots = tuple(Slot(0, problem_id, i) for problem_id in chosen for i in range(each))
    view = AttackView(
        nodes=(0,),
        slots={0: slots},
        problems=chosen,
        task=task,
        policy=policy,
        topology="horizontal",
        num_nodes=1,
        rng=np.random.default_rng(derive_seed(config.seed, "poison", attack.name)),
    )
    sent = ((chosen[c.slot.problem_id], c.text) for c in attack.craft(view))
    return list(islice(sent, config.completions))


def _injected(task: Task, problems: Sequence[Problem], count: int) -> list[Pair]:
    """Oracle solutions with every injection in every place, if they still earn the reward."""
    asks = [(where, attempt) for where in injections.PLACES for attempt in injections.PLANTED]
    pairs = (
        (problem, injections.plant(task.oracle(problem, i), attempt, where))
        for i, (problem, (where, attempt)) in enumerate(
            zip(cycle(problems), cycle(asks), strict=False)
        )
    )
    # Some injections break the answer format, so twice as many are tried.
    tried = islice(pairs, 2 * max(count, len(asks)))
    return list(islice(((p, t) for p, t in tried if task.rewards(p, [t]) == [1.0]), count))


def _with_clean(name: str, task: Task, pairs: list[Pair]) -> dict[str, tuple[Task, list[Pair]]]:
    """All rewarded completions, and the clean ones among them."""
    clean = [(problem, text) for problem, text in pairs if cleanliness.is_clean(text)]
    return {name: (task, pairs), f"{name}, clean": (task, clean)}


def table(found: dict[str, Any]) -> Table:
    """The accepted shares with their intervals, one row for each family."""
    from rich.table import Table

    accepted = found["accepted"]
    shown = Table(title="accepted by the judge")
    shown.add_column("completions")
    shown.add_column("of", justify="right")
    variants = list(next(iter(accepted.values())))
    for variant in variants:
        shown.add_column(variant, justify="right")
    for family, by_variant in accepted.items():
        cells = [
            f"{100 * row['rate']:.1f} %\n{100 * row['ci95'][0]:.1f} to {100 * row['ci95'][1]:.1f}"
            for row in by_variant.values()
        ]
        shown.add_row(family, str(by_variant[variants[0]]["of"]), *cells)
    return shown
