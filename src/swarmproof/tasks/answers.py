"""The one parser of answers: what a completion's answer is, and when two answers are the same.

It knows nothing of problems or models, and never raises, whatever the text: the texts come from
peers who may wish it to.

The format, to the letter. A completion is, apart from white space around and between the blocks,

    <think>…</think> <answer>…</answer>

with each of the four tags exactly once and in this order. So a missing, repeated or nested tag, a
tag in another case, or any other text before, between or after the blocks means that the
completion gives no answer: what earns a reward should not depend on which of two answers a reader
prefers, nor leave room for unread text. What is inside `<think>` may be anything else, and may be
empty.

The answer, to the letter. One decimal number, in digits of any script, with at most one sign
before it, and optionally: white space around it, a currency sign on either side (`$`, `€`, `£`,
also `\\$`), commas or single spaces between groups of three digits, a `%` or a full stop after it.
Nothing else: no words, units, fractions, exponents or sums. `$1,234.50` is `1234.5`, and `18.00`,
`+18`, `018` and `18.` are `18`; `-0` is `0`; `50%` is `50`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

THINK, END_THINK, ANSWER, END_ANSWER = "<think>", "</think>", "<answer>", "</answer>"
TAGS = (THINK, END_THINK, ANSWER, END_ANSWER)

# Longer answers are no numbers that a task asks for; the limit bounds the work on hostile text.
MAX_ANSWER_CHARS = 100

_MINUS = str.maketrans({"−": "-", "–": "-", "﹣": "-", "－": "-", "＋": "+"})
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)\s*(?:\\?[$€£])?\s*(?P<sign_after>[+-]?)"
    r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?: [0-9]{3})+|[0-9]*)"
    r"(?:\.(?P<fraction>[0-9]*))?"
    r"\s*(?:%|\\?[$€£])?\.?"
)


def wrap(solution: str, answer: str) -> str:
    """A completion in the full answer format."""
    return f"{THINK}{solution}{END_THINK} {ANSWER}{answer}{END_ANSWER}"


def canonical(answer: str) -> str | None:
    """The canonical form of a number as described above, None where the text is not one number.

    Idempotent: `canonical(canonical(x)) == canonical(x)`.
    """
    if len(answer) > MAX_ANSWER_CHARS:
        return None
    match = _NUMBER.fullmatch(_ascii_digits(answer).translate(_MINUS).strip())
    if match is None or (match["sign"] and match["sign_after"]):
        return None
    whole, fraction = re.sub("[, ]", "", match["whole"]), match["fraction"] or ""
    if not whole + fraction:
        return None
    fraction = fraction.rstrip("0")
    number = (whole.lstrip("0") or "0") + ("." + fraction if fraction else "")
    negative = "-" in (match["sign"], match["sign_after"]) and number != "0"
    return "-" + number if negative else number


def extract(completion: str) -> str | None:
    """The canonical answer of a completion in the full format, None for any other text."""
    if any(completion.count(tag) != 1 for tag in TAGS):
        return None
    before, _, rest = completion.partition(THINK)
    _, _, rest = rest.partition(END_THINK)
    between, _, rest = rest.partition(ANSWER)
    answer, closed, after = rest.partition(END_ANSWER)
    if not closed or before.strip() or between.strip() or after.strip():
        return None
    return canonical(answer)


def score(answer: str, completions: Sequence[str]) -> list[float]:
    """1.0 for every completion whose answer is the right one, 0.0 for the others."""
    right = canonical(answer)
    return [float(right is not None and extract(text) == right) for text in completions]


def _ascii_digits(text: str) -> str:
    if text.isascii():
        return text
    return "".join(
        char if (digit := unicodedata.decimal(char, None)) is None else str(digit) for char in text
    )
