"""The problems of a round, and the slots of each node. Pure: every node can compute them.

In a vertical swarm a node may pick its problems. Its message contains its picks, and every receiver
checks them here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from swarmproof.config import BatchConfig, SwarmConfig
from swarmproof.randomness import generator
from swarmproof.swarm import topology
from swarmproof.types import NodeId, Problem, Refusal, Slot


@dataclass(frozen=True, slots=True)
class Assignment:
    """A round's slots by node, and the problems of these slots, in the order of nodes."""

    round: int
    slots: Mapping[NodeId, tuple[Slot, ...]]
    problems: Mapping[str, Problem]
    # Vertical swarms: the problems of each node, in its order. None: all nodes share all problems.
    shares: Mapping[NodeId, tuple[str, ...]] | None = None
    group_size: int = 0
    free: bool = True  # nodes of a vertical swarm may pick other problems


def deal(
    train: Sequence[Problem], run_seed: int, round: int, swarm: SwarmConfig, batch: BatchConfig
) -> Assignment:
    """The assignment of a round in which no node picks.

    Raises:
        ValueError: there are fewer problems than a round needs.
    """
    drawn = draw_problems(train, run_seed, round, batch.problems)
    problems = {problem.id: problem for problem in drawn}
    if swarm.topology == "horizontal":
        slots = topology.horizontal(round, list(problems), batch.group_size, swarm.nodes)
        return Assignment(round, slots, problems)
    shares = topology.deal(list(problems), swarm.nodes)
    slots = topology.vertical(round, shares, batch.group_size)
    free = swarm.problems == "picked"
    return Assignment(round, slots, problems, shares, batch.group_size, free)


def with_picks(
    dealt: Assignment, picks: Mapping[NodeId, Sequence[str]], known: Mapping[str, Problem]
) -> tuple[Assignment, list[Refusal]]:
    """The assignment after some nodes have picked their problems.

    The exact rule. A node picks as many distinct training problems as it was assigned. It may not
    pick a problem of another node: nodes that do not pick keep their assigned problems, and if two
    nodes pick the same problem, the node with the lower number gets it. Picks that break the rule
    are refused with the whole message, and their sender has no slots in this round.

    Args:
        dealt: the assignment without picks.
        picks: the picks in the message of each node that picks.
        known: all training problems, by id.
    """
    if not picks:
        return dealt, []
    if dealt.shares is None or not dealt.free:
        # The message is refused, but its slots stay what they are: a receiver may fill them.
        why = "they are dealt" if dealt.shares else "in a horizontal swarm all nodes share them"
        return dealt, [_refusal(node, f"picked problems, and {why}") for node in picks]
    taken = {name for node, share in dealt.shares.items() if node not in picks for name in share}
    shares, refusals = dict(dealt.shares), []
    for node in dealt.shares:
        if node not in picks:
            continue
        chosen = tuple(picks[node])
        if why := _wrong(chosen, len(dealt.shares[node]), taken, known):
            refusals.append(_refusal(node, why))
            shares[node] = ()
        else:
            taken.update(chosen)
            shares[node] = chosen
    slots = topology.vertical(dealt.round, shares, dealt.group_size)
    problems = {name: known[name] for share in shares.values() for name in share}
    return replace(dealt, slots=slots, problems=problems, shares=shares), refusals


def draw_problems(train: Sequence[Problem], run_seed: int, round: int, count: int) -> list[Problem]:
    """The problems of a round, all distinct: a share of a fresh shuffle in every epoch.

    The last partial batch of an epoch is dropped.

    Raises:
        ValueError: there are fewer problems than a round needs.
    """
    if len(train) < count:
        raise ValueError(
            f"batch.problems is {count}, and the task has only {len(train)} to train on"
        )
    epoch, share = divmod(round, len(train) // count)
    order = generator(run_seed, "problems", epoch).permutation(len(train))
    return [train[i] for i in order[share * count : (share + 1) * count]]


def pick_problems(
    pickable: Sequence[Problem], dealt: Assignment, run_seed: int, nodes: Sequence[NodeId]
) -> dict[NodeId, tuple[str, ...]]:
    """The problems that colluding nodes pick for themselves. No other node has any of them.

    Args:
        pickable: problems to choose from; at least as many as the swarm has in a round.
        dealt: the assignment before the choice.
        nodes: the colluding nodes.
    """
    assert dealt.shares is not None
    taken = {name for node, share in dealt.shares.items() if node not in nodes for name in share}
    order = generator(run_seed, "picks", dealt.round).permutation(len(pickable))
    free = (pickable[i].id for i in order if pickable[i].id not in taken)
    return {node: tuple(islice(free, len(dealt.shares[node]))) for node in nodes}


def _wrong(
    chosen: tuple[str, ...], count: int, taken: set[str], known: Mapping[str, Problem]
) -> str:
    """The reason why these problems cannot be picked; empty if they can."""
    if len(chosen) != count:
        return f"picked {len(chosen)} problems, and its share is {count}"
    if len(set(chosen)) < count:
        return "picked a problem twice"
    if any(name not in known for name in chosen):
        return "picked a problem that is not one of the training problems"
    if taken & set(chosen):
        return "picked a problem that is another node's"
    return ""


def _refusal(node: NodeId, reason: str) -> Refusal:
    return Refusal(node, None, "wire", "picks", reason)
