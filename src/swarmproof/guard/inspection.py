"""One round under inspection: groups, rewards and scores in, complete samples out.

Pure, except for side effects of a defence itself. It knows no trainer, no swarm and no task. ADR
0004 explains why it is fed pass by pass, and ADR 0014 how defences keep state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from swarmproof.defenses.base import Defense, DefenseView, Plain, Scores, State
from swarmproof.guard.advantages import Rules, can_teach, complete
from swarmproof.guard.gate import MOST_SUSPICIOUS, checked
from swarmproof.types import Group, NodeId, Sample, Slot, TokenScores, Verdict

Verdicts = tuple[Verdict, ...]  # the verdicts on one completion, in the order of the config


@dataclass(frozen=True, slots=True)
class Inspection:
    """The result of a guard for a round: P groups of G completions each."""

    groups: Sequence[Group]  # as inspected: every completion has tokens, if possible
    samples: list[list[Sample]]
    # Completions whose slots the receiver drew itself; the draws are in `samples`.
    replaced: Sequence[Sample] = ()
    void: frozenset[NodeId] = frozenset()  # nodes that counted for nothing

    @property
    def verdicts(self) -> list[list[Verdicts]]:
        return [[s.verdicts for s in row] for row in self.samples]

    @property
    def kept(self) -> list[np.ndarray]:
        """Whether each completion counts in its group's mean and deviation; bool, (G,) each."""
        return [np.array([s.kept for s in row], dtype=bool) for row in self.samples]

    @property
    def weights(self) -> list[np.ndarray]:
        """Weight of each completion in that mean, in [0, 1]; (G,) each."""
        return [np.array([s.weight for s in row]) for row in self.samples]

    @property
    def advantages(self) -> list[np.ndarray]:
        """Advantages, (G,) each; 0 where a completion does not count."""
        return [np.array([s.advantage for s in row]) for row in self.samples]

    @property
    def trains(self) -> list[np.ndarray]:
        """Whether each completion's tokens may have a gradient; bool, (G,) each."""
        return [np.array([s.loss_weight > 0 for s in row], dtype=bool) for row in self.samples]

    @property
    def token_credit(self) -> list[list[tuple[float, ...] | None]]:
        """Factor on the advantage of each token; None: 1 for all tokens."""
        return [[s.token_credit for s in row] for row in self.samples]

    @property
    def refill(self) -> list[Slot]:
        """The slots of completions that were refused, or are to be redrawn, and are in no group.

        A receiver that can draw these slots itself may fill them and inspect the round again; a
        guard never draws.
        """
        return [
            s.completion.slot for row in self.samples for s in row if s.to_redraw and not s.kept
        ]

    @property
    def num_useful(self) -> int:
        """Groups with an advantage."""
        return sum(any(s.advantage for s in row) for row in self.samples)


@dataclass(frozen=True, slots=True)
class _Kept:
    """Columns of a whole round whose passes are freed."""

    columns: Mapping[str, Sequence[Sequence[np.ndarray]]]

    @property
    def scores(self) -> Sequence[Sequence[TokenScores]]:
        raise ValueError("`remember` has no scores, only the columns that its defence names")

    def column(self, name: str) -> Sequence[Sequence[np.ndarray]]:
        return self.columns[name]


@dataclass(slots=True)
class Inspecting:
    """A round that has begun. `feed` it every group once, then `finish`.

    Args:
        defenses: the defences, in the order of the config.
        rules: the effects of verdicts.
        groups: the groups of the round.
        rewards: the task's rewards, group by group.
        views: by name of a defence, its view without rewards and scores.
        whole: the scores of the whole round, for defences that read them; called at most once.
        extra: verdicts on each completion that are known before any defence runs.
    """

    defenses: Sequence[Defense]
    rules: Rules
    groups: Sequence[Group]
    rewards: Sequence[Sequence[float]]
    views: Mapping[str, DefenseView]
    whole: Callable[[], Scores]
    extra: Sequence[Sequence[Verdicts]]
    # Whether a group can still have an advantage: the passes over the others keep no graph.
    learnable: list[bool] = field(init=False)
    _known: list[list[Verdicts]] = field(init=False)
    _samples: dict[int, list[Sample]] = field(init=False, default_factory=dict)
    _replaced: set[Slot] = field(init=False, default_factory=set)
    # By column, of each group: what defences remember, kept after the passes are freed.
    _columns: dict[str, dict[int, Sequence[np.ndarray]]] = field(init=False, default_factory=dict)
    void: set[NodeId] = field(init=False, default_factory=set)  # nodes to count for nothing

    def __post_init__(self) -> None:
        early = [d for d in self.defenses if d.reads in ("text", "round")]
        whole = self.whole() if any(d.reads == "round" for d in early) else None
        told = self._ask(early, range(len(self.groups)), whole)
        self._known = [
            [(*before, *now) for before, now in zip(*rows, strict=True)]
            for rows in zip(self.extra, told, strict=True)
        ]
        to_come = [defense.name for defense in self._late]
        self.learnable = [
            can_teach(group, rewards, known, self.rules, to_come)
            for group, rewards, known in zip(self.groups, self.rewards, self._known, strict=True)
        ]
        for group, row in zip(self.groups, self._known, strict=True):
            self._look_again(group, row)

    @property
    def unsettled(self) -> bool:
        """Whether a refusal asks for a second look: at other completions, or without a node."""
        return bool(self._replaced or self.void)

    @property
    def replaced(self) -> list[Sample]:
        """The samples of all fed groups whose slots are to be drawn by the receiver."""
        return [
            sample
            for _, row in sorted(self._samples.items())
            for sample in row
            if sample.completion.slot in self._replaced
        ]

    @property
    def _num_groups(self) -> int:
        """The groups that the loss is a mean over: not those of void nodes alone."""
        void = self.rules.void
        return sum(
            not void or any(completion.node not in void for completion in group.completions)
            for group in self.groups
        )

    def _look_again(self, group: Group, verdicts: Sequence[Verdicts]) -> None:
        if self.rules.final or {"refill", "void_node"}.isdisjoint(self.rules.by_defense.values()):
            return
        for completion, row in zip(group.completions, verdicts, strict=True):
            if self.rules.asks_refill(row):
                self._replaced.add(completion.slot)
            if self.rules.voids(row):
                self.void.add(completion.node)

    @property
    def _late(self) -> list[Defense]:
        return [d for d in self.defenses if d.reads in ("scores", "model")]

    @property
    def reads_passes(self) -> bool:
        """Whether `feed` needs the scores of its groups."""
        return any(d.reads == "scores" for d in self._late)

    def feed(self, indices: Sequence[int], scores: Scores | None) -> list[list[Sample]]:
        """Inspect some groups, and complete their samples.

        Args:
            indices: indices of the groups, in the order of `scores`.
            scores: scores of their tokens; required if `reads_passes`.
        """
        if not indices:
            return []
        told = self._ask(self._late, indices, scores)
        for name in {name for d in self._late if d.reads == "scores" for name in d.kept}:
            view = replace(next(iter(self.views.values())), source=scores)
            found = view.column(name)
            self._columns.setdefault(name, {}).update(zip(indices, found, strict=True))
        order = {name: i for i, name in enumerate(self.rules.by_defense)}
        for p, late in zip(indices, told, strict=True):
            verdicts = [
                tuple(sorted((*known, *now), key=lambda v: order[v.defense])) if now else known
                for known, now in zip(self._known[p], late, strict=True)
            ]
            self._look_again(self.groups[p], verdicts)
            self._samples[p] = complete(
                self.groups[p],
                self.rewards[p],
                verdicts,
                self.rules,
                num_groups=self._num_groups,
            )
        return [self._samples[p] for p in indices]

    def finish(self, replaced: Sequence[Sample] = ()) -> tuple[Inspection, dict[str, State]]:
        """Return the whole round, and the state of each defence for the next round.

        Args:
            replaced: what a first look took out of the round.

        Raises:
            ValueError: a group was not fed, or the state of a defence is not valid JSON.
        """
        if missing := [p for p in range(len(self.groups)) if p not in self._samples]:
            raise ValueError(f"group {missing[0]} was never fed to the inspection")
        every = range(len(self.groups))
        columns = {name: [of[p] for p in every] for name, of in self._columns.items()}
        states = {}
        for defense in self.defenses:
            kept = _Kept(columns) if defense.reads == "scores" and defense.kept else None
            view = self._view(defense, self.rewards, kept)
            states[defense.name] = _plain(defense, defense.remember(self.groups, view))
        samples = [self._samples[p] for p in range(len(self.groups))]
        return Inspection(self.groups, samples, tuple(replaced), self.rules.void), states

    def _view(
        self, defense: Defense, rewards: Sequence[Sequence[float]], scores: Scores | None
    ) -> DefenseView:
        wants = defense.reads in ("scores", "round")
        return replace(self.views[defense.name], rewards=rewards, source=scores if wants else None)

    def _ask(
        self, defenses: Sequence[Defense], indices: Sequence[int], scores: Scores | None
    ) -> list[list[Verdicts]]:
        """Every defence's verdict on every completion, without early exit, so that each defence has
        its own error rates."""
        groups = [self.groups[p] for p in indices]
        if not groups or not defenses:
            return [[()] * len(group.completions) for group in groups]
        rewards = [self.rewards[p] for p in indices]
        told: list[list[list[Verdict]]] = []
        for defense in defenses:
            verdicts = checked(
                defense, groups, defense.inspect(groups, self._view(defense, rewards, scores))
            )
            if scores is not None and defense.reads in ("scores", "round"):
                _refuse_nan(defense, verdicts, scores)
            told.append(verdicts)
        return [list(zip(*of_group, strict=True)) for of_group in zip(*told, strict=True)]


def _refuse_nan(defense: Defense, verdicts: list[list[Verdict]], scores: Scores) -> None:
    """Refuse completions with a score that is not a number, even if a defence accepted them."""
    for row, scored in zip(verdicts, scores.scores, strict=True):
        for g, tokens in enumerate(scored):
            if np.isnan(tokens.logprob).any() or np.isnan(tokens.shortfall).any():
                reason = "the model's scores of it are not numbers"
                row[g] = Verdict(defense.name, False, MOST_SUSPICIOUS, reason)


def _plain(defense: Defense, state: State) -> State:
    """The state after a round trip through JSON, so that a resumed run has the same state."""
    if isinstance(state, Plain):
        return state
    try:
        told: State = json.loads(json.dumps(state, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the state of the defence {defense.name!r} is not valid JSON ({error}); return "
            "tables, lists, texts and finite numbers from `remember`"
        ) from None
    return told
