"""SELF-JUDGE: the model in training judges its own training data. A baseline that fails.

Why it might work: every node has its own such judge, at no cost in memory. Where it fails: a model
that learns from the completions it accepts soon accepts everything ("it collapses to yes"), and a
base model cannot judge well from the start. Source: shown to be insufficient in "Hail to the
Thief", arXiv 2511.09780, Fig. 13; we use the odds of a forced decision instead of a sampled word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from swarmproof.config import OnReject
from swarmproof.defenses.base import AskedModel, Defense, DefenseView, Reads
from swarmproof.judges import prompting
from swarmproof.randomness import derive_seed
from swarmproof.registry import register
from swarmproof.types import Group, Verdict

_WORDS = (" yes", " no")


def _readable(prompt: str) -> str:
    prompting.load(prompt)
    return prompt


@register("defense", "self_judge")
class SelfJudge(Defense):
    """The receiver's own model says yes or no to each completion; a baseline that fails.

    It is queried like a `judge`, without a chat template, at the sampling temperature. The score
    is log P(" no") - log P(" yes") as the next tokens; scores above the threshold are refused.
    """

    reads: ClassVar[Reads] = "model"
    threshold_field: ClassVar[str] = "threshold"

    prompt: Annotated[str, AfterValidator(_readable)] = Field(
        default="tiny", description="tiny, math, code, or a file that ends in .txt"
    )
    criticism: bool = Field(default=False, description="let the model sample a criticism first")
    threshold: float = Field(default=0.0, description="scores above it are refused")
    on_reject: OnReject | None = Field(
        default="zero_reward", description="zero_reward: the paper's r = r_task * r_judge"
    )

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        if not groups:
            return []
        prompt = prompting.load(self.prompt)
        requests = [
            prompt.request(
                group.problem.question,
                completion.text,
                with_criticism=self.criticism,
                seed=view.seed,
            )
            for group in groups
            for completion in group.completions
        ]
        model = view.model
        assert model is not None, 'the guard gives a model to defences that read "model"'
        openings = [f"{r.shared}{r.opening}{r.criticism or ''}" for r in requests]
        if self.criticism:
            seeds = [[derive_seed(r.seed, "criticism")] for r in requests]
            drawn = model.generator.generate(openings, seeds)
            written = [model.codec.decode(row)[0] for row in drawn]
            openings = [f"{a}{b}\n" for a, b in zip(openings, written, strict=True)]
        asked = [opening + r.decision for opening, r in zip(openings, requests, strict=True)]
        scores = iter(odds_of_no(model, asked))
        return [[self._verdict(next(scores)) for _ in group.completions] for group in groups]

    def _verdict(self, score: float) -> Verdict:
        reason = f"its own model says no, by {score:.2f}" if score > self.threshold else ""
        return self.verdict(not reason, score, reason)


def odds_of_no(model: AskedModel, prompts: Sequence[str]) -> list[float]:
    """log P(" no") - log P(" yes") of the next word, of any number of tokens; (P,) -> (P,)."""
    words = [model.codec.encode(word)[:-1] for word in _WORDS]  # without the end of text
    scored = model.scorer.score(prompts, [words] * len(prompts)).scores
    return [float(no.logprob.sum() - yes.logprob.sum()) for yes, no in scored]
