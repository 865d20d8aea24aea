"""Log-probabilities of packed completions, and the GRPO loss over them.

Knows token ids and weights, not text, tasks or verdicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swarmproof.policies.attention import PackedLayout
from swarmproof.policies.sampler import pack


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Groups of completions, packed so that a prompt is computed once for its group.

    Flat token order, of every per-token tensor here: the first token of each completion, then the
    further tokens of each completion.
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
        """Only the completions that count, and the groups that then have any."""
        chosen = iter(counts)
        kept = [[row for row in group if next(chosen)] for group in self.completions]
        return _batch([p for p, rows in enumerate(kept) if rows], self.prompts, kept)

    def flatten(self, per_token: Sequence[Sequence[float]], device: torch.device) -> Tensor:
        """One value a token, given completion by completion, in flat token order."""
        first = [values[0] for values in per_token]
        rest = [value for values in per_token for value in values[1:]]
        return torch.tensor(first + rest, device=device)

    def split(self, flat: Tensor) -> list[Tensor]:
        """The inverse of `flatten`: one tensor a completion."""
        lens = [len(row) - 1 for row in self.rows]
        rest = torch.split(flat[len(lens) :], lens)
        return [torch.cat([flat[i : i + 1], part]) for i, part in enumerate(rest)]


def micro_batches(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[Sequence[int]]],
    max_tokens: int,
) -> Iterator[tuple[list[int], PackedBatch]]:
    """Cut groups into batches of at most `max_tokens` packed tokens (at least one group each).

    Sorted by their longest completion, so that little of the attention is padding.

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


def token_logits(model: Any, batch: PackedBatch, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits / temperature at every place that predicts a token of a completion.

    Returns:
        logits of the first tokens' places, (P, V), shared by the completions of a group; and of
        the places of all further tokens, (M - C, V), in flat token order.
    """
    device = model.device
    layout = PackedLayout(
        [len(prompt) for prompt in batch.prompts],
        [[len(row) - 1 for row in group] for group in batch.completions],
        device,
    )
    tokens, positions = pack(batch.prompts, batch.completions)
    num_groups = len(batch.prompts)
    further = sum(len(row) - 1 for row in batch.rows)
    logits = model(
        input_ids=torch.tensor([tokens], device=device),
        position_ids=torch.tensor([positions], device=device),
        attention_mask={"full_attention": None},
        use_cache=False,
        logits_to_keep=num_groups + further,
        layout=layout,
    ).logits[0]
    logits = logits.float()
    if temperature != 1.0:
        logits = logits / temperature
    ends, rest = torch.split(logits, [num_groups, further])
    return ends, rest


def last_logits(model: Any, batch: PackedBatch) -> Tensor:
    """Logits after the last token of every completion, (C, V), and nowhere else."""
    device = model.device
    lens = [[len(row) for row in group] for group in batch.completions]
    layout = PackedLayout([len(prompt) for prompt in batch.prompts], lens, device)
    # `pack` leaves out the last token, which is never an input where tokens are predicted.
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


def targets(batch: PackedBatch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The group of each completion (C,), its first token (C,), and all further tokens (M - C,)."""
    group = [p for p, rows in enumerate(batch.completions) for _ in rows]
    first = [row[0] for row in batch.rows]
    further = [token for row in batch.rows for token in row[1:]]
    return (
        torch.tensor(group, device=device),
        torch.tensor(first, device=device),
        torch.tensor(further, dtype=torch.long, device=device),
    )


def token_logprobs(model: Any, batch: PackedBatch, temperature: float = 1.0) -> Tensor:
    """log pi(token) of every token of every completion, (M,), in flat token order."""
    return logprobs_of(batch, *token_logits(model, batch, temperature))


def logprobs_of(batch: PackedBatch, ends: Tensor, further: Tensor) -> Tensor:
    """The same, from what `token_logits` gave."""
    group, first, rest = targets(batch, ends.device)
    first_logp = ends.log_softmax(-1)[group, first]
    rest_logp = further.log_softmax(-1).gather(-1, rest[:, None]).squeeze(-1)
    return torch.cat([first_logp, rest_logp])


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
        logp: of the tokens under the weights that learn, (M,).
        weight: w_t, (M,); signed.
        old_logp: under the weights that generated; None for one update a round, where the ratio is
            pi / stopgrad(pi) = 1 and there is nothing to clip (paper, section 2).
        clip: PPO's epsilon, used with `old_logp` only.
        ref_logp: under the frozen start, for the KL term; None leaves it out.
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
