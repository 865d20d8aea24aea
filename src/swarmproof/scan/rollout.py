"""A completion as a trainer's file holds it, whatever the format: what readers give to checks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rollout:
    """One completion of a file. What a format does not have is None; nothing is guessed.

    Every field is a claim of the file's writer.
    """

    id: str  # unique in a scan, the file's own where it has one; `flags.jsonl` names it
    where: str  # FILE:LINE or FILE:ROW, for messages
    prompt: str
    text: str
    group: str | None = None  # completions of one group answer one prompt in one step
    step: int | None = None
    reward: float | None = None
    advantage: float | None = None
    sender: str | None = None
    answer: str | None = None
    token_ids: tuple[int, ...] | None = None  # those that were trained on, never re-tokenised ones
    logprobs: tuple[float, ...] | None = None  # the sampler's claim, one for each token
    # 1 for tokens that were trained on, one for each token; None: all of them.
    token_mask: tuple[int, ...] | None = None
    truncated: bool | None = None  # the sampler stopped at its limit
    masked: bool = False  # it was taken out of the loss, by the trainer or a guard
    verdict: str | None = None  # a guard's reason in the file, where one refused it
