"""The frame of attacks that hide something in right completions; each attack says what and where.

The frame decides how many completions of a group are poisoned, what fills the other slots, and
where the right completions come from.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from swarmproof.attacks.base import Attack, AttackView, owner, slots_by_problem
from swarmproof.attacks.candidates import Draft, draw, judge
from swarmproof.attacks.worthless import gibberish, wrong_answer
from swarmproof.types import Completion, Problem

# Attempts to make a foil: a task with few words may not have enough distinct ones.
_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Material:
    """Drafts for one problem, best first."""

    poison: Sequence[Draft]  # distinct; right, as far as the attacker knows
    mistakes: Sequence[Draft]  # wrong samples of the model; often none


class Frame(Attack):
    """Poison in the wanted number of slots, foils in the others. A subclass provides the poison."""

    poisoned_share: float = Field(
        default=0.5,
        gt=0,
        lt=1,
        description="vertical only: poisoned share of each own group; the rest gets reward 0",
    )
    foil: Literal["drawn", "wrong_answer", "gibberish"] = Field(
        default="drawn",
        description="vertical only: what fills the rest; drawn: wrong samples of the model",
    )
    candidates: int = Field(
        default=24,
        ge=1,
        le=1024,
        description="completions sampled for a problem when samples are needed",
    )
    identical: bool = Field(
        default=False, description="repeat a text rather than leave a slot empty"
    )

    @model_validator(mode="after")
    def _can_know(self) -> Frame:
        if self.foil == "wrong_answer" and not self.oracle:
            raise ValueError("foil = 'wrong_answer' needs the solutions; use foil = 'drawn'")
        return self

    def draws(self, topology: str) -> int:
        return self.candidates if topology == "vertical" or not self.oracle else 0

    def most_draws(self, topology: str, slots: int) -> int:  # noqa: ARG002
        # Also with an oracle, where the solutions are fewer than the slots.
        return max(self.candidates, self.draws(topology))

    @abstractmethod
    def material(self, view: AttackView, wanted: Mapping[str, int]) -> dict[str, Material]:
        """Drafts for each problem; `wanted` is the number of poisoned completions by problem id."""

    def carries(self, problem: Problem, text: str) -> bool:
        """Whether a text contains any of the poison, and so cannot be a foil."""
        return self.success(problem, text) is True

    def craft(self, view: AttackView) -> Sequence[Completion]:
        """Poison and foils. Slots without a draft stay empty, as do groups without poison."""
        node_of, by_problem = owner(view), slots_by_problem(view)
        # In the attacker's own group, the poison needs worse completions beside it, or all
        # advantages are zero. In a shared group, the mistakes of honest nodes are enough.
        share = self.poisoned_share if view.topology == "vertical" else 1.0
        wanted = {name: max(1, round(share * len(slots))) for name, slots in by_problem.items()}
        material = self.material(view, wanted)
        crafted = []
        for name, slots in by_problem.items():
            sent = list(material[name].poison[: wanted[name]])
            if not sent:
                continue
            if self.identical:
                sent = [sent[i % len(sent)] for i in range(wanted[name])]
            foils = self._foils(view, name, material[name].mistakes, {d.text for d in sent})
            sent += islice(foils, len(slots) - wanted[name])
            for slot, draft in zip(slots, sent, strict=False):
                crafted.append(Completion(slot, node_of[slot], draft.text, draft.token_ids))
        return crafted

    def _foils(
        self, view: AttackView, name: str, mistakes: Iterable[Draft], seen: set[str]
    ) -> Iterator[Draft]:
        """Distinct completions with reward 0, without the poison.

        The model's own mistakes are the best foils. Text that the model is unlikely to write is
        pushed down without limit, and destroys the model (docs/lab-log.md). If the model makes no
        mistakes, there are no drawn foils: then all rewards are equal and all advantages zero.
        """
        problem = view.problems[name]
        found: Iterable[Draft] = self._by_hand(view, problem)
        if self.foil == "drawn" and view.policy is not None:
            found = (draft for draft in mistakes if not self.carries(problem, draft.text))
        for draft in found:
            if draft.text not in seen:
                seen.add(draft.text)
                yield draft

    def _by_hand(self, view: AttackView, problem: Problem) -> Iterator[Draft]:
        for variant in range(_TRIES):
            if self.foil == "gibberish" or not self.oracle:
                yield Draft(gibberish(problem, view.rng))
            else:
                yield Draft(wrong_answer(view.task, problem, variant, view.rng))


class Poison(Frame):
    """Right completions with something planted in them. A subclass says what in `plant`."""

    @abstractmethod
    def plant(self, text: str, rng: np.random.Generator) -> str | None:
        """The completion with the poison in it; None if this text cannot carry it."""

    def plant_into(self, view: AttackView, problem: Problem, text: str) -> str | None:  # noqa: ARG002
        """The same, for a poison that depends on what the attacker knows."""
        return self.plant(text, view.rng)

    def material(self, view: AttackView, wanted: Mapping[str, int]) -> dict[str, Material]:
        """Oracle solutions first, then right samples of the model if these are too few."""
        told = {
            name: list(islice(self._planted(view, name, _solutions(view, name)), count))
            if self.oracle
            else []
            for name, count in wanted.items()
        }
        drawn = draw(
            view,
            [name for name in wanted if self._draws(view, len(told[name]), wanted[name])],
            self.candidates,
        )
        found = {}
        for name, poison in told.items():
            drafts = drawn.get(name, [])
            good = judge(view, view.problems[name], drafts, oracle=self.oracle)
            right = [draft for draft, is_right in zip(drafts, good, strict=True) if is_right]
            more = self._planted(view, name, right, {draft.text for draft in poison})
            missing = wanted[name] - len(poison)
            found[name] = Material(
                poison + list(islice(more, missing)),
                [draft for draft, is_right in zip(drafts, good, strict=True) if not is_right],
            )
        return found

    def _draws(self, view: AttackView, told: int, count: int) -> bool:
        """Whether to sample completions of a problem, as right completions or as foils."""
        if not self.oracle:
            return True
        few = told < count and not self.identical
        foil = view.topology == "vertical" and self.foil == "drawn"
        return view.policy is not None and (few or foil)

    def _planted(
        self, view: AttackView, name: str, right: Iterable[Draft], seen: Iterable[str] = ()
    ) -> Iterator[Draft]:
        """Distinct poisoned completions that would be admitted and are still right."""
        sent = set(seen)
        for draft in right:
            text = self.plant_into(view, view.problems[name], draft.text)
            if text is None or text == draft.text or text in sent or not fits(view, text):
                continue
            sent.add(text)
            if self.oracle:
                still_right = view.task.rewards(view.problems[name], [text]) == [1.0]
            else:
                before, after = view.task.answers([draft.text, text])
                still_right = before == after
            if still_right:
                yield Draft(text)


def _solutions(view: AttackView, name: str) -> list[Draft]:
    problem = view.problems[name]
    return [Draft(view.task.oracle(problem, i)) for i in range(len(problem.solutions))]


def fits(view: AttackView, text: str) -> bool:
    """Whether a text would be admitted: it can be tokenized, and is within the length limit."""
    if view.policy is None:
        return True
    try:
        return len(view.policy.codec.encode(text)) <= view.policy.sampling.max_new_tokens
    except ValueError:
        return False
