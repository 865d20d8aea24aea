"""The only parser of answers: the answer of a completion, and when two answers are the same.

It knows nothing of problems or models. It never raises, because the texts come from peers who may
want it to.

The exact format. A completion that gives an answer is

    gap <think>…</think> gap <answer>…</answer> gap

without the spaces of this line. A gap is nothing, one space, one line break, or two line breaks.
Each of the four tags must occur exactly once, in this order. A missing, repeated or nested tag, a
tag in another case, any other text or any longer gap means that the completion gives no answer: a
reward must not depend on which of two answers a reader prefers, and must leave no room for text
that no reader sees. The text inside `<think>` may be anything without a tag, and may be empty.

The exact answer. The text inside `<answer>` is a gap, one decimal number, and a gap. The number has
these parts in this order, and all but the digits may be missing:

    sign, currency, digits, full stop with further digits, percent sign or currency, full stop

The sign is `+` or `-` (or a typographic form of one). It may stand after the currency instead. The
currency is `$`, `€` or `£`, also written `\\$`. The digits may be of any script. They may be in
groups of three, with one comma or one space between two groups, the same mark between all groups.
One space may stand after the sign, after the first currency, and before the percent sign or the
second currency. A space inside a number is an ordinary, a no-break, a narrow no-break or a thin
space. A full stop and further digits need no digits before them. Nothing else is a number: no
words, units, fractions, exponents or sums.

Examples: `$1,234.50` is `1234.5`; `18.00`, `+18`, `018` and `18.` are `18`; `-0` is `0`; `50%` is
`50`; `1234..` and `1.%` are no numbers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

THINK, END_THINK, ANSWER, END_ANSWER = "<think>", "</think>", "<answer>", "</answer>"
TAGS = (THINK, END_THINK, ANSWER, END_ANSWER)

GAPS = ("", " ", "\n", "\n\n")  # all white space that may surround a block or an answer

# No task asks for a longer number; the limit bounds the work on hostile text.
MAX_ANSWER_CHARS = 100

_MINUS = str.maketrans({"−": "-", "–": "-", "﹣": "-", "－": "-", "＋": "+"})
_SPACES = " \u00a0\u202f\u2009"
_NUMBER = re.compile(
    rf"(?:(?P<sign>[+-])[{_SPACES}]?)?(?:\\?[$€£][{_SPACES}]?)?(?P<sign_after>[+-]?)"
    rf"(?P<whole>[0-9]{{1,3}}(?P<mark>[,{_SPACES}])[0-9]{{3}}(?:(?P=mark)[0-9]{{3}})*|[0-9]*)"
    rf"(?:\.(?P<fraction>[0-9]+))?(?:[{_SPACES}]?(?:%|\\?[$€£]))?\.?"
)


def wrap(solution: str, answer: str) -> str:
    """A completion in the exact format."""
    return f"{THINK}{solution}{END_THINK} {ANSWER}{answer}{END_ANSWER}"


def canonical(answer: str) -> str | None:
    """The canonical form of a number as described above; None if the text is not one number.

    Idempotent: `canonical(canonical(x)) == canonical(x)`.
    """
    if len(answer) > MAX_ANSWER_CHARS:
        return None
    match = _NUMBER.fullmatch(_without_gaps(_ascii_digits(answer).translate(_MINUS)))
    if match is None or (match["sign"] and match["sign_after"]):
        return None
    whole, fraction = re.sub(f"[,{_SPACES}]", "", match["whole"]), match["fraction"] or ""
    if not whole + fraction:
        return None
    fraction = fraction.rstrip("0")
    number = (whole.lstrip("0") or "0") + ("." + fraction if fraction else "")
    negative = "-" in (match["sign"], match["sign_after"]) and number != "0"
    return "-" + number if negative else number


def extract(completion: str) -> str | None:
    """The canonical answer of a completion in the exact format; None for any other text."""
    if any(completion.count(tag) != 1 for tag in TAGS):
        return None
    before, _, rest = completion.partition(THINK)
    _, _, rest = rest.partition(END_THINK)
    between, _, rest = rest.partition(ANSWER)
    answer, closed, after = rest.partition(END_ANSWER)
    if not closed or any(gap not in GAPS for gap in (before, between, after)):
        return None
    return canonical(answer)


def score(answer: str, completions: Sequence[str]) -> list[float]:
    """1.0 for every completion that gives the right answer, 0.0 for the others."""
    right = canonical(answer)
    return [float(right is not None and extract(text) == right) for text in completions]


def _without_gaps(answer: str) -> str:
    number = answer.strip(" \n")
    start = answer.find(number)
    before, after = answer[:start], answer[start + len(number) :]
    return number if before in GAPS and after in GAPS else ""


def _ascii_digits(text: str) -> str:
    if text.isascii():
        return text
    return "".join(
        char if (digit := unicodedata.decimal(char, None)) is None else str(digit) for char in text
    )
