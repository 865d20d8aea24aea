"""LENGTH MATCH: give each sender only as much weight for long right completions as others have.

For swarms of several nodes; it needs no common weights and no limit in tokens. Why it works: a
length attack moves the weight of rewards to the longest right completions (and the shortest wrong
ones). Lengths of honest nodes have about the same distribution, whatever it is at the time, so what
exceeds it is taken away. What is left of the attacker's mass has the others' lengths. Where it
fails: a mixture of long and ordinary completions keeps a part of the effect, just above `floor`;
half of the nodes or more acting together set the distribution; and honest nodes whose models write
longer than the others lose weight. Source: our own.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from swarmproof.defenses import senders
from swarmproof.defenses.base import Defense, DefenseView, Reads, Setting, State
from swarmproof.registry import register
from swarmproof.types import Group, Verdict

Side = Literal["right", "wrong"]
SIDES: tuple[Side, ...] = ("right", "wrong")
# [x, mass] with x ascending. For right completions x is the length in tokens. For wrong ones it is
# the length with a minus sign, so that the suspicious end is the upper one on both sides.
Histogram = Sequence[Sequence[float]]
_Shares = tuple[list[float], list[float]]  # x ascending, and the share of the mass at x or above
_Place = tuple[str, Side, int, float]  # node, side, x and mass of a completion

_HALVINGS = 60  # of the interval for the total that is granted


@dataclass(slots=True)
class _Masses:
    """The completions of one sender in this round that have an advantage, on one side."""

    at: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    of_group: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    def histogram(self) -> list[list[float]]:
        return [[x, math.fsum(masses)] for x, masses in sorted(self.at.items())]

    def squares(self) -> float:
        return math.fsum(math.fsum(masses) ** 2 for masses in self.of_group.values())


@dataclass(frozen=True, slots=True)
class _Weighed:
    """A round, compared with what the defence remembers."""

    places_P: Sequence[Sequence[_Place]]
    weights: Mapping[tuple[str, Side], Mapping[int, float]]  # x -> weight; no entry: no comparison
    entry: Mapping[str, Any]  # of this round, as it is remembered
    passed: Mapping[str, float]  # node -> share of its right mass that was granted, of all rounds


@register("defense", "length_match")
class LengthMatch(Defense):
    """Weigh each sender's completions so that their lengths are distributed like the others'.

    The exact rule. The mass of a completion is its |advantage| in a group in which nothing is
    refused; right completions are those with a positive one. For a length l, S(l) is the lower
    median, over nodes, of the share of a node's right mass with at least l tokens, over this round
    and `memory` rounds before. From the longest down, a sender's right completions of this round
    get the largest weights with which, for every l, their granted mass with at least l tokens is at
    most S(l) T + z sqrt(S(l) (1 - S(l)) Q). T is the whole mass that is granted to the sender, and
    Q the sum of the squared masses of its groups. Wrong completions are weighed in the same way,
    from the shortest up. A weight of 0 takes a completion out of its group. A sender is refused in
    whole if less than `floor` of its right mass was granted over these rounds. The score is the
    share that was not granted.
    """

    reads: ClassVar[Reads] = "text"

    z: float = Field(default=1.5, ge=0, le=10, description="standard deviations that chance has")
    memory: int = Field(default=5, ge=0, le=100, description="rounds before this one that count")
    floor: float = Field(
        default=0.5, ge=0, le=1, description="share of the right mass that must be granted"
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
        return {"rounds": rounds[max(0, len(rounds) - self.memory) :]}

    def _weigh(self, groups: Sequence[Group], view: DefenseView) -> _Weighed:
        places_P = [_places(*pair) for pair in zip(groups, view.rewards, strict=True)]
        now = _now(places_P)
        of_now = {place: masses.histogram() for place, masses in now.items()}
        past: Sequence[Mapping[str, Any]] = view.state.get("rounds", ())
        weights, granted = {}, {}
        for side in SIDES:
            every = _joined(side, past, of_now)
            if len(every) < senders.ENOUGH:
                continue  # nothing to compare with
            for node in (node for node, its_side in now if its_side == side):
                histogram = of_now[node, side]
                share = [_shared(every, x) for x, _ in histogram]
                got = self._granted(histogram, share, now[node, side].squares())
                granted[node, side] = math.fsum(got)
                pairs = zip(histogram, got, strict=True)
                weights[node, side] = {int(x): g / mass for (x, mass), g in pairs}
        entry = _entry(of_now, granted)
        return _Weighed(places_P, weights, entry, _passed([*past, entry]))

    def _granted(self, histogram: Histogram, share: Sequence[float], squares: float) -> list[float]:
        """The largest masses that fit, for each x of a histogram, granted from the upper end."""

        pairs = zip(reversed(histogram), reversed(share), strict=True)
        steps = [(m, s, self.z * math.sqrt(s * (1 - s) * squares)) for (_, m), s in pairs]

        def grant(total: float) -> list[float]:
            got, above = [], 0.0
            for mass, s, chance in steps:
                left = s * total + chance - above
                if left <= 0:
                    got.append(0.0)
                    continue
                got.append(mass if mass < left else left)
                above += got[-1]
            return got[::-1]

        # What is granted is a concave function of the total that the bounds are made from, so the
        # totals that it reaches are an interval that starts at 0.
        low, high = 0.0, math.fsum(mass for _, mass in histogram)
        if math.fsum(grant(high)) >= high * (1 - 1e-12):
            return grant(high)
        for _ in range(_HALVINGS):
            centre = (low + high) / 2
            if math.fsum(grant(centre)) >= centre:
                low = centre
            else:
                high = centre
        return grant(low)

    def _verdict(self, node: str, side: Side, x: int, mass: float, weighed: _Weighed) -> Verdict:
        missing = 1 - weighed.passed.get(node, 1.0)
        if missing > 1 - self.floor:
            reason = (
                f"only {1 - missing:.0%} of the weight of this node's right completions has the "
                f"others' lengths, and {self.floor:.0%} must"
            )
            return self.verdict(False, missing, reason)
        if not mass:
            return self.verdict(True, missing)
        known = weighed.weights.get((node, side))
        if known is None:
            reason = f"fewer than three nodes have {side} completions to compare its length with"
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


def _entry(
    of_now: Mapping[tuple[str, Side], Histogram], granted: Mapping[tuple[str, Side], float]
) -> dict[str, dict[str, Any]]:
    """A round as it is remembered: of each node its histograms, and the right mass granted."""
    entry: dict[str, dict[str, Any]] = {}
    for node in sorted({node for node, _ in of_now}):
        right = of_now.get((node, "right"), [])
        # Without a comparison nothing counts against a node.
        whole = math.fsum(mass for _, mass in right)
        entry[node] = {
            "right": right,
            "wrong": of_now.get((node, "wrong"), []),
            "granted": granted.get((node, "right"), whole),
        }
    return entry


def _unable(groups: Sequence[Group], view: DefenseView) -> str:
    """Why nothing can be compared, or an empty text."""
    if any(c.token_ids is None for group in groups for c in group.completions):
        return "a completion has no tokens; give token_ids or a tokenizer"
    known = {node for entry in view.state.get("rounds", ()) for node in entry}
    known |= {senders.key(c.node) for group in groups for c in group.completions}
    return "" if len(known) >= senders.ENOUGH else senders.TOO_FEW


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
    side: Side,
    past: Sequence[Mapping[str, Any]],
    now: Mapping[tuple[str, Side], Histogram],
) -> list[_Shares]:
    """Each node with mass on this side, over all rounds."""
    points: dict[str, list[Sequence[float]]] = defaultdict(list)
    for entry in past:
        for node, of in entry.items():
            points[node] += of[side]
    for (node, of_side), histogram in now.items():
        if of_side == side:
            points[node] += histogram
    joined = []
    for found in points.values():
        if found:
            x, mass = np.array(sorted(map(tuple, found))).T
            joined.append((x.tolist(), (np.cumsum(mass[::-1])[::-1] / mass.sum()).tolist()))
    return joined


def _shared(every: Sequence[_Shares], x: float) -> float:
    """The lower median over nodes of the share of a node's mass at x or above."""
    shares = []
    for points, share in every:
        i = bisect_left(points, x)
        shares.append(share[i] if i < len(share) else 0.0)
    return min(1.0, sorted(shares)[(len(shares) - 1) // 2])


def _passed(rounds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    had: dict[str, list[float]] = defaultdict(list)
    got: dict[str, list[float]] = defaultdict(list)
    for entry in rounds:
        for node, of in entry.items():
            had[node] += [mass for _, mass in of["right"]]
            got[node].append(of["granted"])
    return {
        node: math.fsum(got[node]) / total for node in had if (total := math.fsum(had[node])) > 0
    }
