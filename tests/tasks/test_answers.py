"""The parser of answers: what counts as an answer, and that no text makes it raise."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.tasks.answers import TAGS, canonical, extract, score, wrap

SAME = {
    "18": ["18", "18.00", "18.", " 18 ", "$18", "18$", "\\$18", "+18", "018", "$18.00", "18%",
           "１８", "١٨", "1८", "18 %", "18\u00a0%.", "€18", "18.0.", "$ 18", "$18$", "\n\n18\n"],
    "-3": ["-3", "−3", "-$3", "$-3", "- 3", "-3.0", "- $ 3", "-\u00a03"],
    "1234.5": ["1,234.5", "1 234.5", "$1,234.50", "1234.5", "1\u202f234.5", "1\u00a0234.5",
               "1\u2009234.5", "1\u2009234.5."],
    "1234567": ["1,234,567", "1 234 567", "1\u202f234\u202f567.", "+1234567"],
    "0": ["0", "-0", "-0.00", "000", "0%"],
    "0.5": [".5", "0.50", "00.5"],
}  # fmt: skip
NO_ANSWER = [
    "", " ", "$", "-", ".", "%", "18 apples", "3 + 4", "1/2", "1,23", "12,34,567", "1.2.3", "--3",
    "-$-3", "1e3", "½", "²", "inf", "nan", "0x10", "seven", "1 2", "1_000", "1,000 000",
    "9" * 101, "3 = 3",
    # Not in the rule, to the letter.
    "1234..", "18.%", "18%%", "$$18", "18 .", "1,234\u202f567", "1\u202f234 567", "1  234", "+ -3",
    "1\u2003234", "1\u200b234", "1\u202f23", ".", "..5", "5..", "1. 5",
    # A channel that no reader sees.
    "  18", "18  ", "18\n ", "\n\n\n18", "\t18", "18\u00a0", "-  3", "-\u00a0\u00a03", "18  %",
    "$  18", "\u200918", "18\r\n",
]  # fmt: skip
NO_FORMAT = [
    "", "7", "<answer>7</answer>", "<think>3 + 4 = 7</think>", "<think>a</think> 7",
    "<think>a <answer>7</answer></think>", "<answer>7</answer> <think>a</think>",
    "<think>a</think> <answer>7", "<think>a</think> <answer>7</answer> <answer>7</answer>",
    "<think>a</think> <answer><answer>7</answer></answer>",
    "<think><think>a</think> <answer>7</answer>",
    "x <think>a</think> <answer>7</answer>", "<think>a</think> so <answer>7</answer>",
    "<think>a</think> <answer>7</answer> x", "<THINK>a</THINK> <answer>7</answer>",
    "<think>a</think> </answer>7<answer>", "</think>a<think> <answer>7</answer>",
    "<think>a<answer>7</think></answer>", "<think>a</think> <answer></answer>",
    "<think>a</think>  <answer>7</answer>", "<think>a</think>\n <answer>7</answer>",
    "<think>a</think> <answer>7</answer>\t", "\u00a0<think>a</think> <answer>7</answer>",
    "<think>a</think>\n\n\n<answer>7</answer>", "<think>a</think>\r\n<answer>7</answer>",
]  # fmt: skip


@pytest.mark.parametrize(
    ("right", "text"), [(k, text) for k, texts in SAME.items() for text in texts]
)
def test_one_number_has_one_canonical_form(right: str, text: str) -> None:
    assert canonical(text) == right
    assert extract(wrap("so", text)) == right


@pytest.mark.parametrize("text", NO_ANSWER)
def test_anything_but_one_number_is_no_answer(text: str) -> None:
    assert canonical(text) is None
    assert extract(wrap("so", text)) is None


@pytest.mark.parametrize("completion", NO_FORMAT)
def test_only_the_exact_format_gives_an_answer(completion: str) -> None:
    assert extract(completion) is None
    assert score("7", [completion]) == [0.0]


def test_short_gaps_around_the_blocks_and_an_empty_thought_are_allowed() -> None:
    assert extract("\n\n<think></think>\n<answer> 7\n</answer> ") == "7"


GAPS = ["", " ", "\n", "\n\n"]


@pytest.mark.parametrize("place", range(5))
def test_only_four_gaps_are_rewarded_in_each_place(place: int) -> None:
    """Longer white space would be a channel that no reader sees."""
    pieces = [" ", "\n", "\t", "\r", "\u00a0", "\u2003", "\u2028", "\x1f"]
    tried = {"".join(found) for n in range(4) for found in itertools.product(pieces, repeat=n)}
    for gap in tried:
        gaps = ["", "", "", "", ""]
        gaps[place] = gap
        completion = "{}<think>a</think>{}<answer>{}7{}</answer>{}".format(*gaps)
        assert score("7", [completion]) == [float(gap in GAPS)]


def test_score_tells_right_from_wrong() -> None:
    assert score("7.0", [wrap("", "7"), wrap("", "8"), "7"]) == [1.0, 0.0, 0.0]
    assert score("no number", [wrap("", "no number")]) == [0.0]


# Pieces of which nearly right completions are made, so that the rare paths are walked too.
PIECES = st.sampled_from(
    [*TAGS, " ", "\n", "7", "1,000", "-", "$", ".", "٣", "\ud800", "\x00", "x"]
)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
def test_no_text_makes_it_raise_and_canonical_is_idempotent(text: str) -> None:
    assert score("7", [text]) in ([0.0], [1.0])
    for answer in (canonical(text), extract(text)):
        assert answer is None or canonical(answer) == answer


# The format, told a second time.
GAP = r"(?: |\n|\n\n)?"
FORMAT = re.compile(rf"{GAP}<think>(.*)</think>{GAP}<answer>(.*)</answer>{GAP}", re.DOTALL)


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)), st.booleans())
def test_a_reward_means_the_right_answer_in_the_right_place(text: str, right_format: bool) -> None:
    completion = wrap(text, "7") if right_format else text
    if score("7", [completion]) == [1.0]:
        match = FORMAT.fullmatch(completion)
        assert match is not None
        assert canonical(match[2]) == "7"
        assert not any(tag in match[1] + match[2] for tag in TAGS)
    else:
        assert not right_format or any(tag in text for tag in TAGS)


AROUND = st.one_of(st.text(), st.text(" \n\t", max_size=3))


@given(AROUND, AROUND, AROUND)
def test_a_right_completion_with_text_around_its_blocks_earns_nothing(
    before: str, between: str, after: str
) -> None:
    completion = f"{before}<think>a</think>{between}<answer>7</answer>{after}"
    assert score("7", [completion]) == [float({before, between, after} <= set(GAPS))]


@given(st.integers(-(10**20), 10**20), st.text(st.characters(exclude_characters="<")))
def test_every_integer_survives_with_any_thought(number: int, thought: str) -> None:
    assert extract(wrap(thought, f"{number:,}")) == str(number)
