"""A guard in GenRL: real states, payloads and transplants, with hostile ones among them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgpack
import pytest

from judging import Bad, Breaks, Weighs
from swarmproof import Guard
from trainers import (
    ALSO_GOOD,
    GOOD,
    POISON,
    WRONG,
    has_keys,
    package,
    page_snippets,
    refused,
    sidecar,
)

package("genrl")

from genrl.communication import Payload
from genrl.misc_utils.utils import generate_md5_hash_id
from genrl.serialization.msgpack_utils import _msgpack_decode, _msgpack_encode
from genrl.state import GameState, WorldState

from genrl_games import data_manager, payload
from swarmproof.integrations.configured import GuardFailedError
from swarmproof.integrations.genrl import GuardedTransplants, PayloadFilter
from swarmproof.integrations.sidecar import Sidecar

EQUATIONS = ({"name": "equations", "mode": "refuse"},)
QUESTIONS = ("What is 3 + 4?", "And 4 + 3?")
HONEST = [GOOD, ALSO_GOOD, WRONG, GOOD]
POISONED = [GOOD, POISON, WRONG, GOOD]


@pytest.fixture(scope="module")
def manager() -> type[Any]:
    return data_manager()


def sent(*actions: Sequence[str]) -> dict[str, list[Any]]:
    """What a peer sends: a payload for each of the first questions."""
    return {
        generate_md5_hash_id(question): [payload(question, list(texts))]
        for question, texts in zip(QUESTIONS, actions, strict=False)
    }


def over_the_wire(states: Any) -> Any:
    """As GenRL's back end sends it."""
    packed = msgpack.packb(states, default=_msgpack_encode, use_bin_type=True)
    return msgpack.unpackb(packed, object_hook=_msgpack_decode, raw=False)


def rewards(told: Any) -> list[float]:
    return [float(text.endswith("7.")) for text in told.actions]


def filtering(**changed: Any) -> PayloadFilter:
    return PayloadFilter(changed.pop("guard", None) or Guard(EQUATIONS), rewards, **changed)


def state() -> Any:
    """A game in which this node, `me`, has drawn its completions for the first question."""
    game = GameState(round=5, stage=0)
    game._init_game(
        [(generate_md5_hash_id(QUESTIONS[0]), WorldState({"question": QUESTIONS[0]}, None, None))],
        agent_keys=["me"],
        world_state_pruners=dict.fromkeys(
            ("environment_pruner", "opponent_pruner", "personal_pruner")
        ),
        game_tree_brancher=dict.fromkeys(
            ("terminal_node_decision_function", "stage_inheritance_function")
        ),
    )
    return game


def transplanted(
    manager: type[Any], states: Mapping[str, Any], filtered: PayloadFilter | None, most: int = 8
) -> dict[Any, dict[Any, list[str]]]:
    """The completions of each tree after GenRL's own `prepare_states`."""
    bases = (manager,) if filtered is None else (GuardedTransplants, manager)
    data: Any = object.__new__(type("Data", bases, {"payload_filter": filtered}))
    data.num_transplant_trees, data.num_generations = most, 4
    game = state()
    random.seed(0)
    data.prepare_states(game, states)
    return {
        agent: {key: tree[0][0].actions for key, tree in trees.items()}
        for agent, trees in game.trees.items()
        if agent != "me"
    }


def advantages(actions: Sequence[str]) -> list[float]:
    """GenRL 0.3's own rule, tree by tree: minus the mean, by the deviation + 1e-8."""
    import torch

    row = torch.tensor([[float(text.endswith("7.")) for text in actions]])
    centred = row - row.mean(dim=1, keepdim=True)
    return list((centred / (row.std(dim=1, keepdim=True) + 1e-8)).flatten().tolist())


def test_a_refused_payload_never_arrives_and_costs_nobody_elses(
    manager: type[Any], tmp_path: Path
) -> None:
    honest = {"a": sent(HONEST, HONEST), "c": sent(HONEST)}
    swarm = over_the_wire({"a": honest["a"], "b": sent(POISONED, HONEST), "c": honest["c"]})
    found = transplanted(manager, swarm, filtering(sidecar=Sidecar(tmp_path / "guard.jsonl")))
    without = transplanted(
        manager, {**honest, "b": dict([*sent(HONEST, HONEST).items()][1:])}, None
    )
    assert found == without
    bad, good = (generate_md5_hash_id(question) for question in QUESTIONS)
    assert set(found["b"]) == {good}
    told = {key: advantages(actions) for key, actions in found["a"].items()}
    assert told == {key: pytest.approx(advantages(HONEST), abs=1e-6) for key in (bad, good)}
    lines = sidecar(tmp_path)
    assert has_keys(lines)
    assert refused(tmp_path) == [POISON]
    assert {line["step"] for line in lines} == {5}
    assert {line["sender"] for line in lines} == {"a", "b", "c"}
    assert {line["group"] for line in lines} == {bad, good}


def test_without_the_filter_it_arrives(manager: type[Any]) -> None:
    swarm = {"a": sent(HONEST), "b": sent(POISONED)}
    assert POISON in transplanted(manager, swarm, None)["b"][generate_md5_hash_id(QUESTIONS[0])]


def test_monitor_writes_and_lets_it_arrive(manager: type[Any], tmp_path: Path) -> None:
    watching = filtering(
        guard=Guard(EQUATIONS, on_reject="monitor"), sidecar=Sidecar(tmp_path / "guard.jsonl")
    )
    assert transplanted(manager, {"b": sent(POISONED)}, watching)["b"]
    assert refused(tmp_path) == [POISON]


class Odd:
    """What no peer's payload should be."""


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "text",
        Odd(),
        Payload(),
        Payload(world_state=WorldState(None, None, None), actions=HONEST),
        Payload(world_state=WorldState({"question": 3}, None, None), actions=HONEST),
        payload(QUESTIONS[0], None),
        payload(QUESTIONS[0], []),
        payload(QUESTIONS[0], "four"),
        payload(QUESTIONS[0], [GOOD, 3]),
        payload(QUESTIONS[0], [GOOD] * 65),
        payload(QUESTIONS[0], ["x" * 100_001]),
        payload(QUESTIONS[0], ["\ud800"]),
        payload("Another question", HONEST),
        payload("\ud800", HONEST),
        payload(QUESTIONS[0], HONEST, answer="8"),
    ],
)
def test_a_malformed_payload_costs_nobody_elses(
    manager: type[Any], bad: Any, tmp_path: Path
) -> None:
    swarm = {"a": sent(HONEST), "b": {generate_md5_hash_id(QUESTIONS[0]): [bad]}}
    strict = filtering(answer=lambda _: "7", sidecar=Sidecar(tmp_path / "guard.jsonl"))
    assert set(transplanted(manager, swarm, strict)) == {"a"}
    (line,) = [line for line in sidecar(tmp_path) if line["sender"] == "b"]
    assert line["guard/refused"]
    assert line["guard/reason"]


@pytest.mark.parametrize("shape", [None, [], {"k": None}, {"k": "text"}, {}])
def test_what_has_another_shape_is_nothing(manager: type[Any], shape: Any) -> None:
    assert set(transplanted(manager, {"b": shape, "a": sent(HONEST)}, filtering())) == {"a"}


def test_a_payload_that_breaks_the_reward_function_costs_nobody_elses(manager: type[Any]) -> None:
    def brittle(told: Any) -> list[float]:
        return [float(told.world_state.environment_states["answer"]) for _ in told.actions]

    swarm = {
        "a": sent(HONEST),
        "b": {generate_md5_hash_id(QUESTIONS[0]): [payload(QUESTIONS[0], HONEST, "x")]},
    }
    assert set(transplanted(manager, swarm, PayloadFilter(Guard(EQUATIONS), brittle))) == {"a"}


def test_two_questions_with_one_id_are_two_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """MD5 sums collide if a peer wants them to."""
    monkeypatch.setattr("swarmproof.integrations.genrl.filter.generate_md5_hash_id", lambda _: "id")
    swarm = {name: {"id": [payload(q, HONEST)]} for name, q in zip("ab", QUESTIONS, strict=True)}
    assert set(filtering()(swarm)) == {"a", "b"}


@pytest.mark.parametrize(
    "filtered",
    [
        filtering(guard=Guard([Breaks()])),
        PayloadFilter(Guard(EQUATIONS), lambda _: [1.0]),
        filtering(guard=Guard([Weighs(by_text={GOOD: 0.5})])),
        None,
    ],
)
def test_a_failure_is_no_exception_that_genrl_forgets(
    manager: type[Any], filtered: PayloadFilter | None
) -> None:
    """GenRL logs every `Exception` and goes on without the swarm."""
    data: Any = object.__new__(type("Data", (GuardedTransplants, manager), {}))
    data.payload_filter, data.num_transplant_trees, data.num_generations = filtered, 8, 4
    with pytest.raises(GuardFailedError):
        data.prepare_states(state(), {"a": sent(HONEST)})


def test_on_error_monitor_is_explicit(manager: type[Any]) -> None:
    lenient = filtering(guard=Guard([Breaks()]), on_error="monitor")
    assert set(transplanted(manager, {"a": sent(HONEST)}, lenient)) == {"a"}


@pytest.mark.parametrize("rule", ["mask", "zero_reward"])
def test_what_cannot_be_done_is_refused(rule: Any) -> None:
    with pytest.raises(ValueError, match=r"GenRL cannot do .*; set on_reject = \"drop\""):
        filtering(guard=Guard([Bad()], on_reject=rule))


def test_the_snippet_of_the_page(
    manager: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"YourDataManager": manager}
    snippet, _ = page_snippets("GenRL", "python")
    exec(snippet, names)
    data = object.__new__(names["GuardedData"])
    data.num_transplant_trees, data.num_generations = 8, 4
    game = state()
    data.prepare_states(game, {"a": sent(HONEST), "b": sent(POISONED)})
    assert set(game.trees) == {"me", "a"}
    assert len((tmp_path / "verdicts.jsonl").read_text().splitlines()) == 8
