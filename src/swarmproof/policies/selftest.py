"""Tests at load time whether packed attention gives the same result as the model's own attention.

So a measurement decides whether a model is supported, not a list of names. A few short rows of
different lengths are scored packed and sampled step by step. They must give the logits that the
model gives for each row alone, in evaluation mode. `loader.unsupported` checks for features that
such short rows cannot reveal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swarmproof.policies import loss, sampler, shapes
from swarmproof.policies.attention import NAME as ATTENTION
from swarmproof.policies.attention import DecodeLayout, PackedLayout
from swarmproof.policies.codec import Codec

# Root mean square of the differences, in standard deviations of the logits.
_TOLERANCE = {torch.float32: 1e-3}
# bf16 and fp16 round by far more, and the more layers, the more. Up to the first bound their result
# decides. Up to the second the same weights decide in float32, where rounding hides nothing; and
# packed attention may be at most so many times as far from that result as the model's own.
_ROUGH_TOLERANCE, _MOST_ROUNDING = 0.1, 0.5
_ROUNDS_MORE = 3.0  # 0.9 to 1.5 for SmolLM2-135M, after five warm-ups
_PROMPT_LENGTHS = (3, 7)
_ROW_LENGTHS = ((5, 3), (4, 5))
# Errors that a model may raise if it cannot run on packed rows.
_MODEL_ERRORS = (
    *(RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    NotImplementedError,
)


@torch.no_grad()
def require(model: Any, codec: Codec, where: str = "this model") -> None:
    """Raise ValueError unless packed attention agrees with this model's own up to rounding.

    Args:
        model: set up for packed attention, in the mode in which it is used.
        where: names the model in the error.
    """
    cause: Exception | None = None
    try:
        fault = _fault(model, codec)
    except torch.OutOfMemoryError:
        raise
    except _MODEL_ERRORS as error:
        kind = getattr(model.config, "model_type", "unknown")
        fault = f"cannot be run on packed rows, for which its architecture {kind!r} is not made"
        cause = error
    if fault:
        raise ValueError(
            f"{where} {fault}; use a model with plain causal attention in all layers (Qwen2, "
            "Qwen3, Llama, …)"
        ) from cause


def _fault(model: Any, codec: Codec) -> str:
    """Describe the difference; empty if there is none."""
    exact = model.dtype in _TOLERANCE
    measured = _measure(model, codec)
    fault, worst = _beyond(measured, _TOLERANCE[model.dtype] if exact else _MOST_ROUNDING)
    if fault or exact or worst <= _ROUGH_TOLERANCE:
        return fault
    with _in_float32(model):
        precise = _measure(model, codec)
    fault, _ = _beyond(precise, _TOLERANCE[torch.float32])
    if fault:
        return fault
    ours = max(_gap(m.ours, p.own, m.known) for m, p in zip(measured, precise, strict=True))
    own = max(_gap(m.own, p.own, m.known) for m, p in zip(measured, precise, strict=True))
    if not ours <= _ROUNDS_MORE * own:
        return (
            f"rounds otherwise in packed attention than in its own: the logits in {model.dtype} "
            f"differ from those in float32 by {ours:.2g} of their spread, and its own by {own:.2g}"
        )
    return ""


@dataclass(frozen=True, slots=True)
class _Measured:
    """Logits of the same places, (R, V), in float32."""

    what: str
    ours: Tensor
    own: Tensor
    known: Tensor  # ids that stand for tokens


def _measure(model: Any, codec: Codec) -> list[_Measured]:
    prompts, rows = _texts(codec)
    batch = loss.PackedBatch(prompts, rows)
    # Packed first, on the model as given: the result must not depend on earlier computations.
    scored = loss.token_logits(model, batch)
    own = [[_own(model, p, row) for row in group] for p, group in zip(prompts, rows, strict=True)]
    first = torch.stack([group[0][0] for group in own])
    places = torch.cat([first, *(logits[1:] for group in own for logits in group)])
    known = torch.tensor(sorted(codec.known_ids), device=first.device)
    return [
        _Measured(what, ours.float(), expected, known)
        for what, ours, expected in (
            ("scores completions", scored, places),
            *(("draws", *pair) for pair in _draws(model, prompts, rows, own)),
            ("scores a row beside a far longer one", _beside_a_long_row(model, prompts), first),
        )
    ]


def _beyond(measured: list[_Measured], tolerance: float) -> tuple[str, float]:
    """Describes the first difference above the tolerance, if there is one; the largest one."""
    worst = 0.0
    for m in measured:
        gap = _gap(m.ours, m.own, m.known)
        # `>` would be wrong: a comparison with NaN is false.
        if not gap <= tolerance:
            return (
                f"{m.what} otherwise in packed attention than in its own: the logits differ by "
                f"{gap:.2g} of their spread, and rounding explains {tolerance:g}"
            ), gap
        worst = max(worst, gap)
    return "", worst


@contextmanager
def _in_float32(model: Any) -> Iterator[None]:
    """The same weights in float32 for a while. The tensors themselves stay, for who holds them."""
    dtype = model.dtype
    rough = [x for x in (*model.parameters(), *model.buffers()) if x.dtype == dtype]
    kept = [tensor.data for tensor in rough]
    try:
        for tensor in rough:
            tensor.data = tensor.data.float()
        yield
    finally:
        for tensor, data in zip(rough, kept, strict=True):
            tensor.data = data


def _texts(codec: Codec) -> tuple[tuple[tuple[int, ...], ...], tuple[Any, ...]]:
    """Prompts and groups of rows, with tokens from the whole vocabulary."""
    known = sorted(codec.known_ids - codec.end_ids)
    count = sum(_PROMPT_LENGTHS) + sum(map(sum, _ROW_LENGTHS))
    ids: Iterator[int] = iter([known[len(known) * i // count] for i in range(count)])
    prompts = tuple(tuple(next(ids) for _ in range(n)) for n in _PROMPT_LENGTHS)
    rows = tuple(tuple(tuple(next(ids) for _ in range(n)) for n in group) for group in _ROW_LENGTHS)
    return prompts, rows


def _own(model: Any, prompt: tuple[int, ...], row: tuple[int, ...]) -> Tensor:
    """The logits before each token of a row alone, (T, V), by the model's own attention."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.set_attn_implementation("eager")
        model.eval()
        ids = torch.tensor([[*prompt, *row[:-1]]], device=model.device)
        logits: Tensor = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 :]
        return logits.float()
    finally:
        model.set_attn_implementation(ATTENTION)
        for module, mode in modes:
            module.training = mode


def _draws(
    model: Any, prompts: tuple[tuple[int, ...], ...], rows: tuple[Any, ...], own: list[list[Tensor]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits of step-by-step decoding as in `sampler.generate`, and the model's own logits."""
    flat = [row for group in rows for row in group]
    expected = [logits for group in own for logits in group]
    layout, logits = sampler.prefill(model, prompts)
    size = len(rows[0])
    yield logits.repeat_interleave(size, 0), torch.stack([of[0] for of in expected])
    decode = DecodeLayout(layout, size, max(map(len, flat)))
    start = torch.tensor([len(p) for p in prompts], device=model.device).repeat_interleave(size)
    for t in range(min(map(len, flat)) - 1):
        tokens = torch.tensor([row[t] for row in flat], device=model.device)
        logits = sampler.advance(model, decode, tokens, start + t)
        yield logits, torch.stack([of[t + 1] for of in expected])


def _beside_a_long_row(model: Any, prompts: tuple[tuple[int, ...], ...]) -> Tensor:
    """The logits at the ends of prompts while another row is at the end of the context.

    Some models scale their positions by the longest row of a batch, and some of them begin only
    beyond `max_position_embeddings`.
    """
    with_far = (*prompts, prompts[0][:1])
    none: list[list[tuple[int, ...]]] = [[] for _ in with_far]
    tokens, positions = sampler.pack(with_far, none)
    positions[-1] = (shapes.positions(model.config.to_dict(), "this model") or 2048) - 1
    logits: Tensor = model(
        input_ids=torch.tensor([tokens], device=model.device),
        position_ids=torch.tensor([positions], device=model.device),
        attention_mask={"full_attention": None},
        use_cache=False,
        logits_to_keep=len(with_far),
        layout=PackedLayout([len(p) for p in with_far], [[] for _ in with_far], model.device),
    ).logits[0]
    return logits[: len(prompts)]


def _gap(ours: Tensor, expected: Tensor, known: Tensor) -> float:
    """The largest RMS difference of any row, in standard deviations of its logits."""
    ours, expected = ours[:, known], expected[:, known]
    off = (ours - expected).square().mean(-1).sqrt()
    return float((off / expected.std(-1).clamp_min(1e-6)).max())
