"""The optimiser and the update: complete samples in, new weights out.

Knows tokens and weights of samples, but not tasks, verdicts or nodes.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from swarmproof.config import GrpoConfig
from swarmproof.policies import loss
from swarmproof.policies.scorer import ForwardPass, Scorer
from swarmproof.types import Sample, UpdateStats


class Learner:
    """Adam on the GRPO loss. It trains the scorer's model.

    Args:
        scorer: provides the forward passes to learn from.
        grpo: the settings of the update.
    """

    def __init__(self, scorer: Scorer, grpo: GrpoConfig) -> None:
        self.scorer, self.grpo, self.model = scorer, grpo, scorer.model
        self.reference = None
        if grpo.beta > 0:
            self.reference = copy.deepcopy(self.model).requires_grad_(False)
        # Updates of the usual size vanish in the rounding of bf16 weights, so the optimiser works
        # on fp32 master weights; in fp32 these are the weights themselves.
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
        self.num_parameters = sum(master.numel() for master in self.masters)
        self.num_rounds = 0
        # Accumulated so far in the current round.
        self._loss = self._kl = 0.0
        self._tokens = 0
        self._round: list[tuple[loss.PackedBatch, Sequence[Sample], Tensor]] = []

    def accumulate(self, forward: ForwardPass, groups: Sequence[Sequence[Sample]]) -> None:
        """Add the gradient of complete samples, group by group in the order of the pass.

        Groups without an advantage cost nothing. With a KL term every kept sample counts.
        """
        samples = [sample for group in groups for sample in group]
        counts = [
            s.loss_weight > 0 and (s.advantage != 0 or self.reference is not None) for s in samples
        ]
        if not any(counts):
            return
        if not forward.ran:
            # The logits were not read, so only the rows that count must be computed.
            forward = ForwardPass(self.scorer, forward.batch.select(counts), True)
            samples = [s for s, counted in zip(samples, counts, strict=True) if counted]
        self._backward(forward, samples, None)
        self._round.append((forward.batch, samples, forward.detached_logp()))

    def discard(self) -> None:
        """Forget what was accumulated in this round."""
        for p in (*self.masters, *self.model.parameters()):
            p.grad = None
        self._loss = self._kl = 0.0
        self._tokens = 0
        self._round.clear()

    def step(self) -> UpdateStats:
        """Update from the accumulated gradient; `grpo.updates` > 1 repeats with clipped ratios.

        Raises:
            ValueError: the loss, the gradient or a weight is not finite; names the round.
        """
        stats = self._apply()
        for _ in range(1, self.grpo.updates):
            for batch, samples, old_logp in self._round:
                self._backward(ForwardPass(self.scorer, batch, True), samples, old_logp)
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
            # The same for every token: a credit multiplies the advantage only.
            kl = [[self.grpo.beta * s.loss_weight / len(s.tokens)] * len(s.tokens) for s in samples]
            kl_weight = batch.flatten(kl, device)
            counted = kl_weight != 0
            with torch.inference_mode():
                temperature = self.scorer.sampling.temperature
                ref_logp = loss.token_logprobs(self.reference, batch, temperature)
        forward.drop_logits()  # so that they are freed as soon as their gradient is there
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
            self._require_finite("loss", self._loss)
            norm = torch.nn.utils.clip_grad_norm_(self.masters, self.grpo.max_grad_norm)
            # A norm that overflows would scale the whole gradient to zero, so nothing is learnt.
            self._require_finite("gradient norm", float(norm))
            warm = min(1.0, (self.num_rounds + 1) / (self.grpo.warmup + 1))
            for group in self.optimizer.param_groups:
                group["lr"] = self.grpo.lr * warm
            self.optimizer.step()
            self._require_finite("largest weight", self._largest_weight())
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

    def _largest_weight(self) -> float:
        """The largest absolute value of a weight; infinite if the model's own dtype cannot hold it.

        NaN if any weight is NaN.
        """
        # Several times as fast as the norm of order infinity.
        ends = [end for master in self.masters for end in torch.aminmax(master.detach())]
        largest = float(torch.stack(ends).abs().max())
        return math.inf if largest > torch.finfo(self.model.dtype).max else largest

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise ValueError(
                f"round {self.num_rounds}: the {what} is {value}; lower grpo.lr (now "
                f"{self.grpo.lr:g}) and start a new run, as --resume keeps the settings"
            )

    def fingerprint(self) -> bytes:
        """SHA-256 of the weights, in their order: equal only if every bit is."""
        digest = hashlib.sha256()
        for master in self.masters:
            data = master.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(data.numpy().data)
        return digest.digest()

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


def _token_weights(sample: Sample, weight: float) -> list[float]:
    """The weight of a completion, divided equally among its |a| tokens."""
    length = len(sample.tokens)
    per_token = sample.token_credit or (1.0,) * length
    return [weight / length * w for w in per_token]
