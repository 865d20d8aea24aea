"""What packed attention computes is measured at load, against the model's own attention."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Phi3Config, Starcoder2Config
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from models import byte_tokenizer
from swarmproof.config import GrpoConfig, ModelConfig, SamplingConfig
from swarmproof.policies import attention, loader, policy, selftest
from swarmproof.policies.policy import adopt, load, train

SMALL: dict[str, Any] = {
    "vocab_size": len(byte_tokenizer()),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": byte_tokenizer().eos_token_id,
    "pad_token_id": byte_tokenizer().eos_token_id,
}
LONG_ROPE = {
    "original_max_position_embeddings": 64,
    "sliding_window": None,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 64,
    },
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
LLAMA3 = {**YARN, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LATENT = dict.fromkeys(("n_group", "topk_group", "first_k_dense_replace"), 1) | {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
}


def random_model(config: Any) -> Any:
    """With weights so large that a mistake in the attention shows."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4.0) if p.dim() > 1 else p.add_(torch.randn_like(p) * 0.1)
    return model


def save(folder: Path, config: Any) -> Path:
    random_model(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "extra", "reason"),
    [
        ("diffllama", {}, "otherwise in packed attention than in its own"),
        ("flint", {}, "otherwise in packed attention than in its own"),
        ("deepseek_v3", LATENT, "cannot be run on packed rows, .* architecture 'deepseek_v3'"),
        ("gpt2", {}, "cannot be run on packed rows, .* architecture 'gpt2'"),
        ("phi3", LONG_ROPE, "beside a far longer one"),
    ],
)
def test_a_model_that_packing_computes_otherwise_is_refused_in_one_line(
    tmp_path: Path, kind: str, extra: dict[str, Any], reason: str
) -> None:
    config = CONFIG_MAPPING[kind](**{**SMALL, **extra})
    folder = save(tmp_path, config)
    with pytest.raises(ValueError, match=reason) as found:
        load(str(folder))
    assert "\n" not in str(found.value)
    assert str(folder) in str(found.value)
    assert not re.search(r"Error|\(\)|got an|argument|assert|layout", str(found.value))
    with pytest.raises(ValueError, match=reason):
        adopt(random_model(config), byte_tokenizer())
    load(str(folder), self_test=False)
    adopt(random_model(config), byte_tokenizer(), self_test=False)


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("qwen3", {}),
        ("phi3", {"sliding_window": None}),
        ("phi3", {"sliding_window": 512}),
        ("gemma", {"head_dim": 8}),
        ("mixtral", {"sliding_window": None, "num_local_experts": 4}),
        ("llama", {"rope_parameters": YARN}),
        ("llama", {"rope_parameters": {**YARN, "rope_type": "linear"}}),
        ("llama", {"rope_parameters": LLAMA3}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_packing_computes_passes(
    kind: str, extra: dict[str, Any], dtype: torch.dtype
) -> None:
    adopt(random_model(CONFIG_MAPPING[kind](**{**SMALL, **extra})).to(dtype), byte_tokenizer())


def test_positions_that_are_scaled_by_the_longest_row_are_refused(tmp_path: Path) -> None:
    """The scaling begins beyond `max_position_embeddings`, and the context goes on."""
    scaling = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}
    config = CONFIG_MAPPING["llama"](**SMALL, rope_parameters=scaling)
    with pytest.raises(ValueError, match=r"scaled by the longest row of a batch \(dynamic\)"):
        load(str(save(tmp_path, config)))
    # Also where the name would not tell it.
    model = random_model(config)
    codec = loader.codec_of(model, byte_tokenizer())
    with (
        loader.packed(model, codec),
        pytest.raises(ValueError, match="scores a row beside a far longer one otherwise"),
    ):
        selftest.require(model, codec)


def deep_llama() -> Any:
    model = random_model(CONFIG_MAPPING["llama"](**{**SMALL, "num_hidden_layers": 24}))
    return model.to(torch.bfloat16)


def test_of_a_deep_model_its_weights_in_float32_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained ones round more than the tolerance; random ones only more than a smaller one."""
    monkeypatch.setattr(selftest, "_ROUGH_TOLERANCE", 5e-3)
    model = deep_llama()
    types: list[torch.dtype] = []
    before = {name: (x.data_ptr(), x.clone()) for name, x in model.state_dict().items()}
    right = selftest._measure

    def measure(*args: Any) -> Any:
        types.append(model.dtype)
        return right(*args)

    monkeypatch.setattr(selftest, "_measure", measure)
    adopt(model, byte_tokenizer())
    assert types == [torch.bfloat16, torch.float32]
    for name, tensor in model.state_dict().items():
        pointer, values = before[name]
        assert tensor.data_ptr() == pointer
        assert tensor.dtype == values.dtype
        assert torch.equal(tensor, values)


def test_a_mistake_that_bfloat16_could_hide_is_found_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selftest, "_ROUGH_TOLERANCE", 5e-3)
    right = attention.PackedLayout.attend
    monkeypatch.setattr(
        attention.PackedLayout, "attend", lambda self, *args: right(self, *args) * 1.05
    )
    with pytest.raises(ValueError, match=r"rounding explains 0\.001;"):
        adopt(deep_llama(), byte_tokenizer())


def test_a_mistake_in_bfloat16_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_ROUGH_TOLERANCE", 5e-3)
    right = attention.PackedLayout.attend

    def attend(self: Any, layer: int, q: Any, *args: Any) -> Any:
        out = right(self, layer, q, *args)
        return out * 1.2 if q.dtype == torch.bfloat16 else out

    monkeypatch.setattr(attention.PackedLayout, "attend", attend)
    with pytest.raises(ValueError, match=r"rounds otherwise .* torch.bfloat16 differ from those"):
        adopt(deep_llama(), byte_tokenizer())


@pytest.mark.parametrize("part", ["_attend_inputs", "attend"])
def test_a_mistake_is_found_in_a_deep_model_too(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    right = getattr(attention.PackedLayout, part)
    monkeypatch.setattr(
        attention.PackedLayout, part, lambda self, *args: right(self, *args).roll(1, -1)
    )
    with pytest.raises(ValueError, match="otherwise in packed attention than in its own"):
        adopt(deep_llama(), byte_tokenizer())


def test_a_window_shorter_than_the_context_is_refused_with_both_lengths() -> None:
    """Rows as short as those of the self-test would not show it."""
    config = Phi3Config(**{**SMALL, "sliding_window": 511})
    with pytest.raises(ValueError, match="window of 511 tokens, less than its context of 512"):
        adopt(random_model(config), byte_tokenizer())


@pytest.mark.parametrize("part", ["prefill", "decode", "score"])
def test_a_mistake_in_any_part_of_the_attention_is_found(
    qwen2_dir: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    layout = attention.DecodeLayout if part == "decode" else attention.PackedLayout
    name = "_attend_inputs" if part == "score" else "attend"
    right = getattr(layout, name)

    def wrong(self: Any, *args: Any) -> Any:
        return right(self, *args) * (1 if part == "prefill" and len(self.input_places) else 1.01)

    monkeypatch.setattr(layout, name, wrong)
    with pytest.raises(ValueError, match="rounding explains") as found:
        load(str(qwen2_dir))
    assert ("scores completions" in str(found.value)) == (part == "score")


def test_what_is_scored_is_not_random_with_gradient_checkpointing(tmp_path: Path) -> None:
    """It needs training mode, in which Starcoder2 drops out by a function and not by a module."""
    config = Starcoder2Config(
        **{**SMALL, "residual_dropout": 0.1, "embedding_dropout": 0.1, "attention_dropout": 0.1}
    )
    model = ModelConfig(path=str(save(tmp_path, config)), gradient_checkpointing=True)
    of = train(model, GrpoConfig(), SamplingConfig())
    ids = of.codec.encode("hello")
    first, second = (of.scorer.score(["2+2="], [[ids]]).scores[0][0].logprob for _ in range(2))
    np.testing.assert_array_equal(first, second)
    plain = load(str(tmp_path)).scorer.score(["2+2="], [[ids]]).scores[0][0].logprob
    np.testing.assert_array_equal(first, plain)


def test_randomness_in_a_pass_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Starcoder2Config(**{**SMALL, "residual_dropout": 0.1})
    model = ModelConfig(path=str(save(tmp_path, config)), gradient_checkpointing=True)
    monkeypatch.setattr(policy, "_checkpoint_gradients", lambda model: model.train())
    with pytest.raises(ValueError, match="scores completions otherwise"):
        train(model, GrpoConfig(), SamplingConfig())


def test_the_self_test_leaves_a_model_as_it_was(qwen2_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(qwen2_dir, attn_implementation="sdpa").train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    adopt(model, byte_tokenizer())
    assert model.config._attn_implementation == "sdpa"
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


def test_memory_that_runs_out_is_not_the_models_fault(
    qwen2_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(selftest, "_fault", full)
    with pytest.raises(torch.OutOfMemoryError):
        load(str(qwen2_dir))


def test_the_self_test_costs_little() -> None:
    """About 35 ms on one slow core; here with room for a busy machine."""
    tokenizer, model = loader.load("tiny-math", "float32", "cpu", self_test=False)
    codec = loader.codec_of(model, tokenizer)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        selftest.require(model, codec)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.2
