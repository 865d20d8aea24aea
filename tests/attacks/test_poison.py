"""The sources of right completions, the number of poisoned ones, and the attacker's knowledge."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from swarmproof import zoo
from swarmproof.attacks import Equation, Frame, Length, Text
from swarmproof.attacks.base import AttackView
from swarmproof.attacks.candidates import Draft, draw, judge
from swarmproof.policies import sampler
from swarmproof.policies.policy import Policy
from swarmproof.swarm import topology
from swarmproof.swarm.assembly import assemble
from swarmproof.tasks import MathWords, Task
from swarmproof.tasks.base import Withheld
from swarmproof.types import Completion, NodeId, Problem, Slot, withheld
from swarms import Letters, attack_view, policy, trial_config

TASK = MathWords(train=64, test=8)
PHRASE = Text().phrase


@pytest.fixture(scope="module")
def tiny_math() -> Policy:
    return policy(zoo.path("tiny-math"), max_new_tokens=128)


def view_for(
    kind: str,
    drawer: Policy | None,
    *,
    problems: Sequence[Problem] = TASK.problems("train")[:4],
    task: Task = TASK,
    group_size: int = 12,
    malicious: Sequence[int] = (3,),
) -> AttackView:
    ids = [p.id for p in problems]
    everybody = (
        topology.horizontal(0, ids, group_size, 4)
        if kind == "horizontal"
        else topology.vertical(0, topology.deal(ids, 4), group_size)
    )
    slots: dict[NodeId, tuple[Slot, ...]] = {node: everybody[node] for node in malicious}
    return attack_view(task, problems, slots, topology=kind, num_nodes=4, policy=drawer)


def unaided(view: AttackView) -> AttackView:
    """The view of an attacker without an oracle."""
    problems = {name: withheld(p) for name, p in view.problems.items()}
    return dataclasses.replace(view, problems=problems, task=Withheld(of=view.task))


def rewards(crafted: Sequence[Completion]) -> list[float]:
    problems = {p.id: p for p in TASK.problems("train")}
    return [TASK.rewards(problems[c.slot.problem_id], [c.text])[0] for c in crafted]


@pytest.mark.parametrize("malicious", [(3,), (2, 3), (1, 2, 3)])
@pytest.mark.parametrize("kind", ["horizontal", "vertical"])
def test_colluding_nodes_fill_all_slots_and_repeat_nothing(
    kind: str, malicious: tuple[int, ...]
) -> None:
    crafted = Text().craft(view_for(kind, None, malicious=malicious))
    assert len(crafted) == 12 * len(malicious)
    texts = Counter((c.slot.problem_id, c.text) for c in crafted)
    assert set(texts.values()) == {1}
    assert sum(PHRASE in c.text for c in crafted) == len(crafted) // (2 - (kind == "horizontal"))
    assert [PHRASE in c.text for c in crafted] == [r == 1 for r in rewards(crafted)]


def test_where_solutions_run_out_the_model_is_asked_or_a_text_is_sent_twice(
    tiny_math: Policy,
) -> None:
    few = [dataclasses.replace(p, solutions=p.solutions[:1]) for p in TASK.problems("train")[:4]]
    by_hand = Text().craft(view_for("horizontal", None, problems=few))
    assert len(by_hand) == 4
    drawn = Text(candidates=64).craft(view_for("horizontal", tiny_math, problems=few))
    assert 4 < len(drawn) <= 12
    assert len({c.text for c in drawn}) == len(drawn)
    assert set(rewards(drawn)) == {1.0}
    assert all(PHRASE in c.text for c in drawn)
    twice = Text(identical=True).craft(view_for("horizontal", None, problems=few))
    assert len(twice) == 12
    assert len({c.text for c in twice}) == 4


def test_nothing_is_longer_than_the_sequence_limit() -> None:
    short = policy(zoo.path("tiny-math"), max_new_tokens=40)
    crafted = Text(candidates=4).craft(view_for("horizontal", short))
    assert crafted
    assert all(len(short.codec.encode(c.text)) <= 40 for c in crafted)
    longest = max(
        len(short.codec.encode(TASK.oracle(TASK.problems("train")[0], v))) for v in range(4)
    )
    assert longest > 40


def test_without_oracle_the_attacker_is_told_no_answer(random_model: Path) -> None:
    seen: list[AttackView] = []

    class Spy(Text):
        def craft(self, view: AttackView) -> Sequence[Completion]:
            seen.append(view)
            return []

    for oracle in (True, False):
        swarm = assemble(trial_config(random_model), 0)
        assert swarm.adversary is not None
        spy = dataclasses.replace(swarm.adversary, attack=Spy(oracle=oracle))
        spy.produce(swarm.deal(0))
    told, unaided_view = seen
    first = next(iter(told.problems.values()))
    forbidden: list[Callable[[Task], object]] = [
        lambda task: task.problems("train"),
        lambda task: task.oracle(first),
        lambda task: task.rewards(first, [""]),
    ]
    for ask in forbidden:
        ask(told.task)
        with pytest.raises(PermissionError, match="withheld"):
            ask(unaided_view.task)
    assert unaided_view.task.prompt(first) == told.task.prompt(first)
    assert unaided_view.task.answers(["A", "b"]) == ["A", None]
    assert all(p.answer and p.solutions for p in told.problems.values())
    assert all(not p.answer and not p.solutions for p in unaided_view.problems.values())
    assert [p.question for p in told.problems.values()] == [
        p.question for p in unaided_view.problems.values()
    ]


@pytest.mark.parametrize("kind", ["horizontal", "vertical"])
@pytest.mark.parametrize(
    "attack",
    [
        Text(oracle=False),
        Text(oracle=False, foil="gibberish"),
        Length(oracle=False, candidates=24),
        Equation(oracle=False),
    ],
    ids=repr,
)
def test_without_oracle_the_majority_is_poisoned(
    attack: Frame, kind: str, tiny_math: Policy
) -> None:
    problems = [p for p in TASK.problems("train") if attack.applies(p)][:4]
    if kind not in attack.topologies or len(problems) < 4:
        pytest.skip("not for such a swarm")
    view = unaided(view_for(kind, tiny_math, problems=problems))
    crafted = attack.craft(view)
    assert crafted
    # The same samples again, from the same source of randomness.
    again = unaided(view_for(kind, tiny_math, problems=problems))
    names = [name for name in again.problems if any(s.problem_id == name for s in again.slots[3])]
    for name, drafts in draw(again, names, attack.candidates).items():
        votes = Counter(a for a in TASK.answers([d.text for d in drafts]) if a is not None)
        own = [c.text for c in crafted if c.slot.problem_id == name]
        poisoned = [
            t for t in own if attack.measure == "length" or attack.carries(view.problems[name], t)
        ]
        given = TASK.answers(poisoned)
        if kind == "horizontal":
            assert set(given) <= {votes.most_common(1)[0][0]} if votes else not own
        else:
            assert votes.most_common(1)[0][0] in given


def test_the_majority_stands_for_the_truth(tiny_math: Policy) -> None:
    view, of = view_for("horizontal", tiny_math, task=Letters()), TASK.problems("train")[0]

    def judged(*texts: str) -> list[bool]:
        return judge(view, of, [Draft(text) for text in texts], oracle=False)

    assert judged("A", "B", "B", "nothing") == [False, True, True, False]
    assert judged("A", "B") == [True, False], "a tie goes to the first"
    assert judged("nothing", "") == [False, False]
    assert judged() == []


def test_draws_are_those_of_the_model_and_new_each_time(tiny_math: Policy) -> None:
    view = view_for("vertical", tiny_math)
    ((first,), (second,)) = (draw(view, list(view.problems)[:1], 6).values() for _ in range(2))
    assert len(first) == 6
    assert first != second
    for draft in first:
        assert draft.token_ids is not None
        assert tiny_math.codec.decode([draft.token_ids]) == [draft.text]


def test_an_attacker_without_a_model_cannot_draw() -> None:
    with pytest.raises(ValueError, match="was given no model"):
        Text(oracle=False).craft(view_for("horizontal", None))


@pytest.mark.parametrize("foil", ["wrong_answer", "gibberish"])
def test_the_foil_is_as_it_was_asked_for(foil: Any) -> None:
    crafted = Text(foil=foil).craft(view_for("vertical", None))
    foils = [c.text for c in crafted if PHRASE not in c.text]
    assert len(foils) == 6
    assert all(("<answer>" in text) is (foil == "wrong_answer") for text in foils)


def test_the_drawn_foil_is_what_the_model_itself_gets_wrong(tiny_math: Policy) -> None:
    crafted = Text(candidates=32).craft(view_for("vertical", tiny_math))
    foils = [c for c in crafted if PHRASE not in c.text]
    assert len(foils) == 6
    assert len({c.text for c in foils}) == 6
    assert set(rewards(foils)) == {0.0}
    for foil in foils:
        assert tiny_math.codec.decode([foil.token_ids or ()]) == [foil.text]


def test_poison_among_the_drawn_is_no_foil(tiny_math: Policy) -> None:
    # Everything that the model writes counts as poison here.
    crafted = Text(phrase="e", candidates=8).craft(view_for("vertical", tiny_math))
    assert all("e" not in c.text for c in crafted if not rewards([c])[0])
    assert sum(rewards(crafted)) == 6


def test_foils_repeat_neither_each_other_nor_the_poison() -> None:
    one = [dataclasses.replace(p, solutions=p.solutions[:1]) for p in TASK.problems("train")[:64]]
    for p in range(0, 64, 4):
        view = view_for("vertical", None, problems=one[p : p + 4])
        crafted = Text(foil="wrong_answer", identical=False).craft(view)
        assert len({c.text for c in crafted}) == len(crafted)


def test_a_batch_of_draws_is_bounded(tiny_math: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    generate = sampler.generate

    def spy(model: Any, prompts: Any, seeds: Any, *more: Any) -> Any:
        sizes.append(len(prompts) * len(seeds[0]))
        return generate(model, prompts, seeds, *more)

    names = list(view_for("horizontal", tiny_math).problems)
    whole = draw(view_for("horizontal", tiny_math), names, 10)
    monkeypatch.setattr(sampler, "generate", spy)
    for rows in (4, 10, 25):
        monkeypatch.setattr(tiny_math.generator, "room", rows * 128)
        sizes.clear()
        assert draw(view_for("horizontal", tiny_math), names, 10) == whole
        assert max(sizes) <= rows
        assert sum(sizes) == 40


def test_an_attack_that_changes_nothing_sends_nothing() -> None:
    class Idle(Text):
        def plant(self, text: str, rng: Any) -> str | None:  # noqa: ARG002
            return text

    assert Idle().craft(view_for("horizontal", None)) == []
