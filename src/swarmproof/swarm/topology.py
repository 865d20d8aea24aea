"""The assignment of slots to nodes. Pure: node numbers and problem ids in, slots out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swarmproof.types import NodeId, Slot


def horizontal(
    round: int, problem_ids: Sequence[str], group_size: int, num_nodes: int
) -> dict[NodeId, tuple[Slot, ...]]:
    """All nodes answer the same problems; each fills its share of every group (paper, section 3).

    Raises:
        ValueError: the group does not divide among the nodes.
    """
    share = _share("group_size", group_size, num_nodes)
    return {
        node: tuple(
            Slot(round, problem_id, index)
            for problem_id in problem_ids
            for index in range(node * share, (node + 1) * share)
        )
        for node in range(num_nodes)
    }


def vertical(
    round: int, picks: Mapping[NodeId, Sequence[str]], group_size: int
) -> dict[NodeId, tuple[Slot, ...]]:
    """Each node answers problems that it picked, with whole groups (paper, section 3)."""
    return {
        node: tuple(
            Slot(round, problem_id, index)
            for problem_id in problem_ids
            for index in range(group_size)
        )
        for node, problem_ids in picks.items()
    }


def deal(problem_ids: Sequence[str], num_nodes: int) -> dict[NodeId, tuple[str, ...]]:
    """Cut the problems of a round into equal consecutive shares, one for each node.

    Raises:
        ValueError: the problems do not divide among the nodes.
    """
    share = _share("problems", len(problem_ids), num_nodes)
    return {
        node: tuple(problem_ids[node * share : (node + 1) * share]) for node in range(num_nodes)
    }


def _share(what: str, size: int, num_nodes: int) -> int:
    if num_nodes < 1 or size % num_nodes:
        raise ValueError(f"{what} = {size} does not divide among {num_nodes} nodes")
    return size // num_nodes
