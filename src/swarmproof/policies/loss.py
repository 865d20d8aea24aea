"""Log-probabilities of packed completions, and the GRPO loss over them.

Knows token ids and weights, but not text, tasks or verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from swarmproof.policies.attention import PackedLayout
from swarmproof.policies.sampler import pack, scaled

# Numbers of a slice of logits in float32: few enough for the cache of a processor; elsewhere more,
# as every slice starts several kernels.
_SLICE, _SLICE_ELSEWHERE = 1 << 20, 1 << 24


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Groups of completions, packed so that a prompt is computed once for its group.

    Every per-token tensor here is in flat token order: the first token of each completion, then
    the further tokens of each completion.
    """

    prompts: tuple[tuple[int, ...], ...]
    completions: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def rows(self) -> list[tuple[int, ...]]:
        return [row for group in self.completions for row in group]

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.prompts)) + sum(map(len, self.rows))

    def select(self, counts: Sequence[bool]) -> PackedBatch:
        """Only the completions that count, and the groups that still have at least one."""
        chosen = iter(counts)
        kept = [[row for row in group if next(chosen)] for group in self.completions]
        return _batch([p for p, rows in enumerate(kept) if rows], self.prompts, kept)

    def flatten(self, per_token: Sequence[Sequence[float]], device: torch.device) -> Tensor:
        """Reorder one value per token from completion by completion to flat token order."""
        first = [values[0] for values in per_token]
        rest = [value for values in per_token for value in values[1:]]
        return torch.tensor(first + rest, device=device)

    def split(self, flat: Tensor) -> list[Tensor]:
        """The inverse of `flatten`: one tensor for each completion."""
        lens = [len(row) - 1 for row in self.rows]
        rest = torch.split(flat[len(lens) :], lens)
        return [torch.cat([flat[i : i + 1], part]) for i, part in enumerate(rest)]


def micro_batches(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Sequence[int]]],
    max_tokens: int,
) -> Iterator[tuple[list[int], PackedBatch]]:
    """Cut groups into batches of at most `max_tokens` packed tokens (at least one group each).

    The groups are sorted by their longest completion, so that attention has little padding.

    Yields:
        the indices of the groups, and the batch.
    """
    order = sorted(range(len(prompts)), key=lambda p: max(map(len, completions[p])))
    chunk: list[int] = []
    used = 0
    for p in order:
        need = len(prompts[p]) + sum(map(len, completions[p]))
        if chunk and used + need > max_tokens:
            yield chunk, _batch(chunk, prompts, completions)
            chunk, used = [], 0
        chunk.append(p)
        used += need
    if chunk:
        yield chunk, _batch(chunk, prompts, completions)


def _batch(
    chunk: list[int],
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Sequence[int]]],
) -> PackedBatch:
    return PackedBatch(
        tuple(tuple(prompts[p]) for p in chunk),
        tuple(tuple(tuple(row) for row in completions[p]) for p in chunk),
    )


def token_logits(model: Any, batch: PackedBatch) -> Tensor:
    """Logits at every position that predicts a token of a completion.

    Returns:
        (P + M - C, V), in the model's dtype: first the P positions that predict first tokens, each
        shared by the completions of its group, then those of all further tokens, in flat token
        order.
    """
    device = model.device
    layout = PackedLayout(
        [len(prompt) for prompt in batch.prompts],
        [[len(row) - 1 for row in group] for group in batch.completions],
        device,
    )
    tokens, positions = pack(batch.prompts, batch.completions)
    # No index [0]: its gradient would be a whole tensor of zeros, to be filled and copied.
    logits: Tensor = model(
        input_ids=torch.tensor([tokens], device=device),
        position_ids=torch.tensor([positions], device=device),
        attention_mask={"full_attention": None},
        use_cache=False,
        logits_to_keep=len(batch.prompts) + sum(len(row) - 1 for row in batch.rows),
        layout=layout,
    ).logits
    return logits.squeeze(0)


def rows_at_once(logits: Tensor) -> int:
    """How many rows of logits to convert to float32 at a time."""
    numbers = _SLICE if logits.device.type == "cpu" else _SLICE_ELSEWHERE
    return max(1, numbers // logits.shape[-1])


def last_logits(model: Any, batch: PackedBatch) -> Tensor:
    """Logits after the last token of every completion only, (C, V)."""
    device = model.device
    lens = [[len(row) for row in group] for group in batch.completions]
    layout = PackedLayout([len(prompt) for prompt in batch.prompts], lens, device)
    # `pack` omits the last token, because it is never an input when tokens are predicted.
    rows = [[(*row, 0) for row in group] for group in batch.completions]
    tokens, positions = pack(batch.prompts, rows)
    ends = torch.tensor([n for group in lens for n in group], device=device).cumsum(0) - 1
    logits: Tensor = model(
        input_ids=torch.tensor([tokens], device=device),
        position_ids=torch.tensor([positions], device=device),
        attention_mask={"full_attention": None},
        use_cache=False,
        logits_to_keep=ends + sum(map(len, batch.prompts)),
        layout=layout,
    ).logits[0]
    return logits.float()


def targets(batch: PackedBatch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Row in the result of `token_logits` and id of each token, in flat order; both (M,).

    The rows never decrease.
    """
    rows = [p for p, group in enumerate(batch.completions) for _ in group]
    num_further = sum(map(len, batch.rows)) - len(rows)
    rows += range(len(batch.completions), len(batch.completions) + num_further)
    ids = [row[0] for row in batch.rows]
    ids += [token for row in batch.rows for token in row[1:]]
    return torch.tensor(rows, device=device), torch.tensor(ids, device=device)


def places(batch: PackedBatch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Index of the completion of each token, and the token's index in it; int64, both (M,)."""
    rows = batch.rows
    of = [*range(len(rows)), *(i for i, row in enumerate(rows) for _ in row[1:])]
    t = [0] * len(rows) + [t for row in rows for t in range(1, len(row))]
    return torch.tensor(of, device=device), torch.tensor(t, device=device)


def token_logprobs(model: Any, batch: PackedBatch, temperature: float = 1.0) -> Tensor:
    """log pi(token) of every token of every completion, (M,), in flat token order."""
    return logprobs_of(batch, token_logits(model, batch), temperature)


def logprobs_of(batch: PackedBatch, logits: Tensor, temperature: float) -> Tensor:
    """The same, from the result of `token_logits`."""
    return cast(
        Tensor,
        _LogProbs.apply(logits, *targets(batch, logits.device), temperature),  # type: ignore[no-untyped-call]
    )


class _LogProbs(torch.autograd.Function):
    """log softmax(logits / temperature)[rows, ids]: (N, V), (M,), (M,) -> float32 (M,).

    The logits are the largest tensor. This function holds them in the model's dtype and computes
    in float32 slice by slice, forward and again backward. So nothing else of their size is made
    but the gradient, and the slices stay in the processor's cache.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, ids: Tensor, temperature: float) -> Tensor:
        ctx.save_for_backward(logits, rows, ids)
        ctx.temperature = temperature
        found = [
            logp[rows[at] - start, ids[at]]
            for start, at, logp in _slices(logits, rows, temperature)
        ]
        return torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        logits, rows, ids = ctx.saved_tensors
        (grad,) = grads
        of_row = grad.new_zeros(logits.shape[0]).index_add_(0, rows, grad)
        result = torch.empty_like(logits)
        for start, at, logp in _slices(logits, rows, ctx.temperature):
            part = slice(start, start + len(logp))
            of_part = logp.exp_().mul_(-of_row[part, None])
            of_part.index_put_((rows[at] - start, ids[at]), grad[at], accumulate=True)
            result[part] = of_part if ctx.temperature == 1.0 else of_part.div_(ctx.temperature)
        return result, None, None, None


def _slices(
    logits: Tensor, rows: Tensor, temperature: float
) -> Iterator[tuple[int, slice, Tensor]]:
    """Log-probabilities of some rows at a time: the first row, the tokens of these rows, (n, V)."""
    size = rows_at_once(logits)
    starts = range(0, len(logits), size)
    ends = torch.searchsorted(rows, torch.tensor([*starts, len(logits)], device=rows.device))
    for start, (begin, end) in zip(starts, pairwise(ends.tolist()), strict=True):
        logp = scaled(logits[start : start + size], temperature).log_softmax(-1)
        yield start, slice(begin, end), logp


def grpo_loss(
    logp: Tensor,
    weight: Tensor,
    *,
    old_logp: Tensor | None = None,
    clip: float = 0.2,
    ref_logp: Tensor | None = None,
    kl_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """-sum_t w_t ratio_t, with w_t = advantage / (|a| x completions in the group x groups).

    Args:
        logp: log-probabilities of the tokens under the weights in training, (M,).
        weight: w_t, (M,); signed.
        old_logp: the same under the weights that generated; None for one update per round, where
            the ratio is pi / stopgrad(pi) = 1 and there is nothing to clip (paper, section 2).
        clip: PPO's epsilon, used with `old_logp` only.
        ref_logp: the same under the frozen start, for the KL term; None: no KL term.
        kl_weight: beta / (|a| x completions x groups) of each token, (M,).

    Returns:
        the loss, and the KL estimate k3 = exp(d) - d - 1, d = ref - logp (Schulman 2020) of each
        token, (M,), or None.
    """
    if old_logp is None:
        loss = -(weight * (logp - logp.detach()).exp()).sum()
    else:
        ratio = (logp - old_logp).exp()
        clipped = ratio.clamp(1 - clip, 1 + clip)
        loss = -torch.minimum(ratio * weight, clipped * weight).sum()
    if ref_logp is None:
        return loss, None
    assert kl_weight is not None
    gap = ref_logp - logp
    kl = gap.exp() - gap - 1
    return loss + (kl_weight * kl).sum(), kl.detach()
