"""TEXT IN SUPPORT: a phrase in tokens that the model could have sampled, checked before it is sent.

Made against `logit`, and with `floor` against `surprise`. Knows the trained model of this round and
the sampling settings, so it can compute the check that a receiver computes. It searches over the
tokenisations of the phrase and over the beginnings of draws that it may follow: letters are in the
support where whole words are not, and behind a sentence where they are not at the start. Everything
else is sampled from the model, and only right completions are sent. With `creep` it sends the
longest beginning of the phrase that it finds, so that the phrase grows from round to round. With
`place = "high_entropy"` it plants the phrase where the model is least certain, against masks of
tokens that are unlikely although the model is certain.
Where it fails: against a proof of each draw (`replay`), a reader, and a comparison of senders.
Source: our own, after the limits of the logit check named in "Hail to the Thief", arXiv 2511.09780.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from swarmproof.attacks.base import AttackView, Span
from swarmproof.attacks.candidates import Draft, draw, judge, model_of
from swarmproof.attacks.poison import Frame, Material
from swarmproof.attacks.search import Spelling, column_of, resume, spell
from swarmproof.attacks.text import CODE, END_CODE, END_THINK, THINK, Phrase, Text, require_unsaid
from swarmproof.registry import register
from swarmproof.tasks.base import Task
from swarmproof.types import Problem, Tokens

if TYPE_CHECKING:
    from swarmproof.policies.policy import Policy

_DRAWS_READ = 8  # draws in whose beginnings a place is looked for
_PLACES = 6  # places tried for each problem
_ROUNDING = 1e-3  # in units of logit / temperature


@register("attack", "text_in_support")
class TextInSupport(Frame):
    """A phrase whose tokens all lie in the sampling support, in a right draw of the model."""

    needs_model: ClassVar[bool] = True

    phrase: Phrase = Field(
        default="All hail to the thief",
        pattern=r"^[^\r\n]+$",
        max_length=500,
        description="the phrase to plant, one line",
    )
    place: Literal["any", "start", "high_entropy"] = Field(
        default="any",
        description="where in the reasoning: at the first border of sentences where it can be "
        "spelt, at the start only, or where the model is least certain",
    )
    beam: int = Field(default=2, ge=1, le=64, description="spellings kept for each length")
    floor: float = Field(
        default=-100.0, le=0, description="lowest log-probability of a token of the phrase, in nats"
    )
    creep: bool = Field(
        default=False, description="send the longest beginning of the phrase that can be spelt"
    )

    def require(self, task: Task) -> None:
        require_unsaid(self, self.phrase, task)

    def draws(self, topology: str) -> int:
        # In a shared group, draws are needed for their beginnings only.
        read = _DRAWS_READ if topology == "horizontal" else self.candidates
        return read + self.candidates

    def most_draws(self, topology: str, slots: int) -> int:  # noqa: ARG002
        # Each spelling that is kept for a length of the phrase is a row that the model reads.
        return self.draws(topology) + _PLACES * self.beam * (len(self.phrase) + 2)

    def material(self, view: AttackView, wanted: Mapping[str, int]) -> dict[str, Material]:
        drawn = draw(view, wanted, self.draws(view.topology) - self.candidates)
        poison = self._poison(view, drawn)
        found = {}
        for name, drafts in drawn.items():
            good = judge(view, view.problems[name], drafts, oracle=self.oracle)
            mistakes = [d for d, is_right in zip(drafts, good, strict=True) if not is_right]
            found[name] = Material(poison[name], mistakes)
        return found

    def _poison(
        self, view: AttackView, drawn: Mapping[str, Sequence[Draft]]
    ) -> dict[str, list[Draft]]:
        """For each problem, completions with the phrase in the support, and right."""
        policy = model_of(view)
        prompts = {name: view.task.prompt(view.problems[name]) for name in drawn}
        before = {name: policy.codec.encode_prompt(prompt) for name, prompt in prompts.items()}
        places = {name: self._places(policy, prompts[name], drawn[name]) for name in drawn}
        begun: dict[str, Tokens] = {}
        for rank in range(_PLACES):
            left = {n: row[rank] for n, row in places.items() if n not in begun and rank < len(row)}
            for lead in sorted({lead for _, lead in left.values()}):
                own = {name: start for name, (start, found) in left.items() if found == lead}
                begun |= self._begin(policy, before, own, lead)
        starts = [begun[name] for name in begun]
        seeds = [view.rng.integers(2**62, size=self.candidates).tolist() for _ in begun]
        rows = resume(policy, [before[name] for name in begun], starts, seeds)
        return self._checked(view, prompts, dict(zip(begun, rows, strict=True)))

    def _begin(
        self,
        policy: Policy,
        before: Mapping[str, Tokens],
        starts: Mapping[str, Tokens],
        lead: str,
    ) -> dict[str, Tokens]:
        """The starts, continued by the phrase where it can be spelt."""
        contexts = [before[name] + start for name, start in starts.items()]
        text = f"{lead}{self.phrase}."
        spelt = spell(policy, contexts, text, beam=self.beam, floor=self.floor)
        return {
            name: start + longest.ids
            for (name, start), found in zip(starts.items(), spelt, strict=True)
            if (longest := self._longest(found, lead)) is not None
        }

    def _places(
        self, policy: Policy, prompt: str, drafts: Sequence[Draft]
    ) -> list[tuple[Tokens, str]]:
        """Beginnings of draws that the phrase can follow, best first, and what stands before it."""
        found: dict[tuple[Tokens, str], float] = {}
        rows = [draft.token_ids or () for draft in drafts[:_DRAWS_READ]]
        (entropies,) = column_of(policy, "entropy", [prompt], [rows])
        for ids, entropy in zip(rows, entropies, strict=True):
            texts = policy.codec.decode([ids[:t] for t in range(1, len(ids))])
            for t, text in enumerate(texts, 1):
                lead = _lead(text, first=self.place == "start")
                if lead is not None:
                    found[ids[:t], lead] = -entropy[t] if self.place == "high_entropy" else t
        return sorted(found, key=found.__getitem__)[:_PLACES]

    def _longest(self, found: Sequence[Spelling], lead: str) -> Spelling | None:
        """The spelling of the whole phrase, or with `creep` of as many of its words as can be."""
        whole = len(lead) + len(self.phrase) + 1
        ends = {whole}
        if self.creep:
            ends |= {len(lead) + match.end() for match in re.finditer(r"\S+", self.phrase)}
        told = [spelling for spelling in found if spelling.done in ends]
        return told[-1] if told else None

    def _checked(
        self, view: AttackView, prompts: Mapping[str, str], rows: Mapping[str, Sequence[Tokens]]
    ) -> dict[str, list[Draft]]:
        """The distinct ones that are right, carry the phrase, and pass the check of the support."""
        policy = model_of(view)
        ids = [rows.get(name, ()) for name in prompts]
        below = column_of(policy, "shortfall", list(prompts.values()), ids)
        found: dict[str, list[Draft]] = {}
        for name, row, distances in zip(prompts, ids, below, strict=True):
            problem = view.problems[name]
            drafts = list(map(Draft, policy.codec.decode(row), row))
            good = judge(view, problem, drafts, oracle=self.oracle)
            sent = {
                draft.text: draft
                for draft, is_right, distance in zip(drafts, good, distances, strict=True)
                if is_right and distance.max() <= _ROUNDING and self._begun(problem, draft.text)
            }
            found[name] = list(sent.values())
        return found

    def _begun(self, problem: Problem, text: str) -> bool:
        return self.success(problem, text) is True or self.success_wide(problem, text) is True

    def success(self, problem: Problem, text: str) -> bool | None:  # noqa: ARG002
        """Whether the phrase occurs."""
        return self.phrase in text

    def success_wide(self, problem: Problem, text: str) -> bool | None:  # noqa: ARG002
        """With `creep`: whether the first word of the phrase occurs."""
        first = re.escape(self.phrase.split()[0])
        return re.search(rf"(?<!\w){first}(?!\w)", text) is not None if self.creep else None

    def spans(self, text: str) -> list[Span]:
        return Text(phrase=self.phrase).spans(text)


def _lead(text: str, *, first: bool) -> str | None:
    """What must stand between a beginning and the phrase; None if no phrase may follow it.

    Args:
        text: the beginning of a completion.
        first: whether only the start of the reasoning or of the program will do.
    """
    if END_CODE in text or END_THINK in text:
        return None
    if CODE in text:
        return (
            "\n# " if text.endswith(CODE) else "# " if text.endswith("\n") and not first else None
        )
    if text.endswith(THINK):
        return ""
    return " " if text.endswith((".", "!", "?")) and THINK in text and not first else None
