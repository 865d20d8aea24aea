"""Searches with the trained model, for attackers who check what they send before they send it.

`spell` looks for tokens that write a text and that the model could have sampled. `resume` samples
what follows. `near_draws` samples near the forced draws of slots. This module knows no defence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from swarmproof.types import Tokens

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from swarmproof.policies.codec import Codec
    from swarmproof.policies.policy import Policy

_ROWS = 256  # contexts in one pass
_DRAWN_ROWS = 4096  # drawn side by side; each keeps the keys and values of its tokens


@dataclass(frozen=True, slots=True)
class Spelling:
    """Tokens that write the first `done` characters of a text."""

    ids: Tokens
    done: int
    logprob: float  # of these tokens together, under the full softmax


def spell(
    policy: Policy, contexts: Sequence[Tokens], text: str, *, beam: int, floor: float
) -> list[list[Spelling]]:
    """Spellings of a text and of its prefixes, all tokens inside the sampling support.

    A beam search over tokenisations. Shorter tokens often are in the support where the tokenizer's
    own are not.

    Args:
        policy: the model that would sample.
        contexts: for each search, all tokens before the text: prompt, and start of the completion.
        beam: for each context and each length in characters, the spellings that are kept.
        floor: lowest log-probability of a token.

    Returns:
        for each context, the likeliest spelling of each length that was reached, shortest first.
    """
    found: list[dict[int, list[Spelling]]] = [
        defaultdict(list, {0: [Spelling((), 0, 0.0)]}) for _ in contexts
    ]
    pieces = _pieces(policy.codec)
    for at in range(len(text)):
        fitting = [(i, len(piece)) for i, piece in pieces.items() if text.startswith(piece, at)]
        rows = [
            (of_length, context + spelling.ids, spelling)
            for of_length, context in zip(found, contexts, strict=True)
            for spelling in sorted(of_length[at], key=lambda s: -s.logprob)[:beam]
        ]
        logprobs = _next(policy, [before for _, before, _ in rows], [i for i, _ in fitting])
        for (of_length, _, spelling), row in zip(rows, logprobs, strict=True):
            for (token, size), logprob in zip(fitting, row, strict=True):
                if logprob >= floor:
                    ids, done = (*spelling.ids, token), at + size
                    of_length[done].append(Spelling(ids, done, spelling.logprob + logprob))
    return [_likeliest(of_length) for of_length in found]


def resume(
    policy: Policy,
    prompts: Sequence[Tokens],
    starts: Sequence[Tokens],
    seeds: Sequence[Sequence[int]],
) -> list[list[Tokens]]:
    """Complete each start with each of its seeds; completions that do not end are left out."""
    from swarmproof.policies import loader, sampler

    room = policy.sampling.max_new_tokens - max(map(len, starts), default=0)
    if room < 1 or not starts or not seeds[0]:
        return [[] for _ in starts]
    sampling = policy.sampling.model_copy(update={"max_new_tokens": room})
    ends = policy.codec.end_ids
    contexts = [prompt + start for prompt, start in zip(prompts, starts, strict=True)]
    found: list[list[Tokens]] = []
    most = max(1, _ROWS * 2 // len(seeds[0]))
    with loader.packed(policy.model, policy.codec):
        for first in range(0, len(contexts), most):
            part = slice(first, first + most)
            found += sampler.generate(policy.model, contexts[part], seeds[part], sampling, ends)
    return [
        [start + ids for ids in row if ids and ids[-1] in ends]
        for start, row in zip(starts, found, strict=True)
    ]


def near_draws(
    policy: Policy,
    prompts: Sequence[Tokens],
    seeds: Sequence[Sequence[int]],
    *,
    tolerance: float,
    ties: int,
    rng: np.random.Generator,
) -> list[list[Tokens]]:
    """A completion for each seed that differs from the draw at its address by near ties only.

    A token is drawn by logit / temperature + the noise of its address + a term between 0 and
    `tolerance`, so that it loses at most `tolerance` against the forced draw. Once `ties` tokens of
    a completion have lost, its other tokens are forced. Only so many rows are drawn at once that
    they fit in memory.
    """
    most = max(1, _DRAWN_ROWS // len(seeds[0]))
    parts = [slice(first, first + most) for first in range(0, len(prompts), most)]
    return [
        row
        for part in parts
        for row in _near_draws(
            policy, prompts[part], seeds[part], tolerance=tolerance, ties=ties, rng=rng
        )
    ]


def _near_draws(
    policy: Policy,
    prompts: Sequence[Tokens],
    seeds: Sequence[Sequence[int]],
    *,
    tolerance: float,
    ties: int,
    rng: np.random.Generator,
) -> list[list[Tokens]]:
    import torch

    from swarmproof.policies import loader, sampler
    from swarmproof.policies.attention import DecodeLayout

    limit, size = policy.sampling.max_new_tokens, len(seeds[0])
    out: list[list[int]] = [[] for _ in range(len(prompts) * size)]
    with torch.inference_mode(), loader.packed(policy.model, policy.codec):
        layout, logits = sampler.prefill(policy.model, prompts)
        logits = logits.repeat_interleave(size, 0)
        decode = DecodeLayout(layout, size, limit)
        flat = torch.tensor(seeds, dtype=torch.long, device=logits.device).flatten()
        start = torch.tensor([len(p) for p in prompts], device=logits.device)
        position = start.repeat_interleave(size)
        lost = torch.zeros_like(flat)
        for t in range(limit):
            forced, near = _draws(logits, flat, t, policy, tolerance, rng)
            token = torch.where(lost < ties, near, forced)
            lost += token != forced
            for row, drawn in zip(out, token.tolist(), strict=True):
                if not row or row[-1] not in policy.codec.end_ids:
                    row.append(drawn)
            if t + 1 == limit or all(row[-1] in policy.codec.end_ids for row in out):
                break
            logits = sampler.advance(policy.model, decode, token, position + t)
    return [[tuple(row) for row in out[i : i + size]] for i in range(0, len(out), size)]


def _draws(
    logits: Tensor,
    seeds: Tensor,
    t: int,
    policy: Policy,
    tolerance: float,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """The forced token of each row, and one that loses at most `tolerance` against it."""
    import torch

    from swarmproof.policies import sampler
    from swarmproof.randomness import gumbel

    scaled = logits.float() / policy.sampling.temperature
    k = policy.sampling.top_k or scaled.shape[-1]
    values, ids = scaled.topk(min(k, scaled.shape[-1]))
    kept = sampler.support(scaled, policy.sampling).gather(-1, ids)
    noisy = (values + gumbel(seeds, t, ids)).masked_fill(~kept, float("-inf"))
    extra = torch.from_numpy(rng.uniform(0, tolerance, tuple(ids.shape))).to(values)
    places = (noisy.argmax(-1, keepdim=True), (noisy + extra).argmax(-1, keepdim=True))
    forced, near = (ids.gather(-1, place).squeeze(-1) for place in places)
    return forced, near


def column_of(
    policy: Policy,
    column: str,
    prompts: Sequence[str],
    rows: Sequence[Sequence[Tokens]],
    seeds: Sequence[Sequence[int]] | None = None,
) -> list[Sequence[np.ndarray]]:
    """A column of `policies.scorer` for every token of completions; groups may be empty."""
    there = [p for p, row in enumerate(rows) if row]
    told = policy.scorer.score(
        [prompts[p] for p in there],
        [rows[p] for p in there],
        None if seeds is None else [seeds[p] for p in there],
        (column,),
    )
    found: list[Sequence[np.ndarray]] = [[] for _ in rows]
    for p, of_group in zip(there, told.column(column), strict=True):
        found[p] = of_group
    return found


def _likeliest(of_length: Mapping[int, Sequence[Spelling]]) -> list[Spelling]:
    """The likeliest spelling of each length except 0, shortest first."""
    reached = sorted(done for done, row in of_length.items() if done and row)
    return [max(of_length[done], key=lambda s: s.logprob) for done in reached]


def _next(policy: Policy, contexts: Sequence[Tokens], wanted: Sequence[int]) -> list[list[float]]:
    """Log-probabilities of the wanted tokens after each context; -inf outside the support."""
    import torch

    from swarmproof.policies import loader, sampler

    found: list[list[float]] = []
    with torch.inference_mode(), loader.packed(policy.model, policy.codec):
        for first in range(0, len(contexts) if wanted else 0, _ROWS):
            _, logits = sampler.prefill(policy.model, contexts[first : first + _ROWS])
            scaled = logits.float() / policy.sampling.temperature
            kept = sampler.support(scaled, policy.sampling)
            logprob = scaled.log_softmax(-1).masked_fill(~kept, float("-inf"))
            found += logprob[:, list(wanted)].tolist()
    return found if wanted else [[] for _ in contexts]


@lru_cache(maxsize=4)
def _pieces(codec: Codec) -> dict[int, str]:
    """The text of each token that is a text by itself."""
    ids = sorted(codec.known_ids - codec.end_ids)
    texts = zip(ids, codec.decode([(i,) for i in ids]), strict=True)
    return {i: text for i, text in texts if text and "\N{REPLACEMENT CHARACTER}" not in text}
