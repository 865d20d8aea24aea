"""What the judge asks, what it does not, and what an answer means. The back end is a script."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from models import save_random_qwen2
from swarmproof import registry
from swarmproof.config import SamplingConfig
from swarmproof.defenses import DefenseView, Judge
from swarmproof.defenses import judge as judge_module
from swarmproof.judges import Judgement, JudgeModel, Request
from swarmproof.records.streams import COMPLETIONS, ROUNDS, read_rounds
from swarmproof.swarm.trial import Trial, run_trial
from swarmproof.tasks import Task
from swarmproof.tasks.code_words import CodeWords
from swarmproof.types import Group, Verdict
from swarms import Letters, completion, problem, trial_config

# What the scripts were asked in a test, and how long a criticism might have been.
ASKED: list[Request] = []
BOUNDS: list[int] = []


class Scripted(JudgeModel):
    """Says no to what has the word bad in it, and keeps what it was asked."""

    odds: bool = True
    word: str = ""
    silent_on: str = ""  # the text whose judgement has no log-probabilities
    broken_on: str = ""  # the text whose request fails

    def require_logprobs(self) -> None:
        if not self.odds:
            raise ValueError("it returns no log-probabilities")

    def judge(self, requests: Sequence[Request], *, max_tokens: int) -> list[Judgement]:
        ASKED.extend(requests)
        BOUNDS.append(max_tokens)
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Judgement:
        if self.broken_on and self.broken_on in request.opening:
            return Judgement("", None, None, "", fault="it answers 400:\ntoo long")
        no = 0.9 if "bad" in request.opening else 0.2
        odds = self.odds and not (self.silent_on and self.silent_on in request.opening)
        yes_and_no = [math.log(p) if odds else None for p in (1 - no, no)]
        word = self.word or ("no" if no > 0.5 else "yes")
        criticism = "It is\nbad." if request.criticism else ""
        return Judgement(criticism, yes_and_no[0], yes_and_no[1], word)


@pytest.fixture(autouse=True)
def scripted() -> Iterator[None]:
    registry.register("judge", "scripted")(Scripted)
    ASKED.clear()
    BOUNDS.clear()
    judge_module._rounds.clear()
    yield
    registry._registered["judge"].pop("scripted")


def judge_of(
    odds: bool = True, word: str = "", silent_on: str = "", broken_on: str = "", **parameters: Any
) -> Judge:
    table = {"name": "scripted", "odds": odds, "word": word}
    table |= {"silent_on": silent_on, "broken_on": broken_on}
    return registry.build(Judge, {"name": "judge", "model": table, **parameters})


def group(*texts: str, name: str = "p", question: str = "a b") -> Group:
    of = problem(name, question)
    written = tuple(completion(t, (1,), index=i, problem_id=name) for i, t in enumerate(texts))
    return Group(of, written, f"{question}:")


def inspected(
    judge: Judge,
    groups: Sequence[Group],
    rewards: Sequence[Sequence[float]] | None = None,
    seed: int = 0,
    task: Task | None = None,
) -> list[list[Verdict]]:
    rewards = rewards or [[1.0] * len(g.completions) for g in groups]
    programs = (task or Letters()).writes_programs
    view = DefenseView(rewards=rewards, seed=seed, programs=programs)
    return judge.inspect(groups, view)


def test_the_score_is_the_log_odds_of_no_and_the_threshold_is_the_last_that_passes() -> None:
    judge = judge_of()
    ((good, bad),) = inspected(judge, [group("good", "bad")])
    assert (good.score, bad.score) == (round(math.log(0.2 / 0.8), 4), round(math.log(9), 4))
    assert (good.accepted, bad.accepted) == (True, False)
    assert (good.reason, bad.reason) == ("", "the judge says no (score 2.20)")
    for threshold, accepted in ((good.score, True), (good.score - 1e-4, False)):
        strict = judge_of(threshold=threshold)
        assert inspected(strict, [group("good")])[0][0].accepted is accepted


@pytest.mark.parametrize(
    ("word", "accepted"),
    [
        ("yes", True),
        ("Yes.", True),
        ("no", False),
        (" ", False),
        ("maybe", False),
        ("yesno", False),
    ],
)
def test_a_sampled_word_that_is_no_decision_refuses(word: str, accepted: bool) -> None:
    judge = judge_of(odds=False, word=word, decision="sampled")
    ((verdict,),) = inspected(judge, [group("good")])
    assert verdict.accepted is accepted
    assert math.isfinite(verdict.score)
    if word not in ("yes", "Yes.", "no"):
        assert verdict.reason.startswith("no decision")


def test_a_text_that_is_too_long_is_refused_unread_and_not_cut() -> None:
    judge = judge_of(max_bytes=40)
    fits, long, wide = "a b " * 10, "a b " * 10 + "x", "\N{ABACUS} a" * 10
    ((one, two, three),) = inspected(judge, [group(fits, long, wide)])
    assert (one.accepted, two.accepted, three.accepted) == (True, False, False)
    assert (two.score, two.reason) == (99, "too long to judge: 41 bytes, and it reads at most 40")
    assert three.reason.startswith("too long to judge: 60 bytes")
    assert len(ASKED) == 1
    # A text that is neither rewarded nor judged is no matter.
    assert inspected(judge, [group(long)], [[0.0]])[0][0].accepted is None


def test_a_text_is_no_longer_than_its_tokens_can_be() -> None:
    """44 kB took the tiny judge 40 s, whatever the length of a completion was."""
    judge, texts = judge_of(), group("a " * 80, "a " * 81)
    for sampling, accepted in (({}, [True, True]), ({"max_new_tokens": 10}, [True, False])):
        view = DefenseView([[1.0] * 2], 0, SamplingConfig(**sampling))
        assert [v.accepted for v in judge.inspect([texts], view)[0]] == accepted
    assert judge_of().inspect([group("a " * 10_001)], DefenseView([[1.0]], 0))[0][0].score == 99


def test_one_judgement_without_log_probabilities_is_that_completions_verdict() -> None:
    judge = judge_of(silent_on="quiet", broken_on="huge")
    ((good, quiet, huge),) = inspected(judge, [group("good", "quiet", "huge")])
    assert (good.accepted, good.reason) == (True, "")
    assert (quiet.accepted, huge.accepted) == (False, False)
    assert quiet.reason == "no decision: the judge returned no log-probabilities"
    assert huge.reason == "no decision: it answers 400: too long"
    assert math.isfinite(quiet.score)
    # By a drawn word, log-probabilities are not needed, and a failed request still refuses.
    drawn = judge_of(silent_on="quiet", broken_on="huge", decision="sampled")
    ((quiet, huge),) = inspected(drawn, [group("quiet", "huge")])
    assert (quiet.accepted, huge.accepted) == (True, False)
    # Alone in its round it refuses too: the model still returns them when it is checked.
    ((alone,),) = inspected(judge, [group("quiet")], seed=5)
    assert alone.accepted is False


def test_a_judge_that_never_returns_log_probabilities_stops_the_run() -> None:
    judge = judge_of(odds=False)
    with pytest.raises(ValueError, match="no log-probabilities"):
        judge.require()
    with pytest.raises(ValueError, match="no log-probabilities"):
        inspected(judge, [group("good", "bad")])
    judge_of(odds=False, decision="sampled").require()


@pytest.mark.parametrize(
    ("yes", "no", "score"),
    [(-math.inf, -math.inf, 99.0), (-math.inf, -1.0, 99.0), (-1.0, -math.inf, -99.0)],
)
def test_impossible_words_leave_a_finite_score(yes: float, no: float, score: float) -> None:
    verdict = judge_of().decide(Judgement("", yes, no, "yes"))
    assert (verdict.score, verdict.accepted) == (score, score < 0)


def test_the_criticism_is_bounded_and_gives_the_reason_in_one_line() -> None:
    judge = judge_of(criticism=True, max_criticism_tokens=7)
    ((good, bad),) = inspected(judge, [group("good", "bad")])
    assert (good.reason, bad.reason) == ("", "It is bad.")
    assert BOUNDS == [7]
    assert all(request.criticism for request in ASKED)


@pytest.mark.parametrize("on_reject", ["zero_reward", "drop"])
def test_what_earns_nothing_is_not_judged(on_reject: str) -> None:
    groups, rewards = [group("good", "bad", "bad too")], [[0.0, 1.0, 0.0]]
    ((first, second, third),) = inspected(judge_of(on_reject=on_reject), groups, rewards)
    assert [v.accepted for v in (first, second, third)] == [None, False, None]
    assert first.score == third.score == 0
    assert len(ASKED) == 1


@pytest.mark.parametrize("rewards", [[0.0, -1.0, -1.0], [1.0, -1.0, -1.0], [-0.04, -0.07, -0.07]])
def test_where_rewards_may_be_negative_all_but_the_lowest_is_judged(rewards: list[float]) -> None:
    verdicts = inspected(judge_of(), [group("bad", "bad too", "good")], [rewards])
    assert [v.accepted for v in verdicts[0]] == [False, None, None]


@pytest.mark.parametrize(
    "text",
    ["", "  \n", ":", "Solution", "Thought process:", "…!?", "<think></think> <answer>4</answer>",
     "<think>Solution:</think> <answer>4</answer>", "<code>\n</code>"],
)  # fmt: skip
def test_nothing_and_master_keys_never_reach_the_model(text: str) -> None:
    judge = judge_of()
    ((verdict,),) = inspected(judge, [group(text)])
    assert verdict.accepted is False
    assert verdict.reason.startswith("nothing to judge")
    assert ASKED == []
    ((verdict,),) = inspected(judge, [group("<think>2 + 2 = 4.</think> <answer>4</answer>")])
    assert verdict.accepted


def test_equal_pairs_are_asked_once_in_a_round_and_again_in_the_next() -> None:
    judge = judge_of()
    groups = [group("x", "x", "y"), group("x", name="q"), group("x", name="r", question="c d")]
    first = inspected(judge, groups)
    # x and y to the question a b, x to c d.
    assert len(ASKED) == 3
    # Another cohort with an equal judge, in the same round.
    assert inspected(judge_of(), groups) == first
    assert len(ASKED) == 3
    inspected(judge, groups, seed=1)
    assert len(ASKED) == 6
    inspected(judge_of(threshold=-9.0), groups, seed=1)
    assert len(ASKED) == 9, "another judge has its own verdicts"


def test_the_fence_is_of_the_receivers_seed_and_of_the_text() -> None:
    judge = judge_of()
    for seed in (0, 1):
        inspected(judge, [group("one", "two")], seed=seed)
    fences = [request.opening.splitlines()[0] for request in ASKED]
    assert len(set(fences)) == 4
    inspected(judge, [group("one", "two")], seed=0)
    assert [request.opening.splitlines()[0] for request in ASKED[4:]] == fences[:2]


def test_the_prompt_is_the_tasks_unless_it_is_given(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    parts = ["Q {question}", "response", "{fence} {completion}", "criticism", "C", "decision", "D"]
    own.write_text("\n".join(f"=== {p}" if p.isalpha() and len(p) > 1 else p for p in parts))
    shared = []
    for task, prompt in (
        (Letters(), "auto"),
        (CodeWords(train=8, test=2), "auto"),
        (Letters(), "tiny"),
        (Letters(), str(own)),
    ):
        inspected(judge_of(prompt=prompt), [group("good")], task=task)
        shared.append(ASKED[-1].shared)
    assert "math problems" in shared[0]
    assert "programs" in shared[1]
    assert shared[2:] == ["Question: a b\n", "Q a b\n"]


def test_records_are_the_same_bytes_after_a_resume(tmp_path: Path) -> None:
    model = save_random_qwen2(tmp_path / "model", seed=1, hidden=32, judge=True)
    config = trial_config(
        model,
        batch={"problems": 4, "group_size": 8},
        defenses=[
            {
                "name": "judge",
                "model": {"name": "local", "path": str(model)},
                "prompt": "tiny",
                "criticism": True,
                "max_criticism_tokens": 6,
            }
        ],
    )
    whole = Trial("e", "a", 0, config, tmp_path / "whole")
    run_trial(whole, resume=False)
    broken = dataclasses.replace(whole, folder=tmp_path / "broken")

    class Stop(Exception):
        pass

    def stop_after(round: int) -> Callable[..., None]:
        def on_round(record: Any, _: float) -> None:
            if record.round == round:
                raise Stop

        return on_round

    with pytest.raises(Stop):
        run_trial(broken, resume=False, on_round=stop_after(2))  # between two checkpoints
    run_trial(broken, resume=True)
    for name in (ROUNDS, COMPLETIONS):
        assert (whole.folder / name).read_bytes() == (broken.folder / name).read_bytes()
    judged = [record.by_defense["judge"] for record in read_rounds(whole.folder)]
    assert sum(row["honest_refused"] + row["poisoned_refused"] for row in judged) > 0
    assert sum(row["honest_abstained"] for row in judged) > 0
