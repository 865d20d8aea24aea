"""Advantages, loss and gradients against TRL's own code, run on the same model, completions and
rewards: `GRPOTrainer(loss_type="grpo")`, with its generation replaced by fixed completions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForCausalLM
from trl import GRPOConfig as TrlConfig
from trl import GRPOTrainer

from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig
from swarmproof.guard.advantages import Rules, complete
from swarmproof.policies import loss
from swarmproof.policies.loss import PackedBatch
from swarmproof.policies.policy import TrainedPolicy, train
from swarmproof.types import Completion, Group, Problem, Sample, Slot

G = 6
MAX_NEW_TOKENS = 12
PROMPTS = ("3 pens and 4 more are", "Q: 2*2?", "Tom has 12 of 30 apples. He is left with")
# A usual group, one without any advantage, and one with rewards that are not binary.
REWARDS_PG = ([1, 0, 0, 1, 0, 0], [1, 1, 1, 1, 1, 1], [0.5, 0, 1, 0, 0.25, 0])

pytestmark = pytest.mark.filterwarnings("ignore")  # of TRL and its dependencies


@dataclass(frozen=True)
class Peer:
    """A trainer of TRL's, and what it made of a batch."""

    trainer: Any
    inputs: dict[str, Tensor]  # of its own `_generate_and_score_completions`

    def loss_and_gradients(self, **more: Tensor) -> tuple[float, dict[str, Tensor]]:
        model = self.trainer.model
        model.zero_grad()
        value = self.trainer._compute_loss(model, self.inputs | more)
        value.backward()
        return float(value), {name: p.grad.clone() for name, p in model.named_parameters()}

    def logprobs(self) -> Tensor:
        """Of every token under the trainer's present weights, padded, by TRL's own code."""
        i = self.inputs
        ids = torch.cat([i["prompt_ids"], i["completion_ids"]], 1)
        mask = torch.cat([i["prompt_mask"], i["completion_mask"]], 1)
        with torch.no_grad():
            logps, _, _ = self.trainer._get_per_token_logps_and_entropies(
                self.trainer.model, ids, mask, i["completion_ids"].shape[1]
            )
        return torch.as_tensor(logps)


def fixed_completions(policy: TrainedPolicy) -> list[list[tuple[int, ...]]]:
    """Ragged, some ended by end-of-text and some cut at the limit."""
    rng = random.Random(0)
    rows = []
    for _ in PROMPTS:
        lengths = [1, MAX_NEW_TOKENS, *(rng.randint(2, MAX_NEW_TOKENS) for _ in range(G - 2))]
        group = [tuple(rng.randrange(256) for _ in range(n - 1)) for n in lengths]
        last = [policy.codec.eos_token_id if n < MAX_NEW_TOKENS else 7 for n in lengths]
        rows.append([(*row, end) for row, end in zip(group, last, strict=True)])
    return rows


def trl_on(
    folder: Path,
    tmp_path: Path,
    policy: TrainedPolicy,
    rows_PG: Sequence[Sequence[tuple[int, ...]]],
    *,
    beta: float,
    temperature: float,
    weights: dict[str, Tensor] | None = None,
    scale_rewards: bool = True,
) -> Peer:
    """Have TRL score the completions; `weights` replace those that learn, not the reference."""
    rows = [list(row) for group in rows_PG for row in group]
    rewards = [float(reward) for group in REWARDS_PG for reward in group]
    repeated = [prompt for prompt in PROMPTS for _ in range(G)]

    def rollout(prompts: list[str], _trainer: Any) -> dict[str, Any]:
        assert prompts == repeated
        prompt_ids = [list(policy.codec.encode_prompt(prompt)) for prompt in prompts]
        return {"prompt_ids": prompt_ids, "completion_ids": rows, "logprobs": None}

    def reward(completion_ids: list[list[int]], **_: Any) -> list[float]:
        assert completion_ids == rows
        return rewards

    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager"),
        processing_class=policy.codec.tokenizer,
        reward_funcs=reward,
        rollout_func=rollout,
        train_dataset=Dataset.from_dict({"prompt": list(PROMPTS)}),
        args=TrlConfig(
            output_dir=str(tmp_path / "trl"),
            per_device_train_batch_size=len(repeated),
            num_generations=G,
            max_completion_length=MAX_NEW_TOKENS,
            num_iterations=1,
            loss_type="grpo",
            scale_rewards="group" if scale_rewards else "none",
            beta=beta,
            # The KL term of GRPO's paper, plain k3; TRL by default weighs it by the ratio.
            use_bias_correction_kl=False,
            epsilon=0.2,
            temperature=temperature,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to="none",
        ),
    )
    if weights is not None:
        trainer.model.load_state_dict(weights, strict=False)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    inputs = trainer._generate_and_score_completions([{"prompt": prompt} for prompt in repeated])
    return Peer(trainer, inputs)


def our_samples(
    rows_PG: Sequence[Sequence[tuple[int, ...]]], grpo: GrpoConfig
) -> list[list[Sample]]:
    """Through the same function that completes the samples of a round."""
    rules = Rules({}, scale_rewards=grpo.scale_rewards)
    samples = []
    for p, rows in enumerate(rows_PG):
        completions = tuple(
            Completion(Slot(0, str(p), g), 0, "", row) for g, row in enumerate(rows)
        )
        group = Group(Problem(str(p), PROMPTS[p], "", ("",)), completions, PROMPTS[p])
        no_verdicts: list[tuple[()]] = [() for _ in rows]
        rewards = [float(reward) for reward in REWARDS_PG[p]]
        samples.append(complete(group, rewards, no_verdicts, rules, num_groups=len(rows_PG)))
    return samples


def accumulate(
    policy: TrainedPolicy,
    rows_PG: Sequence[Sequence[tuple[int, ...]]],
    samples_PG: list[list[Sample]],
) -> None:
    everything = [True] * len(PROMPTS)
    for indices, forward in policy.scorer.passes(PROMPTS, rows_PG, everything):
        policy.learner.accumulate(forward, [samples_PG[p] for p in indices])


def close(found: dict[str, Tensor], expected: dict[str, Tensor], relative: float = 1e-5) -> None:
    """Within 1e-5 of the largest entry of each tensor."""
    assert found.keys() == expected.keys()
    for name, theirs in expected.items():
        scale = float(theirs.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(found[name], theirs, atol=relative * scale, rtol=0, msg=name)


def perturbed(policy: TrainedPolicy) -> dict[str, Tensor]:
    """Other weights, so that the distance from the frozen start is not nothing."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in policy.model.parameters():
            p.add_(0.5 * p.std() * torch.randn_like(p) if p.dim() == 2 else 0)
    return {name: p.detach().clone() for name, p in policy.model.named_parameters()}


@pytest.mark.parametrize(
    ("beta", "temperature", "micro_batch_tokens", "scale_rewards"),
    [(0.0, 1.0, 4096, True), (0.0, 0.8, 1, True), (0.1, 1.0, 100, True), (0.1, 0.8, 4096, False)],
)
def test_advantages_loss_and_gradients_are_trls(
    model_dir: Path,
    tmp_path: Path,
    beta: float,
    temperature: float,
    micro_batch_tokens: int,
    scale_rewards: bool,
) -> None:
    grpo = GrpoConfig(beta=beta, micro_batch_tokens=micro_batch_tokens, scale_rewards=scale_rewards)
    sampling = SamplingConfig(temperature=temperature, max_new_tokens=MAX_NEW_TOKENS)
    policy = train(ModelConfig(path=str(model_dir)), grpo, sampling)
    weights = perturbed(policy)
    rows_PG = fixed_completions(policy)
    peer = trl_on(
        model_dir,
        tmp_path,
        policy,
        rows_PG,
        beta=beta,
        temperature=temperature,
        weights=weights,
        scale_rewards=scale_rewards,
    )
    samples_PG = our_samples(rows_PG, grpo)

    advantages = torch.tensor([s.advantage for group in samples_PG for s in group])
    torch.testing.assert_close(advantages, peer.inputs["advantages"], atol=0, rtol=1e-5)

    accumulate(policy, rows_PG, samples_PG)
    gradients = {name: p.grad.clone() for name, p in policy.model.named_parameters()}
    stats = policy.learner.step()
    their_loss, their_gradients = peer.loss_and_gradients()
    close(gradients, their_gradients)
    total = sum(float(g.square().sum()) for g in their_gradients.values()) ** 0.5
    assert stats.grad_norm == pytest.approx(total, rel=1e-5)
    # Where all ratios are 1 the loss holds a sum of advantages of size 1 that cancel.
    assert stats.loss == pytest.approx(their_loss, rel=1e-5, abs=1e-7)
    if beta:
        kl = peer.trainer._metrics["train"]["kl"][0]
        assert kl > 0.01
        assert stats.kl == pytest.approx(kl, rel=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_second_update_is_clipped_as_trl_clips(
    qwen2_dir: Path, tmp_path: Path, beta: float
) -> None:
    """With `updates = 2`, seen at the optimiser: the weights and the gradient of each step."""
    grpo = GrpoConfig(beta=beta, updates=2, lr=5e-3, clip=0.2, max_grad_norm=1e9)
    policy = train(
        ModelConfig(path=str(qwen2_dir)), grpo, SamplingConfig(max_new_tokens=MAX_NEW_TOKENS)
    )
    steps: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []

    def watch(*_: Any) -> None:
        named = dict(policy.model.named_parameters())
        steps.append(
            (
                {name: p.detach().clone() for name, p in named.items()},
                {name: p.grad.clone() for name, p in named.items()},
            )
        )

    policy.learner.optimizer.register_step_pre_hook(watch)
    rows_PG = fixed_completions(policy)
    accumulate(policy, rows_PG, our_samples(rows_PG, grpo))
    policy.learner.step()
    (_, first), (weights, second) = steps

    peer = trl_on(qwen2_dir, tmp_path, policy, rows_PG, beta=beta, temperature=1.0)
    close(first, peer.loss_and_gradients()[1])
    old = peer.logprobs()
    peer.trainer.model.load_state_dict(weights, strict=False)
    their_loss, their_gradients = peer.loss_and_gradients(old_per_token_logps=old)
    # A claim about clipping needs tokens that are clipped.
    assert peer.trainer._metrics["train"]["clip_ratio/region_mean"][-1] > 0.05
    close(second, their_gradients)

    policy.model.load_state_dict(weights, strict=False)
    batch = PackedBatch(
        tuple(policy.codec.encode_prompt(p) for p in PROMPTS), tuple(map(tuple, rows_PG))
    )
    device, reference = torch.device("cpu"), policy.learner.reference
    samples = [s for group in our_samples(rows_PG, grpo) for s in group]
    share = [[s.loss_weight / len(s.tokens)] * len(s.tokens) for s in samples]
    signed = [[s.advantage * w for w in row] for s, row in zip(samples, share, strict=True)]
    lengths = peer.inputs["completion_mask"].sum(1).tolist()
    value, _ = loss.grpo_loss(
        loss.token_logprobs(policy.model, batch),
        batch.flatten(signed, device),
        old_logp=batch.flatten([old[i, :n].tolist() for i, n in enumerate(lengths)], device),
        clip=grpo.clip,
        ref_logp=None if reference is None else loss.token_logprobs(reference, batch),
        kl_weight=beta * batch.flatten(share, device),
    )
    assert float(value.detach()) == pytest.approx(their_loss, rel=1e-5)
