"""Defences that decide as a test wants. They can be pickled, as a test's own classes cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from swarmproof.defenses.base import Defense, DefenseView, Reads
from swarmproof.types import Completion, Group, Verdict


class Bad(Defense):
    """Refuses texts that begin with BAD."""

    name: ClassVar[str] = "bad"
    reads: ClassVar[Reads] = "text"

    def inspect(
        self,
        groups: Sequence[Group],
        view: DefenseView,  # noqa: ARG002
    ) -> list[list[Verdict]]:
        return [[self._verdict(c) for c in group.completions] for group in groups]

    def _verdict(self, completion: Completion) -> Verdict:
        bad = completion.text.startswith("BAD")
        return self.verdict(not bad, 2.0 * bad, "it says BAD at 0" if bad else "")


class Credits(Bad):
    """Gives the first `len(credits)` tokens of texts that begin with `start` these credits."""

    name: ClassVar[str] = "credits"
    start: str = "so"
    credits: tuple[float, ...] = (0.0,)

    def _verdict(self, completion: Completion) -> Verdict:
        if not completion.text.startswith(self.start):
            return self.verdict(True, 0.0)
        rest = (1.0,) * (len(completion.token_ids or ()) - len(self.credits))
        return self.verdict(True, 0.0, token_credit=(*self.credits, *rest))


class Weighs(Bad):
    """Weights by text."""

    name: ClassVar[str] = "weighs"
    by_text: Mapping[str, float] = {}

    def _verdict(self, completion: Completion) -> Verdict:
        return self.verdict(True, 0.0, weight=self.by_text.get(completion.text, 1.0))


class Breaks(Bad):
    """Crashes."""

    name: ClassVar[str] = "breaks"

    def _verdict(self, completion: Completion) -> Verdict:
        raise ZeroDivisionError(f"of {len(completion.text)} characters")
