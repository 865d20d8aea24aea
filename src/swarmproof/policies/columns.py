"""Values of every token under a model besides its log-probability, from the logits before it.

Each token is computed from its own row of logits alone, so a pass can compute them in any slices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from swarmproof.config import SamplingConfig
from swarmproof.policies import sampler
from swarmproof.randomness import gumbel


@dataclass(frozen=True, slots=True)
class Places:
    """The places of R tokens: what a column is computed from."""

    logits: Tensor  # logits / temperature before each token, (R, V)
    ids: Tensor  # the tokens, int64 (R,)
    t: Tensor  # index of each token in its completion, int64 (R,)
    seeds: Tensor | None  # seed of the slot of each token, int64 (R,); None: not known


Column = Callable[[Places, SamplingConfig], Tensor]  # to (R,)


def shortfall(at: Places, sampling: SamplingConfig) -> Tensor:
    """How far below the sampling support each token is."""
    logits, chosen = at.logits, at.logits.gather(-1, at.ids[:, None])
    result = torch.zeros_like(chosen.squeeze(-1))
    k = sampling.top_k if 0 < sampling.top_k < logits.shape[-1] else logits.shape[-1]
    if sampling.top_p < 1:
        suspects = torch.ones_like(result, dtype=torch.bool)
    else:
        # Counting the better tokens is much cheaper than sorting all tokens. The boundary itself
        # is needed only for the few tokens that fail.
        suspects = (logits > chosen).sum(-1) >= k
    if suspects.any():
        kept = sampler.support(logits[suspects], sampling)
        lowest = logits[suspects].masked_fill(~kept, float("inf")).amin(-1)
        result[suspects] = (lowest - chosen[suspects].squeeze(-1)).clamp_min(0)
    # Comparisons with NaN are false, and a NaN must not count as inside the support.
    return torch.where(chosen.squeeze(-1).isnan(), chosen.squeeze(-1), result)


def entropy(at: Places, sampling: SamplingConfig) -> Tensor:  # noqa: ARG001
    """Entropy of the full softmax before each token, in nats."""
    logp = at.logits.log_softmax(-1)
    return -(logp.exp() * logp.masked_fill(logp == float("-inf"), 0)).sum(-1)


def margin(at: Places, sampling: SamplingConfig) -> Tensor:
    """How far each token is from being the draw at its address; 0: it is the draw.

    In units of logit / temperature: the smallest error of the logits that could explain it. A rival
    that wins the draw loses it if its sum falls below the token's, or if its logit falls out of the
    support. A token outside the support must first rise into it.

    Raises:
        ValueError: the seeds of the slots are not known.
    """
    result = torch.maximum(_lost_by(at, known(at.seeds), sampling), shortfall(at, sampling))
    chosen = at.logits.gather(-1, at.ids[:, None]).squeeze(-1)
    return torch.where(chosen.isnan(), chosen, result)


def known(seeds: Tensor | None) -> Tensor:
    """Raise ValueError if the seeds of the slots are not known."""
    if seeds is None:
        raise ValueError("the margin of a draw needs the seed of its slot; give slot_seeds")
    return seeds


def _lost_by(at: Places, seeds: Tensor, sampling: SamplingConfig) -> Tensor:
    """The error that would take the draw from each rival; the largest of them."""
    vocab = at.logits.shape[-1]
    kept = sampler.support(at.logits, sampling)
    edge = at.logits.masked_fill(kept, float("-inf")).amax(-1, keepdim=True)
    count = sampling.top_k if 0 < sampling.top_k < vocab else vocab
    values, ids = at.logits.topk(count)
    noise = gumbel(seeds, at.t, torch.cat([at.ids[:, None], ids], -1))
    own = at.logits.gather(-1, at.ids[:, None]) + noise[:, :1]
    lost = torch.minimum(values + noise[:, 1:] - own, values - edge)
    return lost.masked_fill(~kept.gather(-1, ids), float("-inf")).amax(-1).clamp_min(0)


# Values that a pass can compute for each token besides its log-probability, by name.
COLUMNS: Mapping[str, Column] = {"shortfall": shortfall, "entropy": entropy, "margin": margin}
# Those that are 0 wherever a token is the draw at its address.
ZERO_FOR_DRAWS = frozenset({"shortfall", "margin"})
