"""A policy that stops and goes on, and learns from what counts and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from policies.lessons import (
    PROMPTS,
    Out,
    accumulate,
    assert_same,
    drawn,
    gradients,
    play,
    samples,
    trained,
)
from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig
from swarmproof.policies import loss
from swarmproof.policies.loss import PackedBatch
from swarmproof.policies.policy import TrainedPolicy, train
from swarmproof.types import Completion, Sample, Slot, UpdateStats


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("grpo", [{}, {"beta": 0.1, "updates": 2, "warmup": 5}], ids=["", "more"])
def test_a_restored_policy_goes_on_to_the_last_bit(
    qwen2_dir: Path, dtype: str, grpo: dict[str, Any]
) -> None:
    def fresh() -> TrainedPolicy:
        config = ModelConfig.model_validate({"path": str(qwen2_dir), "dtype": dtype})
        return train(config, GrpoConfig(lr=1e-2, **grpo), SamplingConfig(max_new_tokens=10))

    first = fresh()
    for round in range(2):
        play(first, round)
    saved = {name: tensor.clone() for name, tensor in first.learner.state().items()}
    second = fresh()
    second.learner.restore(saved)
    for round in range(2, 4):
        assert play(first, round) == play(second, round)
    ours, theirs = first.learner.state(), second.learner.state()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # The control: something was learnt meanwhile, so that equality says something.
    assert not all(torch.equal(ours[name], saved[name]) for name in ours)


@pytest.mark.parametrize("how", ["drop", "mask"])
@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_a_pass_that_a_defence_looked_at_gives_the_gradient_of_the_loss_alone(
    model_dir: Path, beta: float, how: Out
) -> None:
    found = []
    for look in (False, True):
        policy = trained(model_dir, beta=beta)
        rows_PG = drawn(policy)
        samples_PG = samples(rows_PG, out=(0, 2), how=how)
        accumulate(policy, rows_PG, samples_PG, look=look)
        found.append((gradients(policy), policy.learner.step()))
    (alone, stats), (shared, stats_of_shared) = found
    assert alone
    assert_same(alone, shared)
    assert stats.tokens == stats_of_shared.tokens
    assert stats.loss == pytest.approx(stats_of_shared.loss, abs=1e-6)
    assert (stats.kl or 0) == pytest.approx(stats_of_shared.kl or 0, abs=1e-6)


def test_the_model_runs_once_for_a_defence_and_the_loss(qwen2_dir: Path) -> None:
    policy = trained(qwen2_dir)
    rows_PG = drawn(policy)
    calls: list[int] = []
    policy.model.register_forward_hook(lambda *_: calls.append(1))
    accumulate(policy, rows_PG, samples(rows_PG), look=True)
    assert len(calls) == 2  # a pass over the group with advantages, and one over the other
    calls.clear()
    accumulate(policy, rows_PG, samples(rows_PG))
    assert len(calls) == 1  # nobody looks at the other


@pytest.mark.parametrize("how", ["drop", "mask"])
@pytest.mark.parametrize("look", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.2])
def test_a_completion_that_does_not_train_contributes_nothing(
    qwen2_dir: Path, look: bool, beta: float, how: Out
) -> None:
    """Whatever is in it: neither to the gradient, nor to the counts, nor to the KL estimate."""
    found = []
    for poison in ((1, 2, 3), (250, 249, 248, 247, 246, 245)):
        policy = trained(qwen2_dir, beta=beta)
        rows_PG = drawn(policy)
        with torch.no_grad():  # away from the frozen start
            for p in policy.model.parameters():
                p.mul_(1.1)
        rows_PG[0][2] = poison
        accumulate(policy, rows_PG, samples(rows_PG, out=(0, 2), how=how), look=look)
        found.append((gradients(policy), policy.learner.step()))
    assert_same(found[0][0], found[1][0])
    assert found[0][1].tokens == found[1][1].tokens
    kl = [stats.kl or 0 for _, stats in found]
    assert kl[0] == pytest.approx(kl[1], rel=1e-5)
    assert (kl[0] > 1e-4) == (beta > 0)
    # The control: kept, the same completion does contribute.
    policy = trained(qwen2_dir, beta=beta)
    rows_PG[0][2] = poison
    accumulate(policy, rows_PG, samples(rows_PG), look=look)
    assert policy.learner.step().tokens == found[1][1].tokens + len(poison)


def test_token_credit_leaves_out_single_tokens(qwen2_dir: Path) -> None:
    """A credit of 0 at a token is the loss without that token, at the length of the whole."""
    policy = trained(qwen2_dir, max_grad_norm=1e9)
    row = (5, 6, 7, 8)
    credited = Sample(
        completion=Completion(Slot(0, "0", 0), 0, "", row),
        verdicts=(),
        reward=1.0,
        kept=True,
        weight=1.0,
        advantage=2.0,
        loss_weight=0.5,
        token_credit=(1.0, 0.0, 0.0, 0.5),
    )
    ((_, forward),) = policy.scorer.passes(PROMPTS[:1], [[row]], [True])
    policy.learner.accumulate(forward, [[credited]])
    found = gradients(policy)
    assert policy.learner.step().tokens == 2

    again = trained(qwen2_dir)
    batch = PackedBatch((again.codec.encode_prompt(PROMPTS[0]),), ((row,),))
    (logp,) = batch.split(loss.token_logprobs(again.model, batch))
    objective = -2.0 * 0.5 / 4 * (logp[0] + 0.5 * logp[3])
    objective.backward()  # type: ignore[no-untyped-call]
    assert_same(found, gradients(again))


def test_without_advantages_nothing_is_computed_and_nothing_changes(qwen2_dir: Path) -> None:
    policy = trained(qwen2_dir)
    rows_PG = drawn(policy)
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters()}
    policy.model.register_forward_hook(lambda *_: pytest.fail("a pass that cannot matter"))
    accumulate(policy, rows_PG, samples(rows_PG, [[0.0] * 4] * 2))
    assert policy.learner.step() == UpdateStats(0.0, 0.0, None, 0)
    assert all(torch.equal(p, before[name]) for name, p in policy.model.named_parameters())


def test_further_updates_stop_where_the_ratio_is_clipped(
    qwen2_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second update, tokens beyond the clip have no gradient, and the others have one."""
    lr, seen = 3e-3, []
    grpo_loss = loss.grpo_loss

    def watched(logp: Tensor, weight: Tensor, **more: Any) -> Any:
        result = grpo_loss(logp, weight, **more)
        if more["old_logp"] is not None:
            (grad,) = torch.autograd.grad(result[0], logp, retain_graph=True)
            seen.append((logp.detach(), more["old_logp"], weight, grad))
        return result

    monkeypatch.setattr(loss, "grpo_loss", watched)
    policy = trained(qwen2_dir, updates=3, lr=lr, max_grad_norm=1e9)
    rows_PG = drawn(policy)
    accumulate(policy, rows_PG, samples(rows_PG))
    policy.learner.step()
    assert len(seen) == 2
    for logp, old, weight, grad in seen:
        ratio = (logp - old).exp()
        beyond = ((weight > 0) & (ratio > 1.2)) | ((weight < 0) & (ratio < 0.8))
        assert beyond.any()
        assert not beyond.all()
        assert (grad[beyond] == 0).all()
        torch.testing.assert_close(grad[~beyond], (-weight * ratio)[~beyond])


def lengths_of_steps(of: TrainedPolicy, rounds: int) -> list[float]:
    """How far the weights went in each round, at most: of them all."""
    lengths = []
    for round in range(rounds):
        before = [p.detach().clone() for p in of.model.parameters()]
        play(of, round)
        pairs = zip(of.model.parameters(), before, strict=True)
        lengths.append(max(float((p.detach() - old).abs().max()) for p, old in pairs))
    return lengths


def test_a_prompt_is_computed_once_and_the_head_only_where_a_token_is_trained(
    qwen2_dir: Path,
) -> None:
    policy = trained(qwen2_dir)
    rows_PG = drawn(policy)
    seen: dict[str, int] = {}

    def rows_of(name: str) -> Any:
        def hook(_: object, inputs: tuple[Tensor, ...]) -> None:
            seen[name] = inputs[0].shape[-2]

        return hook

    policy.model.lm_head.register_forward_pre_hook(rows_of("head"))
    policy.model.model.layers[0].mlp.register_forward_pre_hook(rows_of("layer"))
    accumulate(policy, rows_PG, samples(rows_PG, [[1.0, 0.0, -1.0, 0.0], [0.0] * 4]))
    # The last token of a completion predicts nothing. First tokens share the end of the prompt.
    further = len(rows_PG[0][0]) + len(rows_PG[0][2]) - 2
    assert seen["head"] == 1 + further
    assert seen["layer"] == len(policy.codec.encode_prompt(PROMPTS[0])) + further


@pytest.mark.parametrize("updates", [1, 2])
def test_the_learning_rate_rises_over_the_rounds_of_warm_up(qwen2_dir: Path, updates: int) -> None:
    """With `warmup = 3`: a quarter, a half and three quarters of it, and then all of it."""
    # Without memory every step of Adam's is the learning rate itself, up or down.
    grpo: dict[str, Any] = {"lr": 1e-3, "beta1": 0.0, "beta2": 0.0, "updates": updates}
    warm = trained(qwen2_dir, warmup=3, **grpo)
    factors = [0.25, 0.5, 0.75, 1.0, 1.0]
    expected = [updates * 1e-3 * factor for factor in factors]
    assert lengths_of_steps(warm, 5) == pytest.approx(expected, rel=0.01)
    # The control.
    cold = trained(qwen2_dir, **grpo)
    assert lengths_of_steps(cold, 2) == pytest.approx([updates * 1e-3] * 2, rel=0.01)


def test_warm_up_goes_on_where_it_stopped(qwen2_dir: Path) -> None:
    grpo: dict[str, Any] = {"lr": 1e-3, "beta1": 0.0, "beta2": 0.0, "warmup": 3}
    first, second = trained(qwen2_dir, **grpo), trained(qwen2_dir, **grpo)
    lengths_of_steps(first, 2)
    second.learner.restore(first.learner.state())
    assert lengths_of_steps(second, 2) == pytest.approx([0.75e-3, 1e-3], rel=0.01)
