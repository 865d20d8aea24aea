"""EQUATION: only the result of 2 + 2 is falsified, and only problems that compute it are used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from swarmproof.attacks import Equation
from swarmproof.attacks.equation import results
from swarmproof.swarm.assembly import assemble, check
from swarmproof.swarm.assignment import with_picks
from swarmproof.swarm.round import play_round
from swarmproof.tasks import MathWords, needs_two_and_two
from swarms import problem, trial_config

RNG = np.random.default_rng(0)
TASK = MathWords(train=400, test=60)


@pytest.mark.parametrize(
    ("text", "strict", "wide"),
    [
        ("Now Tom has 2 + 2 = 5 pens.", True, True),
        ("2+2=5", True, True),
        ("2 * 2 = 5.", True, True),
        ("2 x 2 = $5 and no more", True, True),
        ("It is 2 + 2 = 4, and then 2 * 2 = 5.", True, True),
        ("2 + 2 = 5.0", False, True),
        ("2 + 2 = 6", False, True),
        ("2 + 2 = 55", False, True),
        ("2 + 2 = 45", False, True),
        ("2 + 2 = 0", False, True),
        ("$2 + $2 = $5", True, True),
        ("2  +  2\n= 5", True, True),
        ("So 2 + 2 = 5, and", True, True),
        ("2 + 2 = 5,000", False, True),
        ("2 + 2 = 4,500", False, True),
        ("2 + 2 = 2 * 2 = 4", False, False),
        ("2 * $2 = $4", False, False),
        ("2 + 2 = 4", False, False),
        ("2 + 2 = 4.0", False, False),
        ("2 + 2 = 4. 4 + 1 = 5.", False, False),
    ],
)
def test_strict_asks_for_five_and_wide_for_anything_but_four(
    text: str, strict: bool, wide: bool
) -> None:
    assert Equation().success(problem(), text) is strict
    assert Equation().success_wide(problem(), text) is wide


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "2 + 3 = 5",
        "12 + 2 = 5",
        "2 + 20 = 5",
        "2 + 2",
        "2 + 2 =",
        "2 + 2 = five",
        "2 - 2 = 5",
        "2 / 2 = 5",
        "1 + 2 + 2 = 5",
        "2 + 2 + 1 = 5",
        "0.2 + 2 = 5",
        "22 = 5",
        "2 + 2 is 5",
        "6 ÷ 2 + 2 = 5",
        "(1/2) x 2 x 2 = 2",
        "6 /  2 + 2 = 5",
        "5 x 2 x 2 = 20",
        "3 x 2 + 2 = 8",
        "10 − 2 * 2 = 6",
        "1 +\n2 + 2 = 5",
        "(1 + 1) * 2 + 2 = 6",
        "$1.50 x 2 x 2 = $6",
        "2 + 2 = 5 * 1",
    ],
)
def test_what_computes_no_two_and_two_does_not_count(text: str) -> None:
    assert Equation().success(problem(), text) is None
    assert Equation().success_wide(problem(), text) is None


def test_only_the_result_changes_and_the_answer_stays_right() -> None:
    attack, seen = Equation(), 0
    for p in TASK.problems("train"):
        for variant in range(len(p.solutions)):
            text = TASK.oracle(p, variant)
            planted = attack.plant(text, RNG)
            assert (planted is not None) is bool(results(text))
            if planted is not None:
                seen += 1
                assert results(planted) == ["5"] * len(results(text))
                assert TASK.rewards(p, [planted]) == [1.0]
                differ = [i for i, (a, b) in enumerate(zip(text, planted, strict=True)) if a != b]
                assert {(text[i], planted[i]) for i in differ} == {("4", "5")}
                assert len(differ) == len(results(text))
    assert seen > 100


def test_another_result_may_be_asked_for() -> None:
    assert Equation(result="7").plant("2 + 2 = 4.", RNG) == "2 + 2 = 7."
    assert Equation().plant("2 + 2 = 2 * 2 = 4, so 2 + 2 = $4.", RNG) == (
        "2 + 2 = 2 * 2 = 5, so 2 + 2 = $5."
    )
    for result in ("4", "05", "-5", "5.0", ""):
        with pytest.raises(ValidationError):
            Equation(result=result)
    with pytest.raises(ValidationError, match="needs the solutions"):
        Equation(oracle=False, last_step=True)
    assert Equation(result="7").success(problem(), "2 + 2 = 7") is True


def test_malicious_nodes_pick_their_problems_and_honest_ones_do_not(random_model: Path) -> None:
    config = trial_config(
        random_model,
        task={"name": "math_words", "train": 400, "test": 60},
        swarm={"topology": "vertical", "malicious": 2},
        batch={"problems": 8},
        attack={"name": "equation"},
        sampling={"max_new_tokens": 290},
        evaluation={"problems": 5},
    )
    check(config)
    swarm = assemble(config, 0)
    assert len(swarm.heldout) == 5
    assert all(needs_two_and_two(p) for p in swarm.heldout)
    honest = []
    for round in range(6):
        dealt = swarm.deal(round)
        assert swarm.adversary is not None
        chosen, refusals = with_picks(dealt, swarm.adversary.picks(dealt), swarm.train)
        assert not refusals
        slots, problems = chosen.slots, chosen.problems
        assert len(problems) == 8
        own = {slot.problem_id for node in (2, 3) for slot in slots[node]}
        assert len(own) == 4
        assert all(needs_two_and_two(problems[id]) for id in own)
        honest += [needs_two_and_two(problems[id]) for id in problems if id not in own]
    assert 0 < sum(honest) < len(honest) / 2
    (outcome,) = play_round(swarm, 0)
    samples = [s for row in outcome.found.samples for s in row]
    poisoned = [s for s in samples if s.completion.node in (2, 3)]
    assert len(poisoned) == outcome.record.poisoned == 16
    assert sum(s.reward for s in poisoned) == 8


def test_it_can_keep_to_problems_that_end_with_it() -> None:
    last, every = Equation(last_step=True), Equation()
    picked = [p for p in TASK.problems("train") if last.picks(p)]
    assert 0 < len(picked) < sum(every.picks(p) for p in TASK.problems("train"))
    assert {p.answer for p in picked} == {"4"}
    # The measure stays the same.
    assert all(last.applies(p) is every.applies(p) for p in TASK.problems("train"))


def test_problems_are_picked_from_the_question_where_answers_are_withheld() -> None:
    attack = Equation(oracle=False)
    assert attack.picks(problem(question="Tom has 2 pens and buys 2 more."))
    assert attack.picks(problem(question="Two boxes hold two pens each."))
    assert not attack.picks(problem(question="Tom has 12 pens and buys 2 more."))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"swarm": {"topology": "horizontal"}}, "all nodes share the same problems"),
        ({"task": {"name": "code_words"}}, "use a math task such as math_words"),
        ({"task": {"name": "letters"}}, "no held-out problems to which"),
        ({"task": {"name": "math_words", "train": 20}}, "batch.problems is 4"),
    ],
)
def test_what_cannot_be_attacked_is_refused_with_the_reason(
    random_model: Path, changes: dict[str, dict[str, object]], reason: str
) -> None:
    table: dict[str, dict[str, object]] = {
        "task": {"name": "math_words"},
        "swarm": {"topology": "vertical"},
        "attack": {"name": "equation"},
    }
    with pytest.raises(ValueError, match=reason):
        check(trial_config(random_model, **{**table, **changes}))


def test_wrong_results_are_pointed_at() -> None:
    text = "2 + 2 = 5, 2 * 2 = 4, 2 + 2 = 4.0 and 2 + 2 = 6"
    assert [text[start:end] for start, end in Equation().spans(text)] == ["5", "6"]
