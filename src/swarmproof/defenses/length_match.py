"""LENGTH MATCH: give each sender only as much weight for long right completions as others have.

For swarms of several nodes; it needs no common weights and no limit in tokens. Why it works: a
length attack moves the weight of rewards to the longest right completions (and the shortest wrong
ones). Lengths of honest nodes have about the same distribution, whatever it is at the time, so what
exceeds it is taken away. What is left of the attacker's mass has the others' lengths. Where it
fails: what chance could have given to an honest node is granted to a mixture of long and ordinary
completions as well; half of the nodes or more acting together set the distribution; and honest
nodes whose models write longer than the others lose weight. Source: our own.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from swarmproof.config.settings import Table
from swarmproof.defenses import senders
from swarmproof.defenses.base import (
    Amount,
    Count,
    Defense,
    DefenseView,
    Plain,
    Reads,
    Rounds,
    Setting,
    State,
)
from swarmproof.registry import register
from swarmproof.types import Group, Verdict

Side = Literal["right", "wrong"]
SIDES: tuple[Side, ...] = ("right", "wrong")
# [x, mass, granted mass] with x ascending. For right completions x is the length in tokens. For
# wrong ones it is the length with a minus sign, so that the suspicious end is the upper one.
Histogram = Sequence[Sequence[float]]
_Shares = tuple[np.ndarray, np.ndarray]  # x ascending, and the share of the mass at x or above
_Place = tuple[str, Side, int, float]  # node, side, x and mass of a completion
_Entry = Mapping[str, Mapping[Side, Mapping[str, Any]]]  # node -> side -> histogram and squares

_ONE_OF = 4  # the most nodes of which only one is a minority
_HALVINGS = 60  # of the interval for the total that is granted
_ROUNDING = 1e-12  # of a share or a bound; without it a total that fits can fail by its last bit


@dataclass(slots=True)
class _Masses:
    """The completions of one sender in this round that have an advantage, on one side."""

    at: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    of_group: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def squares(self) -> float:
        return math.fsum(math.fsum(masses) ** 2 for masses in self.of_group.values())


@dataclass(frozen=True, slots=True)
class _Passed:
    """The right completions of a node, over all rounds."""

    share: float = 1.0  # of their mass, granted
    completions: int = 0


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A round, compared with what the defence remembers."""

    places_P: Sequence[Sequence[_Place]]
    weights: Mapping[tuple[str, Side], Mapping[int, float]]  # x -> weight; no entry: no comparison
    entry: _Entry  # of this round, as it is remembered
    passed: Mapping[str, _Passed]


class _Remembered(Table):
    """A node's right or wrong completions of a round."""

    histogram: list[tuple[int, Amount, Amount]]  # x, its mass, what of it was granted
    squares: Amount
    completions: Count


@register("defense", "length_match")
class LengthMatch(Defense):
    """Weigh each sender's completions so that their lengths are distributed like the others'.

    The exact rule. The mass of a completion is its |advantage| in a group in which nothing is
    refused; right completions are those with a positive one. All of the following is over this
    round and `memory` rounds before. For a length l, S(l) is the lower median, over nodes, of the
    share of a node's right mass with at least l tokens. From the longest down, a sender's right
    completions of this round get the largest weights with which, for every l, its granted mass with
    at least l tokens is at most S(l) T + z sqrt(S(l) (1 - S(l)) Q), or what was granted before this
    round if that is more. T is the whole mass that is granted to the sender, and Q the sum of the
    squared masses of its groups. Wrong completions are weighed in the same way, from the shortest
    up. A weight of 0 takes a completion out of its group. A sender is refused in whole if less than
    `floor` of its right mass was granted in the rounds in which three nodes had such mass, and it
    had at least `least` right completions in them.

    Three nodes with mass on a side are compared, or two if at most four are known, since then at
    most one of the two is malicious. Where fewer have it, what they have is refused: nobody can say
    who is honest.

    The score is the share that was not granted.
    """

    reads: ClassVar[Reads] = "text"
    state_type: ClassVar[Any] = dict[Rounds, list[dict[str, dict[Side, _Remembered]]]]

    z: float = Field(default=2, ge=0, le=10, description="standard deviations that chance has")
    memory: int = Field(default=20, ge=0, le=100, description="rounds before this one that count")
    floor: float = Field(
        default=0.6, ge=0, le=1, description="share of the right mass that must be granted"
    )
    least: int = Field(
        default=100, ge=0, description="right completions, before a sender is refused in whole"
    )

    def require_in(self, setting: Setting) -> None:
        senders.require_majority(self.name, setting)

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        if why := _unable(groups, view):
            return [[self.verdict(None, 0.0, why) for _ in group.completions] for group in groups]
        weighed = senders.once(self, groups, view, self._weigh, lengths=True)
        return [[self._verdict(*place, weighed) for place in places] for places in weighed.places_P]

    def remember(self, groups: Sequence[Group], view: DefenseView) -> State:
        if _unable(groups, view):
            return view.state
        now = senders.once(self, groups, view, self._weigh, lengths=True).entry
        rounds = [*view.state.get("rounds", ()), now]
        state = {"rounds": rounds[max(0, len(rounds) - self.memory) :]}
        # Without a guard, rewards near the largest float give masses that are no numbers.
        finite = all(
            math.isfinite(of["squares"]) for sides in now.values() for of in sides.values()
        )
        return Plain(state) if finite else state

    def _weigh(self, groups: Sequence[Group], view: DefenseView) -> _Weighed:
        places_P = [_places(*pair) for pair in zip(groups, view.rewards, strict=True)]
        few = len(_known(groups, view)) <= _ONE_OF
        enough = senders.ENOUGH - 1 if few else senders.ENOUGH
        now = _now(places_P)
        past: Sequence[_Entry] = view.state.get("rounds", ())
        weights = {}
        entry: dict[str, dict[Side, dict[str, Any]]] = {node: {} for node, _ in sorted(now)}
        for side in SIDES:
            every = _joined(side, past, now)
            for node in (node for node, its_side in now if its_side == side):
                masses = {x: math.fsum(of) for x, of in sorted(now[node, side].at.items())}
                squares = now[node, side].squares()
                granted = masses  # without a comparison nothing counts against a node
                if len(every) >= enough:
                    before = [of[node][side] for of in past if side in of.get(node, ())]
                    granted = self._granted(masses, squares, before, every)
                    weights[node, side] = {x: granted[x] / mass for x, mass in masses.items()}
                histogram = [[x, mass, granted[x]] for x, mass in masses.items()]
                entry[node][side] = {
                    "histogram": histogram,
                    "squares": squares,
                    "completions": sum(map(len, now[node, side].at.values())),
                }
        return _Weighed(places_P, weights, entry, _passed([*past, entry]))

    def _granted(
        self,
        masses: Mapping[int, float],
        squares: float,
        before: Sequence[Mapping[str, Any]],
        every: Sequence[_Shares],
    ) -> dict[int, float]:
        """The largest masses of this round that fit, for each x."""
        had: dict[int, float] = defaultdict(float)  # granted before, for each x
        for entry in before:
            for x, _, granted in entry["histogram"]:
                had[int(x)] += granted
        xs = sorted(had.keys() | masses.keys(), reverse=True)
        share = _shared(every, np.array(xs))
        squares = math.fsum([squares, *(entry["squares"] for entry in before)])
        had_above = np.cumsum([had.get(x, 0.0) for x in xs])
        chance = self.z * np.sqrt(share * (1 - share) * squares)
        # Summed before the total is added: where all is shared, the bound is exactly the total.
        beyond = chance + (share * had_above[-1] - had_above)
        above = np.cumsum([masses.get(x, 0.0) for x in xs])

        def grant(total: float) -> np.ndarray:
            """What is granted at x or above, where `total` is what the bounds are made from."""
            bound = share * total + beyond
            # A mass at x is bounded at every length below x as well.
            bound = np.minimum.accumulate(bound[::-1])[::-1].clip(0.0)
            return above + np.minimum.accumulate(np.minimum(bound - above, 0.0))

        # No bound grows faster than the total, so the totals that are reached start at 0 and are
        # an interval.
        low, high = 0.0, float(above[-1])
        if grant(high)[-1] >= high * (1 - _ROUNDING):
            return dict(masses)
        for _ in range(_HALVINGS):
            centre = (low + high) / 2
            if grant(centre)[-1] >= centre * (1 - _ROUNDING):
                low = centre
            else:
                high = centre
        got = np.diff(grant(low), prepend=0.0).tolist()
        pairs = zip(xs, got, strict=True)
        return {x: min(max(mass, 0.0), masses[x]) for x, mass in pairs if x in masses}

    def _verdict(self, node: str, side: Side, x: int, mass: float, weighed: _Weighed) -> Verdict:
        passed = weighed.passed.get(node, _Passed())
        missing = 1 - passed.share
        if missing > 1 - self.floor and passed.completions >= self.least:
            reason = (
                f"only {1 - missing:.0%} of the weight of this node's right completions has the "
                f"others' lengths, and {self.floor:.0%} must"
            )
            return self.verdict(False, missing, reason)
        if not mass:
            return self.verdict(True, missing)
        known = weighed.weights.get((node, side))
        if known is None:
            reason = f"too few nodes have {side} completions to compare its length with"
            return self.verdict(False, missing, reason)
        return self.verdict(True, missing, weight=min(1.0, known[x]))


def _now(places_P: Sequence[Sequence[_Place]]) -> dict[tuple[str, Side], _Masses]:
    """The masses of this round."""
    now: dict[tuple[str, Side], _Masses] = defaultdict(_Masses)
    for p, places in enumerate(places_P):
        for node, side, x, mass in places:
            if mass:
                now[node, side].at[x].append(mass)
                now[node, side].of_group[p].append(mass)
    return now


def _unable(groups: Sequence[Group], view: DefenseView) -> str:
    """Why nothing can be compared, or an empty text.

    Raises:
        ValueError: only some completions have tokens; those without would switch it off for all.
    """
    bare = [c.token_ids is None for group in groups for c in group.completions]
    if any(bare) and not all(bare):
        raise ValueError(
            "the defence 'length_match' counts tokens, and only some completions have them; give "
            "token_ids for all, or a tokenizer"
        )
    if any(bare):
        return "the completions have no tokens; give token_ids or a tokenizer"
    return "" if len(_known(groups, view)) >= senders.ENOUGH else senders.TOO_FEW


def _known(groups: Sequence[Group], view: DefenseView) -> set[str]:
    """The nodes of this round, and those that are remembered."""
    known = {node for entry in view.state.get("rounds", ()) for node in entry}
    return known | {senders.key(c.node) for group in groups for c in group.completions}


def _places(group: Group, rewards_G: Sequence[float]) -> list[_Place]:
    """The place of each completion of a group."""
    places: list[_Place] = []
    for completion, (side, mass) in zip(group.completions, _masses(tuple(rewards_G)), strict=True):
        length = len(completion.token_ids or ())
        x = length if side == "right" else -length
        places.append((senders.key(completion.node), side, x, mass))
    return places


# Most rewards are 0 or 1, so that groups repeat.
@lru_cache(maxsize=1024)
def _masses(rewards_G: tuple[float, ...]) -> list[tuple[Side, float]]:
    """Side and mass of each completion of a group. Rounded, so that its order does not matter."""
    return [
        ("right" if advantage > 0 else "wrong", round(abs(advantage), 9))
        for advantage in senders.raw_advantages(rewards_G).tolist()
    ]


def _joined(
    side: Side, past: Sequence[_Entry], now: Mapping[tuple[str, Side], _Masses]
) -> list[_Shares]:
    """Each node with mass on this side, over all rounds."""
    points: dict[str, list[Sequence[float]]] = defaultdict(list)
    for entry in past:
        for node, of in entry.items():
            if side in of:
                points[node] += of[side]["histogram"]
    for (node, of_side), masses in now.items():
        if of_side == side:
            points[node] += [(x, math.fsum(of), 0.0) for x, of in masses.at.items()]
    joined = []
    for found in points.values():
        x, mass, _ = np.array(found).T
        order = np.lexsort((mass, x))  # the sum depends on it
        mass = mass[order]
        joined.append((x[order], np.cumsum(mass[::-1])[::-1] / mass.sum()))
    return joined


def _shared(every: Sequence[_Shares], xs: np.ndarray) -> np.ndarray:
    """The lower median over nodes of the share of a node's mass at each x or above."""
    shares = [np.append(share, 0.0)[np.searchsorted(x, xs)] for x, share in every]
    middle: np.ndarray = np.sort(shares, axis=0)[(len(shares) - 1) // 2].clip(max=1.0)
    return middle


def _passed(rounds: Sequence[_Entry]) -> dict[str, _Passed]:
    """What was granted to each node in the rounds in which three were right.

    Of two, an honest one may have been trimmed to the lengths of an attacker.
    """
    sides: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in rounds:
        right = {node: of["right"] for node, of in entry.items() if "right" in of}
        if len(right) >= senders.ENOUGH:
            for node, side in right.items():
                sides[node].append(side)
    passed = {}
    for node, found in sides.items():
        rows = [row for side in found for row in side["histogram"]]
        share = math.fsum(got for *_, got in rows) / math.fsum(mass for _, mass, _ in rows)
        passed[node] = _Passed(share, sum(side["completions"] for side in found))
    return passed
