"""The guard: defences, the model that scores for them, and their state.

A trainer needs nothing else of this package. It imports torch only when a score is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from swarmproof import registry
from swarmproof.config import OnReject, SamplingConfig, presets, validate
from swarmproof.defenses.base import AskedModel, Defense, DefenseView, Scores, State
from swarmproof.guard import entering, given
from swarmproof.guard.advantages import EFFECTS, Rules
from swarmproof.guard.gate import TOKENS
from swarmproof.guard.inspection import Inspecting, Inspection
from swarmproof.policies.codec import Codec
from swarmproof.randomness import derive_seed
from swarmproof.types import Group, NodeId, Sample, TokenScores


class Guard:
    """Refuses completions between a rollout and an update; a refused one neither votes nor trains.

    >>> guard = Guard([{"name": "max_tokens", "limit": 3}])
    >>> group = Group.of("2 + 2?", ["4", "5", "4"], token_ids=[(1, 9), (2, 9), (1, 1, 1, 9)])
    >>> guard([group], [[1.0, 0.0, 1.0]]).kept[0].tolist()
    [True, True, False]

    Args:
        defenses: plug-ins, their names, or tables such as `{"name": "logit", "tolerance": 0.1}`.
        preset: instead of `defenses`, the name of a tested combination.
        model: scores completions for defences that read scores: a path (zoo name, folder or hub
            id), or a loaded causal LM, whose current weights are used at each call.
        tokenizer: the tokenizer of a loaded model; a path includes its own.
        sampling: the strategy that sampled the completions: a `SamplingConfig` or its fields. A
            completion longer than a `max_new_tokens` that is given here is refused.
        on_reject: the effect of a refusal, for defences that do not set their own.
        seed: seed of the defences' random draws. Peers must not know it.
        scale_rewards: divide advantages by the group's deviation (False: Dr. GRPO).
        malicious: the truth about the senders, for `perfect`, which is no defence but a bound.
        foreign: senders whose completions another model wrote.
        foreign_teach: `positive`: train on these only where they are better than their group's
            mean.
        programs: whether the answers are programs; None: what the preset is for, else False. A
            judge is given this information, and `imports` reads nothing else.

    Raises:
        ValueError: an unknown name or setting, or a missing input that a defence needs.
    """

    def __init__(
        self,
        defenses: Sequence[Defense | str | Mapping[str, Any]] = (),
        preset: str | None = None,
        model: Any = None,
        tokenizer: Any = None,
        sampling: SamplingConfig | Mapping[str, Any] | None = None,
        on_reject: OnReject = "drop",
        seed: int = 0,
        *,
        scale_rewards: bool = True,
        foreign: frozenset[NodeId] = frozenset(),
        foreign_teach: Literal["all", "positive"] = "all",
        programs: bool | None = None,
        malicious: frozenset[NodeId] | None = None,
    ) -> None:
        if preset is not None:
            if defenses:
                raise ValueError("give a preset or defences, not both")
            found = presets.preset(preset)
            defenses = found.defenses
            programs = found.programs if programs is None else programs
        given.require_tokenizer(tokenizer)
        if on_reject not in EFFECTS:
            known = registry.did_you_mean(str(on_reject), EFFECTS)
            raise ValueError(f"on_reject = {on_reject!r:.60} is not a rule{known}")
        self.defenses = tuple(map(_built, defenses))
        names = [defense.name for defense in self.defenses]
        if len({*names, TOKENS}) <= len(names):
            raise ValueError(f"defences need distinct names, and these are {', '.join(names)}")
        by_defense: dict[str, OnReject] = {TOKENS: on_reject}
        by_defense |= {d.name: d.on_reject or on_reject for d in self.defenses}
        presets.require_refillable(
            [{"name": d.name, "on_reject": by_defense[d.name]} for d in self.defenses], on_reject
        )
        self.rules = Rules(by_defense, scale_rewards, foreign, foreign_teach)
        self.sampling = (
            sampling
            if isinstance(sampling, SamplingConfig)
            else validate(SamplingConfig, dict(sampling or {}))
        )
        self.seed, self.programs, self._malicious = seed, bool(programs), malicious
        self._given_model, self._given_tokenizer = model, tokenizer
        self._model: AskedModel | None = None
        self._own_codec: Codec | None = None
        self._states: dict[str, State] = {}
        self._next_round = 0  # of a call that is told none
        self._require()

    def __call__(
        self,
        groups: Sequence[Group],
        rewards: Sequence[Sequence[float]],
        round: int | None = None,
        scores: Scores | Sequence[Sequence[TokenScores]] | None = None,
    ) -> Inspection:
        """Inspect a round's groups.

        Args:
            groups: P groups, all groups of the round: some defences compare them.
            rewards: the trainer's own rewards, P x G.
            round: number of the training round. The defences' random draws depend on it, and when
                they forget. None: that of the last call + 1, from 0 on.
            scores: P x G, if the trainer has them already; else the guard's model computes them.

        Raises:
            ValueError: rewards or scores do not fit the groups, or are not finite.
        """
        round = self._next_round if round is None else given.round_number(round)
        own = given.Given(scores) if isinstance(scores, Sequence) else scores
        if not all(group.completions for group in groups):
            return self._without_empty(groups, rewards, round, own)
        inspecting = self.begin(groups, rewards, round=round, scores=own)
        self._feed(inspecting, own)
        if inspecting.void:
            void = frozenset(inspecting.void)
            inspecting = self.begin(groups, rewards, round=round, scores=own, void=void)
            self._feed(inspecting, own)
        found, self._next_round = self.finish(inspecting), round + 1
        return entering.with_own_tokens(found, groups)

    def _without_empty(
        self,
        groups: Sequence[Group],
        rewards: Sequence[Sequence[float]],
        round: int,
        scores: Scores | None,
    ) -> Inspection:
        """The result for groups of which some have no completions: nothing reads these."""
        given.require_rewarded(groups, rewards)
        if scores is not None:
            given.require_rows("scores", groups, scores.scores)
        full = [p for p, group in enumerate(groups) if group.completions]
        chosen = None if scores is None else given.Chosen(scores, full)
        found = self([groups[p] for p in full], [rewards[p] for p in full], round, chosen)
        inspected = list(groups)
        samples: list[list[Sample]] = [[] for _ in groups]
        for p, group, row in zip(full, found.groups, found.samples, strict=True):
            inspected[p], samples[p] = group, row
        return replace(found, groups=inspected, samples=samples)

    def _feed(self, inspecting: Inspecting, own: Scores | None) -> None:
        groups = inspecting.groups
        if own is not None or not inspecting.reads_passes or not groups:
            inspecting.feed(range(len(groups)), own)
        else:
            scorer = self._scorer()
            prompts = [group.prompt for group in groups]
            rows = [group.token_ids for group in groups]
            seeds = [group.slot_seeds for group in groups]
            for indices, forward in scorer.passes(prompts, rows, [False] * len(prompts), seeds):
                inspecting.feed(indices, forward)

    def begin(
        self,
        groups: Sequence[Group],
        rewards: Sequence[Sequence[float]],
        *,
        round: int,
        scores: Scores | None = None,
        void: frozenset[NodeId] = frozenset(),
        final: bool = False,
    ) -> Inspecting:
        """Start a round, for a trainer that feeds it pass by pass and learns from the same passes.

        Defences that read texts, or a whole round, run here. If the result is `unsettled` when all
        is fed, and the trainer can fill the slots, it begins the round a second time with other
        completions.

        Args:
            groups: as `__call__`, also `rewards`, `round` and `scores`.
            void: nodes that count for nothing.
            final: this is the second look, and its refusals drop.

        Raises:
            ValueError: as `__call__` does.
        """
        given.require_rewarded(groups, rewards)
        # Arrays are welcome; what follows compares and hashes plain numbers.
        rewards = [[float(reward) for reward in row] for row in rewards]
        codec, scored = self._codec(), scores is not None
        groups, extra = entering.entered(groups, codec, self._limits(), scored=scored)
        if scores is not None:
            given.require_scores(groups, scores.scores)
        asks = any(defense.reads == "model" for defense in self.defenses)
        view = DefenseView(
            rewards=(),
            seed=derive_seed(self.seed, "defense", round),
            sampling=self.sampling,
            round=round,
            codec=codec,
            model=self._loaded() if asks else None,
            foreign=self.rules.foreign,
            programs=self.programs,
        )
        views = {
            d.name: replace(
                view,
                state=self._states.get(d.name, {}),
                model=view.model if d.reads == "model" else None,
                malicious=self._malicious if d.knows_senders else None,
            )
            for d in self.defenses
        }
        return Inspecting(
            self.defenses,
            replace(self.rules, void=void, final=final),
            groups,
            rewards,
            views,
            self._whole(groups, scores),
            extra,
        )

    def finish(self, inspecting: Inspecting, replaced: Sequence[Sample] = ()) -> Inspection:
        """End a round: return the result, and update the state of the defences."""
        found, self._states = inspecting.finish(replaced)
        return found

    @property
    def rules_in_force(self) -> frozenset[OnReject]:
        """The rules for refusals that some defence has, not the default where none uses it."""
        return frozenset(self.rules.by_defense[defense.name] for defense in self.defenses)

    @property
    def codec(self) -> Codec | None:
        """The tokenizer, if one was given; a model that was given by its path is loaded."""
        return self._codec()

    def state_dict(self) -> dict[str, Any]:
        """The state of the defences and the number of the next round, as plain JSON values."""
        states = {name: dict(state) for name, state in self._states.items() if state}
        return {"defenses": states} | ({"round": self._next_round} if self._next_round else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state_dict`.

        Raises:
            ValueError: the state does not fit this guard.
        """
        states = state.get("defenses") if isinstance(state, Mapping) else None
        if not isinstance(states, Mapping):
            raise ValueError(  # noqa: TRY004 - from a file, so a mistake in data
                "the state of a guard is a table that contains a table `defenses`"
            )
        known = {defense.name: defense for defense in self.defenses}
        if unknown := [name for name in states if name not in known]:
            raise ValueError(
                f"the state has an entry for the defence {unknown[0]!r:.60}, which this guard does "
                "not have; build the guard with the same defences"
            )
        checked = {name: given.state(known[name], table) for name, table in states.items()}
        self._next_round = given.whole_number("round", state.get("round", 0))
        self._states = {**checked}

    def _require(self) -> None:
        """Raise ValueError at once for settings with which no call could succeed."""
        for defense in self.defenses:
            defense.require()
            if defense.reads == "model" and self._given_model is None:
                raise ValueError(f"the defence {defense.name!r} asks a model; give Guard one")
            if defense.only_programs and not self.programs:
                raise ValueError(
                    f"the defence {defense.name!r} reads programs only, and this guard is not told "
                    "that the answers are programs; give programs=True (in a file: programs = true)"
                )

    def _whole(self, groups: Sequence[Group], scores: Scores | None) -> Callable[[], Scores]:
        if scores is not None:
            return lambda: scores
        return lambda: self._scorer().score(
            [group.prompt for group in groups],
            [group.token_ids for group in groups],
            [group.slot_seeds for group in groups],
            [name for d in self.defenses if d.reads == "round" for name in d.columns],
        )

    def _limits(self) -> entering.Limits:
        """Tokens, if `sampling` says so: the default does not. The model's, if one scores."""
        known = "max_new_tokens" in self.sampling.model_fields_set
        most = self.sampling.max_new_tokens if known else None
        if self._given_model is None or all(d.reads == "text" for d in self.defenses):
            return entering.Limits(most)
        from swarmproof.policies import shapes

        config = getattr(getattr(self._loaded().scorer, "model", None), "config", None)
        told = None if config is None else config.to_dict()
        context = told and shapes.positions(told, "the guard's model")
        return entering.Limits(most, context, scored=True)

    def _codec(self) -> Codec | None:
        if self._given_model is not None:
            return self._loaded().codec
        if self._own_codec is None and self._given_tokenizer is not None:
            self._own_codec = Codec(self._given_tokenizer)  # once: it keeps what it reads
        return self._own_codec

    def _scorer(self) -> Any:
        if self._given_model is None:
            names = [d.name for d in self.defenses if d.reads in ("scores", "round")]
            raise ValueError(
                f"the defence {names[0]!r} reads a model's scores; give Guard a model, or give "
                "scores with the call"
            )
        return self._loaded().scorer

    def _loaded(self) -> AskedModel:
        if self._model is None:
            model = self._given_model
            if isinstance(model, str | Path):
                from swarmproof.policies import policy

                self._model = policy.load(str(model), self.sampling)
            elif hasattr(model, "scorer") and hasattr(model, "codec"):
                self._model = model
            else:
                from swarmproof.policies import policy

                self._model = policy.adopt(model, self._given_tokenizer, self.sampling)
        return self._model


def _built(defense: Defense | str | Mapping[str, Any]) -> Defense:
    if isinstance(defense, Defense):
        return defense
    table = {"name": defense} if isinstance(defense, str) else defense
    plugin = registry.find("defense", table)
    try:
        return registry.build(Defense, table)
    except ValueError:
        try:  # it tells a wrong parameter in one line
            validate(plugin, {key: value for key, value in table.items() if key != "name"})
        except ValueError as error:
            raise ValueError(f"the defence {plugin.name!r}: {error}") from None
        raise
