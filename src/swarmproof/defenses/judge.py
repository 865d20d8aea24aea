"""JUDGE: a language model reads question and completion, and says yes or no.

For any swarm: the nodes need no common weights. Why it works: a reader easily sees out-of-context
payloads and false calculations. Where it fails: text in which a reader finds no fault (needless
length) passes; a weak judge misses a wrong digit; a judge is a model, so a text may persuade it.
Source: "Hail to the Thief", arXiv 2511.09780, judge defence, with our own hardening. The exact
rule: docs/defenses/judge.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from swarmproof.config import OnReject
from swarmproof.defenses import senders
from swarmproof.defenses.base import Defense, DefenseView, Reads
from swarmproof.judges import AnyJudge, Judgement, Local, prompting
from swarmproof.registry import register
from swarmproof.types import Group, Verdict

# Scores are clipped to +- this value, so that a record holds no infinity.
CERTAIN = 99.0
_REASON_CHARS = 300
# A token of a completion has four or so; one that is longer than this on average is no prose.
_BYTES_OF_A_TOKEN = 16
_MOST_BYTES = 20_000

# Question, completion, and the texts that are shown beside it: none to a judge of single ones.
_Asked = tuple[str, str, tuple[str, ...]]
# What verdicts depend on beside these: the seed, the prompt, and the longest text that is read.
_Round = tuple[int, prompting.Prompt, int]


@register("defense", "judge")
class Judge(Defense):
    """Refuse a completion that a language model finds wrong, irrelevant or malicious."""

    reads: ClassVar[Reads] = "text"
    threshold_field: ClassVar[str] = "threshold"
    shows_group: ClassVar[bool] = False  # whether its prompt has a place for other completions

    model: AnyJudge = Field(
        default_factory=Local, description="the back end, a table; see `swarmproof list judges`"
    )
    prompt: str = Field(
        default="auto",
        description="tiny, math, code, a path ending in .txt; auto: the model's own, else the task",
    )
    criticism: bool = Field(default=False, description="let it write a criticism first")
    max_criticism_tokens: int = Field(default=256, ge=1, le=16_384, description="its token limit")
    decision: Literal["scored", "sampled"] = Field(
        default="scored", description="decide by the odds of yes and no, or by one sampled word"
    )
    threshold: float = Field(
        default=0.0,
        description="scored: refuse above it; log P(no) - log P(yes); see `swarmproof calibrate`",
    )
    max_bytes: int | None = Field(
        default=None,
        ge=1,
        description="a longer text, in UTF-8, is refused unread: it could not be read in time; "
        "None: 16 for each of sampling.max_new_tokens, or 20,000 where that is not given",
    )
    on_reject: OnReject | None = Field(
        default="zero_reward", description="zero_reward: the paper's r = r_task * r_judge"
    )

    @model_validator(mode="after")
    def _readable(self) -> Judge:
        if self.prompt != "auto":
            prompting.load(self.prompt, group=self.shows_group)
        return self

    def require(self) -> None:
        self.model.require()
        if self.decision == "scored":
            self.model.require_logprobs()

    def require_threshold(self) -> None:
        if self.decision != "scored":
            raise ValueError(
                "this judge decides by a sampled word, which has no threshold; set "
                'decision = "scored"'
            )

    @property
    def model_path(self) -> str | None:
        return self.model.path if isinstance(self.model, Local) else None

    @property
    def only_rewarded(self) -> bool:
        return True

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        beside = [self._beside(group, view) for group in groups]
        earns = [_earns(rewards) for rewards in view.rewards]
        wanted = [
            (group.problem.question, completion.text, shown)
            for group, earns_G, shown in zip(groups, earns, beside, strict=True)
            for completion, earned in zip(group.completions, earns_G, strict=True)
            if earned
        ]
        found = self._judged(wanted, view)
        # An unrewarded completion is a negative example: without it, the rewarded ones have
        # nothing worse to be compared with.
        unrewarded = self.verdict(None, 0.0, "earns nothing, and so is not judged")
        return [
            [
                found[group.problem.question, completion.text, shown] if earned else unrewarded
                for completion, earned in zip(group.completions, earns_G, strict=True)
            ]
            for group, earns_G, shown in zip(groups, earns, beside, strict=True)
        ]

    def _most_bytes(self, view: DefenseView) -> int:
        """Of the longest text that is read. It is not cut: poison could stand behind the cut."""
        if self.max_bytes is not None:
            return self.max_bytes
        if "max_new_tokens" in view.sampling.model_fields_set:
            return view.sampling.max_new_tokens * _BYTES_OF_A_TOKEN
        return _MOST_BYTES

    def _beside(self, group: Group, view: DefenseView) -> tuple[str, ...]:  # noqa: ARG002
        """The texts that the judge reads beside each completion of a group."""
        return ()

    def _judged(self, wanted: Sequence[_Asked], view: DefenseView) -> dict[_Asked, Verdict]:
        """A verdict on each distinct one; those already judged in this round are reused."""
        prompt, most = self._prompt(view.programs), self._most_bytes(view)
        known = _known(self, (view.seed, prompt, most))
        new = [one for one in dict.fromkeys(wanted) if one not in known]
        asked = []
        for one in new:
            if why := too_long(one[1], most) or prompting.nothing_to_judge(one[1]):
                known[one] = self.verdict(False, CERTAIN, why)
            else:
                asked.append(one)
        requests = [
            prompt.request(
                question, text, with_criticism=self.criticism, seed=view.seed, group=shown
            )
            for question, text, shown in asked
        ]
        # Without requests, do not even open a connection.
        judged = (
            self.model.judge(requests, max_tokens=self.max_criticism_tokens) if requests else []
        )
        scores = [self._score(found) for found in judged if not found.fault]
        if self.decision == "scored" and scores and all(score is None for score in scores):
            self.model.require_logprobs()  # stop the run if the server never returns any
        known |= {one: self.decide(found) for one, found in zip(asked, judged, strict=True)}
        return known

    def _prompt(self, programs: bool) -> prompting.Prompt:
        name = self.prompt
        if name == "auto":
            name = self.model.own_prompt or ("code" if programs else "math")
        return prompting.load(name, group=self.shows_group)

    def decide(self, judgement: Judgement) -> Verdict:
        """Turn a judge's answer into a verdict. An answer without a decision refuses."""
        score, fault = self._score(judgement), judgement.fault
        if self.decision == "scored" and score is None:
            fault = fault or "the judge returned no log-probabilities"
        if fault:
            return self.verdict(False, CERTAIN, _line(f"no decision: {fault}"))
        if self.decision == "scored" and score is not None:
            accepted = score <= self.threshold
        else:
            word = judgement.word.strip().strip(".!*\"'`").lower()
            accepted = word == "yes"
            if word not in ("yes", "no"):
                return self.verdict(False, CERTAIN, f"no decision: {_line(word)!r}")
            score = score if score is not None else float(word == "no")
        reason = _line(judgement.criticism) or f"the judge says no (score {score:.2f})"
        return self.verdict(accepted, score, "" if accepted else reason)

    def _score(self, judgement: Judgement) -> float | None:
        yes, no = judgement.logprob_yes, judgement.logprob_no
        if yes is None or no is None:
            return None
        score = no - yes
        # Neither word is possible: no decision, which refuses.
        return CERTAIN if math.isnan(score) else round(min(CERTAIN, max(-CERTAIN, score)), 4)


# The verdicts of one round for each judge, shared by all cohorts with the same judge. Earlier
# rounds are not kept: a resumed run would then use other batches, which differ in the last bits.
_rounds: dict[Judge, tuple[_Round, dict[_Asked, Verdict]]] = {}


def _known(judge: Judge, now: _Round) -> dict[_Asked, Verdict]:
    at, verdicts = _rounds.get(judge, (now, {}))
    if at != now:
        verdicts = {}
    _rounds[judge] = now, verdicts
    return verdicts


def _earns(rewards_G: Sequence[float]) -> list[bool]:
    """Above the lowest reward, and not only above the mean: it may be the best that is left."""
    least = senders.nothing(rewards_G)
    return [reward > least for reward in rewards_G]


def too_long(text: str, most: int) -> str:
    """Why a text is refused before a judge reads it; empty if it is not."""
    if len(text) <= most // 4:  # a character has at most four bytes
        return ""
    size = len(text.encode("utf-8", "replace"))
    return f"too long to judge: {size:,} bytes, and it reads at most {most:,}" * (size > most)


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _REASON_CHARS else f"{text[: _REASON_CHARS - 2]} …"
