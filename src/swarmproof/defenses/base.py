"""What a defence is: a verdict on every completion, with a score and a reason."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, get_args

from pydantic import Field

from swarmproof.config import OnReject, SamplingConfig
from swarmproof.registry import Kind, Plugin
from swarmproof.types import Group, NodeId, TokenScores, Verdict

if TYPE_CHECKING:
    from swarmproof.policies.codec import Codec
    from swarmproof.policies.generator import Generator
    from swarmproof.policies.scorer import Scorer

# What a defence reads, which decides when it is asked:
#   text    texts and rewards; once a round, before any forward pass. What it drops is not computed.
#   scores  the receiver's own scores; for each forward pass, with the groups of that pass.
#   round   the same, but compares the completions of a whole round; once a round.
#   model   asks the receiver's model something of its own; with the groups of each pass.
Reads = Literal["text", "scores", "round", "model"]
State = Mapping[str, Any]  # what JSON can hold


class Scores(Protocol):
    """What the receiver's model says of some groups. A foreign trainer may fill it itself."""

    @property
    def scores(self) -> Sequence[Sequence[TokenScores]]:
        """One entry a completion, group by group."""


class AskedModel(Protocol):
    """The receiver's own model, for a defence that asks it something of its own."""

    @property
    def codec(self) -> Codec: ...
    @property
    def generator(self) -> Generator: ...
    @property
    def scorer(self) -> Scorer: ...


@dataclass(frozen=True, slots=True)
class DefenseView:
    """What a receiver has at hand when it inspects some groups."""

    rewards: Sequence[Sequence[float]]  # the task's, group by group
    seed: int  # the receiver's own, of this round: no peer can foresee what is drawn from it
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    round: int = 0
    source: Scores | None = None  # None for defences that read no scores
    codec: Codec | None = None  # the receiver's tokenizer, where it has told one
    model: AskedModel | None = None  # only for defences that read a model
    # Nodes whose completions another model than the receiver's wrote, as far as it can know: all
    # but those that run its own. Empty in a swarm of one model.
    foreign: frozenset[NodeId] = frozenset()
    programs: bool = False  # whether completions answer with programs
    state: State = field(default_factory=dict)  # what `Defense.remember` returned last round

    @property
    def scores(self) -> Sequence[Sequence[TokenScores]]:
        """The receiver's own model on every token: one entry a completion, group by group."""
        if self.source is None:
            raise ValueError('no scores here: a defence that reads them sets reads = "scores"')
        return self.source.scores

    @property
    def eos_token_id(self) -> int:
        return self._told().eos_token_id

    @property
    def end_ids(self) -> frozenset[int]:
        """The receiver's tokens that end a completion."""
        return self._told().end_ids

    @property
    def digit_ids(self) -> frozenset[int]:
        """The receiver's tokens that have a digit in them."""
        return self._told().digit_ids

    def _told(self) -> Codec:
        if self.codec is None:
            raise ValueError("this defence reads tokens, and the guard knows no tokenizer")
        return self.codec


class Defense(Plugin):
    """A filter between what is gathered and what is learnt from."""

    kind: ClassVar[Kind] = "defense"
    reads: ClassVar[Reads] = "scores"
    # The field that the score is compared with: a completion whose score is above it is refused.
    # `swarmproof calibrate` sets it. Empty: there is none.
    threshold_field: ClassVar[str] = ""

    on_reject: OnReject | None = Field(
        default=None,
        description="what its refusals do to the group; grpo.on_reject where not given",
    )

    @classmethod
    def require_class(cls) -> None:
        super().require_class()
        if cls.reads not in get_args(Reads):
            raise ValueError(
                f"the class {cls.__name__} has reads = {cls.reads!r:.60}; it must be one of "
                f"{', '.join(get_args(Reads))}"
            )

    def require(self) -> None:
        """Check, before anything is computed, that the defence can be had.

        Raises:
            ValueError: it cannot; one line with the remedy.
        """

    def require_threshold(self) -> None:
        """Check that its threshold decides, as it is set.

        Raises:
            ValueError: another setting decides; one line with the remedy.
        """

    @property
    def model_path(self) -> str | None:
        """The model that it loads in this process beside the receiver's; None if it loads none."""
        return None

    @property
    def only_rewarded(self) -> bool:
        """Whether it has an opinion only of completions that earn the reward."""
        return False

    @abstractmethod
    def inspect(self, groups: Sequence[Group], view: DefenseView) -> Sequence[Sequence[Verdict]]:
        """A verdict on every completion, group by group, each built by `self.verdict`.

        A node inspects its own completions like all others: identical nodes that treated their
        own differently would drift apart.
        """

    def verdict(
        self,
        accepted: bool | None,
        score: float,
        reason: str = "",
        *,
        weight: float = 1.0,
        token_credit: Sequence[float] | None = None,
    ) -> Verdict:
        """This defence's verdict.

        Args:
            accepted: False refuses; None abstains.
            score: finite; higher is more suspicious. What is not finite refuses.
            reason: one line; empty if accepted.
            weight: in [0, 1]: how much the completion votes in its group's mean, and trains.
            token_credit: in [-1, 1] for each token: multiplies the token's advantage.
        """
        credit = None if token_credit is None else tuple(token_credit)
        return Verdict(self.name, accepted, score, reason, weight, credit)

    def remember(
        self,
        groups: Sequence[Group],  # noqa: ARG002
        view: DefenseView,
    ) -> State:
        """What the next round's `view.state` is; called once at the end of a round with all of it.

        A pure function of its arguments, for a defence that compares rounds. What it returns is
        saved with each checkpoint, so it is plain JSON, and bounded by the defence.
        """
        return view.state
