"""What a defence is: a verdict on every completion, with a score and a reason."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, get_args

import numpy as np
from pydantic import Field

from swarmproof.config import OnReject, SamplingConfig, Topology
from swarmproof.registry import Kind, Plugin
from swarmproof.types import Group, NodeId, TokenScores, Verdict

if TYPE_CHECKING:
    from swarmproof.policies.codec import Codec
    from swarmproof.policies.generator import Generator
    from swarmproof.policies.scorer import Scorer

# The inputs of a defence. They decide when it is called:
#   text    texts and rewards; once a round, before any forward pass, which skips what it drops.
#   scores  the receiver's own scores; for each forward pass, with the groups of that pass.
#   round   the same, but compares the completions of a whole round; once a round.
#   model   queries the receiver's model itself; with the groups of each pass.
Reads = Literal["text", "scores", "round", "model"]
State = Mapping[str, Any]  # JSON values only


class Plain(dict[str, Any]):
    """A state that JSON gives back unchanged: tables, lists, texts and finite numbers only.

    The guard takes it as it is, where it sends another state through JSON. Its receivers share it.
    """


# For `Defense.state_type`.
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Rounds = Literal["rounds"]


class Scores(Protocol):
    """Scores of some groups under the receiver's model. A foreign trainer may provide them."""

    @property
    def scores(self) -> Sequence[Sequence[TokenScores]]:
        """One entry for each completion, group by group."""


class Columns(Scores, Protocol):
    """Scores with further values for each token; those of this package have them."""

    def column(self, name: str) -> Sequence[Sequence[np.ndarray]]:
        """One of `policies.columns.COLUMNS`, float32 (T,) for each completion, group by group."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The swarm that a defence would work in, for its check before the run."""

    nodes: int  # all
    models: int = 1  # different models among the honest nodes
    topology: Topology = "horizontal"
    programs: bool = False  # whether the answers are programs


class AskedModel(Protocol):
    """The receiver's own model, for a defence that queries it."""

    @property
    def codec(self) -> Codec: ...
    @property
    def generator(self) -> Generator: ...
    @property
    def scorer(self) -> Scorer: ...


@dataclass(frozen=True, slots=True)
class DefenseView:
    """The data that a receiver has when it inspects some groups."""

    rewards: Sequence[Sequence[float]]  # the task's, group by group
    seed: int  # the receiver's own seed for this round: no peer can predict draws from it
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    round: int = 0
    source: Scores | None = None  # None for defences that read no scores
    codec: Codec | None = None  # the receiver's tokenizer, if one was given
    model: AskedModel | None = None  # only for defences that read a model
    # Nodes whose completions were, to the receiver's knowledge, written by a model other than its
    # own: all nodes except those that run its model. Empty in a swarm of one model.
    foreign: frozenset[NodeId] = frozenset()
    programs: bool = False  # whether the answers are programs
    state: State = field(default_factory=dict)  # the result of `Defense.remember` last round
    # The truth about the senders, which only a simulation knows; None for all defences except
    # those that are bounds and not defences (`Defense.knows_senders`).
    malicious: frozenset[NodeId] | None = None

    @property
    def scores(self) -> Sequence[Sequence[TokenScores]]:
        """Scores of every token under the receiver's own model, one entry for each completion,
        group by group."""
        if self.source is None:
            raise ValueError('no scores here: a defence that reads them sets reads = "scores"')
        return self.source.scores

    def column(self, name: str) -> Sequence[Sequence[np.ndarray]]:
        """A further value of every token under the receiver's own model: `columns.COLUMNS`.

        Raises:
            ValueError: the scores were given by a caller who does not have it.
        """
        column = getattr(self.source, "column", None)
        if column is None:
            raise ValueError(
                f"the scores that were given have no column {name!r}; give the guard a model, and "
                "leave the scores out"
            )
        told: Sequence[Sequence[np.ndarray]] = column(name)
        return told

    @property
    def eos_token_id(self) -> int:
        return self._told().eos_token_id

    @property
    def end_ids(self) -> frozenset[int]:
        """The receiver's tokens that end a completion."""
        return self._told().end_ids

    @property
    def digit_ids(self) -> frozenset[int]:
        """The receiver's tokens that contain a digit."""
        return self._told().digit_ids

    def _told(self) -> Codec:
        if self.codec is None:
            raise ValueError("this defence reads tokens, and the guard knows no tokenizer")
        return self.codec


class Defense(Plugin):
    """A filter between gathering completions and learning from them."""

    kind: ClassVar[Kind] = "defense"
    reads: ClassVar[Reads] = "scores"
    # Name of the field with the threshold: a completion with a score above it is refused.
    # `swarmproof calibrate` sets this field. Empty if the defence has no threshold.
    threshold_field: ClassVar[str] = ""
    # The columns that it reads, for `reads = "round"`; others may read any column in `inspect`.
    columns: ClassVar[tuple[str, ...]] = ()
    # Whether it is told who is malicious: a bound on what any filter can do, not a defence.
    knows_senders: ClassVar[bool] = False
    # Whether it reads programs only, and so has no verdict on any other answer.
    only_programs: ClassVar[bool] = False
    # The type of its state, as pydantic reads it from JSON. A state is checked when it is loaded.
    state_type: ClassVar[Any] = dict[str, Any]

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
        """Check, before anything is computed, that the defence can be loaded.

        Raises:
            ValueError: it cannot be loaded; one line with the remedy.
        """

    def require_in(self, setting: Setting) -> None:
        """Check, before anything is computed, that the defence can work in such a swarm.

        Raises:
            ValueError: it lacks something; one line that names a preset or defence that fits.
        """

    def require_threshold(self) -> None:
        """Check that, with the current settings, the threshold decides about refusals.

        Raises:
            ValueError: another setting decides; one line with the remedy.
        """

    @property
    def model_path(self) -> str | None:
        """The model that it loads into this process in addition to the receiver's, or None."""
        return None

    @property
    def only_rewarded(self) -> bool:
        """Whether it abstains on all completions that do not earn the reward."""
        return False

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns that `remember` reads, of a defence with `reads = "scores"`.

        It has no scores, because the passes are freed by then. A column is computed once more.
        """
        return ()

    def rates(
        self,
        groups: Sequence[Group],  # noqa: ARG002
        view: DefenseView,  # noqa: ARG002
    ) -> dict[str, tuple[int, int]]:
        """Counts in honest completions, (count, of), by the field that says how high their share
        may be. `swarmproof calibrate` sets such a field to the upper end of the 95 % interval.
        """
        return {}

    @abstractmethod
    def inspect(self, groups: Sequence[Group], view: DefenseView) -> Sequence[Sequence[Verdict]]:
        """Return a verdict on every completion, group by group, each built by `self.verdict`.

        A node inspects its own completions like all others. If identical nodes treated their own
        completions differently, their weights would drift apart.
        """

    def verdict(
        self,
        accepted: bool | None,
        score: float,
        reason: str = "",
        *,
        weight: float = 1.0,
        token_credit: Sequence[float] | None = None,
        renormalised: bool = False,
        redraw: bool = False,
    ) -> Verdict:
        """This defence's verdict.

        Args:
            accepted: False refuses; None abstains.
            score: finite; higher is more suspicious. A score that is not finite refuses.
            reason: one line; empty if accepted.
            weight: in [0, 1]: the weight of the completion in its group's mean and in the loss.
            token_credit: in [-1, 1] for each token: multiplies the token's advantage.
            renormalised: give the other tokens of the completion what `token_credit` takes away.
            redraw: where the rule is "refill", the receiver draws the slot itself; with `accepted`
                None nobody is accused.
        """
        credit = None if token_credit is None else tuple(token_credit)
        return Verdict(self.name, accepted, score, reason, weight, credit, renormalised, redraw)

    def remember(
        self,
        groups: Sequence[Group],  # noqa: ARG002
        view: DefenseView,
    ) -> State:
        """Return `view.state` of the next round. Called once at the end of a round with all groups.

        A pure function of its arguments, for a defence that compares rounds. The result is saved
        with each checkpoint, so it must be plain JSON, and the defence must bound its size.
        """
        return view.state


def better_than_mean(rewards_G: Sequence[float]) -> list[bool]:
    """Which completions of a group have a positive advantage before any refusal; (G,) -> (G,)."""
    if not rewards_G or min(rewards_G) == max(rewards_G):  # a mean may be rounded below them
        return [False] * len(rewards_G)
    mean = float(np.mean(rewards_G))
    return [reward > mean for reward in rewards_G]
