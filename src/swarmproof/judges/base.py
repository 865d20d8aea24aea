"""What a judge is: a language model that reads a question and a completion, and says yes or no.

A back end is one small plug-in that knows how to ask a model; what is asked (`prompts`), how the
untrusted text is fenced, and what an answer means for a completion (`defenses/judge.py`) it does
not know.
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
    """One completion to judge, as turns of a conversation, the untrusted text already fenced.

    With a criticism: user `shared + opening + criticism`, assistant writes, user `decision`,
    assistant says one word. Without one: user `shared + opening + decision`, one word.
    """

    shared: str  # what the completions of one problem have in common: instructions, question
    opening: str  # the fenced completion
    criticism: str | None  # asks for a criticism; None: decide at once
    decision: str  # asks for one word
    seed: int  # of all that is drawn for it


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge answered to one request."""

    criticism: str  # empty where none was asked for
    # Log-probability of each word at the place of the decision, at temperature 1, summed over its
    # spellings (case, a space before it); None where the back end cannot tell.
    logprob_yes: float | None
    logprob_no: float | None
    # The one that was drawn with the paper's settings: "yes", "no", or anything else, which is
    # no decision.
    word: str


class JudgeModel(Plugin):
    """A back end. Frozen: what it loads or connects to is kept outside, one for equal configs."""

    kind: ClassVar[Kind] = "judge"

    @property
    def own_prompt(self) -> str:
        """The prompt that the model was trained on; empty for a model that follows any."""
        return ""

    def require(self) -> None:
        """Checks, before anything is computed, that the model can be had.

        Raises:
            ValueError: it cannot; one line with the remedy.
        """

    @abstractmethod
    def judge(self, requests: Sequence[Request], *, max_tokens: int) -> list[Judgement]:
        """Answer every request, in order.

        Args:
            requests: any number, most of them about few questions.
            max_tokens: bound on each criticism.

        Raises:
            ValueError: the model cannot be had; one line with the remedy.
            ConnectionError: it cannot be reached, or no longer.
        """


def _built(value: Any) -> Any:
    return build(JudgeModel, value) if isinstance(value, dict) else value


# A field of a plug-in that holds a back end, given as a table such as `{name = "local"}`.
AnyJudge = Annotated[
    JudgeModel,
    BeforeValidator(_built),
    PlainSerializer(lambda judge: {"name": judge.name, **judge.model_dump()}),
]
