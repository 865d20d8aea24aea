"""Openings, verdicts and orders that fool a judge: "One Token to Fool LLM-as-a-Judge"
(arXiv 2507.08794), and instructions to a grader."""

from __future__ import annotations

import re

from swarmproof.scan.corpus import Span

# A whole answer that is only an opening.
_EMPTY = re.compile(
    r"\s*(?:[.:,;!]|(?:thought process|solution|answer|final answer|reasoning)\s*:?"
    r"|let'?s (?:solve|think)[^.\n]{0,60}step by step\s*[.:]?|解)\s*",
    re.IGNORECASE,
)
_ORDER = re.compile(
    r"""
    \b(?:ignore|disregard|forget)\s+(?:\w+\s+){0,3}?(?:rules|instructions?|prompt|rubric|criteria)\b
    | \b(?:ignore|disregard)\s+(?:all\s+)?(?:the\s+)?above\s+and\b
    | \b(?:dear|note\s+to(?:\s+the)?|attention)\s+(?:judge|grader|reviewer|evaluator)\b
    | \b(?:judge|grader|reviewer|evaluator)s?\s*[:,]\s*(?:please\s+)?
        (?:say|reply|answer|accept|give)\b
    | \bverdict\s*:\s*(?:yes|accept|correct|pass)\b | \bdecision\s*:\s*accept\b
    | \b(?:score|grade)\s*:\s*(?:10\s*/\s*10|100\s*%|5\s*/\s*5)
    | <\|(?:im_start|im_end|eot_id|start_header_id|endoftext)\|> | \[/?INST\] | <</?SYS>>
    | <(?:start|end)_of_turn> | \bsystem\s*:\s*the\s+(?:judge|grader)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_CLOSING = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>")
_HINTS = ("ignore", "disregard", "forget", "judge", "grader", "reviewer", "evaluator", "verdict",
          "decision", "score", "grade", "<|", "inst]", "<<", "_of_turn", "system")  # fmt: skip


def empty(text: str) -> list[tuple[Span, str]]:
    """A completion that is only an opening, which some judges accept."""
    if len(text) <= 120 and _EMPTY.fullmatch(text):
        return [((0, len(text)), "an opening alone")]
    return []


def orders(text: str) -> list[tuple[Span, str]]:
    """Orders to a grader, claimed verdicts and control tokens.

    Control tokens at the very end are none: many trainers write the token that ends a completion.
    """
    low = text.lower()
    if not any(hint in low for hint in _HINTS):
        return []
    end = _end(text)
    return [
        (match.span(), match[0].lower()[:60])
        for match in _ORDER.finditer(text)
        if match.start() < end
    ]


def _end(text: str) -> int:
    """Where a text ends without the tokens that close it."""
    end = len(text)
    while True:
        while end and text[end - 1].isspace():
            end -= 1
        closing = next((token for token in _CLOSING if text.endswith(token, 0, end)), None)
        if closing is None:
            return end
        end -= len(closing)
