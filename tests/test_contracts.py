"""What every plug-in promises, our own and any that is installed, whatever it does."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models import save_random_qwen2
from swarmproof import registry
from swarmproof.attacks import Attack
from swarmproof.attacks.worthless import gibberish
from swarmproof.defenses import Defense
from swarmproof.exchange import Exchange, wire
from swarmproof.exchange.admission import admit
from swarmproof.registry import KINDS, Plugin
from swarmproof.swarm import topology
from swarmproof.tasks import Task
from swarmproof.types import Completion, Group, Slot
from swarms import attack_view, draw_group, policy, view_of

PLUGINS = [(kind, name) for kind in KINDS for name in registry.plugins(kind)]
ATTACKS, DEFENSES, TASKS, EXCHANGES = (
    [name for kind, name in PLUGINS if kind == wanted]
    for wanted in ("attack", "defense", "task", "exchange")
)
TOPOLOGIES = ("horizontal", "vertical")
NODES, GROUP_SIZE = 4, 8
# Room for every oracle solution, byte by byte.
LIMIT = 768


def plugin(kind: str, name: str) -> type[Plugin]:
    return registry.plugins(cast(registry.Kind, kind))[name]


@pytest.fixture(scope="module")
def gsm8k_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gsm8k") / "train.jsonl"
    rows = [
        {
            "question": f"Tom has {n} pens and buys {n + 1} more. How many has he?",
            "answer": f"He has <<{n}+{n + 1}={2 * n + 1}>>{2 * n + 1}.\n#### {2 * n + 1}",
        }
        for n in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def openmath_file(gsm8k_file: Path) -> Path:
    path = gsm8k_file.with_name("openmath.jsonl")
    rows = [
        {
            "question": f"What is {n} + {n + 1}?",
            "generated_solution": f"<llm-code>\nx = {n}\nx + {n + 1}\n</llm-code> So it is.",
            "expected_answer": str(2 * n + 1),
        }
        for n in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_task(name: str, gsm8k_file: Path, openmath_file: Path) -> Task:
    small: dict[str, dict[str, Any]] = {
        "gsm8k": {"path": gsm8k_file, "holdout": 8},
        "gsm8k_code": {"path": gsm8k_file, "holdout": 8},
        "math_words": {"train": 64, "test": 16},
        "code_words": {"train": 64, "test": 16},
        "openmath": {"path": openmath_file, "holdout": 8},
    }
    return registry.build(Task, {"name": name, **small.get(name, {})})


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest, gsm8k_file: Path, openmath_file: Path) -> Task:
    return make_task(request.param, gsm8k_file, openmath_file)


# All of them --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_it_is_its_own_data_sheet(kind: str, name: str) -> None:
    found = plugin(kind, name)
    assert (found.name, found.kind) == (name, kind)
    # Its own docstring, not that of a base class.
    doc = inspect.cleandoc(found.__dict__.get("__doc__") or "")
    assert doc, "no docstring"
    first = doc.partition("\n\n")[0]
    assert "\n" not in first, "the first paragraph is the line that `list` shows"
    assert len(first) <= 100
    assert first.endswith(".")
    for parameter, info in found.model_fields.items():
        assert info.description, f"{parameter} has no description"
        assert not info.is_required(), f"{parameter} has no default"


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_its_defaults_are_valid_and_fixed(kind: str, name: str) -> None:
    built = plugin(kind, name)()
    again = plugin(kind, name).model_validate(built.model_dump())
    assert again == built
    assert hash(again) == hash(built)
    for parameter in plugin(kind, name).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(built, parameter, getattr(built, parameter))


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_it_refuses_parameters_that_it_does_not_have(kind: str, name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        plugin(kind, name).model_validate({"nonsense": 1})


# Tasks --------------------------------------------------------------------------------------------


def test_splits_are_fixed_and_share_no_question(task: Task) -> None:
    train, test = task.problems("train"), task.problems("test")
    assert train
    assert test
    assert list(train) == list(task.problems("train"))
    assert {p.question for p in train}.isdisjoint(p.question for p in test)
    ids = [p.id for p in (*train, *test)]
    assert len(set(ids)) == len(ids)
    assert all(p.solutions for p in (*train, *test))


def test_every_oracle_solution_earns_the_reward_and_gibberish_does_not(task: Task) -> None:
    rng = np.random.default_rng(0)
    for problem in (*task.problems("train"), *task.problems("test")):
        right = [task.oracle(problem, variant) for variant in range(len(problem.solutions) + 1)]
        assert set(task.rewards(problem, right)) == {1.0}
        assert task.answer(right[0]) is not None
        assert right[-1] == right[0], "variants repeat after the last one"
        assert task.rewards(problem, [gibberish(problem, rng) for _ in range(3)]) == [0.0] * 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.text(st.characters(), max_size=40), max_size=4))
def test_any_text_has_a_reward(task: Task, texts: list[str]) -> None:
    rewards = task.rewards(task.problems("train")[0], texts)
    assert len(rewards) == len(texts)
    assert set(rewards) <= {0.0, 1.0}
    assert [task.answer(text) for text in texts] == [task.answer(text) for text in texts]


def test_a_prompt_tells_the_question_and_not_the_answer(task: Task) -> None:
    for problem in task.problems("test"):
        assert problem.question in task.prompt(problem)
        blank = dataclasses.replace(problem, answer="", solutions=("",))
        assert task.prompt(blank) == task.prompt(problem)


# Attacks ------------------------------------------------------------------------------------------


def craft(
    attack: Attack, task: Task, kind: str, model: Path, seed: int = 0
) -> tuple[dict[int, tuple[Slot, ...]], list[Completion]]:
    """What two colluding nodes of four send."""
    try:
        attack.require(task)
    except ValueError as error:
        pytest.skip(str(error))
    problems = [p for p in task.problems("train") if attack.picks(p)][:NODES]
    if len(problems) < NODES:
        pytest.skip(f"{attack.name} can use too few problems of this file")
    ids = [problem.id for problem in problems]
    everybody = (
        topology.horizontal(0, ids, GROUP_SIZE, NODES)
        if kind == "horizontal"
        else topology.vertical(0, topology.deal(ids, NODES), GROUP_SIZE)
    )
    slots = {node: everybody[node] for node in (2, 3)}
    view = attack_view(
        task,
        problems,
        slots,
        topology=kind,
        num_nodes=NODES,
        seed=seed,
        # To draw from, for those who do nothing else.
        policy=policy(model, max_new_tokens=24) if attack.measure == "length" else None,
    )
    return slots, list(attack.craft(view))


@pytest.fixture(params=[(name, kind) for name in ATTACKS for kind in TOPOLOGIES], ids=str)
def attack_in(request: pytest.FixtureRequest) -> tuple[Attack, str]:
    name, kind = request.param
    attack = registry.build(Attack, {"name": name})
    if kind not in attack.topologies:
        pytest.skip(f"{name} is not for {kind} swarms")
    return attack, kind


def test_an_attack_fills_slots_of_its_own_nodes_once(
    attack_in: tuple[Attack, str], task: Task, random_model: Path
) -> None:
    slots, crafted = craft(attack_in[0], task, attack_in[1], random_model)
    # What a random model draws is never right, so that LENGTH has nothing to send here.
    assert crafted or attack_in[0].measure == "length"
    assert len({c.slot for c in crafted}) == len(crafted)
    for c in crafted:
        assert c.slot in slots[c.node]


def test_what_an_attack_sends_survives_the_wire_and_admission(
    attack_in: tuple[Attack, str], task: Task, random_model: Path
) -> None:
    slots, crafted = craft(attack_in[0], task, attack_in[1], random_model)
    receiver = policy(random_model, max_new_tokens=LIMIT)
    for node in slots:
        sent = [c for c in crafted if c.node == node]
        found, refused = wire.decode(
            wire.encode(0, sent), node=node, round=0, slots=slots[node], max_new_tokens=LIMIT
        )
        assert (sorted(found, key=lambda c: c.slot), refused) == (
            sorted(sent, key=lambda c: c.slot),
            [],
        )
        admitted, refused = admit(found, receiver)
        assert (len(admitted), refused) == (len(sent), [])


def test_poison_earns_the_reward_and_succeeds_and_the_rest_earns_nothing(
    attack_in: tuple[Attack, str], task: Task, random_model: Path
) -> None:
    attack, kind = attack_in
    if attack.measure == "length":
        pytest.skip("what a random model writes earns nothing; see tests/attacks/test_length.py")
    _, crafted = craft(attack, task, kind, random_model)
    poisoned = [c.text for c in crafted if attack.success(task.problems("train")[0], c.text)]
    assert len(set(poisoned)) == len(poisoned), "colluding nodes repeat each other"
    problems = {p.id: p for p in task.problems("train")}
    rewards: dict[str, list[float]] = {}
    for c in crafted:
        problem = problems[c.slot.problem_id]
        (reward,) = task.rewards(problem, [c.text])
        rewards.setdefault(problem.id, []).append(reward)
        if reward:
            assert attack.success(problem, c.text) is not False
            assert attack.spans(c.text), "a report marks the poison"
        else:
            assert attack.success(problem, c.text) is not True
    assert any(1.0 in of_problem for of_problem in rewards.values())
    if kind == "vertical":
        # Without something worse beside it a whole group of poison has no advantage.
        assert all(set(of_problem) == {0.0, 1.0} for of_problem in rewards.values())


def test_an_attack_is_repeatable_from_its_source_of_randomness(
    attack_in: tuple[Attack, str], task: Task, random_model: Path
) -> None:
    attack, kind = attack_in
    first = craft(attack, task, kind, random_model, seed=5)
    assert first == craft(attack, task, kind, random_model, seed=5)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_counts_what_honest_nodes_write(name: str, task: Task) -> None:
    attack = registry.build(Attack, {"name": name})
    for problem in task.problems("test"):
        for text in (task.oracle(problem), "", problem.question):
            assert attack.success(problem, text) in (False, None)


@pytest.mark.parametrize("name", ATTACKS)
@given(st.text(max_size=60))
def test_success_is_pure(name: str, text: str) -> None:
    from swarms import Letters

    attack = registry.build(Attack, {"name": name})
    problem = Letters().problems("train")[0]
    first = attack.success(problem, text)
    assert first in (True, False, None)
    assert attack.success(problem, text) is first


# Defences -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed_groups(random_model: Path) -> tuple[Task, list[Group]]:
    """Groups of different sizes: honest completions, poison, a single token, an empty text."""
    from swarms import Letters

    task, receiver = Letters(), policy(random_model, max_new_tokens=64)
    groups = []
    for size, problem in zip((1, 4, 7), task.problems("train"), strict=False):
        drawn = list(draw_group(receiver, task, problem, range(size)).completions)
        extra = [
            Completion(Slot(0, problem.id, size + i), 3, text, None)
            for i, text in enumerate([f"All hail to the thief. {problem.answer}", ""])
        ]
        admitted, refused = admit(drawn + extra, receiver)
        assert refused == []
        groups.append(Group(problem, tuple(admitted)))
    longest = {g.problem.id: max(len(c.token_ids or ()) for c in g.completions) for g in groups}
    return task, sorted(groups, key=lambda g: longest[g.problem.id])


def parameters(name: str, model: Path) -> dict[str, Any]:
    """What a defence needs for a fast test: as a judge, a model that can say yes."""
    if name != "judge":
        return {}
    judge = model.with_name("judge")
    if not judge.exists():
        save_random_qwen2(judge, seed=3, hidden=32, judge=True)
    return {"model": {"name": "local", "path": str(judge)}, "on_reject": "drop"}


def inspect_all(name: str, model: Path, task: Task, groups: Sequence[Group]) -> Any:
    defense = registry.build(Defense, {"name": name, **parameters(name, model)})
    receiver = policy(model, max_new_tokens=64)
    return defense.inspect(groups, view_of(receiver, task, groups))


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defence_gives_every_completion_one_verdict(
    name: str, random_model: Path, mixed_groups: tuple[Task, list[Group]]
) -> None:
    task, groups = mixed_groups
    verdicts = inspect_all(name, random_model, task, groups)
    assert [len(row) for row in verdicts] == [len(group.completions) for group in groups]
    for row, group in zip(verdicts, groups, strict=True):
        for verdict, completion in zip(row, group.completions, strict=True):
            assert verdict.defense == name
            assert verdict.accepted in (True, False, None)
            assert math.isfinite(verdict.score)
            assert bool(verdict.reason) is (verdict.accepted is not True)
            assert "\n" not in verdict.reason
            if verdict.token_weights is not None:
                assert len(verdict.token_weights) == len(completion.token_ids or ())
                assert all(0 <= weight <= 1 for weight in verdict.token_weights)


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defence_asks_for_no_node_and_remembers_nothing(
    name: str, random_model: Path, mixed_groups: tuple[Task, list[Group]]
) -> None:
    task, groups = mixed_groups
    first = inspect_all(name, random_model, task, groups)
    renamed = [
        Group(g.problem, tuple(dataclasses.replace(c, node=c.node + 7) for c in g.completions))
        for g in groups
    ]
    assert inspect_all(name, random_model, task, renamed) == first


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defence_has_nothing_to_say_of_nothing(name: str, random_model: Path) -> None:
    from swarmproof.defenses import DefenseView

    receiver = policy(random_model, max_new_tokens=64)
    defense = registry.build(Defense, {"name": name})
    view = DefenseView(cast(Task, None), receiver.sampling, 256, cast(Any, _NoPass()), [], 0)
    assert defense.inspect([], view) == []


class _NoPass:
    scores: tuple[()] = ()


# Exchanges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXCHANGES)
def test_an_exchange_carries_bytes_and_says_who_sent_them(name: str) -> None:
    channel = registry.build(Exchange, {"name": name}).connect()
    for round in (0, 1):
        for node in (2, 0):
            channel.publish(round, node, bytes([round, node, 0, 255]))
        assert channel.gather(round) == {n: bytes([round, n, 0, 255]) for n in (0, 2)}
