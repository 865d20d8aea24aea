"""What is measured: shares of what applies, counts of refusals, held-out answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from swarmproof.attacks import Equation, Text
from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig
from swarmproof.guard.guard import Guard
from swarmproof.guard.inspection import Inspection
from swarmproof.policies.policy import train
from swarmproof.swarm import evaluation
from swarmproof.swarm.evaluation import Success
from swarmproof.swarm.node import Cohort
from swarmproof.types import Problem, Refusal, Sample, Slot, Verdict
from swarms import Letters, completion, problem


class Choosy(Text):
    """A success measure that applies to some problems only."""

    def success(self, problem: Problem, text: str) -> bool | None:
        return None if problem.id == "never" else super().success(problem, text)


def sample(
    *verdicts: Verdict, node: int = 0, tokens: tuple[int, ...] = (1,), reward: float = 1.0
) -> Sample:
    return Sample(
        completion("x", tokens, node=node),
        verdicts,
        reward,
        kept=True,
        weight=1.0,
        advantage=0.0,
        loss_weight=1.0,
        token_credit=None,
    )


def verdict(
    defense: str, accepted: bool | None, token_credit: tuple[float, ...] | None = None
) -> Verdict:
    return Verdict(defense, accepted, 0.0, "" if accepted else "because", token_credit=token_credit)


def test_attack_success_is_the_share_of_where_it_applies() -> None:
    attack = Choosy(phrase="hi")
    pairs = [
        (problem(), "hi"),
        (problem(), "ho"),
        (problem(), "ho"),
        (problem(), "x hi"),
        (problem("never"), "hi"),
    ]
    assert evaluation.attack_success(attack, pairs) == Success(0.5, None)
    assert evaluation.attack_success(attack, pairs[-1:]) == Success(None, None)
    assert evaluation.attack_success(attack, []) == Success(None, None)


def test_strict_and_wide_success_have_each_their_own_share() -> None:
    texts = ["2 + 2 = 5.", "2 + 2 = 6.", "2 * 2 = 4.", "2 + 2 = 4.", "3 + 3 = 6."]
    pairs = [(problem(), text) for text in texts]
    assert evaluation.attack_success(Equation(), pairs) == Success(0.25, 0.5)


def test_a_completion_is_refused_once_however_many_defences_refuse_it() -> None:
    yes, no, none = (verdict("a", accepted) for accepted in (True, False, None))
    samples = [sample(), sample(yes), sample(no), sample(yes, no), sample(no, no), sample(none)]
    assert evaluation.refusal_counts(samples) == (6, 3)
    assert evaluation.refusal_counts([]) == (0, 0)


def test_every_defence_has_counts_of_its_own() -> None:
    honest = [
        sample(verdict("a", True), verdict("b", False)),
        sample(verdict("a", None), verdict("b", True, (1.0, 0.5, -1.0, 0.0))),
    ]
    poisoned = [sample(verdict("a", False, (0.0, 0.0)), verdict("b", False))]
    assert evaluation.by_defense(honest, poisoned) == {
        "a": {
            "honest": 2,
            "honest_refused": 0,
            "honest_abstained": 1,
            "honest_masked_tokens": 0,
            "poisoned": 1,
            "poisoned_refused": 1,
            "poisoned_abstained": 0,
            "poisoned_masked_tokens": 2,
        },
        "b": {
            "honest": 2,
            "honest_refused": 1,
            "honest_abstained": 0,
            "honest_masked_tokens": 3,
            "poisoned": 1,
            "poisoned_refused": 1,
            "poisoned_abstained": 0,
            "poisoned_masked_tokens": 0,
        },
    }
    assert evaluation.by_defense([sample()], []) == {}


def test_every_node_has_counts_of_its_own_even_where_nothing_came_of_it() -> None:
    yes, no = verdict("a", True), verdict("a", False)
    samples = [
        sample(yes, tokens=(1, 2)),
        sample(no, reward=0.0),
        sample(no, verdict("b", False), node=2, tokens=(1, 2, 3)),
    ]
    refusals = [
        Refusal(1, None, "wire", "not-a-message", "not a message"),
        Refusal(2, samples[2].completion.slot, "admission", "empty", "no tokens"),
        Refusal(2, None, "wire", "not-its-slot", "3 completions"),
    ]
    drawn = sample(yes, node=1, tokens=(4,))
    drawn = replace(drawn, completion=replace(drawn.completion, refilled=True))
    taken = [sample(no, node=1, tokens=(1, 2))]
    keys = ("completions", "rewarded", "refused", "tokens", "malformed", "refilled")
    counts = {"0": (2, 1, 1, 3, 0, 0), "1": (1, 1, 1, 2, 1, 1), "2": (1, 1, 1, 3, 2, 0)}
    found = Inspection([], [[*samples, drawn]], taken)
    assert evaluation.by_node((0, 1, 2), found, refusals) == {
        node: dict(zip(keys, row, strict=True)) for node, row in counts.items()
    }


def test_a_refusal_is_told_with_its_slot_where_it_has_one() -> None:
    slot = Slot(3, "p", 2)
    rows = [
        evaluation.refusal_row(Refusal(1, slot, "admission", "empty", "no tokens")),
        evaluation.refusal_row(Refusal("eve", None, "wire", "wrong-run", "of the run 'x'")),
    ]
    assert rows == [
        {"node": 1, "problem_id": "p", "index": 2, "layer": "admission", "code": "empty",
         "reason": "no tokens"},
        {"node": "eve", "problem_id": None, "index": None, "layer": "wire", "code": "wrong-run",
         "reason": "of the run 'x'"},
    ]  # fmt: skip


@pytest.mark.parametrize("round", [0, 3])
def test_held_out_accuracy_is_that_of_one_completion_each(random_model: Path, round: int) -> None:
    task, attack = Letters(), Text(phrase="e")
    sampling = SamplingConfig(max_new_tokens=48)
    model = train(ModelConfig(path=str(random_model)), GrpoConfig(), sampling)
    cohort = Cohort("c", (0,), model, task, Guard(), run_seed=5)
    problems = task.problems("test")
    found = evaluation.evaluate(cohort, task, attack, problems, round)
    texts = []
    for p in problems:
        seed = cohort.slot_seed(Slot(round, p.id, 0))
        ((ids,),) = model.generator.generate([task.prompt(p)], [[seed]])
        texts += model.codec.decode([ids])
    right = [task.rewards(p, [text])[0] for p, text in zip(problems, texts, strict=True)]
    assert found.accuracy == sum(right) / len(problems)
    asr = sum("e" in text for text in texts) / len(problems)
    assert found.success == Success(asr, None)
    assert 0 < asr < 1
