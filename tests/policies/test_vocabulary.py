"""Every end that a model declares ends a completion, and the vocabulary is what the ids say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from models import EOS, byte_tokenizer
from swarmproof.config import SamplingConfig
from swarmproof.defenses import Logit
from swarmproof.exchange.admission import admit
from swarmproof.policies.loader import load_tokenizer
from swarmproof.policies.policy import Policy, adopt, load
from swarmproof.types import Group
from swarms import Letters, completion, problem, view_of

LIMIT = 40
SEEDS = [list(range(64))]


def save(folder: Path, tokenizer: Any, rows: int, eos: Any = None, generation: Any = None) -> Path:
    """A random model with nearly flat distributions, so that every token is drawn at times."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=rows,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=eos,
        bos_token_id=None,
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config.eos_token_id = generation
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def reader(folder: Path) -> Policy:
    return load(str(folder), SamplingConfig(top_k=0, max_new_tokens=LIMIT))


def drawn(of: Policy) -> list[tuple[int, ...]]:
    return of.generator.generate(["a"], SEEDS)[0]


def two_ends() -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken("<|im_end|>", special=True)])
    tokenizer.eos_token = "<|im_end|>"
    return tokenizer


@pytest.mark.parametrize("declared", ["config", "generation", "both", "number"])
def test_every_declared_end_ends_a_completion_everywhere(tmp_path: Path, declared: str) -> None:
    tokenizer = two_ends()
    eos, other = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(EOS)
    config = {"config": [eos, other], "both": eos}.get(declared)
    generation = {"generation": [eos, other], "both": [other], "number": other}.get(declared)
    policy = reader(save(tmp_path, tokenizer, len(tokenizer), config, generation))
    codec = policy.codec
    assert codec.eos_token_id == eos
    assert codec.end_ids == {eos, other}
    rows = drawn(policy)
    assert {row[-1] for row in rows} > {eos, other}
    assert not any(codec.end_ids & set(row[:-1]) for row in rows)
    assert all(len(row) == LIMIT for row in rows if row[-1] not in codec.end_ids)
    texts = codec.decode(rows)
    assert not any(EOS in text or "<|im_end|>" in text for text in texts)
    sent = [completion(*pair, index=i) for i, pair in enumerate(zip(texts, rows, strict=True))]
    assert admit(sent, codec, LIMIT) == (sent, [])
    _, (refusal,) = admit([completion("ab", (64, other, 65, eos))], codec, LIMIT)
    assert refusal.code == "after-end"
    assert codec.encode("hi")[-1] == eos
    # Spelt out, an end is text, and its tokens end nothing.
    assert codec.end_ids.isdisjoint(codec.encode(f"a{EOS}b")[:-1])


def test_the_logit_check_knows_every_end(tmp_path: Path) -> None:
    tokenizer = two_ends()
    other = tokenizer.convert_tokens_to_ids(EOS)
    policy = reader(save(tmp_path, tokenizer, len(tokenizer), generation=[other]))
    rows = [(64, other), (64, tokenizer.eos_token_id), (64, 65)]
    of = problem()
    group = Group(of, tuple(completion("", r, index=i) for i, r in enumerate(rows)), "a")
    (verdicts,) = Logit().inspect([group], view_of(policy, Letters(), [group]))
    assert [v.accepted for v in verdicts] == [True, True, False]


def test_an_end_that_is_ordinary_text_is_refused(tmp_path: Path) -> None:
    """Every text with a comma would end there."""
    tokenizer = byte_tokenizer()
    comma = tokenizer(",").input_ids[0]
    with pytest.raises(ValueError, match=f"token {comma}, which is the ordinary text ','"):
        reader(save(tmp_path, tokenizer, len(tokenizer), eos=[comma, tokenizer.eos_token_id]))


def holes() -> PreTrainedTokenizerFast:
    """256 bytes, nothing up to 299, and end-of-text."""
    tokenizer = byte_tokenizer()
    laid_out = json.loads(tokenizer.backend_tokenizer.to_str())
    laid_out["added_tokens"] = [{**laid_out["added_tokens"][0], "id": 300}]
    laid_out["model"]["vocab"][EOS] = 300
    backend = type(tokenizer.backend_tokenizer).from_str(json.dumps(laid_out))
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=EOS)


def test_ids_with_holes_reach_to_the_largest_and_no_hole_is_drawn(tmp_path: Path) -> None:
    tokenizer = holes()
    assert len(tokenizer) < tokenizer.eos_token_id == 300
    policy = reader(save(tmp_path, tokenizer, 320, eos=300))
    codec = policy.codec
    assert codec.vocab_size == 301
    rows = drawn(policy)
    assert sum(row[-1] == 300 for row in rows) > 4
    assert {token for row in rows for token in row} <= {*range(256), 300}
    ids = codec.encode("hi")
    (found,), refusals = admit([completion("hi", ids)], codec, LIMIT)
    assert (found.token_ids, refusals) == (ids, [])
    ((score,),) = policy.scorer.score(["a"], [[ids]]).scores
    assert np.isfinite(score.logprob).all()
    # A token of a hole decodes to nothing: it would be invisible in the text.
    _, (refusal,) = admit([completion("hi", (*ids[:-1], 270))], codec, LIMIT)
    assert refusal.code == "unknown-token"


@pytest.mark.parametrize("rows", [256, 260])
def test_a_token_beyond_the_embeddings_is_refused_with_both_numbers(
    tmp_path: Path, rows: int
) -> None:
    """Also if only a tag, and not end-of-text, is beyond them."""
    tokenizer = byte_tokenizer()
    assert len(tokenizer) == 261
    folder = save(tmp_path, tokenizer, rows)
    pattern = f"has the token id 260, and the model has {rows} embeddings; use"
    with pytest.raises(ValueError, match=pattern) as found:
        reader(folder)
    assert str(tmp_path) in str(found.value)
    model = Qwen2ForCausalLM.from_pretrained(folder)
    with pytest.raises(ValueError, match=pattern):
        adopt(model, tokenizer)


def test_a_prompt_never_ends_in_end_of_text(tmp_path: Path) -> None:
    tokenizer = two_ends()
    eos, other = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(EOS)
    bare = tuple(tokenizer("Solution:").input_ids)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS} <|im_end|>", special_tokens=[(EOS, other), ("<|im_end|>", eos)]
    )
    assert tuple(tokenizer("Solution:").input_ids) == (*bare, other, eos)
    policy = reader(save(tmp_path, tokenizer, len(tokenizer), generation=[other]))
    assert policy.codec.encode_prompt("Solution:") == bare
    # A prompt has a token, whatever it is.
    assert policy.codec.encode_prompt("") == (other,)


def set_ids(folder: Path, ids: dict[str, int]) -> None:
    """Write ids into the vocabulary of a saved tokenizer."""
    file = folder / "tokenizer.json"
    laid_out = json.loads(file.read_text(encoding="utf-8"))
    laid_out["model"]["vocab"] |= ids
    file.write_text(json.dumps(laid_out), encoding="utf-8")


def test_two_tokens_of_one_id_are_refused_with_both_names(tmp_path: Path) -> None:
    """Each process decoded the id to one of them at random."""
    tokenizer = byte_tokenizer()
    folder = save(tmp_path, tokenizer, len(tokenizer))
    three = tokenizer.convert_tokens_to_ids("3")
    set_ids(folder, {"ats": three})
    told = f"the tokens '3' and 'ats' one id, {three}; correct its tokenizer.json"
    for load_it in (reader, lambda path: load_tokenizer(str(path))):
        with pytest.raises(ValueError, match=told) as found:
            load_it(folder)
        assert str(tmp_path) in str(found.value)
        assert "\n" not in str(found.value)
    model = Qwen2ForCausalLM.from_pretrained(folder)
    with pytest.raises(ValueError, match=f"this model: .*{told}"):
        adopt(model, AutoTokenizer.from_pretrained(folder))


def test_an_added_token_may_be_in_the_vocabulary_too(tmp_path: Path) -> None:
    """Also under another name: its id decodes to the added token in every process."""
    tokenizer = byte_tokenizer()
    for name in (EOS, "another name"):
        folder = save(tmp_path / name.strip("<|>"), tokenizer, len(tokenizer) + 1)
        end = tokenizer.eos_token_id
        set_ids(folder, {name: end if name == EOS else end + 1})
        codec = reader(folder).codec
        assert codec.tokenizer.decode([codec.eos_token_id]) == EOS
        ids = codec.tokenizer.get_vocab()
        assert ids[name] == ids[EOS]
