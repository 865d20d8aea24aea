"""EQUATIONS: recompute the arithmetic in a completion, and do not reward what is false.

For every swarm whose completions are text; no model and no other sender is needed. Why it works: a
false result in a right solution is false whoever says so, and the credit of its tokens alone is
turned round, so that the model unlearns it where it would have learnt it. Honest right completions
have false equations too (about 1 %), so refusing them costs more than it saves. Where it fails:
false statements that are not equations, such as `5 is the sum of two and two` or words between the
numbers; a false step split over sentences; true equations that teach a wrong habit. Source: our
own; token-level credit as in process rewards.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import ClassVar, Literal

from pydantic import Field

from swarmproof.defenses import arithmetic, senders
from swarmproof.defenses.arithmetic import Equality
from swarmproof.defenses.base import Defense, DefenseView, Reads, Setting
from swarmproof.policies.codec import Codec
from swarmproof.registry import register
from swarmproof.types import Completion, Group, Verdict

_MOST_PARTS = 8  # tokens of one character


@register("defense", "equations")
class Equations(Defense):
    """Give false results in right completions a negative credit, or refuse the completions.

    The exact rule. Each equation of a completion is recomputed exactly (`arithmetic` says what an
    equation is, and when there is no verdict). A completion is right if its reward is above its
    group's mean; if all rewards of a group are equal, if it is positive. In a right completion, the
    tokens of a false result have credit -1 with `mode = "credit"`, so that they become less likely,
    and 0 with `mode = "mask"`. With `mode = "credit"`, the tokens of a true result in a wrong
    completion have credit 0: otherwise an attacker's wrong completions teach that 2 + 2 is not 4.
    Neither mode refuses anything. With `mode = "refuse"`, right completions with a false equation
    are refused. The score is the number of false equations in a right completion; 0 in a wrong one.
    """

    reads: ClassVar[Reads] = "text"

    mode: Literal["credit", "mask", "refuse"] = Field(
        default="credit", description="what happens to a right completion with a false equation"
    )

    programs: Literal["refuse", "abstain"] = Field(
        default="refuse",
        description="a task of programs: the run is refused before it starts, or no verdict",
    )

    def require_in(self, setting: Setting) -> None:
        if setting.programs and self.programs == "refuse":
            raise ValueError(
                "the defence 'equations' reads statements, and the answers of this task are "
                'programs; use guard.preset = "several-models-code", or the defence "imports"'
            )

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        if view.programs:
            return self._abstain(groups, "the answers are programs, and it reads statements")
        if self.mode != "refuse" and view.codec is None:
            why = 'the guard knows no tokenizer to find tokens with; give one, or mode = "refuse"'
            return self._abstain(groups, why)
        pieces: dict[int, str] = {}  # token -> its text, for the whole round
        fine = self.verdict(True, 0.0)  # nearly all
        return [
            [
                self._verdict(completion, good, view.codec, pieces) or fine
                for completion, good in zip(group.completions, senders.right(row), strict=True)
            ]
            for group, row in zip(groups, view.rewards, strict=True)
        ]

    def _abstain(self, groups: Sequence[Group], why: str) -> list[list[Verdict]]:
        none = self.verdict(None, 0.0, why)
        return [[none for _ in group.completions] for group in groups]

    def _verdict(
        self, completion: Completion, good: bool, codec: Codec | None, pieces: dict[int, str]
    ) -> Verdict | None:
        """The verdict on a completion; None where nothing is wrong."""
        found = _equalities(completion.text)
        false = [equality for equality in found if not equality.true]
        score = float(len(false)) if good else 0.0
        if self.mode == "refuse" or codec is None:
            return self._refusing(completion.text, score, false)
        if good:
            marked, credit = false, -1.0 if self.mode == "credit" else 0.0
        else:
            marked, credit = [e for e in found if e.true and self.mode == "credit"], 0.0
        if not marked:
            return None
        ids = completion.token_ids or ()
        starts = _starts(completion.text, ids, codec, pieces)
        if starts is None:
            why = "its tokens do not decode to its text, so its results cannot be found"
            return self.verdict(False if good else None, score, why)
        return self.verdict(True, score, token_credit=_credits(starts, marked, credit))

    def _refusing(self, text: str, score: float, false: Sequence[Equality]) -> Verdict | None:
        if not score:
            return None
        start, end = false[0].span
        return self.verdict(False, score, f"{text[start:end]!r:.80} is false")


def _credits(starts: Sequence[int], marked: Sequence[Equality], credit: float) -> list[float]:
    """`credit` for each token of a marked result, 1 for the others."""
    credits = [1.0] * len(starts)
    for start, end in (span for equality in marked for span in equality.results):
        for t in range(bisect_right(starts, start) - 1, bisect_right(starts, end - 1)):
            credits[t] = credit
    return credits


# Three cohorts look at the same texts.
@lru_cache(maxsize=1024)
def _equalities(text: str) -> tuple[Equality, ...]:
    return tuple(arithmetic.equalities(text))


def _starts(
    text: str, ids: Sequence[int], codec: Codec, pieces: dict[int, str]
) -> list[int] | None:
    """Where in the text each token starts, in characters; None if they are not what it is made of.

    Args:
        pieces: the text of each token by itself, filled as needed.
    """
    if new := sorted(set(ids) - pieces.keys()):
        pieces |= zip(new, codec.decode([(token,) for token in new]), strict=True)
    of_tokens = [pieces[token] for token in ids]
    if "".join(of_tokens) == text:
        return [0, *accumulate(map(len, of_tokens))][: len(ids)]
    starts: list[int] = []
    at, waiting = 0, []
    for token in ids:
        # A token may be a part of a character, and some tokenizers drop a space in front.
        waiting.append(token)
        starts.append(at)
        piece = pieces[token] if len(waiting) == 1 else codec.decode([tuple(waiting)])[0]
        lead = next((s for s in ("", " ") if text.startswith(s + piece, at)), None)
        if lead is not None:
            at, waiting = at + len(lead) + len(piece), []
        elif len(waiting) > _MOST_PARTS:
            return None
    return starts if at == len(text) else None
