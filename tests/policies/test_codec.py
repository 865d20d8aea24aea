"""Any text that a tokenizer can say survives it, and no token is invisible."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from models import EOS, TAGS, byte_tokenizer
from swarmproof import zoo
from swarmproof.policies.codec import Codec

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SPELT = st.lists(st.one_of(TEXT, st.sampled_from([EOS, *TAGS])), max_size=5).map("".join)
NORMAL = SPELT.map(lambda text: unicodedata.normalize("NFC", text))


@pytest.fixture(scope="module", params=["byte tokenizer", "tiny-math"])
def codec(request: pytest.FixtureRequest, qwen2_dir: Path) -> Codec:
    folder = qwen2_dir if request.param == "byte tokenizer" else zoo.path("tiny-math")
    return Codec(AutoTokenizer.from_pretrained(folder))


def test_all_normal_text_survives_tokenising(codec: Codec) -> None:
    @settings(max_examples=200)
    @given(text=NORMAL)
    def check(text: str) -> None:
        ids = codec.encode(text)
        assert ids[-1] == codec.eos_token_id
        assert codec.eos_token_id not in ids[:-1]
        assert all(0 <= token < codec.vocab_size for token in ids)
        assert codec.decode([ids, ids[:-1]]) == [text, text]

    check()


def test_control_tokens_spelt_out_in_a_text_stay_text(codec: Codec) -> None:
    eos_text = codec.tokenizer.eos_token
    text = f"before{eos_text}after"
    ids = codec.encode(text)
    assert ids.count(codec.eos_token_id) == 1
    assert codec.decode([ids]) == [text]
    # The control: read as a prompt is read, the same text does hold the token.
    assert codec.encode_prompt(text).count(codec.eos_token_id) == 1


def test_only_one_end_of_text_is_cut_off(codec: Codec) -> None:
    """The text shows every further one, so that no token is invisible."""
    eos = codec.eos_token_id
    word = codec.encode("4")[:-1]
    assert codec.decode([(*word, eos), (*word, eos, eos), (eos,), ()]) == [
        "4",
        f"4{codec.tokenizer.eos_token}",
        "",
        "",
    ]


def test_text_that_a_tokenizer_would_change_is_refused(codec: Codec) -> None:
    """Else the tokens that are verified would not be the text that is rewarded."""
    with pytest.raises(ValueError, match="NFC"):
        codec.encode("cafe\u0301")


def test_a_surrogate_is_refused_and_not_replaced(codec: Codec) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        codec.encode("half a pair: \ud800")


def test_nothing_decodes_to_nothing(codec: Codec) -> None:
    assert codec.decode([]) == []


def test_tokens_with_a_digit_are_known(codec: Codec) -> None:
    texts = [codec.tokenizer.decode([i]) for i in range(codec.vocab_size)]
    expected = {i for i, text in enumerate(texts) if set(text) & set("0123456789")}
    assert expected
    assert codec.digit_ids == expected


def test_a_vocabulary_is_the_smaller_of_those_of_model_and_tokenizer() -> None:
    tokenizer = byte_tokenizer()
    size = len(tokenizer)
    assert Codec(tokenizer).vocab_size == size
    assert Codec(tokenizer, size + 9).vocab_size == size
    assert Codec(tokenizer, size - 9).vocab_size == size - 9
