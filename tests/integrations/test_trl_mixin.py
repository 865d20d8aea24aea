"""`GuardMixin` in the real trainers of TRL: what is refused leaves no trace in the update."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification
from trl import GRPOTrainer, RLOOTrainer

from judging import Bad, Breaks, Credits
from swarmproof import Guard
from swarmproof.defenses.base import Defense
from swarmproof.integrations.ledger import Ledger
from swarmproof.integrations.trl import GuardCallback, GuardMixin, wrap
from swarmproof.integrations.watch import Treatment, Watch
from trl_trainers import (
    BAD,
    PROMPTS,
    SENDERS,
    TEXTS,
    G,
    GuardedGRPO,
    GuardedRLOO,
    by_length,
    by_text,
    fixed,
    gradient,
    scored,
    trainer,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and its dependencies
GOOD = [text for text in TEXTS if not text.startswith("BAD")]
# Shorter and longer than the refused ones of TEXTS, so that every normaliser would notice.
OTHERS = ["BAD" + "!" * i if text.startswith("BAD") else text for i, text in enumerate(TEXTS)]


def moved(t: Any) -> Any:
    """The trainer with other weights, so that its distance from the frozen start is not nothing."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in t.model.parameters():
            p.add_(0.3 * p.std() * torch.randn_like(p) if p.dim() == 2 else 0)
    return t


def guarded(
    model: Path,
    folder: Path,
    *defenses: Defense,
    texts: Sequence[str] = TEXTS,
    settings: Any = None,
    rule: Any = "drop",
    **more: Any,
) -> Any:
    return moved(
        trainer(
            model, folder, by_text, kind=GuardedGRPO, guard=Guard(defenses, on_reject=rule),
            rollout_func=fixed(texts), settings=settings, **more,
        )
    )  # fmt: skip


def close(found: Tensor, expected: Tensor) -> None:
    scale = float(expected.abs().max())
    assert scale > 0
    torch.testing.assert_close(found, expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({"loss_type": "dapo"}, 1.0),
        ({"loss_type": "dapo", "beta": 0.5, "entropy_coef": 0.01}, 1.0),
        ({"loss_type": "bnpo", "beta": 0.5}, 1.0),
        # Means over rows, in which a refused row counts as an empty one: 6 of 8 are left.
        ({"loss_type": "grpo", "beta": 0.5}, 6 / 8),
        ({"loss_type": "dr_grpo"}, 6 / 8),
    ],
)
def test_the_update_is_that_of_a_batch_without_the_refused(
    random_model: Path, tmp_path: Path, settings: dict[str, Any], share: float
) -> None:
    t = guarded(random_model, tmp_path, Bad(), settings=settings)
    batch = scored(t)
    found = gradient(t, batch)
    fewer = moved(
        trainer(
            random_model, tmp_path, by_text, rollout_func=fixed(GOOD), settings=settings,
            generations=G - 1,
        )
    )  # fmt: skip
    clean = scored(fewer)
    close(found, share * gradient(fewer, clean))
    kept = [not bad for bad in BAD]
    close(batch["advantages"][kept], clean["advantages"])
    assert batch["num_items_in_batch"] == clean["num_items_in_batch"]
    # Another refused text in its place changes nothing.
    t = guarded(random_model, tmp_path, Bad(), settings=settings, texts=OTHERS)
    close(gradient(t, scored(t)), found)


def test_wrapped_functions_leave_the_tokens_in_the_normaliser_and_the_kl(
    random_model: Path, tmp_path: Path
) -> None:
    """What the mixin is for: the same with `wrap` depends on the refused text."""
    settings = {"loss_type": "dapo", "beta": 0.5}
    found = []
    for texts in (TEXTS, OTHERS):
        t = trainer(
            random_model, tmp_path, wrap(Guard([Bad()]), by_text), rollout_func=fixed(texts),
            settings=settings,
        )  # fmt: skip
        found.append(gradient(moved(t), scored(t)))
    assert (found[0] - found[1]).abs().max() > 1e-2 * found[0].abs().max()


def test_mask_votes_and_does_not_train(random_model: Path, tmp_path: Path) -> None:
    t = guarded(random_model, tmp_path, Bad(), rule="mask")
    batch = scored(t)
    plain = trainer(random_model, tmp_path, by_text, rollout_func=fixed())
    votes = scored(plain)["advantages"]
    kept = torch.tensor([not bad for bad in BAD])
    close(batch["advantages"][kept], votes[kept])
    assert batch["completion_mask"][~kept].sum() == 0
    assert (batch["completion_mask"][kept].sum(1) > 0).all()


@pytest.mark.parametrize("rule", ["monitor", "zero_reward"])
def test_monitor_and_zero_reward_train(random_model: Path, tmp_path: Path, rule: Any) -> None:
    batch = scored(guarded(random_model, tmp_path, Bad(), rule=rule))
    assert batch["completion_mask"].sum() == batch["num_items_in_batch"]
    assert (batch["completion_mask"].sum(1) > 0).all()
    bad = batch["advantages"][torch.tensor(BAD)]
    assert (bad > 0.5).all() if rule == "monitor" else (bad < -0.5).all()


def test_a_credit_of_0_takes_the_token_out(random_model: Path, tmp_path: Path) -> None:
    settings = {"loss_type": "dapo", "beta": 0.5}
    t = guarded(random_model, tmp_path, Credits(credits=(0.0, 1.0, 0.0)), settings=settings)
    batch = scored(t)
    lengths = [len(text) + 1 for text in TEXTS]  # a token a byte, and end-of-text
    mask = [
        [0, 1, 0] + [1] * (n - 3) if text.startswith("so") else [1] * n
        for text, n in zip(TEXTS, lengths, strict=True)
    ]
    expected = moved(
        trainer(
            random_model, tmp_path, by_text, rollout_func=fixed(env_mask=mask), settings=settings
        )
    )
    masked = scored(expected)
    assert batch["num_items_in_batch"] == masked["num_items_in_batch"] == sum(lengths) - 4
    close(gradient(t, batch), gradient(expected, masked))


def test_other_credits_multiply_the_advantage(random_model: Path, tmp_path: Path) -> None:
    t = guarded(random_model, tmp_path, Bad(), Credits(credits=(-1.0, 0.5, 0.0)))
    batch = scored(t)
    plain = guarded(random_model, tmp_path, Bad())
    factor = torch.ones(batch["completion_ids"].shape)
    for i, text in enumerate(TEXTS):
        if text.startswith("so"):
            factor[i, :2] = torch.tensor([-1.0, 0.5])
    clean = scored(plain)
    close(batch["advantages"], clean["advantages"].unsqueeze(1) * factor)
    assert batch["tool_mask"].eq(0).sum() == 2
    by_hand = clean | {"advantages": batch["advantages"], "tool_mask": batch["tool_mask"]}
    by_hand["num_items_in_batch"] = clean["num_items_in_batch"] - 2
    close(gradient(t, batch), gradient(plain, by_hand))
    t = guarded(random_model, tmp_path, Credits(credits=(0.5,)), settings={"loss_type": "vespo"})
    with pytest.raises(ValueError, match="credits other than 0 and 1"):
        scored(t)


def rloo(model: Path, folder: Path, texts: Sequence[str], generations: int, **more: Any) -> Any:
    """RLOO on fixed completions; it has no rollout function, so its generation is replaced."""
    t = moved(trainer(model, folder, by_text, generations=generations, **more))

    def generate(prompts: list[str]) -> Any:
        told = fixed(texts)(prompts, t)
        return told["prompt_ids"], told["completion_ids"], list(texts)

    t._generate = generate
    return t


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_rloo_updates_as_without_the_refused(
    random_model: Path, tmp_path: Path, beta: float
) -> None:
    settings = {"beta": beta}
    more = {"kind": GuardedRLOO, "guard": Guard([Bad()]), "settings": settings}
    t = rloo(random_model, tmp_path, TEXTS, G, **more)
    batch = scored(t)
    clean = rloo(random_model, tmp_path, GOOD, G - 1, kind=RLOOTrainer, settings=settings)
    expected = scored(clean)
    kept = [not bad for bad in BAD]
    close(batch["advantages"][kept], expected["advantages"])
    # Else the ratio of a refused row without tokens is exp(-old), which may be infinite.
    assert batch["old_logps"].eq(0).tolist() == list(BAD)
    close(gradient(t, batch), 6 / 8 * gradient(clean, expected))
    t = rloo(random_model, tmp_path, TEXTS, G, kind=GuardedRLOO, guard=Guard([Credits()]))
    with pytest.raises(ValueError, match="RLOOTrainer has one ratio"):
        scored(t)


def test_a_run_with_accumulation_logs_its_verdicts(
    random_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger()
    t = trainer(
        random_model, tmp_path, [by_text, by_length], kind=GuardedGRPO, guard=Guard([Bad()]),
        ledger=ledger, rollout_func=fixed(sender=list(SENDERS)),
        settings={"max_steps": 2, "per_device_train_batch_size": 2,
                  "gradient_accumulation_steps": 4},
    )  # fmt: skip
    t.train()
    table = pd.read_parquet(sorted((tmp_path / "completions").glob("*.parquet"))[-1])
    bad = table["completion"].str.startswith("BAD")
    assert table["guard/refused"].tolist() == bad.tolist()
    assert table.loc[bad, "guard/reward"].tolist() == pytest.approx([10.4, 7.3])
    assert table.loc[bad, "by_text"].isna().all()
    assert {row.sender: row.refused for row in ledger.rows()} == {
        "eve": 2, "ben": 2, "ann": 0, "dan": 0,
    }  # fmt: skip
    assert t.state.log_history[0]["guard/refused_share"] == 0.25
    # TRL would print the whole first row that a wrapped function refuses.
    assert "BAD" not in caplog.text


def test_a_resumed_run_remembers(
    random_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By the mixin's own callback, and by that of wrapped functions."""

    def run(steps: int, wrapped: bool) -> Watch:
        guard = Guard([Bad(), "novelty"])
        more: dict[str, Any] = {"kind": GuardedGRPO, "guard": guard, "ledger": Ledger()}
        funcs: Any = by_text
        if wrapped:
            funcs = wrap(guard, by_text, ledger=Ledger())
            more = {"callbacks": [GuardCallback(funcs)]}
        t = trainer(
            random_model, tmp_path / str(wrapped), funcs, rollout_func=fixed(sender=list(SENDERS)),
            settings={"max_steps": steps, "save_strategy": "steps", "save_steps": 1,
                      "log_completions": False},
            **more,
        )  # fmt: skip
        t.train(resume_from_checkpoint=steps > 2)
        watch: Watch = funcs[0].shared.watch if wrapped else t.guard_watch
        return watch

    for wrapped in (False, True):
        run(2, wrapped)
        watch = run(3, wrapped)
        assert watch.round == 3
        assert watch.ledger is not None
        assert {row.sender: row.sent for row in watch.ledger.rows()} == dict.fromkeys(SENDERS, 6)
        assert len(watch.guard.state_dict()["defenses"]["novelty"]["counts"]) == 3
    assert "without what it remembered" not in caplog.text
    for file in (tmp_path / "True").glob("checkpoint-*/swarmproof_guard.json"):
        file.unlink()
    run(4, True)
    assert "without what it remembered" in caplog.text


def test_a_reward_model_behind_the_guard(random_model: Path, tmp_path: Path) -> None:
    judge = AutoModelForSequenceClassification.from_pretrained(random_model, num_labels=1)
    judge.config.pad_token_id = 0
    t = trainer(
        random_model, tmp_path, [judge, by_text], kind=GuardedGRPO, guard=Guard([Bad()]),
        rollout_func=fixed(),
    )  # fmt: skip
    advantages = scored(t)["advantages"]
    assert advantages.eq(0).tolist() == list(BAD)


def test_an_evaluation_is_not_inspected(random_model: Path, tmp_path: Path) -> None:
    t = trainer(
        random_model, tmp_path, by_text, kind=GuardedGRPO, guard=Guard([Breaks()]),
        rollout_func=fixed(),
    )  # fmt: skip
    t.model.eval()
    rows = [{"prompt": prompt} for prompt in PROMPTS for _ in range(G)]
    assert t._generate_and_score_completions(rows)["advantages"].abs().min() > 0
    with pytest.raises(ZeroDivisionError):
        scored(t)


def test_a_guard_twice_is_refused(random_model: Path, tmp_path: Path) -> None:
    guard = Guard([Bad()])
    with pytest.raises(ValueError, match="use one of them"):
        trainer(random_model, tmp_path, wrap(guard, by_text), kind=GuardedGRPO, guard=guard)


def test_another_trl_is_refused_when_the_class_is_made() -> None:
    class Renamed:
        def _calculate_rewards(self) -> None: ...

    with pytest.raises(ValueError, match=r"another signature of _calculate_rewards.*trl==1\.16"):

        class First(GuardMixin, Renamed):  # type: ignore[misc]
            pass

    class Without(GRPOTrainer):  # type: ignore[misc]
        _log_metric = None

    with pytest.raises(ValueError, match=r"no _log_metric.*trl==1\.16"):

        class Second(GuardMixin, Without):
            pass


def test_misaligned_credits_are_one_line(random_model: Path, tmp_path: Path) -> None:
    t = guarded(random_model, tmp_path, Bad())
    batch = scored(t)
    credits = [(0.0,) * (len(text) + 1 + (i == 1)) for i, text in enumerate(TEXTS)]
    with pytest.raises(ValueError, match="not aligned: completion 1 has 5 tokens and 6 credits"):
        t._guard_tokens(batch, [Treatment(token_credit=credit) for credit in credits])
