"""MIXED: other attacks in a share of the completions, and by several nodes in several ways.

Made against `signature`, which needs to see a poison often, and takes a node at a time. Knows what
its parts know, and the seeds of its slots. The rest of its completions are the draws of their
slots, as honest nodes send them: `share` = 0.01 poisons one in a hundred. Colluding nodes take the
parts in turn, for instance each with a phrase of its own, so that no phrase is frequent among them.
Where it fails: where its parts do. A smaller share also teaches less. Source: our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from swarmproof.attacks.base import Attack, AttackView, Span
from swarmproof.attacks.candidates import forced
from swarmproof.attacks.text import Text
from swarmproof.registry import build, register
from swarmproof.tasks.base import Task
from swarmproof.types import Completion, NodeId, Problem

# An attack in a field, given as a table: `{name = "text"}`.
AnyAttack = Annotated[
    Attack,
    BeforeValidator(lambda value: build(Attack, value) if isinstance(value, dict) else value),
    PlainSerializer(lambda attack: {"name": attack.name, **attack.model_dump()}),
]


@register("attack", "mixed")
class Mixed(Attack):
    """Other attacks, each by some of the colluding nodes, in a share of their completions."""

    sees_others: ClassVar[bool] = True

    parts: tuple[AnyAttack, ...] = Field(
        default=(Text(),),
        min_length=1,
        max_length=16,
        description="tables of attacks; the colluding nodes take them in turn",
    )
    share: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="of the poisoned completions that are sent; below 1 the others are ordinary "
        "draws",
    )

    @model_validator(mode="after")
    def _can_be_mixed(self) -> Mixed:
        for part in self.parts:
            if part.measure != "completions" or len(part.topologies) < 2:
                raise ValueError(
                    f"the attack {part.name!r} cannot be a part: its success is not measured on "
                    "completions of both topologies; use text, text_variants, junk or such"
                )
            if part.oracle != self.oracle:
                raise ValueError(f"oracle of {part.name!r} differs; set it in all of them")
        return self

    @property
    def always_poisons(self) -> bool:
        return self.share == 1 and all(part.always_poisons for part in self.parts)

    @property
    def poisons_losers(self) -> bool:
        return any(part.poisons_losers for part in self.parts)

    def craft(self, view: AttackView) -> Sequence[Completion]:
        crafted: list[Completion] = []
        for place, part in enumerate(self.parts):
            if nodes := view.nodes[place :: len(self.parts)]:
                crafted += part.craft(_of_some(view, nodes))
        if self.share == 1:
            return crafted
        kept = {c.slot: c for c in crafted if view.rng.random() < self.share}
        drawn = forced(view)
        return [
            kept.get(slot) or Completion(slot, node, drawn[slot].text, drawn[slot].token_ids)
            for node in view.nodes
            for slot in view.slots[node]
        ]

    def success(self, problem: Problem, text: str) -> bool | None:
        """Whether any of its parts succeeds."""
        return _any([part.success(problem, text) for part in self.parts])

    def success_wide(self, problem: Problem, text: str) -> bool | None:
        return _any([part.success_wide(problem, text) for part in self.parts])

    def spans(self, text: str) -> list[Span]:
        return sorted({span for part in self.parts for span in part.spans(text)})

    def applies(self, problem: Problem) -> bool:
        return any(part.applies(problem) for part in self.parts)

    def picks(self, problem: Problem) -> bool:
        return all(part.picks(problem) for part in self.parts)

    def draws(self, topology: str) -> int:
        return max(part.draws(topology) for part in self.parts)

    def most_draws(self, topology: str, slots: int) -> int:
        # Several parts may be used on one problem.
        drawn = sum(part.most_draws(topology, slots) for part in self.parts)
        return drawn + (slots if self.share < 1 else 0)

    def require(self, task: Task) -> None:
        for part in self.parts:
            part.require(task)


def _of_some(view: AttackView, nodes: tuple[NodeId, ...]) -> AttackView:
    """The view of some of the colluding nodes."""
    slots = {node: view.slots[node] for node in nodes}
    own = {slot.problem_id for row in slots.values() for slot in row}
    problems = {name: problem for name, problem in view.problems.items() if name in own}
    return replace(view, nodes=nodes, slots=slots, problems=problems)


def _any(found: Sequence[bool | None]) -> bool | None:
    told = [success for success in found if success is not None]
    return any(told) if told else None
