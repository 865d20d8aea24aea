"""Conversion of text to token ids and back with one model's tokenizer. Imports no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from swarmproof.types import Tokens


def require_distinct(tokenizer: Any, where: str = "this model") -> None:
    """Raise ValueError if two tokens have one id, which is then decoded at random to one of them.

    Args:
        where: names the model in the error.
    """
    vocab = tokenizer.get_vocab()
    # An added token takes its id from a token of the vocabulary, and always wins.
    added = tokenizer.added_tokens_decoder
    if len(set(vocab.values())) == len(vocab):
        return
    by_id: dict[int, list[str]] = defaultdict(list)
    for token, i in vocab.items():
        by_id[i].append(token)
    for i, tokens in sorted(by_id.items()):
        if len(tokens) > 1 and i not in added:
            first, second, *_ = sorted(tokens)
            raise ValueError(
                f"{where}: its tokenizer gives the tokens {first!r:.60} and {second!r:.60} one id, "
                f"{i}; correct its tokenizer.json, or get the model's files again"
            )


class Codec:
    """A tokenizer as the rest of the package uses it.

    Args:
        tokenizer: a `transformers` tokenizer.
        num_embeddings: number of embeddings of the model, if known; larger ids are excluded.
        end_ids: further tokens that end a completion, as declared by the model.
    """

    def __init__(
        self, tokenizer: Any, num_embeddings: int | None = None, end_ids: Collection[int] = ()
    ) -> None:
        self.tokenizer = tokenizer
        self.eos_token_id: int = tokenizer.eos_token_id  # the one that `encode` appends
        self.end_ids = frozenset({self.eos_token_id, *end_ids})
        self._num_embeddings = num_embeddings

    @cached_property
    def known_ids(self) -> frozenset[int]:
        """The ids that stand for a token. They may have gaps."""
        ids = {*self.tokenizer.get_vocab().values(), *self.tokenizer.added_tokens_decoder}
        most = max(ids) + 1 if self._num_embeddings is None else self._num_embeddings
        return frozenset(i for i in ids if i < most)

    @cached_property
    def unknown_ids(self) -> list[int]:
        """The embeddings that stand for no token: padding and gaps."""
        return sorted({*range(self._num_embeddings or self.vocab_size)} - self.known_ids)

    @cached_property
    def vocab_size(self) -> int:
        """The largest id + 1."""
        return max(self.known_ids) + 1

    def encode_prompt(self, text: str) -> Tokens:
        """Tokens of a prompt, without the end-of-text that some tokenizers append."""
        ids = list(self.tokenizer(text).input_ids)
        while len(ids) > 1 and ids[-1] in self.end_ids:
            ids.pop()
        return tuple(ids)

    def encode(self, text: str) -> Tokens:
        """Tokens of a completion, with end-of-text added. Control tokens in its text stay text.

        Raises:
            ValueError: the tokens do not decode to the text. Many tokenizers, such as Qwen's,
                first convert text to Unicode normal form C (NFC), and so can only encode such text.
        """
        text.encode()  # half a surrogate pair raises ValueError here, and TypeError below
        # Llama's first tokenizer drops one leading space, so a leading space in the text needs
        # another one.
        for lead in ("", " "):
            ids = tuple(
                self.tokenizer(
                    lead + text, add_special_tokens=False, split_special_tokens=True
                ).input_ids
            )
            if self.end_ids.isdisjoint(ids) and self.decode([ids])[0] == text:
                return (*ids, self.eos_token_id)
        raise ValueError("the tokenizer does not give the text back; is it normalised (NFC)?")

    def decode(self, completions: Sequence[Tokens]) -> list[str]:
        """Text of each completion: all its tokens, without one end-of-text at the end."""
        if not completions:
            return []  # the tokenizer would give one empty text
        ends = self.end_ids
        bare = [list(ids[:-1] if ids and ids[-1] in ends else ids) for ids in completions]
        decoded: list[str] = self.tokenizer.batch_decode(
            bare, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return decoded

    @cached_property
    def digit_ids(self) -> frozenset[int]:
        """The tokens that contain a digit."""
        ids = sorted(self.known_ids)
        texts = zip(ids, self.decode([(i,) for i in ids]), strict=True)
        return frozenset(i for i, text in texts if any(map(str.isdecimal, text)))
