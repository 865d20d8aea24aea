"""A judge: a language model that reads a question and a completion, and says yes or no.

A back end is one small plug-in that knows how to ask a model. It does not know what is asked
(`prompts`), how untrusted text is fenced (`prompting`), or what an answer means for a completion
(`defenses/judge.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, PlainSerializer

from swarmproof.registry import Kind, Plugin, build


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to judge, as turns of a conversation. The untrusted text is already fenced.

    With a criticism: the user says `shared + opening + criticism`, the assistant writes the
    criticism, the user says `decision`, the assistant says one word. Without a criticism: the user
    says `shared + opening + decision`, the assistant says one word.
    """

    shared: str  # instructions and question, the same for all completions of one problem
    opening: str  # the fenced completion
    criticism: str | None  # the request for a criticism; None: decide at once
    decision: str  # the request for one word
    seed: int  # of everything that is drawn for this request


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer of a judge to one request."""

    criticism: str  # empty if none was requested
    # Log-probability of each word at the decision, at temperature 1, summed over its spellings
    # (case, a space before it); None if the back end returned none for this request.
    logprob_yes: float | None
    logprob_no: float | None
    # The word that was drawn with the paper's settings: "yes", "no", or anything else, which is
    # no decision.
    word: str
    # Why this request has no decision, if only this request failed; the completion is refused for
    # it. A failure of the whole judge is an exception instead. Empty: there is a decision.
    fault: str = ""


class JudgeModel(Plugin):
    """A back end. It is frozen: models and connections are kept outside, one for equal configs."""

    kind: ClassVar[Kind] = "judge"

    @property
    def own_prompt(self) -> str:
        """The prompt that the model was trained on; empty for a model that can follow any."""
        return ""

    def require(self) -> None:
        """Check that the model can be used, before anything is computed.

        Raises:
            ValueError: the model cannot be used; one line with the remedy.
        """

    def require_logprobs(self) -> None:
        """Check that the model returns log-probabilities of yes and no, for decisions that need
        them. A back end whose model may return none must override this.

        Raises:
            ValueError: the model cannot be used, or never returns any; one line with the remedy.
        """

    @abstractmethod
    def judge(self, requests: Sequence[Request], *, max_tokens: int) -> list[Judgement]:
        """Answer every request, in order.

        Args:
            requests: any number, mostly about a few questions.
            max_tokens: bound on each criticism.

        Returns:
            One judgement for each request. If one request fails and the model still answers
            others, the judgement of that request has a `fault`.

        Raises:
            ValueError: the model cannot be used; one line with the remedy.
            ConnectionError: the model cannot be reached, or no longer.
        """


def _built(value: Any) -> Any:
    return build(JudgeModel, value) if isinstance(value, dict) else value


# The type of a plug-in's field that holds a back end. It is given as a table: `{name = "local"}`.
AnyJudge = Annotated[
    JudgeModel,
    BeforeValidator(_built),
    PlainSerializer(lambda judge: {"name": judge.name, **judge.model_dump()}),
]
