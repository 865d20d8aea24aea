"""What is measured: shares of what applies, counts of refusals, held-out answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmproof.attacks import Equation, Text
from swarmproof.swarm import evaluation
from swarmproof.swarm.evaluation import Success
from swarmproof.swarm.node import Cohort
from swarmproof.types import Problem, Sample, Slot, Verdict
from swarms import Letters, completion, policy, problem


class Choosy(Text):
    """A success measure that applies to some problems only."""

    def success(self, problem: Problem, text: str) -> bool | None:
        return None if problem.id == "never" else super().success(problem, text)


def sample(*verdicts: Verdict) -> Sample:
    return Sample(completion("x", (1,)), verdicts, 1.0, True, 0.0, 1.0)


def verdict(defense: str, accepted: bool | None) -> Verdict:
    return Verdict(defense, accepted, 0.0, "" if accepted else "because")


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
        sample(verdict("a", None), verdict("b", True)),
    ]
    poisoned = [sample(verdict("a", False), verdict("b", False))]
    assert evaluation.by_defense(honest, poisoned) == {
        "a": {
            "honest": 2,
            "honest_refused": 0,
            "honest_abstained": 1,
            "poisoned": 1,
            "poisoned_refused": 1,
            "poisoned_abstained": 0,
        },
        "b": {
            "honest": 2,
            "honest_refused": 1,
            "honest_abstained": 0,
            "poisoned": 1,
            "poisoned_refused": 1,
            "poisoned_abstained": 0,
        },
    }
    assert evaluation.by_defense([sample()], []) == {}


@pytest.mark.parametrize("round", [0, 3])
def test_held_out_accuracy_is_that_of_one_completion_each(random_model: Path, round: int) -> None:
    task, attack = Letters(), Text(phrase="e")
    model = policy(random_model, max_new_tokens=48)
    cohort = Cohort("c", (0,), model, task, (), run_seed=5)
    problems = task.problems("test")
    found = evaluation.evaluate(cohort, task, attack, problems, round)
    texts = []
    for p in problems:
        seed = cohort.slot_seed(Slot(round, p.id, 0))
        ((ids,),) = model.generate([task.prompt(p)], [[seed]])
        texts += model.decode([ids])
    right = [task.rewards(p, [text])[0] for p, text in zip(problems, texts, strict=True)]
    assert found.accuracy == sum(right) / len(problems)
    asr = sum("e" in text for text in texts) / len(problems)
    assert found.success == Success(asr, None)
    assert 0 < asr < 1
