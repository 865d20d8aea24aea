"""What one model writes must be readable for the others, white space in front included."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from models import byte_tokenizer
from swarmproof.exchange.admission import admit
from swarmproof.policies import loader, sharing
from swarmproof.policies.codec import Codec
from swarms import Letters, completion


def old_llama() -> PreTrainedTokenizerFast:
    """One token a character; a space in front belongs to the tokenizer."""
    chars = sorted({*string.printable, "▁"})
    vocab = {char: i for i, char in enumerate(chars)} | {"</s>": len(chars)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme="always", split=False)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")


def stripping() -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Strip(left=True, right=False)
    return tokenizer


def save(folder: Path, tokenizer: Any) -> str:
    LlamaConfig().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("space", ["", " ", "  ", "\n", "\n ", " \n"])
@pytest.mark.parametrize("make", [old_llama, byte_tokenizer])
def test_text_with_white_space_in_front_is_admitted(space: str, make: Any) -> None:
    codec = Codec(make())
    text = f"{space}<think>1</think> 5"
    (found,), refusals = admit([completion(text)], codec, 64)
    assert refusals == []
    assert found.token_ids is not None
    assert codec.decode([found.token_ids]) == [text]


def test_models_that_read_white_space_in_front_can_share_a_task(tmp_path: Path) -> None:
    paths = [save(tmp_path / "a", old_llama()), save(tmp_path / "b", byte_tokenizer())]
    sharing.require(paths, Letters(), 64)


def test_a_tokenizer_that_drops_white_space_in_front_is_told_before_the_run(
    tmp_path: Path,
) -> None:
    path = save(tmp_path, stripping())
    with pytest.raises(ValueError, match=r"does not give ' <think>.* with ' ' in front") as found:
        sharing.require([path], Letters(), 64)
    assert "\n" not in str(found.value)


def test_a_missing_package_is_named_and_not_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a SentencePiece file without its package transformers says that it wants tiktoken."""
    LlamaConfig().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    monkeypatch.setattr(loader, "find_spec", lambda _: None)

    with pytest.raises(ValueError, match="pip install sentencepiece") as found:
        loader.load_tokenizer(str(tmp_path))
    assert "tiktoken" not in str(found.value)
    assert "\n" not in str(found.value)
