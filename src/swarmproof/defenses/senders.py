"""What defences share that compare the senders of a round with each other. Knows no plug-in."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from swarmproof.defenses.base import Defense, DefenseView, Setting
from swarmproof.types import Completion, Group, NodeId

ENOUGH = 3  # senders: of two that differ, nobody can say which one is honest
TOO_FEW = f"fewer than {ENOUGH} nodes sent anything, so that no majority can be compared"

_LONGEST_NAME = 256  # characters, or bits of a number
_EPSILON = 1e-4  # as in the learner's advantages
_ROUNDING = 1e-9  # of the range of a group's rewards

T = TypeVar("T")


def require_majority(name: str, setting: Setting) -> None:
    """Refuse swarms of one or two nodes.

    Raises:
        ValueError: one line that names the preset that fits.
    """
    if setting.nodes >= ENOUGH:
        return
    if setting.nodes == 1:
        fits = "trainer"
    elif setting.models == 1:
        fits = "one-model"
    else:
        fits = "paper-any-model" if setting.programs else "several-models-judge"
    raise ValueError(
        f"the defence {name!r} compares each node with a majority of the others, and swarm.nodes "
        f'is {setting.nodes}; use {ENOUGH} nodes or more, or guard.preset = "{fits}"'
    )


def key(node: NodeId) -> str:
    """The name of a node in a state: JSON has no keys except texts, and 1 is not "1".

    A peer may choose a name of megabytes, which would be kept for each of its words. Of a name of
    more than 256 characters only a hash is kept.
    """
    if isinstance(node, str):
        if len(node) <= _LONGEST_NAME:
            return repr(node)
        return f"sha256:{hashlib.sha256(node.encode('utf-8', 'surrogatepass')).hexdigest()}"
    if not isinstance(node, int) or node.bit_length() <= _LONGEST_NAME:
        return repr(node)
    # In hexadecimals, because Python does not write thousands of decimals.
    return f"sha256 of a number:{hashlib.sha256(hex(node).encode()).hexdigest()}"


def nothing(rewards_G: Sequence[float]) -> float:
    """The reward of a completion that earns nothing: 0, or the group's lowest where that is less.

    Where rewards may be negative, 0 can be the best reward of a group.
    """
    return min([0.0, *rewards_G])


def right(rewards_G: Sequence[float]) -> list[bool]:
    """Whether each completion of a group is a good one: its reward is above the group's mean.

    If all rewards are equal, a positive reward decides. A reward that differs from the mean by
    rounding alone is not above it, so that the order of a group decides nothing.
    """
    if not rewards_G or all(reward == rewards_G[0] for reward in rewards_G):
        return [reward > 0 for reward in rewards_G]
    mean = math.fsum(rewards_G) / len(rewards_G)
    rounding = _ROUNDING * (max(rewards_G) - min(rewards_G))
    return [reward - mean > rounding for reward in rewards_G]


def raw_advantages(rewards_G: Sequence[float]) -> np.ndarray:
    """The advantages of a group in which nothing is refused, (G,): (r - mean) / deviation."""
    rewards = np.asarray(rewards_G, dtype=np.float64)
    if len(rewards) < 2 or np.all(rewards == rewards[0]):
        return np.zeros_like(rewards)
    scaled: np.ndarray = (rewards - rewards.mean()) / (rewards.std(ddof=1) + _EPSILON)
    return scaled


def rewarded(
    groups: Sequence[Group], rewards: Sequence[Sequence[float]]
) -> Iterator[tuple[int, Completion]]:
    """Every right completion with the index of its group."""
    for p, (group, row) in enumerate(zip(groups, rewards, strict=True)):
        for completion, good in zip(group.completions, right(row), strict=True):
            if good:
                yield p, completion


def middle(values: Sequence[float]) -> float:
    """The upper median.

    Over the nodes other than one of n, fewer than half of n cannot move it outside of the range of
    the honest ones, in either direction. The lower median fails this for odd n: of three nodes,
    one that leaves out the usual words would make them the signature of the other two.
    """
    return sorted(values)[len(values) // 2]


def high(values: Sequence[float]) -> float:
    """The f-th largest of the nodes other than one of n, where f is the largest minority of n.

    For counts that depend on what others wrote. A malicious node that copies an honest one lowers
    the count of both, so that a median over four nodes may have no honest value left.
    """
    return sorted(values)[(len(values) + 1) // 2]


@dataclass(frozen=True, slots=True)
class _Once:
    groups: Sequence[Group]
    sent: Any  # what the result depends on of these groups
    read: Any  # and of the view
    result: Any


_once: dict[Defense, _Once] = {}


def once(
    defense: Defense,
    groups: Sequence[Group],
    view: DefenseView,
    compare: Callable[[Sequence[Group], DefenseView], T],
    *,
    lengths: bool = False,
) -> T:
    """What `compare` says of a round, computed once for `inspect` and `remember`, and once for all
    receivers in this process that read and remember the same.

    It must be a pure function of the questions, senders and texts of these groups, with `lengths`
    of their numbers of tokens too, and of the rewards, round and state of the view.
    """
    read = (view.round, view.rewards, view.state)
    last = _once.get(defense)
    if last is None or last.read != read or last.groups != groups:
        sent = [_sent(group, lengths=lengths) for group in groups]
        same = last is not None and last.read == read and last.sent == sent
        result = last.result if last is not None and same else compare(groups, view)
        last = _once[defense] = _Once(groups, sent, read, result)
    told: T = last.result
    return told


def _sent(group: Group, *, lengths: bool) -> tuple[str, list[tuple[str, str, int]]]:
    return group.problem.question, [
        (key(c.node), c.text, len(c.token_ids or ()) if lengths else 0) for c in group.completions
    ]


def suspicion(count: float, of: float, rate: float) -> float:
    """-log10 of P(Binomial(of, rate) >= count): how surprising so high a count is.

    Fractional counts, which come from decay, are rounded towards the harmless side.
    """
    if count < rate * of - 1e-6:  # the usual case; rounding cannot change it
        return 0.0
    k, n = math.floor(count + 1e-9), math.ceil(of - 1e-9)
    if k <= 0 or rate >= 1 or k > n or k <= rate * n:
        return 0.0
    return _tail(k, n, rate)


# The rates and counts of a round repeat.
@lru_cache(maxsize=4096)
def _tail(k: int, n: int, rate: float) -> float:
    """-log10 of P(Binomial(n, rate) >= k), for rate * n < k <= n."""
    first = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        + k * math.log(rate) + (n - k) * math.log1p(-rate)
    )  # fmt: skip
    total = term = 1.0  # in units of the first term; above the mean the terms fall
    odds = rate / (1 - rate)
    for j in range(k, n):
        term *= (n - j) / (j + 1) * odds
        total += term
        if term < 1e-12 * total:
            break
    return max(0.0, -(first + math.log(total)) / math.log(10))
