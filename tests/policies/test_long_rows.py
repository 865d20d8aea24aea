"""Rows beyond the threshold: the same numbers as with all scores in full, in less memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from transformers import AutoModelForCausalLM

from models import save_random_llama
from swarmproof.policies import long_rows, loss
from swarmproof.policies.attention import NAME as PACKED
from swarmproof.policies.loss import PackedBatch

VOCAB = 256


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_random_llama(tmp_path_factory.mktemp("llama"), hidden=24, heads=(4, 2))
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=PACKED).eval()


def batch_of(*groups: tuple[int, tuple[int, ...]]) -> PackedBatch:
    """Groups of random tokens, by the length of the prompt and of each completion."""
    draw = torch.Generator().manual_seed(0)

    def row(length: int) -> tuple[int, ...]:
        return tuple(torch.randint(0, VOCAB, (length,), generator=draw).tolist())

    return PackedBatch(
        tuple(row(prompt) for prompt, _ in groups),
        tuple(tuple(map(row, lens)) for _, lens in groups),
    )


def computed(model: Any, batch: PackedBatch) -> tuple[Tensor, list[Tensor]]:
    logp = loss.token_logprobs(model, batch)
    # Uneven weights: a mean would hide what one token gives to another.
    weights = torch.linspace(-1, 1, len(logp))
    return logp.detach(), list(torch.autograd.grad((logp * weights).sum(), model.parameters()))


@pytest.mark.parametrize(
    "groups",
    [
        ((5, (30, 7, 1, 25)), (17, (3, 28, 2, 2))),  # ragged, in both groups
        ((40, (9, 11)),),  # only the prompt is long
        ((1, (33,)), (2, (31,))),
        ((35, (50, 50, 50)),),
    ],
)
def test_long_rows_equal_the_scores_in_full(
    model: Any, monkeypatch: pytest.MonkeyPatch, groups: Any
) -> None:
    batch, found = batch_of(*groups), []
    for long, block in ((10**6, 1), (8, 7)):  # blocks that do not divide the rows
        monkeypatch.setattr(long_rows, "LONG", long)
        monkeypatch.setattr(long_rows, "_BLOCK", block)
        found.append(computed(model, batch))
    (full, full_grads), (fused, fused_grads) = found
    torch.testing.assert_close(fused, full, atol=1e-5, rtol=0)
    for ours, theirs in zip(fused_grads, full_grads, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=1e-5)


def test_rows_beyond_the_real_threshold_are_the_models_own(model: Any) -> None:
    batch = batch_of((300, (310, 20)))
    logp = batch.split(loss.token_logprobs(model, batch).detach())
    model.set_attn_implementation("eager")
    try:
        for ours, row in zip(logp, batch.rows, strict=True):
            ids = torch.tensor([batch.prompts[0] + row])
            own = model(input_ids=ids).logits[0].log_softmax(-1)[299:-1]
            expected = own.gather(-1, torch.tensor(row)[:, None]).squeeze(-1)
            torch.testing.assert_close(ours, expected.detach(), atol=1e-5, rtol=1e-5)
    finally:
        model.set_attn_implementation(PACKED)


def kept_bytes(model: Any, length: int) -> int:
    """What a pass over completions of this length keeps for its backward pass."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss.token_logits(model, batch_of((10, (length, length))))
    return sum(seen.values())


def test_what_a_layer_keeps_grows_with_the_length_and_not_with_its_square(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_one_layer(length: int) -> int:
        every = kept_bytes(model, length)
        with monkeypatch.context() as patch:  # a Llama runs as many layers as its config says
            patch.setattr(model.config, "num_hidden_layers", 1)
            return every - kept_bytes(model, length)

    assert of_one_layer(1024) < 2.05 * of_one_layer(512)
    monkeypatch.setattr(long_rows, "LONG", 10**6)
    assert of_one_layer(1024) > 3 * of_one_layer(512)
