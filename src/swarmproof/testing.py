"""The contract tests that every plug-in must pass, for authors of plug-ins.

    import swarmproof.testing
    swarmproof.testing.check(Advert)          # a class; or an instance, with parameters of your own

Needs no test runner. A broken promise raises an `AssertionError` that names it. Attacks and
defences are tested on generated problems with the tiny models that ship with the package.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from pydantic import ValidationError

from swarmproof.attacks.base import Attack, AttackView
from swarmproof.attacks.worthless import gibberish
from swarmproof.config import SamplingConfig
from swarmproof.defenses.base import Defense
from swarmproof.exchange import Exchange, Session, wire
from swarmproof.exchange.admission import admit
from swarmproof.guard.guard import Guard
from swarmproof.guard.inspection import Inspection
from swarmproof.policies import DrawEngine
from swarmproof.policies.policy import Policy, load
from swarmproof.randomness import derive_seed
from swarmproof.registry import Plugin
from swarmproof.swarm import topology
from swarmproof.tasks import CodeWords, MathWords
from swarmproof.tasks.base import Task
from swarmproof.types import Completion, Group, NodeId, Problem, Refusal, Slot

_NODES, _GROUP_SIZE, _LIMIT = 4, 8, 768
_RUN = "0" * 32
# Texts that a peer may send.
NASTY = ("", " ", "\x00", "<answer>", "</think><answer>", "9" * 5000, "½ ² ۴", "\ud800", "<code>\n")


def check(plugin: type[Plugin] | Plugin) -> None:
    """Test every promise that plug-ins of this kind make.

    Args:
        plugin: a registered class, tested with its defaults, or an instance of one.

    Raises:
        AssertionError: a promise is broken; the message names it.
    """
    kind = plugin if isinstance(plugin, type) else type(plugin)
    try:
        check_data_sheet(kind)
        built = plugin if isinstance(plugin, Plugin) else plugin()
        check_fixed(built)
        _check_kind(built)
    except AssertionError as error:
        raise AssertionError(f"{kind.kind} {kind.name!r}: {error}") from None


def _check_kind(built: Plugin) -> None:
    match built:
        case Task():
            check_task(built)
        case Attack():
            for task in (_math(), _code()):
                check_attack(built, task, _policy(task))
        case Defense():
            for task in (_math(), _code()):
                check_defense(built, task, _policy(task))
        case Exchange():
            check_exchange(built)
        case DrawEngine():
            check_generator(built, load("tiny-math", SamplingConfig(max_new_tokens=16)))
        case _:
            pass  # a judge's back end has no promises beyond those of all plug-ins


def check_data_sheet(kind: type[Plugin]) -> None:
    """It describes itself: it has its own docstring, and a description of every parameter."""
    doc = inspect.cleandoc(kind.__dict__.get("__doc__") or "")
    assert doc, "the class has no docstring of its own"
    first = doc.partition("\n\n")[0]
    assert "\n" not in first, "the first paragraph is the line that `list` shows: keep it to one"
    assert len(first) <= 100, "the first line of the docstring is longer than 100 characters"
    assert first.endswith("."), "the first line of the docstring does not end in a full stop"
    for name, info in kind.model_fields.items():
        assert info.description, f"the parameter {name} has no description"
        assert not info.is_required(), f"the parameter {name} has no default"


def check_fixed(built: Plugin) -> None:
    """It is a value: equal when rebuilt, hashable, frozen, and accepts no unknown parameter."""
    kind = type(built)
    again = kind.model_validate(built.model_dump())
    assert again == built, "built again from its own parameters it is another"
    assert hash(again) == hash(built), "equal plug-ins have different hashes"
    for name in kind.model_fields:
        try:
            setattr(built, name, getattr(built, name))
        except ValidationError:
            continue
        raise AssertionError(f"the parameter {name} can be changed after it was built")
    try:
        kind.model_validate({"nonsense": 1})
    except ValidationError:
        return
    raise AssertionError("it takes a parameter that it does not have")


def check_task(task: Task) -> None:
    """Fixed, disjoint splits; oracle solutions earn the reward; no text makes it raise."""
    train, test = task.problems("train"), task.problems("test")
    assert train, "there are no problems to train on"
    assert test, "there are no held-out problems"
    assert list(train) == list(task.problems("train")), "the problems differ from call to call"
    shared = {p.question for p in train} & {p.question for p in test}
    assert not shared, f"the splits share the question {min(shared)!r:.60}"
    ids = [p.id for p in (*train, *test)]
    assert len(set(ids)) == len(ids), "two problems have one id"
    rng = np.random.default_rng(0)
    for problem in (*train[:64], *test[:64]):
        assert problem.solutions, f"{problem.id} has no solution"
        right = [task.oracle(problem, i) for i in range(len(problem.solutions) + 1)]
        assert set(task.rewards(problem, right)) == {1.0}, f"a solution of {problem.id} fails"
        assert task.answer(right[0]) is not None, f"a solution of {problem.id} gives no answer"
        assert right[-1] == right[0], "variants of a solution do not repeat after the last one"
        wrong = task.rewards(problem, [gibberish(problem, rng), *NASTY])
        assert set(wrong) <= {0.0, 1.0}, "a reward is neither 0 nor 1"
        assert wrong[0] == 0.0, f"gibberish earns the reward of {problem.id}"
        assert problem.question in task.prompt(problem), "the prompt does not hold the question"
        blank = dataclasses.replace(problem, answer="", solutions=("",))
        assert task.prompt(blank) == task.prompt(problem), "the prompt depends on the answer"


def check_attack(attack: Attack, task: Task, policy: Policy) -> None:
    """Its completions fill its own slots, are admitted, repeatable, and succeed by its measure.

    Passes without a test if the attack says that it cannot be carried out on the task.
    """
    try:
        attack.require(task)
    except ValueError:
        return
    for kind in attack.topologies:
        slots, problems, crafted = craft(attack, task, kind, policy)
        again = craft(attack, task, kind, policy)[2]
        assert crafted == again, "it crafts other completions from the same source of randomness"
        check_crafted(slots, crafted, policy)
        for completion in crafted:
            problem = problems[completion.slot.problem_id]
            (reward,) = task.rewards(problem, [completion.text])
            success = attack.success(problem, completion.text)
            wide = attack.success_wide(problem, completion.text)
            if reward and attack.always_poisons:
                assert success is not False or wide, "a rewarded completion of it is no success"
            if not reward and not attack.poisons_losers:
                assert success is not True, "a completion without a reward counts as a success"
    for problem in task.problems("test")[:32]:
        for text in (task.oracle(problem), "", problem.question):
            found = attack.success(problem, text)
            assert found in (False, None), (
                f"success is {found} for a text without the poison (a right solution, nothing, or "
                f"the question alone): {text!r:.80}"
            )
            assert attack.success(problem, text) is found, "success is no pure function"


def craft(
    attack: Attack, task: Task, kind: str, policy: Policy | None, seed: int = 5
) -> tuple[Mapping[NodeId, tuple[Slot, ...]], dict[str, Problem], list[Completion]]:
    """The completions of two colluding nodes of four, with their slots and problems."""
    picked = [p for p in task.problems("train") if attack.picks(p)][:_NODES]
    assert len(picked) == _NODES, "it can use fewer than four of the task's problems"
    problems = {problem.id: problem for problem in picked}
    everybody = (
        topology.horizontal(0, list(problems), _GROUP_SIZE, _NODES)
        if kind == "horizontal"
        else topology.vertical(0, topology.deal(list(problems), _NODES), _GROUP_SIZE)
    )
    slots: dict[NodeId, tuple[Slot, ...]] = {node: everybody[node] for node in (2, 3)}
    view = AttackView(
        nodes=tuple(slots),
        slots=slots,
        problems=problems,
        task=task,
        policy=policy,
        topology=kind,
        num_nodes=_NODES,
        rng=np.random.default_rng(seed),
        slot_seed=lambda slot: derive_seed(seed, "completion", slot.problem_id, slot.index),
        seen=tuple(
            Completion(slot, node, task.oracle(problems[slot.problem_id], slot.index), None)
            for node, own in everybody.items()
            if node not in slots
            for slot in own
        ),
    )
    return slots, problems, list(attack.craft(view))


def check_crafted(
    slots: Mapping[NodeId, tuple[Slot, ...]], crafted: Sequence[Completion], receiver: Policy
) -> None:
    """Every completion fills a slot of its node, once, and survives the wire and admission."""
    assert len({c.slot for c in crafted}) == len(crafted), "a slot is filled twice"
    for node, own in slots.items():
        sent = [c for c in crafted if c.node == node]
        foreign = [c.slot for c in sent if c.slot not in own]
        assert not foreign, f"node {node} fills a slot that is not its own: {foreign[0]}"
        payload = wire.encode(0, sent, run_id=_RUN)
        limit = wire.max_bytes(len(own), _LIMIT)
        opened = wire.open_message(payload, node=node, round=0, run_id=_RUN, limit=limit)
        assert not isinstance(opened, Refusal), f"the message is refused: {opened}"
        found, refused = wire.match(opened, own, _LIMIT)
        assert not refused, f"the wire refuses a completion: {refused[0].reason}"
        assert sorted(found, key=lambda c: c.slot) == sorted(sent, key=lambda c: c.slot)
        _, refused = admit(found, receiver.codec, _LIMIT)
        assert not refused, f"a completion is not admitted: {refused[0].reason}"
    others = {c.node for c in crafted} - set(slots)
    assert not others, f"a completion is of node {others.pop()}, and its nodes are {[*slots]}"


def check_defense(defense: Defense, task: Task, policy: Policy) -> None:
    """One valid verdict for each completion, for any sender; no memory except its state."""
    groups = mixed_groups(task, policy)
    first = inspect_all(defense, groups, task, policy)
    assert first == inspect_all(defense, groups, task, policy), "it remembers outside of its state"
    for row in first:
        for *_, verdict in row:  # the guard may have refused it before
            assert bool(verdict.reason) is (verdict.accepted is not True), (
                "a reason belongs to every verdict that does not accept, and to no other"
            )
    renamed = [
        dataclasses.replace(
            group,
            completions=tuple(
                dataclasses.replace(c, node=f"peer-{c.node}") for c in group.completions
            ),
        )
        for group in groups
    ]
    named = inspect_all(defense, renamed, task, policy)
    assert named == first, "its verdicts depend on the names of nodes"
    assert list(_guard(defense, task, policy)([], []).samples) == [], (
        "it returns verdicts for no groups"
    )
    guard = _guard(defense, task, policy)
    _inspect(guard, groups, task)
    json.dumps(guard.state_dict(), allow_nan=False)


def inspect_all(
    defense: Defense, groups: Sequence[Group], task: Task, policy: Policy
) -> list[list[tuple[Any, ...]]]:
    """The verdicts of a fresh guard with only this defence."""
    return _inspect(_guard(defense, task, policy), groups, task).verdicts


def mixed_groups(task: Task, policy: Policy) -> list[Group]:
    """Groups of different sizes: honest samples, oracle solutions with a phrase, unusual texts."""
    groups = []
    for size, problem in zip((1, 4, 7), task.problems("train"), strict=False):
        prompt = task.prompt(problem)
        (drawn,) = policy.generator.generate([prompt], [list(range(size))])
        texts = policy.codec.decode(drawn)
        texts += [task.oracle(problem), f"All hail to the thief. {problem.answer}", "", "x"]
        claims = [
            Completion(Slot(0, problem.id, i), i % _NODES, text, None)
            for i, text in enumerate(texts)
        ]
        completions, _ = admit(claims, policy.codec, _LIMIT)
        seeds = tuple(completion.slot.index for completion in completions)
        groups.append(Group(problem, tuple(completions), prompt, seeds))
    return groups


def check_exchange(exchange: Exchange) -> None:
    """It carries bytes unchanged, and reports the senders and the absent nodes."""
    nodes: tuple[NodeId, ...] = (0, 1, 2)
    channel = exchange.connect(Session(_RUN, nodes, frozenset(nodes), 1 << 16))
    try:
        for round in (0, 1):
            for node in (2, 0):
                channel.publish(round, node, bytes([round, node, 0, 255]))
            found = channel.gather(round, nodes, 0.1)
            assert dict(found.payloads) == {n: bytes([round, n, 0, 255]) for n in (0, 2)}, (
                "the bytes that come out are not those that went in"
            )
            assert set(found.absent) == {1}, "a node that sent nothing is not reported as absent"
    finally:
        channel.close()


def check_generator(engine: DrawEngine, policy: Policy) -> None:
    """It draws the draws of the slots, up to rounding, with the weights of the moment.

    It changes the weights of the policy.
    """
    prompts, seeds = ["1 + 1 = ", "Two"], [[1, 2, 3], [4]]
    ends, most = policy.codec.end_ids, policy.sampling.max_new_tokens
    generator = engine.start(policy.model, policy.codec, policy.sampling, None)
    assert generator.generate(prompts, [[], []]) == [[], []], "it draws what was not asked for"
    for when in ("", " after the weights have changed"):
        drawn = generator.generate(prompts, seeds)
        assert [*map(len, drawn)] == [3, 1], "it does not draw one completion for each seed"
        for row in drawn:
            for ids in row:
                assert len(ids) <= most, "a completion is longer than sampling.max_new_tokens"
                assert ids[-1] in ends or len(ids) == most, "a completion is cut off too early"
                assert ends.isdisjoint(ids[:-1]), "a completion goes on after end-of-text"
        margins = policy.scorer.score(prompts, drawn, seeds, ["margin"]).column("margin")
        worst = float(np.concatenate([each for row in margins for each in row]).max())
        assert worst <= 0.25, f"a token is not the draw of its slot{when}: off by {worst:.2g}"
        for weight in policy.model.parameters():
            weight.data.mul_(0.7)


def _guard(defense: Defense, task: Task, policy: Policy) -> Guard:
    return Guard(
        [defense],
        model=policy,
        sampling=policy.sampling,
        programs=task.writes_programs or defense.only_programs,
        malicious=frozenset(),  # only for those that are bounds, which need the truth
    )


def _inspect(guard: Guard, groups: Sequence[Group], task: Task) -> Inspection:
    rewards = task.group_rewards([(group.problem, group.texts) for group in groups])
    return guard(groups, rewards, round=0)


@cache
def _math() -> Task:
    return MathWords(train=64, test=32)


@cache
def _code() -> Task:
    return CodeWords(train=64, test=32)


@cache
def _policy(task: Task) -> Policy:
    name = "tiny-code" if task.writes_programs else "tiny-math"
    return load(name, SamplingConfig(max_new_tokens=64))
