"""The guard on its own: no swarm, no torch until a score is needed, state that comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from swarmproof.config import OnReject
from swarmproof.defenses import Defense, DefenseView, Logit
from swarmproof.defenses.base import Reads, State
from swarmproof.guard.advantages import Rules
from swarmproof.guard.gate import TOKENS
from swarmproof.guard.guard import Guard
from swarmproof.guard.inspection import Inspecting
from swarmproof.types import Group, TokenScores, Verdict
from swarms import Letters, draw_group, policy

HEAVY = "[m for m in ('torch', 'transformers', 'scipy', 'pandas') if m in sys.modules]"


def test_it_imports_no_torch_and_needs_none_without_scores() -> None:
    code = (
        "import sys\nfrom swarmproof import Guard, Group\n"
        "guard = Guard([{'name': 'max_tokens', 'limit': 2}], on_reject='drop')\n"
        "group = Group.of('2 + 2?', ['4', '5'], token_ids=[(1,), (1, 2, 3)])\n"
        "seen = guard([group], [[1.0, 0.0]], round=3)\n"
        f"print(seen.kept[0].tolist(), {HEAVY})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[True, False] []"


def scores_of(*rows: list[float]) -> list[TokenScores]:
    return [TokenScores(np.zeros(len(row), np.float32), np.array(row, np.float32)) for row in rows]


class Tokenizer:
    """Enough of one: the end of text is 9."""

    eos_token_id = 9

    def __len__(self) -> int:
        return 10

    def get_vocab(self) -> dict[str, int]:
        return {str(i): i for i in range(10)}

    @property
    def added_tokens_decoder(self) -> dict[int, str]:
        return {}


def test_a_trainer_fills_the_scores_itself() -> None:
    guard = Guard(["logit"], tokenizer=Tokenizer())
    group = Group.of("?", ["a", "b"], token_ids=[(1, 9), (2, 9)], senders=["ann", "bob"])
    seen = guard([group], [[1.0, 0.0]], scores=[scores_of([0.0, 0.0], [0.0, 2.5])])
    assert [v.accepted for (v,) in seen.verdicts[0]] == [True, False]
    assert seen.weights[0].tolist() == [1.0, 0.0]
    assert seen.refill == [group.completions[1].slot]
    assert seen.advantages[0].tolist() == [0.0, 0.0]


class Undecided(Defense):
    """Wants another draw of every completion that is longer than one character."""

    name: ClassVar[str] = "undecided"
    reads: ClassVar[Reads] = "text"

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:  # noqa: ARG002
        return [
            [
                self.verdict(None, 1.0, "undecided", redraw=True)
                if len(text) > 1
                else self.verdict(True, 0.0)
                for text in group.texts
            ]
            for group in groups
        ]


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("rule", ["refill", "drop"])
def test_what_is_to_be_redrawn_is_listed_once_and_accused_of_nothing(
    rule: OnReject, final: bool
) -> None:
    group = Group.of("?", ["a", "bb", "c"], token_ids=[(1,), (2,), (3,)], senders=[*"xyz"])
    rewards = [[1.0, 0.0, 0.0]]
    inspecting = Inspecting(
        [Undecided()],
        Rules({"undecided": rule}, final=final),
        [group],
        rewards,
        {"undecided": DefenseView(rewards=rewards, seed=0)},
        whole=lambda: pytest.fail("it reads no scores"),
        extra=[[()] * 3],
    )
    inspecting.feed([0], None)
    # In the second look all is drawn that can be, and the completion counts as it is.
    redrawn = rule == "refill" and not final
    assert inspecting.unsettled is redrawn
    seen, _ = inspecting.finish()
    assert seen.kept[0].tolist() == [True, not redrawn, True]
    assert seen.refill == ([group.completions[1].slot] if redrawn else [])
    assert not any(sample.refused for sample in seen.samples[0])


def test_a_score_that_is_not_a_number_refuses() -> None:
    """A NaN weight once made `logit` accept everything."""
    guard = Guard(["logit"], tokenizer=Tokenizer())
    group = Group.of("?", ["a", "b"], token_ids=[(1, 9), (2, 9)])
    nan = scores_of([0.0, 0.0], [0.0, float("nan")])
    assert guard([group], [[1.0, 0.0]], scores=[nan]).kept[0].tolist() == [True, False]
    logprob = [nan[0], TokenScores(np.array([np.nan, 0], np.float32), np.zeros(2, np.float32))]
    assert guard([group], [[1.0, 0.0]], scores=[logprob]).kept[0].tolist() == [True, False]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"rewards": [[1.0]]}, "2 completions and 1 rewards"),
        ({"rewards": []}, "1 groups and 0 rows of rewards"),
        ({"rewards": [[1.0, float("nan")]]}, "completion 1 of group 0 is nan"),
        ({"rewards": [[1.0, None]]}, "completion 1 of group 0 is None"),
        ({"scores": []}, "1 groups and 0 rows of scores"),
        ({"scores": [scores_of([0.0, 0.0])]}, "2 completions and 1 scores"),
        ({"scores": [scores_of([0.0, 0.0], [0.0])]}, "has 2 tokens, and scores of 1"),
        ({}, "give Guard a model, or give scores"),
    ],
)
def test_what_does_not_fit_is_an_error_in_one_line(call: dict[str, Any], words: str) -> None:
    guard = Guard(["logit"], tokenizer=Tokenizer())
    group = Group.of("?", ["a", "b"], token_ids=[(1, 9), (2, 9)])
    with pytest.raises(ValueError, match=words):
        guard([group], **{"rewards": [[1.0, 0.0]], **call})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"defenses": ["logitt"]}, "did you mean 'logit'"),
        ({"defenses": [{"name": "logit", "tol": 1}]}, "tol"),
        ({"defenses": ["logit", "logit"]}, "distinct names"),
        ({"preset": "one"}, "no preset is called 'one'"),
        ({"preset": "paper-one-model", "defenses": ["logit"]}, "not both"),
        ({"on_reject": "dorp"}, "did you mean 'drop'"),
        ({"sampling": {"top_k": -1}}, "top_k"),
        ({"defenses": ["self_judge"]}, "asks a model; give Guard one"),
    ],
)
def test_a_wrong_guard_is_refused_when_it_is_built(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Guard(**arguments)


def test_a_group_needs_one_of_each_for_every_text() -> None:
    with pytest.raises(ValueError, match="2 texts and 1 senders"):
        Group.of("?", ["a", "b"], senders=["ann"])
    with pytest.raises(ValueError, match="a whole number or a text, and not list"):
        Group.of("?", ["a", "b"], senders=["ann", ["bob"]])  # type: ignore[list-item]


def test_arrays_are_what_lists_are() -> None:
    """A trainer has numpy's numbers in one round, and plain ones in the next."""

    def played(arrays: bool) -> tuple[Any, Any]:
        guard = Guard(preset="several-models", tokenizer=Tokenizer())
        for round in range(2):
            senders: Any = [0, 1, 2]
            rewards: Any = [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
            if arrays and round == 0:
                senders, rewards = np.arange(3), np.array(rewards)
            groups = [
                Group.of(f"{p}?", [f"{p} is {n}" for n in "abc"], [(1, 9)] * 3, senders)
                for p in range(2)
            ]
            found = guard(groups, rewards, round)
        return found.verdicts, guard.state_dict()

    assert played(arrays=True) == played(arrays=False)


def test_without_tokens_logit_refuses_and_some_tokens_are_an_error() -> None:
    group = Group.of("?", ["a", "b"])
    (row,) = Guard(["logit"])([group], [[1.0, 0.0]], scores=[scores_of([], [])]).verdicts
    assert [verdict.accepted for (verdict,) in row] == [False, False]
    guard = Guard(["length_match"])
    some = [Group.of("?", ["a", "b"], [(1,), (2,)], senders=[0, 1]), group]
    with pytest.raises(ValueError, match="only some completions have them; give token_ids"):
        guard(some, [[1.0, 0.0]] * 2)


def drawn(model: Path) -> tuple[list[Group], list[list[float]]]:
    task, drawer = Letters(), policy(model, max_new_tokens=24)
    groups = [draw_group(drawer, task, p, range(6)) for p in task.problems("train")[:3]]
    rewards = [[float(i % 2) for i in range(6)] for _ in groups]
    return groups, rewards


def test_a_path_a_loaded_model_and_given_scores_say_the_same(random_model: Path) -> None:
    groups, rewards = drawn(random_model)
    tokenizer = AutoTokenizer.from_pretrained(random_model)
    loaded = AutoModelForCausalLM.from_pretrained(random_model)
    sampling = {"max_new_tokens": 24}
    poisoned = Group.of(groups[0].prompt, ["All hail.", *groups[0].texts[1:]])
    asked = [poisoned, *groups[1:]]
    by_path = Guard(["logit"], model=str(random_model), sampling=sampling)(asked, rewards)
    by_model = Guard(["logit"], model=loaded, tokenizer=tokenizer, sampling=sampling)(
        asked, rewards
    )
    assert not by_path.kept[0][0]
    for a, b in zip(by_path.verdicts, by_model.verdicts, strict=True):
        assert [v.accepted for *_, v in a] == [v.accepted for *_, v in b]
        assert [v.score for *_, v in a] == pytest.approx([v.score for *_, v in b], abs=1e-4)
    assert loaded.config._attn_implementation == "sdpa", "the trainer's model is left as it was"


def test_texts_without_tokens_are_tokenised_and_what_cannot_be_is_refused(
    random_model: Path,
) -> None:
    guard = Guard(["logit"], model=str(random_model), sampling={"max_new_tokens": 24})
    group = Group.of("a b:", ["ab", "\ud800", "b"])
    seen = guard([group], [[1.0, 1.0, 0.0]])
    assert [v.defense for v in seen.verdicts[0][1]] == [TOKENS, "logit"]
    assert seen.verdicts[0][1][0].accepted is False
    assert not seen.kept[0][1]
    assert all(sample.tokens for sample in seen.samples[0])


def test_pass_by_pass_is_the_same_as_at_once(random_model: Path) -> None:
    groups, rewards = drawn(random_model)
    model = policy(random_model, max_new_tokens=24)
    names = ["surprise", "logit", "max_tokens", "reward_outlier"]
    at_once = Guard(names, model=model, sampling=model.sampling)(groups, rewards, round=2)
    guard = Guard(names, model=model, sampling=model.sampling)
    inspecting = guard.begin(groups, rewards, round=2)
    for p in (2, 0, 1):
        ((_, forward),) = model.scorer.passes([groups[p].prompt], [groups[p].token_ids], [False])
        inspecting.feed([p], forward)
    found = guard.finish(inspecting)
    assert [[v.defense for v in row[0]] for row in found.verdicts] == [names] * 3
    for a, b in zip(found.samples, at_once.samples, strict=True):
        assert [(s.kept, s.advantage) for s in a] == [(s.kept, s.advantage) for s in b]


def test_a_group_that_was_never_fed_is_an_error() -> None:
    guard = Guard(["max_tokens"])
    groups = [Group.of("?", ["a"], token_ids=[(1,)])] * 2
    inspecting = guard.begin(groups, [[1.0], [1.0]], round=0)
    inspecting.feed([1], None)
    with pytest.raises(ValueError, match="group 0 was never fed"):
        guard.finish(inspecting)


class Counts(Defense):
    """Refuses a text that it has seen in an earlier round."""

    reads: ClassVar[Reads] = "text"

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        seen = view.state.get("seen", [])
        return [
            [self.verdict(text not in seen, seen.count(text), "seen" if text in seen else "")
             for text in group.texts]
            for group in groups
        ]  # fmt: skip

    def remember(self, groups: Sequence[Group], view: DefenseView) -> State:
        texts = {text for group in groups for text in group.texts}
        return {"seen": sorted({*view.state.get("seen", []), *texts}), "round": view.round}


Counts.name = "counts"
ROUNDS = [["a", "b"], ["b", "c"], ["c", "a"]]


def play(guard: Guard, rounds: range) -> list[list[bool]]:
    found = []
    for round in rounds:
        group = Group.of("?", ROUNDS[round], round=round)
        found.append(guard([group], [[1.0, 0.0]], round=round).kept[0].tolist())
    return found


def test_what_a_defence_remembers_is_taken_and_given_back() -> None:
    through = Guard([Counts()])
    whole = play(through, range(3))
    assert whole == [[True, True], [False, True], [False, False]]
    first = Guard([Counts()])
    play(first, range(2))
    resumed = Guard([Counts()])
    resumed.load_state_dict(first.state_dict())
    assert play(resumed, range(2, 3)) == whole[2:]
    assert resumed.state_dict() == through.state_dict()
    assert Guard([Counts()]).state_dict() == {"defenses": {}}


def test_a_state_of_another_guard_is_refused() -> None:
    guard = Guard([Counts()])
    play(guard, range(1))
    with pytest.raises(ValueError, match="the defence 'counts', which this guard does not have"):
        Guard(["max_tokens"]).load_state_dict(guard.state_dict())
    with pytest.raises(ValueError, match="table `defenses`"):
        guard.load_state_dict({})
    with pytest.raises(ValueError, match="the state of the defence 'counts' is not a table"):
        guard.load_state_dict({"defenses": {"counts": 5}})


@pytest.mark.parametrize(
    "state", [{"x": {1}}, {"x": float("nan")}, {"x": object()}], ids=["set", "nan", "object"]
)
def test_a_state_that_json_cannot_hold_is_an_error(state: dict[str, Any]) -> None:
    class Odd(Counts):
        """Remembers the wrong thing."""

        def remember(self, groups: Sequence[Group], view: DefenseView) -> State:  # noqa: ARG002
            return state

    with pytest.raises(ValueError, match="the state of the defence 'counts' is not valid JSON"):
        play(Guard([Odd()]), range(1))


@dataclass
class Asked:
    """What a defence was asked."""

    views: list[DefenseView] = field(default_factory=list)


def test_a_defence_is_given_what_it_says_that_it_reads(random_model: Path) -> None:
    groups, rewards = drawn(random_model)
    model = policy(random_model, max_new_tokens=24)
    for reads in ("text", "scores", "round", "model"):
        asked = Asked()

        class Spy(Defense):
            """Keeps its views."""

            def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
                asked.views.append(view)  # noqa: B023
                return [[self.verdict(True, 0.0)] * len(group.completions) for group in groups]

        Spy.name, Spy.reads = "spy", reads
        guard = Guard([Spy()], model=model, sampling=model.sampling, seed=4)
        guard(groups, rewards, round=1)
        guard(groups, rewards, round=2)
        view = asked.views[0]
        assert (view.source is not None) is (reads in ("scores", "round"))
        assert (view.model is not None) is (reads == "model")
        assert sum(len(v.rewards) for v in asked.views) == 2 * len(groups)
        assert len({v.seed for v in asked.views}) == 2, "a new seed for each round"


def test_a_preset_is_a_guard() -> None:
    guard = Guard(preset="paper-one-model", tokenizer=Tokenizer())
    assert guard.defenses == (Logit(on_reject="drop"),)
    assert guard.rules.by_defense["logit"] == "drop"
