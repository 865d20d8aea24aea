"""The frame of attacks that hide something in right completions; each says what and where.

How many completions of a group carry the poison, what stands beside them, and where the right
completions come from, is the same for all of them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
from pydantic import Field

from swarmproof.attacks.base import Attack, owner, slots_by_problem
from swarmproof.attacks.candidates import Draft, draw, judge
from swarmproof.attacks.worthless import gibberish, wrong_answer
from swarmproof.types import AttackView, Completion, Problem


@dataclass(frozen=True, slots=True)
class Material:
    """What there is to work with for one problem, best first."""

    right: Sequence[Draft]
    wrong: Sequence[Draft]  # drawn from the model and earning nothing; often empty


class Poison(Attack):
    """Right completions with something planted in them; a subclass says what, in `plant`."""

    poisoned_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="vertical only: poisoned share of each own group; the rest earns nothing",
    )
    foil: Literal["drawn", "wrong_answer", "gibberish"] = Field(
        default="drawn",
        description="vertical only: what the rest is; drawn: mistakes of the model itself",
    )
    candidates: int = Field(
        default=24,
        ge=1,
        le=1024,
        description="completions drawn for a problem, wherever some are needed",
    )
    identical: bool = Field(
        default=False, description="send a text twice rather than leave a slot empty"
    )

    @abstractmethod
    def plant(self, text: str, rng: np.random.Generator) -> str | None:
        """A right completion with the poison in it; None where this text cannot carry it."""

    def craft(self, view: AttackView) -> Sequence[Completion]:
        """Poison in as many slots as are wanted; in a vertical swarm, a foil in the others."""
        node_of, by_problem = owner(view), slots_by_problem(view)
        # In a group of its own the poison needs something worse beside it, or all advantages
        # are zero; among honest completions the honest mistakes do.
        share = self.poisoned_share if view.topology == "vertical" else 1.0
        wanted = {id: max(1, round(share * len(slots))) for id, slots in by_problem.items()}
        material = self.material(view, wanted)
        crafted = []
        for id, slots in by_problem.items():
            planted = list(islice(self._planted(view, id, material[id].right), wanted[id]))
            if self.identical and planted:
                planted = [planted[i % len(planted)] for i in range(wanted[id])]
            foils = self._foils(view, id, material[id].wrong) if planted else iter(())
            chosen = planted + list(islice(foils, len(slots) - wanted[id]))
            for slot, draft in zip(slots, chosen, strict=False):
                crafted.append(Completion(slot, node_of[slot], draft.text, draft.token_ids))
        return crafted

    def material(self, view: AttackView, wanted: Mapping[str, int]) -> dict[str, Material]:
        """Right completions of each problem: at least as many as are wanted, where there are.

        With the oracle, its solutions, and what the model gets right where these are too few.
        """
        told = {id: _solutions(view, id) if self.oracle else [] for id in wanted}
        drawn = draw(
            view, [id for id in wanted if self._draws(view, told[id], wanted[id])], self.candidates
        )
        found = {}
        for id, right in told.items():
            drafts = drawn.get(id, [])
            good = judge(view, view.problems[id], drafts, oracle=self.oracle)
            more = [draft for draft, is_right in zip(drafts, good, strict=True) if is_right]
            wrong = [draft for draft, is_right in zip(drafts, good, strict=True) if not is_right]
            found[id] = Material(right + more, wrong)
        return found

    def _draws(self, view: AttackView, told: Sequence[Draft], count: int) -> bool:
        """Whether the model is asked about a problem: for right completions, or for a foil."""
        if not self.oracle:
            return True
        few = len(told) < count and not self.identical
        foil = view.topology == "vertical" and self.foil == "drawn"
        return view.policy is not None and (few or foil)

    def _planted(self, view: AttackView, id: str, right: Iterable[Draft]) -> Iterator[Draft]:
        """Distinct poisoned completions that fit; with the oracle, none that loses the reward."""
        seen: set[str] = set()
        for draft in right:
            text = self.plant(draft.text, view.rng)
            if text is None or text in seen:
                continue
            seen.add(text)
            if text == draft.text:
                yield draft
            elif _fits(view, text) and (
                not self.oracle or view.task.rewards(view.problems[id], [text]) == [1.0]
            ):
                yield Draft(text)

    def _foils(self, view: AttackView, id: str, wrong: Iterable[Draft]) -> Iterator[Draft]:
        """Completions that earn nothing, as many as there are.

        The model's own mistakes are the best foil: what it would hardly write is pushed down
        without end, and takes the model apart (docs/lab-log.md). Poison among them is no foil.
        Where it makes no others, it needs no push: a group that is all right has no advantages.
        """
        problem = view.problems[id]
        if self.foil == "drawn" and view.policy is not None:
            yield from {d.text: d for d in wrong if not self.success(problem, d.text)}.values()
            return
        variant = 0
        while self.oracle and self.foil != "gibberish":
            yield Draft(wrong_answer(view.task, problem, variant, view.rng))
            variant += 1
        while True:
            yield Draft(gibberish(problem, view.rng))


def _solutions(view: AttackView, id: str) -> list[Draft]:
    problem: Problem = view.problems[id]
    return [Draft(view.task.oracle(problem, i)) for i in range(len(problem.solutions))]


def _fits(view: AttackView, text: str) -> bool:
    """Whether a text would be admitted: within the sequence limit, and one that tokens can say."""
    if view.policy is None:
        return True
    try:
        return len(view.policy.encode(text)) <= view.policy.sampling.max_new_tokens
    except ValueError:
        return False
