"""Batched sampling with addressed noise: the completion of a slot depends on the slot alone.

A draw is the argmax over the sampling support of logit / temperature + Gumbel noise. The support
is that of the logits processors of `transformers`, in their order: temperature, top-k, top-p.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from swarmproof.config import SamplingConfig
from swarmproof.policies.attention import DecodeLayout, PackedLayout
from swarmproof.policies.shapes import COMPACT_BELOW
from swarmproof.randomness import gumbel

# Maximum number of rows after that for each row that is still growing.
_FILLED_UP = 1.1
WIDE = 8192  # words; from here on the search costs far more than noise for a few candidates
_MORE_SPARE = 16  # so many times the spare candidates, where they were not enough
_STACK = 4  # columns of a stack in the search for the largest logits


def support(scaled: Tensor, sampling: SamplingConfig) -> Tensor:
    """The tokens that the generation strategy can draw.

    Args:
        scaled: logits / temperature, (R, V).

    Returns:
        bool, (R, V). Top-k keeps every token whose logit is at least the k-th largest, so all ties
        at the boundary are included. Of these, top-p keeps the smallest set of the most likely
        tokens whose mass reaches p, and at least one.
    """
    kept = torch.ones_like(scaled, dtype=torch.bool)
    if 0 < sampling.top_k < scaled.shape[-1]:
        kept &= scaled >= scaled.topk(sampling.top_k).values[..., -1:]
    if sampling.top_p < 1:
        masked = scaled.masked_fill(~kept, float("-inf"))
        ascending, order = masked.sort(-1)
        removed = ascending.softmax(-1).cumsum(-1) <= 1 - sampling.top_p
        removed[..., -1] = False
        kept &= ~removed.scatter(-1, order, removed)
    return kept


def scaled(logits: Tensor, temperature: float) -> Tensor:
    """Logits / temperature, in float32."""
    logits = logits.float()
    return logits if temperature == 1.0 else logits / temperature


def few_candidates(vocab: int, sampling: SamplingConfig) -> bool:
    """Whether a draw needs noise for few tokens only, and not for the whole vocabulary."""
    return 0 < sampling.top_k < vocab and sampling.top_p == 1


def draw(logits: Tensor, seeds: Tensor, t: int | Tensor, sampling: SamplingConfig) -> Tensor:
    """The token of each row, int64 of shape (R,).

    Args:
        logits: (R, V).
        seeds: of the rows' slots, int64 (R,).
        t: index of the token in its completion: one for all rows, or int64 (R,).
    """
    return draw_scaled(scaled(logits, sampling.temperature), seeds, t, sampling)


def draw_scaled(
    scaled: Tensor, seeds: Tensor, t: int | Tensor, sampling: SamplingConfig, spare: int = 0
) -> Tensor:
    """The same, from logits / temperature.

    Args:
        spare: candidates beyond `top_k` with which to try first, 0: as many as are usual. No result
            depends on it.
    """
    vocab, top_k = scaled.shape[-1], sampling.top_k
    spare = spare or (_MORE_SPARE if vocab >= WIDE else 1)
    if not few_candidates(vocab, sampling) or top_k + spare > vocab:
        return _draw_masked(scaled, seeds, t, sampling)
    # Compute noise for these candidates only, not for the vocabulary.
    values, ids = _largest(scaled, top_k + spare)
    edge = values.kthvalue(spare + 1, keepdim=True).values  # the k-th largest
    noisy = (values + gumbel(seeds, t, ids)).masked_fill_(values < edge, float("-inf"))
    drawn = ids.gather(-1, noisy.argmax(-1, keepdim=True)).squeeze(-1)
    # All spare ones tie with the k-th, so there may be more in the support. Such ties are common
    # where logits were rounded to bfloat16.
    tied = (values.amin(-1, keepdim=True) == edge).squeeze(-1)
    if tied.any():
        t_tied = t[tied] if isinstance(t, Tensor) else t
        more = _MORE_SPARE * spare
        drawn[tied] = draw_scaled(scaled[tied], seeds[tied], t_tied, sampling, more)
    return drawn


def _largest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest values of each row and their indices, unordered; (R, V) -> (R, k) twice.

    The columns are divided into stacks. The k stacks with the largest maxima hold the k largest
    values, so the slow search runs twice over few columns instead of once over all.
    """
    num_rows, vocab = x.shape
    num_stacks = vocab // _STACK
    if k * _STACK * 2 > vocab or vocab % _STACK:
        return cast(tuple[Tensor, Tensor], x.topk(k, sorted=False))
    stacked = x.reshape(num_rows, _STACK, num_stacks)
    stacks = stacked.amax(1).topk(k, sorted=False).indices
    candidates = stacked.gather(2, stacks[:, None].expand(-1, _STACK, -1)).flatten(1)
    values, place = candidates.topk(k, sorted=False)
    ids = stacks.gather(1, place % k) + place.div(k, rounding_mode="floor") * num_stacks
    return values, ids


def _draw_masked(
    scaled: Tensor, seeds: Tensor, t: int | Tensor, sampling: SamplingConfig
) -> Tensor:
    every = torch.arange(scaled.shape[-1], device=scaled.device).expand_as(scaled)
    noisy = scaled + gumbel(seeds, t, every)
    return noisy.masked_fill(~support(scaled, sampling), float("-inf")).argmax(-1)


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    end_ids: Collection[int],
) -> list[list[tuple[int, ...]]]:
    """Sample G completions for each of P prompts.

    Args:
        model: a causal LM set up by `Policy`.
        prompts: token ids, P of them, none empty.
        seeds: seeds of the slots, P x G.
        end_ids: the tokens that end a completion.

    Returns:
        P x G tuples of token ids. Each ends with one of `end_ids`, or has `max_new_tokens` tokens.
    """
    device = model.device
    num_groups, group_size = len(seeds), len(seeds[0])
    seed_R = torch.tensor(seeds, dtype=torch.long, device=device).flatten()
    start = torch.tensor([len(prompt) for prompt in prompts], device=device)
    layout, logits = prefill(model, prompts)
    logits = logits.repeat_interleave(group_size, 0)
    decode = DecodeLayout(layout, group_size, sampling.max_new_tokens)

    out = torch.full((num_groups * group_size, sampling.max_new_tokens), -1, device=device)
    position = start.repeat_interleave(group_size)
    slot = torch.arange(num_groups * group_size, device=device)  # where a row's tokens go
    alive = torch.ones_like(slot, dtype=torch.bool)
    for t in range(sampling.max_new_tokens):
        token = draw(logits, seed_R, t, sampling)
        out[slot[alive], t] = token[alive]
        for end in end_ids:
            alive &= token != end
        growing = alive.tolist()
        num_growing = sum(growing)
        if num_growing == 0 or t + 1 == sampling.max_new_tokens:
            break
        if num_growing <= COMPACT_BELOW * len(growing):
            rows, alive = _compact(decode, growing)
            token, position, slot, seed_R = token[rows], position[rows], slot[rows], seed_R[rows]
        logits = advance(model, decode, token, position + t)
    return _cut(out.tolist(), group_size)


def prefill(model: Any, prompts: Sequence[Sequence[int]]) -> tuple[PackedLayout, Tensor]:
    """One pass over the prompts: keys and values, and the logits at their ends, (P, V)."""
    layout = PackedLayout([len(p) for p in prompts], [[] for _ in prompts], model.device)
    tokens, positions = pack(prompts, [[] for _ in prompts])
    logits = model(
        input_ids=torch.tensor([tokens], device=model.device),
        position_ids=torch.tensor([positions], device=model.device),
        attention_mask={"full_attention": None},
        use_cache=False,
        logits_to_keep=len(prompts),
        layout=layout,
    ).logits[0]
    return layout, logits


def advance(model: Any, decode: DecodeLayout, tokens: Tensor, positions: Tensor) -> Tensor:
    """One decoding step: from one token per row, (R,), to the logits after it, (R, V)."""
    logits: Tensor = model(
        input_ids=tokens[None],
        position_ids=positions[None],
        attention_mask={"full_attention": None},
        use_cache=False,
        layout=decode,
    ).logits[0]
    decode.length += 1
    return logits


def pack(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[Sequence[int]]]
) -> tuple[list[int], list[int]]:
    """Token ids and positions in the order that `PackedLayout` expects."""
    heads = [token for prompt in prompts for token in prompt[:-1]]
    ends = [prompt[-1] for prompt in prompts]
    inputs = [token for group in completions for row in group for token in row[:-1]]
    positions = [t for prompt in prompts for t in range(len(prompt) - 1)]
    positions += [len(prompt) - 1 for prompt in prompts]
    positions += [
        len(prompt) + t
        for prompt, group in zip(prompts, completions, strict=True)
        for row in group
        for t in range(len(row) - 1)
    ]
    return heads + ends + inputs, positions


def _compact(decode: DecodeLayout, growing: list[bool]) -> tuple[Tensor, Tensor]:
    """Drop finished rows from the caches.

    Groups must have equal size, but they finish unevenly. So a large group is split into several,
    each with its own copy of the prompt. Their size is the largest for which few rows are needed
    to fill up the last one.

    Returns:
        the rows that stay, and for each whether it is growing or only fills up its group.
    """
    size = decode.group_size
    left = [
        [row for row in range(start, start + size) if growing[row]]
        for start in range(0, len(growing), size)
    ]
    size = next(
        size
        for size in range(max(map(len, left)), 0, -1)
        if size * sum(-(-len(rows) // size) for rows in left) <= _FILLED_UP * sum(growing)
    )
    parts = [
        (group, rows[i : i + size])
        for group, rows in enumerate(left)
        for i in range(0, len(rows), size)
    ]
    padded = [part + part[-1:] * (size - len(part)) for _, part in parts]
    real = [i < len(part) for _, part in parts for i in range(size)]
    device = decode.prefix_bias.device
    kept = torch.tensor(padded, device=device).flatten()
    decode.keep(torch.tensor([group for group, _ in parts], device=device), kept, size)
    return kept, torch.tensor(real, device=device)


def _cut(rows: list[list[int]], group_size: int) -> list[list[tuple[int, ...]]]:
    done = [tuple(row[: row.index(-1)] if -1 in row else row) for row in rows]
    return [done[i : i + group_size] for i in range(0, len(done), group_size)]
