"""Text to token ids and back, by one model's tokenizer. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from swarmproof.types import Tokens


class Codec:
    """A tokenizer as the rest of the package uses it.

    Args:
        tokenizer: of `transformers`.
        vocab_size: of the model, which may have fewer embeddings than the tokenizer has tokens.
    """

    def __init__(self, tokenizer: Any, vocab_size: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.eos_token_id: int = tokenizer.eos_token_id
        self.vocab_size: int = min(vocab_size or len(tokenizer), len(tokenizer))

    def encode_prompt(self, text: str) -> Tokens:
        return tuple(self.tokenizer(text).input_ids)

    def encode(self, text: str) -> Tokens:
        """Tokens of a completion, end-of-text added. Control tokens spelt out in it stay text.

        Raises:
            ValueError: the tokens do not give the text back. Many tokenizers, Qwen's among them,
                bring text into Unicode's normal form (NFC) first, and so read only such text.
        """
        text.encode()  # half a surrogate pair, a ValueError here, would be a TypeError below
        ids = tuple(
            self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        )
        if self.decode([ids])[0] != text:
            raise ValueError("the tokenizer does not give the text back; is it normalised (NFC)?")
        return (*ids, self.eos_token_id)

    def decode(self, completions: Sequence[Tokens]) -> list[str]:
        """Text of each completion: all its tokens but one end-of-text at the end."""
        if not completions:
            return []  # the tokenizer would give one empty text
        eos = self.eos_token_id
        bare = [list(ids[:-1] if ids and ids[-1] == eos else ids) for ids in completions]
        decoded: list[str] = self.tokenizer.batch_decode(
            bare, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return decoded

    @cached_property
    def digit_ids(self) -> frozenset[int]:
        """The tokens that have a digit in them."""
        texts = self.decode([(i,) for i in range(self.vocab_size)])
        return frozenset(i for i, text in enumerate(texts) if any(map(str.isdecimal, text)))
