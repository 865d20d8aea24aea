"""Packed passes over ragged groups against a plain pass over every sequence alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForCausalLM, PhiConfig, PhiForCausalLM

from models import byte_tokenizer, save_random_llama
from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig
from swarmproof.policies import loss
from swarmproof.policies.attention import NAME as PACKED
from swarmproof.policies.loss import PackedBatch
from swarmproof.policies.policy import TrainedPolicy, train

VOCAB = 256
TOKENS = st.integers(0, VOCAB - 1)
# One prompt with its completions; ragged in every way, down to single tokens.
GROUP = st.tuples(
    st.lists(TOKENS, min_size=1, max_size=7).map(tuple),
    st.lists(st.lists(TOKENS, min_size=1, max_size=6).map(tuple), min_size=1, max_size=4).map(
        tuple
    ),
)
BATCHES = st.lists(GROUP, min_size=1, max_size=3).map(
    lambda groups: PackedBatch(tuple(p for p, _ in groups), tuple(rows for _, rows in groups))
)


@cache
def load(folder: Path, attention: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention).eval()


def plain_logprobs(model: Any, batch: PackedBatch, temperature: float) -> list[Tensor]:
    """Each completion after its prompt, alone in a batch of one."""
    found = []
    for prompt, rows in zip(batch.prompts, batch.completions, strict=True):
        for row in rows:
            logits = model(input_ids=torch.tensor([prompt + row])).logits[0] / temperature
            logp = logits.log_softmax(-1)[len(prompt) - 1 : -1]
            found.append(logp.gather(-1, torch.tensor(row)[:, None]).squeeze(-1))
    return found


def gradients(model: Any, objective: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(objective, parameters), strict=True))


@settings(max_examples=25)
@given(batch=BATCHES, temperature=st.sampled_from([1.0, 0.7]), seed=st.integers(0, 99))
def check(folder: Path, batch: PackedBatch, temperature: float, seed: int) -> None:
    plain, packed = load(folder, "eager"), load(folder, PACKED)
    expected = plain_logprobs(plain, batch, temperature)
    flat = loss.token_logprobs(packed, batch, temperature)
    found = batch.split(flat)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)

    weights = [
        torch.randn(len(row), generator=torch.Generator().manual_seed(seed + i)).tolist()
        for i, row in enumerate(batch.rows)
    ]
    ours_by_name = gradients(packed, (flat * batch.flatten(weights, flat.device)).sum())
    objective = sum(
        ((x * torch.tensor(w)).sum() for x, w in zip(expected, weights, strict=True)),
        start=torch.zeros(()),
    )
    for name, theirs in gradients(plain, objective).items():
        scale = max(1.0, float(theirs.abs().max()))
        torch.testing.assert_close(ours_by_name[name], theirs, atol=1e-5 * scale, rtol=1e-4)


def test_qwen2_equals_the_plain_pass(qwen2_dir: Path) -> None:
    check(qwen2_dir)


def test_llama_equals_the_plain_pass(llama_dir: Path) -> None:
    check(llama_dir)


@pytest.mark.parametrize("heads", [(4, 1), (3, 3)])
def test_any_number_of_heads_equals_the_plain_pass(tmp_path: Path, heads: tuple[int, int]) -> None:
    check(save_random_llama(tmp_path, hidden=24, heads=heads))


def random_batch(seed: int, groups: int = 3, size: int = 4, longest: int = 20) -> PackedBatch:
    draw = torch.Generator().manual_seed(seed)

    def row() -> tuple[int, ...]:
        length = int(torch.randint(1, longest, (), generator=draw))
        return tuple(torch.randint(0, VOCAB, (length,), generator=draw).tolist())

    return PackedBatch(
        tuple(row() for _ in range(groups)),
        tuple(tuple(row() for _ in range(size)) for _ in range(groups)),
    )


@pytest.mark.parametrize("keep", [[1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1], [0] * 11 + [1]])
def test_selecting_completions_leaves_the_others_as_they_were(
    qwen2_dir: Path, keep: list[int]
) -> None:
    batch, model = random_batch(1), load(qwen2_dir, PACKED)
    wanted = [bool(k) for k in keep]
    part = batch.select(wanted)
    everything = batch.split(loss.token_logprobs(model, batch))
    kept = part.split(loss.token_logprobs(model, part))
    chosen = [x for x, k in zip(everything, wanted, strict=True) if k]
    assert part.rows == [row for row, k in zip(batch.rows, wanted, strict=True) if k]
    for alone, together in zip(kept, chosen, strict=True):
        torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-5)


@given(batch=BATCHES)
def test_split_undoes_flatten(batch: PackedBatch) -> None:
    values = [[float(100 * i + t) for t in range(len(row))] for i, row in enumerate(batch.rows)]
    flat = batch.flatten(values, torch.device("cpu"))
    assert [part.tolist() for part in batch.split(flat)] == values


@given(
    batch=BATCHES,
    max_tokens=st.integers(1, 60),
)
def test_micro_batches_hold_every_group_once_within_the_limit(
    batch: PackedBatch, max_tokens: int
) -> None:
    cut = list(loss.micro_batches(batch.prompts, batch.completions, max_tokens))
    assert sorted(p for chunk, _ in cut for p in chunk) == list(range(len(batch.prompts)))
    for chunk, part in cut:
        assert part.prompts == tuple(batch.prompts[p] for p in chunk)
        assert part.completions == tuple(batch.completions[p] for p in chunk)
        assert len(chunk) == 1 or part.num_tokens <= max_tokens


def policy(folder: Path, *, checkpointing: bool, dtype: str) -> TrainedPolicy:
    config = ModelConfig.model_validate(
        {"path": str(folder), "dtype": dtype, "gradient_checkpointing": checkpointing}
    )
    return train(config, GrpoConfig(), SamplingConfig())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@settings(max_examples=40)
@given(batch=BATCHES, temperature=st.sampled_from([1.0, 0.7]), size=st.integers(1, 9))
def test_slices_of_logits_have_the_bits_of_the_whole(
    dtype: torch.dtype, batch: PackedBatch, temperature: float, size: int
) -> None:
    """Against autograd over the single steps, forward and backward."""
    rows, ids = loss.targets(batch, torch.device("cpu"))
    logits = torch.randn(int(rows.max()) + 1, VOCAB).to(dtype).requires_grad_()
    weight = torch.randn(len(ids))
    whole = (logits.float() / temperature).log_softmax(-1)[rows, ids]
    (expected,) = torch.autograd.grad((whole * weight).sum(), logits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "_SLICE", size * VOCAB)
        logp = loss.logprobs_of(batch, logits, temperature)
        (found,) = torch.autograd.grad((logp * weight).sum(), logits)
    assert logp.dtype == torch.float32
    assert torch.equal(logp, whole)
    assert found.dtype == dtype
    # The two sides add the numbers of a row in another order.
    coarse = dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-2 if coarse else 1e-5)


def test_checkpointing_recomputes_and_changes_nothing(model_dir: Path) -> None:
    batch, found = random_batch(2), []
    for checkpointing in (False, True):
        model = policy(model_dir, checkpointing=checkpointing, dtype="float32").model
        calls: list[int] = []
        model.model.layers[0].input_layernorm.register_forward_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        found.append(gradients(model, loss.token_logprobs(model, batch).mean()))
        assert len(calls) == 1 + checkpointing
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, atol=1e-7, rtol=1e-5)


def test_checkpointing_says_nothing_of_what_transformers_deprecates(
    model_dir: Path, recwarn: pytest.WarningsRecorder
) -> None:
    policy(model_dir, checkpointing=True, dtype="float32")
    assert [str(found.message) for found in recwarn] == []


def test_bf16_with_checkpointing_points_where_fp32_points(model_dir: Path) -> None:
    batch, logps, directions = random_batch(3), [], []
    for dtype in ("float32", "bfloat16"):
        model = policy(model_dir, checkpointing=dtype == "bfloat16", dtype=dtype).model
        logp = loss.token_logprobs(model, batch)
        assert logp.dtype == torch.float32
        logps.append(logp.detach())
        grads = gradients(model, logp.mean()).values()
        directions.append(torch.cat([g.float().flatten() for g in grads]))
    assert float((logps[0] - logps[1]).abs().mean()) < 0.1
    assert float(torch.cosine_similarity(directions[0], directions[1], dim=0)) > 0.99


def test_checkpointing_does_not_drop_out(tmp_path: Path) -> None:
    """It needs training mode, in which Phi would drop out at random."""
    config = PhiConfig(
        vocab_size=len(byte_tokenizer()),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        resid_pdrop=0.1,
        eos_token_id=byte_tokenizer().eos_token_id,
    )
    torch.manual_seed(0)
    PhiForCausalLM(config).save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    model = policy(tmp_path, checkpointing=True, dtype="float32").model
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    assert layers
    assert all(torch.equal(layer(torch.ones(100)), torch.ones(100)) for layer in layers)
