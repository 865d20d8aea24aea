"""TRL's batch as rows for a guard, and a guard's treatments as rewards for TRL."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swarmproof.defenses.senders import nothing
from swarmproof.integrations.rows import TrainerRow
from swarmproof.integrations.watch import Treatment
from swarmproof.policies.codec import Codec
from swarmproof.types import NodeId

# Columns of the data set, or further fields of a rollout function, that are read here.
SENDER, QUESTION, MALFORMED = "sender", "question", "guard_malformed"

Rewards = Sequence[Sequence[float | None]]  # a row for each function, an entry for each completion


@dataclass(frozen=True, slots=True)
class Batch:
    """The completions that TRL hands to a reward function, of length N."""

    prompts: Sequence[Any]  # texts, or conversations
    completions: Sequence[Any]
    completion_ids: Sequence[Sequence[int]]
    senders: Sequence[Any] | None = None
    questions: Sequence[Any] | None = None
    malformed: Sequence[str] | None = None

    @staticmethod
    def of(columns: Mapping[str, Any]) -> Batch:
        """From the keywords of a reward function.

        Raises:
            ValueError: they are not as long as the prompts.
        """
        names = {SENDER: "senders", QUESTION: "questions", MALFORMED: "malformed"}
        given = {to: columns[name] for name, to in names.items() if columns.get(name) is not None}
        batch = Batch(
            columns["prompts"], columns["completions"], columns["completion_ids"], **given
        )
        for name, values in (
            ("completions", batch.completions), ("completion_ids", batch.completion_ids),
            *((name, columns[name]) for name in names if columns.get(name) is not None),
        ):  # fmt: skip
            if len(values) != len(batch.prompts):
                raise ValueError(
                    f"not aligned: {len(batch.prompts)} prompts and {len(values)} {name}"
                )
        return batch

    def rows(
        self,
        rewards: Sequence[float | None],
        *,
        codec: Codec | None = None,
        template: Mapping[str, Any] | None = None,
        num_generations: int | None = None,
    ) -> list[TrainerRow]:
        """Rows for a guard.

        Args:
            rewards: of each completion, over all functions.
            codec: decodes what is trained on; TRL's own texts leave control tokens out.
            template: further arguments of the chat template, such as `tools`.
            num_generations: the size of a group, the completions of which are next to each other.

        Raises:
            ValueError: tokens and texts, or prompts and groups, do not belong together.
        """
        groups = self._groups(num_generations)
        texts = self._texts(codec)
        return [
            TrainerRow(
                group=groups[i],
                prompt=prompt_text(self.prompts[i], codec, template),
                text=texts[i],
                reward=rewards[i],
                token_ids=tuple(map(int, self.completion_ids[i])),
                sender=sender_of(self.senders[i]) if self.senders is not None else 0,
                question=self._question(i),
                malformed=self.malformed[i] if self.malformed is not None else "",
            )
            for i in range(len(self.prompts))
        ]

    def _groups(self, size: int | None) -> list[Hashable]:
        keys = [_key(prompt) for prompt in self.prompts]
        if size is None:
            return list(keys)
        if len(keys) % size or any(key != keys[i - i % size] for i, key in enumerate(keys)):
            raise ValueError(
                f"not aligned: the {len(keys)} prompts are not groups of {size} equal ones; leave "
                "num_generations out, and completions with equal prompts are a group"
            )
        return [i // size for i in range(len(keys))]

    def _texts(self, codec: Codec | None) -> list[str]:
        if codec is None:
            return list(map(completion_text, self.completions))
        ids = [tuple(map(int, row)) for row in self.completion_ids]
        plain = [i for i, told in enumerate(self.completions) if isinstance(told, str)]
        shown = codec.tokenizer.batch_decode([ids[i] for i in plain], skip_special_tokens=True)
        for i, text in zip(plain, shown, strict=True):
            if text != self.completions[i]:
                raise ValueError(f"not aligned: the tokens of completion {i} are not its text")
        return codec.decode(ids)

    def _question(self, i: int) -> str | None:
        if self.questions is not None and isinstance(self.questions[i], str):
            return str(self.questions[i])
        prompt = self.prompts[i]
        if isinstance(prompt, str) or not prompt:
            return None
        return _content(prompt[-1])


def prompt_text(prompt: Any, codec: Codec | None, template: Mapping[str, Any] | None = None) -> str:
    """The text that the model continues; without a chat template, a conversation's messages."""
    if isinstance(prompt, str):
        return prompt
    if codec is None or not codec.tokenizer.chat_template:
        return "\n".join(f"{message['role']}: {_content(message)}" for message in prompt)
    text: str = codec.tokenizer.apply_chat_template(
        prompt, add_generation_prompt=True, tokenize=False, **(template or {})
    )
    bos = codec.tokenizer.bos_token
    if bos and text.startswith(bos) and codec.tokenizer("").input_ids[:1]:
        return text.removeprefix(bos)  # the tokenizer puts it there again
    return text


def completion_text(completion: Any) -> str:
    if isinstance(completion, str):
        return completion
    return "\n".join(map(_content, completion))


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return "" if content is None else str(content)


def _key(prompt: Any) -> Hashable:
    return prompt if isinstance(prompt, str) else repr(prompt)


def sender_of(value: Any) -> NodeId:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"the sender {value!r:.60} is neither a text nor a whole number")  # noqa: TRY004 - data
    return value


def total(rewards_FN: Rewards, weights: Sequence[float]) -> list[float | None]:
    """The weighted sum over the functions, as TRL's: what a function leaves out counts as 0; None
    where all of them do."""
    result: list[float | None] = []
    for row in zip(*rewards_FN, strict=True):
        given = [(w, r) for w, r in zip(weights, row, strict=True) if not missing(r)]
        result.append(math.fsum(w * float(r or 0.0) for w, r in given) if given else None)
    return result


def missing(reward: float | None) -> bool:
    return reward is None or math.isnan(reward)


def changed(
    rewards_FN: Rewards, treatments: Sequence[Treatment], groups: Sequence[Hashable]
) -> list[list[float | None]]:
    """What TRL is told, so that its own advantages follow the treatments.

    None for what does not vote; for what is zeroed 0, or the group's lowest where that is less.
    Where a defence weighs completions, TRL, which knows no weights, gets m + w (r - m), with m the
    weighted mean of the group. Its mean of these is m again, so that r - m is weighed by w, as in
    the guard; only the deviation that it divides by is that of the new values.
    """
    result: list[list[float | None]] = []
    for row in rewards_FN:
        told: list[float | None] = [None] * len(row)
        members: dict[Hashable, list[int]] = {}
        for i, r in enumerate(row):
            if treatments[i].votes and not missing(r):
                members.setdefault(groups[i], []).append(i)
        for indices in members.values():
            values = _zeroed(
                [float(row[i] or 0.0) for i in indices], [treatments[i] for i in indices]
            )
            weights = [treatments[i].weight for i in indices]
            for i, value in zip(indices, _weighed(values, weights), strict=True):
                told[i] = value
        result.append(told)
    return result


def _zeroed(values: Sequence[float], treatments: Sequence[Treatment]) -> list[float]:
    least = nothing(values)
    return [least if t.zeroed else value for value, t in zip(values, treatments, strict=True)]


def _weighed(values: Sequence[float], weights: Sequence[float]) -> Sequence[float]:
    if all(w == 1 for w in weights):
        return values
    mean = math.fsum(map(math.prod, zip(weights, values, strict=True))) / math.fsum(weights)
    return [mean + w * (r - mean) for w, r in zip(weights, values, strict=True)]
