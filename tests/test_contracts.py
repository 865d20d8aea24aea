"""What every plug-in promises, our own and any that is installed, whatever it does."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import save_random_qwen2
from swarmproof import registry, testing
from swarmproof.attacks import Attack
from swarmproof.config import ModelConfig, SamplingConfig
from swarmproof.defenses import Defense, DefenseView
from swarmproof.exchange import Exchange
from swarmproof.policies import DrawEngine
from swarmproof.policies.generator import PackedGenerator
from swarmproof.policies.policy import load
from swarmproof.registry import KINDS, Plugin
from swarmproof.tasks import Task
from swarmproof.types import Completion, Group, NodeId, Slot, Verdict
from swarms import policy

PLUGINS = [(kind, name) for kind in KINDS for name in registry.plugins(kind)]
ATTACKS, DEFENSES, TASKS, EXCHANGES, GENERATORS = (
    [name for kind, name in PLUGINS if kind == wanted]
    for wanted in ("attack", "defense", "task", "exchange", "generator")
)
TOPOLOGIES = ("horizontal", "vertical")
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
    testing.check_data_sheet(found)


@pytest.mark.parametrize(("kind", "name"), PLUGINS)
def test_its_defaults_are_valid_and_fixed(kind: str, name: str) -> None:
    testing.check_fixed(plugin(kind, name)())


# Tasks --------------------------------------------------------------------------------------------


def test_a_task_keeps_its_promises(task: Task) -> None:
    testing.check_task(task)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.text(st.characters(), max_size=40), max_size=4))
def test_any_text_has_a_reward(task: Task, texts: list[str]) -> None:
    rewards = task.rewards(task.problems("train")[0], texts)
    assert len(rewards) == len(texts)
    assert set(rewards) <= {0.0, 1.0}
    assert [task.answer(text) for text in texts] == [task.answer(text) for text in texts]


# Attacks ------------------------------------------------------------------------------------------


def craft(
    attack: Attack, task: Task, kind: str, model: Path, seed: int = 0
) -> tuple[Mapping[NodeId, tuple[Slot, ...]], list[Completion]]:
    """What two colluding nodes of four send."""
    try:
        attack.require(task)
    except ValueError as error:
        pytest.skip(str(error))
    if sum(map(attack.picks, task.problems("train"))) < 4:
        pytest.skip(f"{attack.name} can use too few problems of this file")
    # To draw from, for those who do nothing else.
    drawer = policy(model, max_new_tokens=24) if attack.needs_model else None
    slots, _, crafted = testing.craft(attack, task, kind, drawer, seed)
    return slots, crafted


@pytest.fixture(params=[(name, kind) for name in ATTACKS for kind in TOPOLOGIES], ids=str)
def attack_in(request: pytest.FixtureRequest) -> tuple[Attack, str]:
    name, kind = request.param
    attack = registry.build(Attack, {"name": name})
    if kind not in attack.topologies:
        pytest.skip(f"{name} is not for {kind} swarms")
    return attack, kind


def test_an_attack_fills_slots_of_its_own_nodes_once_with_what_is_admitted(
    attack_in: tuple[Attack, str], task: Task, random_model: Path
) -> None:
    slots, crafted = craft(attack_in[0], task, attack_in[1], random_model)
    # What a random model draws is never right, so that some have nothing to send here.
    assert crafted or attack_in[0].needs_model
    testing.check_crafted(slots, crafted, policy(random_model, max_new_tokens=LIMIT))


def test_poison_earns_the_reward_and_succeeds_and_the_rest_earns_nothing(
    attack_in: tuple[Attack, str], task: Task, random_model: Path
) -> None:
    attack, kind = attack_in
    if attack.needs_model or attack.measure == "length":
        pytest.skip("it draws from the model, or plants nothing; see tests/attacks")
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


def parameters(name: str, model: Path) -> dict[str, Any]:
    """What a defence needs for a fast test: as a judge, a model that can say yes."""
    if name not in ("judge", "group_judge"):
        return {}
    judge = model.with_name("judge")
    if not judge.exists():
        save_random_qwen2(judge, seed=3, hidden=32, judge=True)
    prompt = "auto" if name == "judge" else "tiny"  # the others are long, and longer with a group
    return {"model": {"name": "local", "path": str(judge)}, "prompt": prompt, "on_reject": "drop"}


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defence_keeps_its_promises(name: str, random_model: Path) -> None:
    from swarms import Letters

    defense = registry.build(Defense, {"name": name, **parameters(name, random_model)})
    testing.check_defense(defense, Letters(), policy(random_model, max_new_tokens=64))


# Exchanges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXCHANGES)
def test_an_exchange_carries_bytes_and_says_who_sent_them(name: str, tmp_path: Path) -> None:
    places = {"folder": {"path": str(tmp_path)}}
    testing.check_exchange(registry.build(Exchange, {"name": name, **places.get(name, {})}))


# Generators ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_draws_the_draws_of_the_slots(name: str) -> None:
    engine = registry.build(DrawEngine, {"name": name})
    try:
        engine.require(ModelConfig())
    except ValueError as error:
        pytest.skip(str(error))
    testing.check(engine)


class Stale(DrawEngine):
    """Draws with the weights that it was given first."""

    def start(self, model: Any, codec: Any, sampling: Any, room: int | None) -> Any:
        return PackedGenerator(copy.deepcopy(model), codec, sampling, room)


class Careless(DrawEngine):
    """Draws with seeds of its own."""

    def start(self, model: Any, codec: Any, sampling: Any, room: int | None) -> Any:
        ours = PackedGenerator(model, codec, sampling, room)
        return SimpleNamespace(
            generate=lambda p, rows: ours.generate(p, [[s + 1 for s in row] for row in rows])
        )


class Endless(DrawEngine):
    """Draws on, whatever the longest completion is."""

    def start(self, model: Any, codec: Any, sampling: Any, room: int | None) -> Any:
        longer = sampling.model_copy(update={"max_new_tokens": 1000})
        return PackedGenerator(model, codec, longer, room)


@pytest.mark.parametrize(
    ("kind", "promise"),
    [
        (Endless, "a completion is longer than sampling.max_new_tokens"),
        (Stale, "a token is not the draw of its slot after the weights have changed"),
        (Careless, "a token is not the draw of its slot: off by"),
    ],
)
def test_a_generator_that_breaks_its_promise_is_told_so(
    kind: type[DrawEngine], promise: str
) -> None:
    with pytest.raises(AssertionError, match=promise):
        testing.check_generator(kind(), load("tiny-math", SamplingConfig(max_new_tokens=16)))


# What a third party is told -----------------------------------------------------------------------


class Liar(Defense):
    """Says something else each time."""

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:  # noqa: ARG002
        _told.append(1)
        score = float(len(_told))
        return [[self.verdict(True, score) for _ in group.completions] for group in groups]


_told: list[int] = []


@pytest.fixture
def liar() -> Iterator[type[Defense]]:
    yield registry.register("defense", "liar")(Liar)
    registry._registered["defense"].pop("liar")


def test_check_tells_which_promise_a_plug_in_breaks(liar: type[Defense]) -> None:
    with pytest.raises(AssertionError, match="remembers outside of its state"):
        testing.check(liar)


@pytest.mark.parametrize("name", ["text", "max_tokens", "memory", "math_words", "packed"])
def test_check_passes_what_ships(name: str) -> None:
    (kind,) = (kind for kind, other in PLUGINS if other == name)
    testing.check(plugin(kind, name))
