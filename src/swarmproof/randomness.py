"""Randomness with an address: every draw is a function of what it is for.

`derive_seed` names a stream; `gumbel` gives the noise of one token of one slot. Neither has a
state, so a run resumes exactly, a batch can be cut in any way, and a peer can replay a draw.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_MASK = (1 << 64) - 1


def derive_seed(run: int, purpose: str, *address: int | str) -> int:
    """A 63-bit seed that is a hash of its address (BLAKE2b), stable across machines.

    Args:
        run: the seed of the whole trial.
        purpose: what the stream is for; two purposes never share draws.
        address: for example round, problem id and index. Never a node's identity, or more
            identities would mean more draws.
    """
    typed = (f"{type(part).__name__}:{part}" for part in address)
    # Escaped, so that no text can hold a border of its own.
    parts = (part.replace("\x1e", "\x1e\x1e").replace("\x1f", "\x1e\x1f") for part in typed)
    text = "\x1f".join([str(run), purpose, *parts])
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") & (_MASK >> 1)


def generator(run: int, purpose: str, *address: int | str) -> np.random.Generator:
    """A NumPy generator (Philox, counter-based) seeded from an address."""
    return np.random.Generator(np.random.Philox(derive_seed(run, purpose, *address)))


def gumbel(seeds: torch.Tensor, t: int | torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel noise g(seed of the slot, t, token id).

    Args:
        seeds: int64, shape (R,).
        t: index of the token in its completion, one for all rows or int64 of shape (R,).
        token_ids: int64, shape (R, K).

    Returns:
        float32, shape (R, K). The argmax over a support of logits / temperature + noise is a draw
        from the softmax over that support (Gumbel-max).

    The hash is the finaliser of SplitMix64 (Steele, Lea, Flood 2014), applied to the row's stream
    and then to the token: 64-bit integers wrap around alike on CPU and CUDA.
    """
    import torch  # not above: seeds are derived where no model is needed

    row = _mix(_mix(seeds) + (torch.as_tensor(t, device=seeds.device) + 1) * _GOLDEN)
    bits = _mix(row.unsqueeze(-1) + (token_ids + 1) * _GOLDEN)
    # 53 random bits, half a unit away from 0 and from 1, so that both logarithms are finite.
    uniform = (_shift(bits, 11).to(torch.float64) + 0.5) * 2.0**-53
    return uniform.log_().neg_().log_().neg_().to(torch.float32)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_M1 = _signed(0xBF58476D1CE4E5B9)
_M2 = _signed(0x94D049BB133111EB)


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of an int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: torch.Tensor) -> torch.Tensor:
    x = (x ^ _shift(x, 30)) * _M1
    x = (x ^ _shift(x, 27)) * _M2
    return x ^ _shift(x, 31)
