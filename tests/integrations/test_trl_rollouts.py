"""Peers' completions in TRL's GRPOTrainer: hostile input, senders, log-probabilities, masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer

from judging import Bad, Credits
from swarmproof import Guard
from swarmproof.integrations.ledger import Ledger
from swarmproof.integrations.trl import rollout_func, wrap
from trl_trainers import (
    BAD,
    PROMPTS,
    REWARDS,
    SENDERS,
    TEXTS,
    G,
    GuardedGRPO,
    by_length,
    by_text,
    fixed,
    gradient,
    scored,
    trainer,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and its dependencies
REPEATED = [prompt for prompt in PROMPTS for _ in range(G)]


def peers(prompts: Sequence[str]) -> list[tuple[str, str]]:
    assert prompts == REPEATED
    return list(zip(SENDERS, TEXTS, strict=True))


def of_text(prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
    assert len(prompts) == len(texts)
    return by_text(texts)


def wrapped(guard: Guard, **more: Any) -> dict[str, Any]:
    return {"reward_funcs": wrap(guard, by_text, **more)}


def test_senders_reach_the_guard_and_the_reward_functions(
    random_model: Path, tmp_path: Path
) -> None:
    def spy(sender: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
        seen.append((list(sender), list(completions)))
        return by_text(completions)

    class Senders(Bad):
        def inspect(self, groups: Any, view: Any) -> Any:
            seen.append([c.node for group in groups for c in group.completions])
            return super().inspect(groups, view)

    seen: list[Any] = []
    guard, ledger = Guard([Senders()]), Ledger()
    t = trainer(
        random_model, tmp_path, wrap(guard, spy, ledger=ledger),
        rollout_func=rollout_func(guard, peers),
    )  # fmt: skip
    batch = scored(t)
    assert seen == [(list(SENDERS), list(TEXTS)), list(SENDERS)]
    assert batch["advantages"][torch.tensor(BAD)].eq(0).all()
    assert {row.sender: row.refused for row in ledger.rows() if row.refused} == {"eve": 1, "ben": 1}
    clean = scored(trainer(random_model, tmp_path, by_text, rollout_func=fixed()))
    assert torch.equal(batch["completion_ids"], clean["completion_ids"])


def test_an_iterable_gives_a_batch_at_a_time_until_it_ends(
    random_model: Path, tmp_path: Path
) -> None:
    guard = Guard([Bad()])
    tokenizer = AutoTokenizer.from_pretrained(random_model)
    ids = [(s, [*tokenizer(text).input_ids, 0]) for s, text in zip(SENDERS, TEXTS, strict=True)]
    ids = [(s, [*row[:-1], tokenizer.eos_token_id]) for s, row in ids]
    batches: list[Any] = [peers(REPEATED), ids]
    rollout = rollout_func(guard, iter(batches))
    t = trainer(random_model, tmp_path, **wrapped(guard), rollout_func=rollout)
    first, second = scored(t), scored(t)
    assert torch.equal(first["completion_ids"], second["completion_ids"])
    with pytest.raises(ValueError, match="the source has ended, and 8 prompts wait"):
        scored(t)


HOSTILE: list[tuple[Any, str]] = [
    ("x" * 40, "too-long"),
    ("\ud800", "not-tokenisable"),
    ([], "unknown-token"),
    ([10**9], "unknown-token"),
    ([-1], "unknown-token"),
    ([1.5], "not-tokens"),
    ([True], "not-tokens"),
    ([[1]], "not-tokens"),
    (b"\x07", "unknown-token: "),
    (7, "not-tokens"),
    ({"a": 1}, "not-tokens"),
]


@pytest.mark.parametrize("place", range(len(HOSTILE)))
def test_malformed_completions_neither_vote_nor_train(
    random_model: Path, tmp_path: Path, place: int
) -> None:
    """At the place of the refused completions; the rest of the batch does not notice."""
    hostile, code = HOSTILE[place]
    if isinstance(hostile, bytes):  # an end-of-text in the middle
        eos = AutoTokenizer.from_pretrained(random_model).eos_token_id
        hostile, code = [1, eos, 2], "after-end"

    def source(prompts: Sequence[str]) -> list[Any]:
        told = list(zip(SENDERS, TEXTS, strict=True))
        assert len(told) == len(prompts)
        return [(s, hostile if bad else text) for (s, text), bad in zip(told, BAD, strict=True)]

    guard, ledger = Guard([]), Ledger()
    t = trainer(
        random_model, tmp_path, by_text, kind=GuardedGRPO, guard=guard, ledger=ledger,
        rollout_func=rollout_func(guard, source),
    )  # fmt: skip
    batch = scored(t)
    clean = scored(
        trainer(
            random_model, tmp_path, by_text, kind=GuardedGRPO, guard=Guard([Bad()]),
            rollout_func=fixed(),
        )
    )  # fmt: skip
    assert torch.equal(batch["advantages"], clean["advantages"])
    assert batch["num_items_in_batch"] == clean["num_items_in_batch"]
    (eve,) = (row for row in ledger.rows() if row.sender == "eve")
    assert dict(eve.by_defense) == {"admission": 1}
    assert next(iter(eve.reasons)).startswith(code)


def test_what_nobody_sent_is_drawn_by_the_trainers_model(
    random_model: Path, tmp_path: Path
) -> None:
    def source(prompts: Sequence[str]) -> list[Any]:
        return [("ann", None) if i % 2 else ("ben", "seven") for i in range(len(prompts))]

    guard = Guard([])
    t = trainer(
        random_model, tmp_path, **wrapped(guard), rollout_func=rollout_func(guard, source)
    )  # fmt: skip
    torch.manual_seed(0)
    batch = scored(t)
    drawn = batch["completion_ids"][1::2]
    assert len({tuple(row.tolist()) for row in drawn}) == 4
    assert (batch["completion_mask"].sum(1) <= 16).all()
    assert t.model.training


def test_log_probabilities_are_computed_here(random_model: Path, tmp_path: Path) -> None:
    guard = Guard([Bad()])
    settings = {"off_policy_mask_threshold": 1.0, "temperature": 0.7}
    rollout = rollout_func(guard, peers)
    t = trainer(random_model, tmp_path, **wrapped(guard), rollout_func=rollout, settings=settings)
    batch = scored(t)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        expected, _, _ = t._get_per_token_logps_and_entropies(
            t.model, ids, mask, batch["completion_ids"].shape[1]
        )
    kept = batch["completion_mask"].bool()
    torch.testing.assert_close(
        batch["sampling_per_token_logps"][kept], expected[kept], atol=1e-5, rtol=1e-5
    )
    settings = {}  # TRL does not read them: no pass is made for nothing
    t = trainer(random_model, tmp_path, **wrapped(guard), rollout_func=rollout, settings=settings)
    assert "sampling_per_token_logps" not in scored(t)


@pytest.mark.parametrize("rule", ["drop", "mask"])
def test_with_rewards_the_public_mask_drops_as_the_mixin_does(
    random_model: Path, tmp_path: Path, rule: Any
) -> None:
    class Once(Bad):
        def inspect(self, groups: Any, view: Any) -> Any:
            asked.append(view.rewards)
            return super().inspect(groups, view)

    asked: list[Any] = []
    settings = {"loss_type": "dapo", "beta": 0.5}
    guard = Guard([Once(), Credits()], on_reject=rule)
    t = trainer(
        random_model, tmp_path, **wrapped(guard), settings=settings,
        rollout_func=rollout_func(guard, peers, reward=of_text),
    )  # fmt: skip
    batch = scored(t)
    assert asked == [[list(REWARDS[:G]), list(REWARDS[G:])]]  # once
    other = Guard([Bad(), Credits()], on_reject=rule)
    mixin = trainer(
        random_model, tmp_path, by_text, kind=GuardedGRPO, guard=other, settings=settings,
        rollout_func=rollout_func(other, peers),
    )  # fmt: skip
    expected = scored(mixin)
    bad = torch.tensor(BAD)
    assert torch.equal(batch["advantages"][~bad], expected["advantages"][~bad])
    assert batch["num_items_in_batch"] == expected["num_items_in_batch"]
    torch.testing.assert_close(gradient(t, batch), gradient(mixin, expected), atol=1e-6, rtol=1e-4)


def test_credits_that_the_public_mask_cannot_express(random_model: Path, tmp_path: Path) -> None:
    guard = Guard([Credits(credits=(0.5,))])
    t = trainer(
        random_model, tmp_path, **wrapped(guard),
        rollout_func=rollout_func(guard, peers, reward=of_text),
    )  # fmt: skip
    with pytest.raises(ValueError, match="env_mask cannot express; use GuardMixin"):
        scored(t)


def test_a_run_of_two_steps_writes_verdicts(random_model: Path, tmp_path: Path) -> None:
    def source(prompts: Sequence[str]) -> list[tuple[str, str]]:
        return list(zip(SENDERS, TEXTS, strict=True))[: len(prompts)]

    guard = Guard([Bad()])
    t = trainer(
        random_model, tmp_path, wrap(guard, [by_text, by_length]),
        rollout_func=rollout_func(guard, source), settings={"max_steps": 2},
    )  # fmt: skip
    t.train()
    files = sorted((tmp_path / "completions").glob("*.parquet"))
    tables = [pd.read_parquet(file) for file in files]
    assert [table["guard/refused"].sum() for table in tables] == [2, 2]


@pytest.mark.parametrize(
    ("case", "match"),
    [
        ("plain", "nothing refuses any"),
        ("other guard", "different guards"),
        ("half wrapped", "give the trainer all that `wrap` returned"),
        ("one more", "give the trainer all that `wrap` returned"),
        ("too few", "the source gave 7 completions for 8 prompts"),
        ("no sender", "the sender 1.5 is neither"),
        ("mixin with reward", "leave `reward` out"),
    ],
)
def test_mistakes_are_one_line(random_model: Path, tmp_path: Path, case: str, match: str) -> None:
    guard = Guard([Bad()])
    told: list[Any] = list(zip(SENDERS, TEXTS, strict=True))
    funcs: Any = wrap(guard, [by_text, by_length])
    more: dict[str, Any] = {}
    reward = None
    if case == "plain":
        funcs = by_text
    elif case == "other guard":
        funcs = wrap(Guard([Bad()]), by_text)
    elif case == "half wrapped":
        funcs = funcs[:1]
    elif case == "one more":
        funcs = [*funcs, by_length]
    elif case == "too few":
        told = told[:7]
    elif case == "no sender":
        told[3] = (1.5, "x")
    else:
        funcs, reward, more = by_text, of_text, {"kind": GuardedGRPO, "guard": guard}
    rollout = rollout_func(guard, [told], reward=reward)
    t = trainer(random_model, tmp_path, funcs, rollout_func=rollout, **more)
    with pytest.raises(ValueError, match=match) as caught:
        scored(t)
    assert "\n" not in str(caught.value)
