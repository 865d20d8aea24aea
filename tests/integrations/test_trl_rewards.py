"""Wrapped reward functions in the real trainers of TRL."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer
from trl import RLOOTrainer

from judging import Bad, Breaks, Credits, Weighs
from swarmproof import Guard
from swarmproof.guard.advantages import advantages
from swarmproof.integrations.ledger import Ledger
from swarmproof.integrations.sidecar import Sidecar
from swarmproof.integrations.trl import wrap
from swarmproof.integrations.trl.batches import changed
from swarmproof.integrations.watch import Treatment
from trl_trainers import (
    BAD,
    PROMPTS,
    REWARDS,
    SENDERS,
    TEXTS,
    G,
    by_length,
    by_length_later,
    by_text,
    fixed,
    scored,
    trainer,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and its dependencies
KEPT = torch.tensor([not bad for bad in BAD])


def without_refused(rewards: Sequence[float], scale: bool = True) -> torch.Tensor:
    """TRL's formula on each group from which the refused rows are taken, 0 for these."""
    found = torch.zeros(len(rewards), dtype=torch.float64)
    for start in range(0, len(rewards), G):
        at = [i for i in range(start, start + G) if not BAD[i]]
        r = torch.tensor([rewards[i] for i in at], dtype=torch.float64)
        found[at] = (r - r.mean()) / (r.std() + 1e-4 if scale else 1)
    return found


@pytest.mark.parametrize("funcs", [[by_text], [by_text, by_length], [by_text, by_length_later]])
def test_siblings_advantages_are_those_without_the_refused(
    random_model: Path, tmp_path: Path, funcs: list[Any]
) -> None:
    wrapped = wrap(Guard([Bad()]), funcs)
    t = trainer(random_model, tmp_path, wrapped, rollout_func=fixed())
    rewards = [
        r + (len(funcs) - 1) * 0.1 * len(text) for r, text in zip(REWARDS, TEXTS, strict=True)
    ]
    found = scored(t)["advantages"].double()
    torch.testing.assert_close(found, without_refused(rewards), atol=1e-6, rtol=1e-6)
    assert found[~KEPT].eq(0).all()
    # A guard that is one more function changes nothing: every function must return None.
    plain = trainer(random_model, tmp_path, funcs, rollout_func=fixed())
    assert (scored(plain)["advantages"].double() - found)[KEPT].abs().max() > 0.1


def test_rloo_leaves_the_refused_out_of_the_baseline(random_model: Path, tmp_path: Path) -> None:
    """RLOO has no rollout function: its own draws, some of which are refused by their place."""

    class Odd(Bad):
        def inspect(self, groups: Any, view: Any) -> Any:  # noqa: ARG002
            return [
                [self.verdict(c.slot.index != 2, 0.0, "") for c in group.completions]
                for group in groups
            ]

    def ramp(completions: Sequence[str], **_: Any) -> list[float]:
        return [float(i * i) for i in range(len(completions))]

    t = trainer(random_model, tmp_path, wrap(Guard([Odd()]), ramp), kind=RLOOTrainer)
    found = scored(t)["advantages"]
    for start in range(0, 2 * G, G):
        at = [start + i for i in (0, 1, 3)]
        rewards = {i: float(i * i) for i in at}
        for i in at:
            others = [rewards[j] for j in at if j != i]
            assert found[i].item() == pytest.approx(rewards[i] - sum(others) / 2, rel=1e-6)
        assert found[start + 2] == 0


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("monitor", [float(a) for s in (0, G) for a in advantages(REWARDS[s : s + G], [1] * G)]),
        (
            "zero_reward",
            [
                float(a)
                for s in (0, G)
                for a in advantages(
                    [0.0 if BAD[i] else REWARDS[i] for i in range(s, s + G)], [1] * G
                )
            ],
        ),
    ],
)
def test_monitor_and_zero_reward(
    random_model: Path, tmp_path: Path, rule: Any, expected: list[float]
) -> None:
    wrapped = wrap(Guard([Bad()], on_reject=rule), by_text)
    found = scored(trainer(random_model, tmp_path, wrapped, rollout_func=fixed()))["advantages"]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=1e-6)


def test_zeroed_is_the_lowest_of_a_group_with_negative_rewards() -> None:
    """For each function: the reward of length is negative, and 0 would be the best of all."""
    right, short = [1.0, 0.0, 0.0, 1.0], [-0.07, -0.04, -0.05, -0.02]
    zeroed = [Treatment(zeroed=True), Treatment(), Treatment(), Treatment(zeroed=True)]
    told = changed([right, short], zeroed, ["a", "a", "b", "b"])
    assert told == [[0.0, 0.0, 0.0, 0.0], [-0.07, -0.04, -0.05, -0.05]]


def test_weights_weigh_the_mean(random_model: Path, tmp_path: Path) -> None:
    weights = {"seven": 0.5, "four": 0.25}
    wrapped = wrap(Guard([Bad(), Weighs(by_text=weights)]), by_text)
    settings = {"scale_rewards": "none"}
    t = trainer(random_model, tmp_path, wrapped, rollout_func=fixed(), settings=settings)
    w = [0.0 if BAD[i] else weights.get(TEXTS[i], 1.0) for i in range(2 * G)]
    expected = [
        w[s + i] * a
        for s in (0, G)
        for i, a in enumerate(advantages(REWARDS[s : s + G], w[s : s + G], scale_rewards=False))
    ]
    found = scored(t)["advantages"]
    torch.testing.assert_close(found, torch.tensor(expected).float(), atol=1e-6, rtol=1e-6)


def test_a_run_writes_the_verdicts_into_trls_table(random_model: Path, tmp_path: Path) -> None:
    ledger, sidecar = Ledger(), Sidecar(tmp_path / "verdicts.jsonl")
    wrapped = wrap(
        Guard([Bad()]), [by_text, by_length], ledger=ledger, sidecar=sidecar, num_generations=G
    )
    t = trainer(
        random_model, tmp_path, wrapped, rollout_func=fixed(sender=list(SENDERS)),
        settings={"max_steps": 2},
    )  # fmt: skip
    t.train()
    files = sorted((tmp_path / "completions").glob("*.parquet"))
    assert len(files) == 2
    table = pd.read_parquet(files[1])
    assert set(table) == {
        "step", "prompt", "completion", "by_text", "by_length", "advantage", "guard/refused",
        "guard/defence", "guard/score", "guard/reason", "guard/reward",
    }  # fmt: skip
    bad = table[table["completion"].str.startswith("BAD")]
    assert sorted(table["guard/refused"]) == [False] * 6 + [True] * 2
    assert bad["guard/refused"].all()
    assert set(bad["guard/defence"]) == {"bad"}
    assert set(bad["guard/reason"]) == {"it says BAD at 0"}
    assert bad["by_text"].isna().all()
    assert sorted(bad["guard/reward"]) == pytest.approx([7.0 + 0.3, 9.0 + 1.4])
    assert [log["guard/refused_share"] for log in t.state.log_history[:2]] == [0.25, 0.25]
    told = {row.sender: (row.sent, row.refused) for row in ledger.rows()}
    assert told == {"ann": (4, 0), "ben": (4, 2), "eve": (4, 2), "dan": (4, 0)}
    lines = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0] * 8 + [1] * 8
    assert [line["guard/refused"] for line in lines] == [*BAD, *BAD]


class Counting:
    """A reward function that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, completions: Sequence[str], **_: Any) -> list[float]:
        self.calls += 1
        return [float(len(text)) for text in completions]


def test_every_function_and_the_guard_are_asked_once_a_batch() -> None:
    class Counted(Bad):
        def inspect(self, groups: Any, view: Any) -> Any:
            asked.append(view.rewards)
            return super().inspect(groups, view)

    asked: list[Any] = []
    funcs = [Counting(), Counting(), Counting()]
    wrapped = wrap(Guard([Counted()]), funcs, weights=[1, 2, 0.5])
    for _ in range(3):  # three equal batches are three batches
        batch = batch_of(["a", "BAD"])
        assert [func(**batch) for func in wrapped] == [[1.0, None]] * 3
    assert [func.calls for func in funcs] == [3, 3, 3]
    assert asked == [[[3.5, 10.5]]] * 3


def batch_of(texts: Sequence[str], **more: Any) -> dict[str, Any]:
    batch = {
        "prompts": ["p"] * len(texts),
        "completions": list(texts),
        "completion_ids": [list(text.encode()) for text in texts],
    }
    return batch | more


def test_none_of_one_function_is_not_a_refusal() -> None:
    def some(completions: Sequence[str], **_: Any) -> list[float | None]:
        return [None if text == "a" else 1.0 for text in completions]

    def none(completions: Sequence[str], **_: Any) -> list[float | None]:
        return [None if text == "c" else 2.0 for text in completions]

    f, g = wrap(Guard([Bad()]), [some, none])
    batch = batch_of(["a", "b", "BAD"])
    assert f(**batch) == [None, 1.0, None]
    assert g(**batch) == [2.0, 2.0, None]


def test_names_stay_and_partials_pass() -> None:
    f, g, h = wrap(Guard([Bad()]), [by_text, partial(by_length, scale=1), Counting()])
    assert [func.__name__ for func in (f, g, h)] == ["by_text", "by_length", "Counting"]


def test_wrapped_functions_survive_a_pickle_together(tmp_path: Path) -> None:
    """As TRL's asynchronous trainer sends them to its worker, without `log_extra`."""
    sidecar = Sidecar(tmp_path / "verdicts.jsonl")
    before = wrap(Guard([Bad()]), [by_text, by_length_later], ledger=Ledger(), sidecar=sidecar)
    assert before[0](**batch_of(["seven", "BAD"])) == [1.0, None]  # with a lock, a loop, a cache
    f, g = pickle.loads(pickle.dumps(before))
    batch = batch_of(["seven", "BAD"])
    assert f(**batch) == [1.0, None]
    assert asyncio.run(g(**batch)) == [0.5, None]
    assert len((tmp_path / "verdicts.jsonl").read_text().splitlines()) == 4


def test_groups_that_are_scored_at_once_do_not_mix() -> None:
    """TRL's asynchronous worker scores groups concurrently, synchronous functions in threads."""
    wrapped = wrap(Guard([Bad()]), [by_text, by_length_later, by_length])

    async def score(texts: Sequence[str]) -> Any:
        batch = batch_of(texts)
        return await asyncio.gather(
            *(
                func(**batch)
                if asyncio.iscoroutinefunction(func.__call__)
                else asyncio.to_thread(func, **batch)
                for func in wrapped
            )
        )

    async def both() -> Any:
        return await asyncio.gather(*(score(["seven", "BAD", "x" * n]) for n in range(30)))

    for n, told in enumerate(asyncio.run(both())):
        assert told == [[1.0, None, 0.0], [0.5, None, 0.1 * n], [0.5, None, 0.1 * n]]


@pytest.mark.parametrize("reward", ["some/model", torch.nn.Linear(1, 1)])
def test_models_cannot_be_wrapped(reward: Any) -> None:
    with pytest.raises(ValueError, match="GuardMixin"):
        wrap(Guard([Bad()]), [by_text, reward])


def test_a_broken_guard_stops_the_run(random_model: Path, tmp_path: Path) -> None:
    t = trainer(random_model, tmp_path, wrap(Guard([Breaks()]), by_text), rollout_func=fixed())
    with pytest.raises(ZeroDivisionError):
        t.train()


def test_on_error_monitor_lets_the_batch_pass_and_says_so(
    random_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrapped = wrap(Guard([Breaks()]), by_text, on_error="monitor")
    t = trainer(random_model, tmp_path, wrapped, rollout_func=fixed())
    t.train()
    assert "trained on as it came" in caplog.text
    assert t.state.log_history[0]["guard/failed"] == 1
    (file,) = (tmp_path / "completions").glob("*.parquet")
    table = pd.read_parquet(file)
    assert not table["guard/refused"].any()
    assert table["guard/reason"].str.contains("ZeroDivisionError").all()
    assert table["by_text"].notna().all()


@pytest.mark.parametrize(
    ("guard", "more", "match"),
    [
        (Guard([Bad()], on_reject="mask"), {}, "on_reject = \"mask\".*GuardMixin"),
        (Guard([Credits(start="a")]), {}, "credit to single tokens.*GuardMixin"),
        (Guard([Bad()]), {"sender": ["x"]}, "not aligned: 2 prompts and 1 sender"),
        (Guard([Bad()]), {"sender": [1.5, "x"]}, "the sender 1.5"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(guard: Guard, more: Any, match: str) -> None:
    (func,) = wrap(guard, by_text)
    with pytest.raises(ValueError, match=match) as caught:
        func(**batch_of(["a", "b"], **more))
    assert "\n" not in str(caught.value)


def test_a_guard_that_would_credit_tokens_is_refused_at_the_first_batch(random_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(random_model)
    (func,) = wrap(Guard(preset="several-models", tokenizer=tokenizer), by_text)
    batch = batch_of(["a", "b"], completion_ids=[tokenizer(text).input_ids for text in "ab"])
    with pytest.raises(ValueError, match="'equations' gives credit"):
        func(**batch)
    (func,) = wrap(Guard(preset="several-models"), by_text)  # without a tokenizer it abstains
    assert func(**batch_of(["seven", "b"])) == [1.0, 0.0]


def test_tokens_that_are_not_the_text_are_refused(random_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(random_model)
    (func,) = wrap(Guard([Bad()]), by_text, tokenizer=tokenizer)
    batch = batch_of(["seven", "so"])
    batch["completion_ids"] = [tokenizer(text).input_ids for text in ("seven", "no")]
    with pytest.raises(ValueError, match="the tokens of completion 1 are not its text"):
        func(**batch)


def test_groups_are_blocks_where_their_size_is_known() -> None:
    class Sizes(Bad):
        def inspect(self, groups: Any, view: Any) -> Any:
            seen.append([len(group.completions) for group in groups])
            return super().inspect(groups, view)

    seen: list[list[int]] = []
    for size in (None, 2):
        (func,) = wrap(Guard([Sizes()]), by_text, num_generations=size)
        func(**batch_of(["a", "b", "c", "d"]))  # one prompt twice in the data
    assert seen == [[4], [2, 2]]
    (func,) = wrap(Guard([Sizes()]), by_text, num_generations=3)
    with pytest.raises(ValueError, match="leave num_generations out"):
        func(**batch_of(["a", "b", "c", "d"]))


def test_an_environments_own_reward_is_refused() -> None:
    class Environment:
        def get_reward(self) -> float:
            return 1.0

    (func,) = wrap(Guard([Bad()]), by_text)
    with pytest.raises(ValueError, match="GuardMixin"):
        func(**batch_of(["a"], environments=[Environment()]))


def test_conversations() -> None:

    class Short(Bad):
        def inspect(self, groups: Any, view: Any) -> Any:  # noqa: ARG002
            seen.extend(
                (g.prompt, g.problem.question, c.text) for g in groups for c in g.completions
            )
            return [[self.verdict(True, 0.0) for _ in g.completions] for g in groups]

    seen: list[tuple[str, str, str]] = []

    def one(completions: Any, **_: Any) -> list[float]:
        assert completions[0][0]["role"] == "assistant"
        return [1.0] * len(completions)

    prompts = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    (func,) = wrap(Guard([Short()]), one)
    completions = [[{"role": "assistant", "content": "7"}], [{"role": "assistant", "content": "8"}]]
    batch = {"prompts": [prompts[0]] * 2, "completions": completions, "completion_ids": [[1], [2]]}
    assert func(**batch) == [1.0, 1.0]
    assert seen == [(f"user: {PROMPTS[0]}", PROMPTS[0], text) for text in ("7", "8")]
