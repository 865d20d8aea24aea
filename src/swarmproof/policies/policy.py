"""A policy: a Hugging Face causal LM with its tokenizer, that samples, scores and learns.

Zoo models, directories and hub ids take the same path. Knows text and tokens; not tasks, verdicts
or nodes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig
from swarmproof.policies import loader, loss, sampler
from swarmproof.types import Sample, UpdateStats

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What a policy thinks of the tokens of one completion; all of shape (T,)."""

    logprob: Tensor  # under the full softmax at the sampling temperature
    # By how much the token's logit / temperature falls short of the sampling support's lowest;
    # 0 inside the support.
    shortfall: Tensor


class Policy:
    """A model that generates, scores and learns.

    Args:
        config: which model, in which precision, where.
        grpo: the learner's settings.
        sampling: the generation strategy, also what is verified and learnt from.

    Raises:
        ValueError: the model cannot be found, reached or used; names the remedy.
    """

    def __init__(self, config: ModelConfig, grpo: GrpoConfig, sampling: SamplingConfig):
        self.config, self.grpo, self.sampling = config, grpo, sampling
        self.tokenizer, self.model = loader.load(config.path, config.dtype, config.device)
        if config.gradient_checkpointing:
            _checkpoint_gradients(self.model)
        self.eos_token_id: int = self.tokenizer.eos_token_id
        self.vocab_size: int = min(self.model.config.vocab_size, len(self.tokenizer))
        self.reference = None
        if grpo.beta > 0:
            self.reference = copy.deepcopy(self.model).requires_grad_(False)
        # Steps of the usual size vanish in the rounding of bf16 weights, so the optimiser works on
        # fp32 masters; in fp32 the masters are the weights themselves.
        self.masters = [
            p if p.dtype == torch.float32 else p.detach().float().requires_grad_()
            for p in self.model.parameters()
        ]
        self.optimizer = torch.optim.Adam(
            self.masters,
            lr=grpo.lr,
            betas=(grpo.beta1, grpo.beta2),
            eps=grpo.eps,
            # One fused pass over small tensors costs less than the loop over them.
            fused=True,
        )
        self.num_rounds = 0
        # What the current round has accumulated so far.
        self._loss = self._kl = 0.0
        self._tokens = 0
        self._round: list[tuple[loss.PackedBatch, Sequence[Sample], Tensor]] = []

    def encode_prompt(self, text: str) -> Tokens:
        return tuple(self.tokenizer(text).input_ids)

    def encode(self, text: str) -> Tokens:
        """Tokens of a completion, end-of-text added. Control tokens spelt out in it stay text.

        Raises:
            ValueError: the tokens do not give the text back. Many tokenizers, Qwen's among them,
                bring text into Unicode's normal form (NFC) first, and so read only such text.
        """
        text.encode()  # half a surrogate pair, a ValueError here, would be a TypeError below
        ids = tuple(
            self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        )
        if self.decode([ids])[0] != text:
            raise ValueError("the tokenizer does not give the text back; is it normalised (NFC)?")
        return (*ids, self.eos_token_id)

    def decode(self, completions: Sequence[Tokens]) -> list[str]:
        """Text of each completion: all its tokens but one end-of-text at the end."""
        if not completions:
            return []  # the tokenizer would give one empty text
        eos = self.eos_token_id
        bare = [list(ids[:-1] if ids and ids[-1] == eos else ids) for ids in completions]
        decoded: list[str] = self.tokenizer.batch_decode(
            bare, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return decoded

    def generate(
        self, prompts: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[list[Tokens]]:
        """Sample a completion for every seed: P prompts, P x G seeds -> P x G."""
        if not prompts or not seeds[0]:
            return [[] for _ in prompts]
        encoded = [self.encode_prompt(prompt) for prompt in prompts]
        return sampler.generate(self.model, encoded, seeds, self.sampling, self.eos_token_id)

    def passes(
        self,
        prompts: Sequence[str],
        completions: Sequence[Sequence[Tokens]],
        learnable: Sequence[bool],
    ) -> Iterator[tuple[list[int], ForwardPass]]:
        """Cut a round's groups into forward passes, each small enough for memory.

        Args:
            prompts: P of them.
            completions: P groups; none empty.
            learnable: whether a group can have an advantage; the passes over the others keep
                nothing for a backward pass.

        Yields:
            the indices of the groups, in the order of the pass, and the pass.
        """
        for wanted in (True, False):
            chosen = [p for p in range(len(prompts)) if learnable[p] is wanted]
            encoded = [self.encode_prompt(prompts[p]) for p in chosen]
            rows = [completions[p] for p in chosen]
            for chunk, batch in loss.micro_batches(encoded, rows, self.grpo.micro_batch_tokens):
                yield [chosen[i] for i in chunk], ForwardPass(self, batch, wanted)

    def score(self, prompts: Sequence[str], completions: Sequence[Sequence[Tokens]]) -> RoundScores:
        """What the policy thinks of every token of a round, group by group; nothing is learnt."""
        scores: dict[int, list[TokenScores]] = {}
        for indices, forward in self.passes(prompts, completions, [False] * len(prompts)):
            scores |= zip(indices, forward.scores, strict=True)
        return RoundScores(self, [scores[p] for p in range(len(prompts))])

    @cached_property
    def digit_ids(self) -> frozenset[int]:
        """The tokens that have a digit in them."""
        texts = self.decode([(i,) for i in range(self.vocab_size)])
        return frozenset(i for i, text in enumerate(texts) if any(map(str.isdecimal, text)))

    def accumulate(self, forward: ForwardPass, groups: Sequence[Sequence[Sample]]) -> None:
        """Add the gradient of complete samples, group by group in the order of the pass.

        Groups without advantage cost nothing; with a KL term every kept sample counts.
        """
        samples = [sample for group in groups for sample in group]
        counts = [s.advantage != 0 or (s.kept and self.reference is not None) for s in samples]
        if not any(counts):
            return
        if not forward.ran:
            # Nothing looked at the logits, so that only the rows that count need be computed.
            forward = ForwardPass(self, forward.batch.select(counts), True)
            samples = [s for s, counted in zip(samples, counts, strict=True) if counted]
        self._backward(forward, samples, None)
        self._round.append((forward.batch, samples, forward.detached_logp()))

    def step(self) -> UpdateStats:
        """Update from what was accumulated; `grpo.updates` > 1 repeats it with clipped ratios."""
        stats = self._apply()
        for _ in range(1, self.grpo.updates):
            for batch, samples, old_logp in self._round:
                self._backward(ForwardPass(self, batch, True), samples, old_logp)
            self._apply()
        self._round.clear()
        self.num_rounds += 1
        return stats

    def _backward(
        self, forward: ForwardPass, samples: Sequence[Sample], old_logp: Tensor | None
    ) -> None:
        batch, device = forward.batch, self.model.device
        weight = batch.flatten(
            [_token_weights(s, s.advantage * s.loss_weight) for s in samples], device
        )
        counted = weight != 0
        kl_weight = ref_logp = None
        if self.reference is not None:
            kl = [_token_weights(s, self.grpo.beta * s.loss_weight * s.kept) for s in samples]
            kl_weight = batch.flatten(kl, device)
            counted = kl_weight != 0
            with torch.inference_mode():
                ref_logp = loss.token_logprobs(self.reference, batch, self.sampling.temperature)
        total, kl_tokens = loss.grpo_loss(
            forward.logp(),
            weight,
            old_logp=old_logp,
            clip=self.grpo.clip,
            ref_logp=None if ref_logp is None else ref_logp.clone(),
            kl_weight=kl_weight,
        )
        total.backward()  # type: ignore[no-untyped-call]
        self._loss += float(total.detach())
        self._kl += 0.0 if kl_tokens is None else float(kl_tokens[counted].sum())
        self._tokens += int(counted.sum())

    def _apply(self) -> UpdateStats:
        stats = UpdateStats(loss=self._loss, grad_norm=0.0, kl=None, tokens=self._tokens)
        if self._tokens:
            pairs = list(zip(self.masters, self.model.parameters(), strict=True))
            for master, p in pairs:
                if master is not p and p.grad is not None:
                    master.grad, p.grad = p.grad.float(), None
            norm = torch.nn.utils.clip_grad_norm_(self.masters, self.grpo.max_grad_norm)
            warm = min(1.0, (self.num_rounds + 1) / (self.grpo.warmup + 1))
            for group in self.optimizer.param_groups:
                group["lr"] = self.grpo.lr * warm
            self.optimizer.step()
            with torch.no_grad():
                for master, p in pairs:
                    if master is not p:
                        p.copy_(master)
            kl = None if self.reference is None else self._kl / self._tokens
            stats = UpdateStats(self._loss, float(norm), kl, self._tokens)
        self.optimizer.zero_grad(set_to_none=True)
        self._loss = self._kl = 0.0
        self._tokens = 0
        return stats

    def state(self) -> dict[str, Tensor]:
        """Weights and optimiser as named tensors, for a checkpoint."""
        names = [name for name, _ in self.model.named_parameters()]
        tensors = {f"model.{n}": p.detach() for n, p in zip(names, self.masters, strict=True)}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{i}.{key}": value for key, value in state.items()}
        tensors["num_rounds"] = torch.tensor(self.num_rounds)
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of `state`."""
        with torch.no_grad():
            for master, (name, p) in zip(self.masters, self.model.named_parameters(), strict=True):
                master.copy_(tensors[f"model.{name}"])
                p.copy_(master)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, i, key = name.split(".")
                state.setdefault(int(i), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.num_rounds = int(tensors["num_rounds"])


@dataclass(frozen=True, slots=True)
class RoundScores:
    """The scores of a whole round, kept when the passes that gave them are gone."""

    policy: Policy
    scores: list[list[TokenScores]]


class ForwardPass:
    """One forward pass over whole groups, run when it is first needed and never twice.

    Defences look at its scores and the loss learns from it: verifying what is learnt anyway costs
    next to nothing.
    """

    def __init__(self, policy: Policy, batch: loss.PackedBatch, learnable: bool):
        self.policy, self.batch, self.learnable = policy, batch, learnable
        self._logits: Tensor | None = None
        self._logp: Tensor | None = None

    @property
    def ran(self) -> bool:
        return self._logits is not None

    def logits(self) -> Tensor:
        if self._logits is None:
            with torch.set_grad_enabled(self.learnable):
                temperature = self.policy.sampling.temperature
                self._logits = loss.token_logits(self.policy.model, self.batch, temperature)
        return self._logits

    def logp(self) -> Tensor:
        """log pi of every token, (M,), with its graph where the pass can be learnt from."""
        if self._logp is None:
            with torch.set_grad_enabled(self.learnable):
                self._logp = loss.logprobs_of(self.batch, self.logits())
        return self._logp

    def detached_logp(self) -> Tensor:
        return self.logp().detach()

    @cached_property
    def scores(self) -> list[list[TokenScores]]:
        """What the policy thinks of every token: one entry a completion, group by group."""
        batch, sampling = self.batch, self.policy.sampling
        with torch.no_grad():
            logits = self.logits().detach()
            rows, ids = loss.targets(batch, logits.device)
            # Only the first tokens share rows; all rows at once would be a copy of the logits.
            num_first, num_groups = len(batch.rows), len(batch.prompts)
            first, further = logits[rows[:num_first]], logits[num_groups:]
            shortfall = torch.cat(
                [
                    _shortfall(first, ids[:num_first], sampling),
                    _shortfall(further, ids[num_first:], sampling),
                ]
            )
            columns = zip(batch.split(self.detached_logp()), batch.split(shortfall), strict=True)
            return [[TokenScores(*next(columns)) for _ in rows] for rows in batch.completions]


def _token_weights(sample: Sample, weight: float) -> list[float]:
    """The weight of a completion, spread over its tokens: 1 / |a| each."""
    length = len(sample.tokens)
    per_token = sample.token_weights or (1.0,) * length
    return [weight / length * w for w in per_token]


def _shortfall(logits: Tensor, ids: Tensor, sampling: SamplingConfig) -> Tensor:
    """How far below the support each token is; (R, V), (R,) -> (R,)."""
    chosen = logits.gather(-1, ids[:, None])
    result = torch.zeros_like(chosen.squeeze(-1))
    k = sampling.top_k if 0 < sampling.top_k < logits.shape[-1] else logits.shape[-1]
    if sampling.top_p < 1:
        suspects = torch.ones_like(result, dtype=torch.bool)
    else:
        # Counting the better tokens is far cheaper than ordering them all; only for the few
        # tokens that fail is the boundary itself needed.
        suspects = (logits > chosen).sum(-1) >= k
    if suspects.any():
        kept = sampler.support(logits[suspects], sampling)
        lowest = logits[suspects].masked_fill(~kept, float("inf")).amin(-1)
        result[suspects] = (lowest - chosen[suspects].squeeze(-1)).clamp_min(0)
    return result


def _checkpoint_gradients(model: Any) -> None:
    model.train()  # transformers checkpoints in training mode only
    model.gradient_checkpointing_enable({"use_reentrant": False})
    # Training mode would also drop out at random, and what is verified is not random.
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
