"""Which architectures and tokenizers are accepted: random models of each, of toy size.

An accepted one draws, scores, learns and replays as transformers' own forward pass says. Any other
is refused in one line. The table in docs/models.md is this file's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from models import EOS, byte_tokenizer
from policies.lessons import PROMPTS, accumulate, drawn, gradients, samples, trained
from swarmproof.policies import sampler
from swarmproof.policies.codec import Codec
from swarmproof.policies.policy import TrainedPolicy, load
from swarmproof.types import Tokens

SMALL: dict[str, Any] = {
    "vocab_size": len(byte_tokenizer()),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": byte_tokenizer().eos_token_id,
    "pad_token_id": byte_tokenizer().eos_token_id,
}
# A context of 64 positions, and of 256 after scaling.
YARN: dict[str, Any] = {
    "max_position_embeddings": 64,
    "rope_parameters": {
        "rope_type": "yarn",
        "rope_theta": 10_000.0,
        "factor": 4.0,
        "original_max_position_embeddings": 64,
    },
}
ACCEPTED: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama, SmolLM2": ("llama", {}),
    "Llama, tied": ("llama", {"tie_word_embeddings": True}),
    "Qwen2": ("qwen2", {}),
    "Qwen3": ("qwen3", {"head_dim": 8}),
    "SmolLM3": ("smollm3", {"no_rope_layers": [1, 0]}),
    "Gemma 3 text, full attention": (
        "gemma3_text",
        {"head_dim": 8, "layer_types": ["full_attention"] * 2},
    ),
    "Gemma 3 text, full attention, a soft cap": (
        "gemma3_text",
        {
            "head_dim": 8,
            "layer_types": ["full_attention"] * 2,
            "final_logit_softcapping": 5.0,
        },
    ),
    "Phi-3 without a window": ("phi3", {"sliding_window": None}),
    "Mistral without a window": ("mistral", {"sliding_window": None}),
    "Mistral with a window as long as its scaled context": (
        "mistral",
        {**YARN, "sliding_window": 256},
    ),
    "OLMo 2": ("olmo2", {}),
    "GPT-NeoX": ("gpt_neox", {"num_key_value_heads": None}),
}
REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "Gemma 3 text": (
        "gemma3_text",
        {"head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]},
        "layers of sliding_attention",
    ),
    "Phi-3 mini 4k": ("phi3", {"sliding_window": 256}, "window of 256 tokens"),
    "Mistral 7B v0.1": ("mistral", {"sliding_window": 256}, "window of 256 tokens"),
    "Mistral with a window as long as its context before scaling": (
        "mistral",
        {**YARN, "sliding_window": 64},
        "a sliding window of 64 tokens, less than its context of 256",
    ),
    "Gemma 3 text, a soft cap over ids without a token": (
        "gemma3_text",
        {
            "head_dim": 8,
            "layer_types": ["full_attention"] * 2,
            "vocab_size": len(byte_tokenizer()) + 3,
            "final_logit_softcapping": 5.0,
        },
        r"caps its logits \(final_logit_softcapping\), and 3 of its embeddings have no token",
    ),
    "a window that is no number": (
        "llama",
        {"sliding_window": "abc"},
        "a sliding window of 'abc' tokens",
    ),
}


def save(folder: Path, kind: str, extra: dict[str, Any], tokenizer: Any = None) -> Path:
    """A random model whose weights are so large that a mistake shows."""
    tokenizer = tokenizer or byte_tokenizer()
    end = tokenizer.eos_token_id
    ends = {"vocab_size": len(tokenizer), "eos_token_id": end, "pad_token_id": end}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**SMALL, **ends, **extra}))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3.0) if p.dim() > 1 else p.add_(torch.randn_like(p) * 0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def own_logits(model: Any, of: TrainedPolicy, prompt: str, row: Tokens) -> Tensor:
    """The logits before each token of a row alone, by transformers' own attention: (T, V)."""
    before = of.codec.encode_prompt(prompt)
    ids = torch.tensor([[*before, *row[:-1]]])
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0, len(before) - 1 :].float()
    return logits


def own(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()


@pytest.mark.parametrize("family", ACCEPTED)
def test_an_accepted_family_draws_scores_learns_and_replays_as_transformers_does(
    tmp_path: Path, family: str
) -> None:
    folder = save(tmp_path, *ACCEPTED[family])
    of, model = trained(folder), own(folder)
    rows_PG = drawn(of)
    seeds = [[10 * p + g for g in range(4)] for p in range(2)]
    samples_PG = samples(rows_PG)
    scored = of.scorer.score(PROMPTS, rows_PG, seeds, ["margin"])
    loss = torch.zeros(())
    for p, prompt in enumerate(PROMPTS):
        for g, row in enumerate(rows_PG[p]):
            logits = own_logits(model, of, prompt, row)
            ids = torch.tensor(row)
            # Draws: the token that the noise of its slot picks from these logits.
            at = torch.full((len(row),), seeds[p][g])
            forced = sampler.draw_scaled(logits, at, torch.arange(len(row)), of.sampling)
            assert torch.equal(forced, ids)
            logp = logits.log_softmax(-1).gather(-1, ids[:, None]).squeeze(-1)
            ours = torch.from_numpy(scored.scores[p][g].logprob)
            torch.testing.assert_close(ours, logp.detach(), atol=1e-4, rtol=1e-4)
            assert scored.column("margin")[p][g].max() <= 1e-3
            sample = samples_PG[p][g]
            loss = loss - sample.advantage * sample.loss_weight * logp.mean()
    torch.autograd.backward(loss)
    accumulate(of, rows_PG, samples_PG)
    ours_by_name, theirs = gradients(of), dict(model.named_parameters())
    assert ours_by_name.keys() == {name for name, p in theirs.items() if p.grad is not None}
    for name, gradient in ours_by_name.items():
        expected = theirs[name].grad
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            gradient, expected, atol=1e-3 * scale + 1e-7, rtol=1e-3, msg=f"{family}: {name}"
        )
    # The control: another row is not the draw of its slot.
    changed = [[(*row[:-1], (row[-1] + 1) % 256) for row in group] for group in rows_PG]
    wrong = of.scorer.score(PROMPTS, changed, seeds, ["margin"]).column("margin")
    assert max(row.max() for group in wrong for row in group) > 1e-2


@pytest.mark.parametrize("family", REFUSED)
def test_any_other_is_refused_in_one_line(tmp_path: Path, family: str) -> None:
    kind, extra, reason = REFUSED[family]
    with pytest.raises(ValueError, match=reason) as found:
        load(str(save(tmp_path, kind, extra)))
    assert "\n" not in str(found.value)


# Tokenizers ---------------------------------------------------------------------------------------

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = ["▁", *"abcdefghijklmnopqrstuvwxyz0123456789+=.", "▁a", "th", "▁th", "the", "▁the"]
MERGES = [("▁", "a"), ("t", "h"), ("▁", "th"), ("th", "e"), ("▁th", "e")]


def byte_fallback(prefix: bool) -> Tokenizer:
    """BPE over pieces, bytes for the rest: Llama 2 and Mistral with the prefix, Gemma without."""
    vocab = {piece: i for i, piece in enumerate(["<unk>", *BYTES, *PIECES])}
    backend = Tokenizer(
        models.BPE(vocab=vocab, merges=MERGES, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    replace = normalizers.Replace(" ", "▁")
    backend.normalizer = (
        normalizers.Sequence([normalizers.Prepend("▁"), replace]) if prefix else replace
    )
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*steps, *([decoders.Strip(" ", 1, 0)] if prefix else [])])
    return backend


def unigram(fallback: bool) -> Tokenizer:
    """SentencePiece's other model; without byte fallback a rare letter is an unknown token."""
    rare = [(byte, -9.0) for byte in BYTES] if fallback else []
    vocab = [("<unk>", 0.0), *rare, *((piece, -1.0 - 0.01 * i) for i, piece in enumerate(PIECES))]
    backend = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=fallback))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return backend


def wrapped(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=EOS, pad_token=EOS, unk_token="<unk>"
    )


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "BPE on bytes": byte_tokenizer,
    "BPE with byte fallback, Llama 2": lambda: wrapped(byte_fallback(prefix=True)),
    "BPE with byte fallback, Gemma": lambda: wrapped(byte_fallback(prefix=False)),
    "Unigram with byte fallback": lambda: wrapped(unigram(fallback=True)),
    "Unigram": lambda: wrapped(unigram(fallback=False)),
}
TEXTS = ["the cat", " the cat", "  two", "a\n\nb", "2 + 2 = 4.", "a  b ", "é 😀 漢", "<0x41>"]


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_text_survives_each_kind_of_tokenizer_or_is_refused(kind: str) -> None:
    codec = Codec(TOKENIZERS[kind]())
    refused = set()
    for text in TEXTS:
        try:
            ids = codec.encode(text)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017
            refused.add(text)
        else:
            assert codec.decode([ids, ids[:-1]]) == [text, text]
    # Without bytes there is no way to write what is not in the vocabulary.
    outside = {"a\n\nb", "é 😀 漢", "<0x41>"} if kind == "Unigram" else set()
    assert refused - {"<0x41>"} == outside - {"<0x41>"}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_draws_and_replay_agree_with_each_kind_of_tokenizer(tmp_path: Path, kind: str) -> None:
    folder = save(tmp_path, "llama", {}, TOKENIZERS[kind]())
    of = trained(folder)
    rows_PG = drawn(of)
    seeds = [[10 * p + g for g in range(4)] for p in range(2)]
    margins = of.scorer.score(PROMPTS, rows_PG, seeds, ["margin"]).column("margin")
    assert max(row.max() for group in margins for row in group) <= 1e-3
    texts = [text for group in rows_PG for text in of.codec.decode(group)]
    assert all(isinstance(text, str) for text in texts)
