"""Randomness with an address: every draw is a function of its purpose and its place in the run.

`derive_seed` gives the seed of a stream, `gumbel` the noise of one token of one slot. Neither has
state. So a run resumes exactly, a batch can be split in any way, and a peer can replay a draw.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

_MASK = (1 << 64) - 1


def derive_seed(run: int, purpose: str, *address: int | str) -> int:
    """A 63-bit seed: the BLAKE2b hash of its address, the same on every machine.

    Args:
        run: the seed of the whole trial.
        purpose: the use of the stream; two purposes never share draws.
        address: for example round, problem id and index. Never the identity of a node: otherwise
            an adversary with more identities would get more draws.
    """
    typed = (f"{type(part).__name__}:{part}" for part in address)
    # Separators within a part are escaped, so that two addresses never give the same text.
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
        t: index of the token in its completion: one for all rows, or int64 of shape (R,).
        token_ids: int64, shape (R, K).

    Returns:
        float32, shape (R, K). The argmax over a support of logits / temperature + noise is a draw
        from the softmax over that support (Gumbel-max).

    The hash is the finaliser of SplitMix64 (Steele, Lea, Flood 2014), applied to the row's stream
    and then to the token. 64-bit integers overflow in the same way on CPU and CUDA.
    """
    import torch  # imported here: code that only derives seeds needs no torch

    row = _mix(_mix(seeds) + (torch.as_tensor(t, device=seeds.device) + 1) * _GOLDEN)
    bits = _mix(row.unsqueeze(-1) + (token_ids + 1) * _GOLDEN)
    # 53 random bits, at least half a unit from 0 and 1, so that both logarithms are finite.
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
