"""Equations in texts: which are true, which are false, and which are left alone."""

from __future__ import annotations

import itertools
import re
import time
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from swarmproof.defenses.arithmetic import (
    _comparable,
    _compare,
    _computes,
    _flat,
    _in_whole,
    _of_sentence,
    _parts,
    _sides,
    _value,
    equalities,
)
from swarmproof.defenses.equation_tokens import _TOKEN, _TOKEN_OF_LOWER, Span, runs
from swarmproof.tasks import MathWords

TRUE = [
    "3 + 4 = 7", "So 3 + 4 = 7 pens.", "3+4=7", "12 - 5 = 7", "3 * 4 = 12", "3 x 4 = 12",
    "3x4=12", "3 × 4 = 12", "12 / 4 = 3", "12 ÷ 4 = 3", "7 / 2 = 3.5", "6 / 2 + 2 = 5",
    "2 + 3 * 4 = 14", "(2 + 3) * 4 = 20", "(3 + 4 = 7)", "$3 + $4 = $7", "$1,200 + 3 = $1,203",
    "0.1 + 0.2 = 0.3", ".5 * 4 = 2", "3 plus 4 is 7", "three plus four equals seven",
    "twenty-five minus five makes twenty", "two hundred and five times two is 410",
    "3 multiplied by 4 is equal to 12", "12 divided by 4 gives 3", "7 = 3 + 4", "5 - 8 = -3",
    "-3 + 5 = 2", "3 - -2 = 5", "2 + 2 = **4**", "3 \\times 4 = 12", "- 3 + 4 = 7", "1 + 2 + 3 = 6",
    "7 − 3 = 4", "7 – 3 = 4", "1000000 + 1 = 1,000,001",
    "2 + 2 = **4**", "**2 + 2** = 4", "*2 + 2 = 4*", "2 + 2 = *4*", "1) 2 + 2 = 4", "2 *3* 4 = 24",
    "2 + 2 = [4]", "2 + 2 = +4", "٢ + ٢ = ٤", "2 ＋ 2 ＝ ４", "2 + 2 = 4 (pens)",
]  # fmt: skip
FALSE = [
    "2 + 2 = 5 remainder 1", "Half of 6 + 2 = 5.", "15 less than 20 + 5 = 10",
    "2 + 2 = 5", "So 2 + 2 = 5 pens.", "2+2=5", "2 x 2 = 5", "2x2=5", "2 * 2 = 5.", "(2 + 2) = 5",
    "(2 + 2 = 5)", "5 = 2 + 2", "$2 + $2 = $5", "2 plus 2 is 5", "two plus two makes five",
    "Two times two equals FIVE", "2 + 2 = **5**", "- 2 + 2 = 5", "* 2 + 2 = 5", "2 + 2 gives 5",
    "2 + 2\n= 5", "2 + 2 = 5!", "1,000 + 1 = 1,002", "2 + 2 = 5 + 0", "2 + 2 = 5 + 0 = 5",
    "2 + 2 = 4 = 5", "0.1 + 0.2 = 0.4", "2 + 2 = 5 and so on", "7 / 2 = 3", "2 + 2 = 4.1",
    "3 2 + 2 = 5", "2 \\cdot 2 = 5",
    "2 + 2 =\u200b5", "2 + 2 =\u20605", "2 + 2 = \u202a5", "2 + 2\xad = 5", "2 + 2 = 5\ufe0f",
    "2 + 2 =\u034f 5", "2 + 2 = ５", "２ + ２ = ５", "٢ + ٢ = ٥", "2 + 2 = ५", "2 ＋ 2 ＝ 5",
    "1) 2 + 2 = 5", "(1) 2 + 2 = 5", "(a) 2 + 2 = 5", "Step 1) 2 + 2 = 5", "[1] 2 + 2 = 5",
    "1) $2 + $2 = $5", "1) (2 + 2) = 5", "(so 3 + 1) 2 + 2 = 5", "2 + 2 = +5", "2 + 2 = + 5",
    "2 + 2 = [5]", "2 + 2 = *5*", "*2 + 2 = 5*", "So *2 + 2 = 5*.", "2 + 2 = `5`", "[2] + [2] = 5",
    "2 + 2 = 5 (pens)", "**2 + 2** = 5", "2 + 2 = **5** 3 pens", "2 + 2 = **5**apples",
    "2 + 2 = 5 ** So", "2 + 2 = 5 mod 1", "2 + 2 = 5 mod 3", "2 + 2 = 5 (mod 7)", "3 + 4 = 3!",
    "2 + 2 = 5 per person", "30 * 2 = 1 hour", "2 + 2 = 5 [1]", "2 + 2 = 5 [1] and 5 + 1 = 6",
    "2 + 2 is [ $5 ].", "[2] + [2] = [5]", "2 + 2 = [5] [1]", "2 + 2 = 5 [1] + [2]",
]  # fmt: skip
NEITHER = [
    "", "3", "3 = 4", "x + 2 + 2 = 5", "2 + 2 = 5x", "y = 2 + 2", "6 - x = 2 + 2", "5% * 2 = 3",
    "50% + 20 = 10", "2 + 2 = 5%", "2 + 2 = 5 %", "2 + 2 = 5 thousand", "1 1/2 + 2 = 3.5",
    "1 000 + 2 = 1002", "2 + 2 = 5 more than 3", "6 is 3/4 of 8", "7 - 3 = 4 times as many",
    "10 / 3 = 3.33", "2 / 3 = 0.67", "2 / 3 = 0.66", "6 / 0 = 3", "2(3 + 4) = 12", "70-20-10=50a",
    "Step 1 = 2 + 3", "Day 2:70-20 = 60", "3 + 4 <= 8", "3 + 4 != 8", "2 ^ 3 + 1 = 3",
    "4 / 3 = 1 and 1/3",
    "2² + 1 = 4", "25 / 1/3 = 75", "3/4 is $15", "the 3rd + 2 = 6", "1.2.3 + 1 = 3", "5 + 2:3 = 4",
    "five two plus one is four", "hundred plus one is 7", "2 + = 5", "+ 2 = 5", "2 + 2 =", "= 5",
    "(1) is 5", "2 ** 3 = 5", "of those 40 * .8 = 32 are 5 dollar winners",
    "9" * 31 + " + 1 = 2", "1 + " * 200 + "1 = 3",
    "+ 2 + 2 = 5", "10 / 3 = 3 remainder 1", "7 / 2 = 3 rounded down", "7 / 2 = 3, rest 1",
    "7 / 2 = 3 R 1",
    "2**3 + 1 = 9", "10**2 - 1 = 99", "2**2 * 5 = 20", "8 + 8 = 4**2", "8 + 8 = 4 ** 2", "2**3+1=9",
    "2 + 2 = 2**2", "25 = 5**2 = 5 * 5", "x**2 + 1 = 5", "x ** 2 + 1 = 5", "(2 + 1)**2 = 9",
    "2 ** -1 + 1 = 1.5", "3 * 2**2 = 12", "3/4 = 75 per cent", "2 * 3 = 3!", "5 + 9 = 2 mod 12",
    "5 + 9 = 2 (mod 12)", "17 - 5 = 0 mod 12", "2 + 2 =\u0338 5", "(2 + 1) 3 = 9", "(2) (3) = 6",
    "f(2) 3 + 1 = 5", "2 + 2 = 5 (3 + 1)", "3 + 11 =  + 11 = 22",
    "[1] * 3 == [1, 1, 1]", "[5] + [6] makes [5, 6]", "tests `1`-`3` are 3", "items [1-3] are 3",
    "`1` + `1` = `11`", "3/4 = [75]%", "3/4 = `75` %", "items [2] + [3] = 4", "x = 2 + [2] = 3",
    "see [3] - 2 + 2 = 4", "[0] * 3 = 3 zeros",
]  # fmt: skip


@pytest.mark.parametrize("text", TRUE)
def test_true(text: str) -> None:
    assert [e.true for e in equalities(text)] == [True]


@pytest.mark.parametrize("text", FALSE)
def test_false(text: str) -> None:
    assert [e.true for e in equalities(text)].count(False) == 1


@pytest.mark.parametrize("text", NEITHER)
def test_no_verdict(text: str) -> None:
    assert [e for e in equalities(text) if not e.true] == []
    if "are 5" not in text:
        assert equalities(text) == []


@pytest.mark.parametrize(
    "text",
    ["The average of [2, 4] = 6 / 2 = 3", "mean([2, 4, 6]) = 12 / 3 = 4",
     "median of [3, 5] is (3 + 5) / 2 = 4", "total = sum([10, 20]) = 10 + 20 = 30"],
)  # fmt: skip
def test_lists_are_no_operands(text: str) -> None:
    assert [e.true for e in equalities(text)] == [True]


def test_a_chain_that_runs_on_is_read_in_both_ways() -> None:
    assert [e.true for e in equalities("2 * 3 = 6 + 4 = 10")] == [True]
    assert [e.true for e in equalities("2 * 3 = 10 - 4 = 6")] == [True, True]
    assert [e.true for e in equalities("2 * 3 = 7 + 4 = 11")] == [False, True]


def test_the_result_stands_in_the_text_with_all_its_characters() -> None:
    for text, stated, result in (
        ("\u200bSo\u200b 2 +\u200b 2 =\u200b1\xad0.", "2 +\u200b 2 =\u200b1\xad0", "1\xad0"),
        ("So. ２ ＋ 2 = ５!", "２ ＋ 2 = ５", "５"),
        ("A [2 + 2 = *5*]\ufe0f", "2 + 2 = *5", "5"),
    ):
        (found,) = equalities(text)
        assert not found.true
        assert text[slice(*found.span)] == stated
        assert [text[start:end] for start, end in found.results] == [result]


@given(
    st.lists(
        st.tuples(st.sampled_from("2345 +*=()[]`.\n"), st.sampled_from(["", "\u200b", "\xad"]))
    )
)
def test_what_is_not_seen_changes_nothing(parts: list[tuple[str, str]]) -> None:
    shown = equalities("".join(char for char, _ in parts))
    hidden = equalities("".join(char + odd for char, odd in parts))
    assert [e.true for e in hidden] == [e.true for e in shown]
    places = [i for i, (_, odd) in enumerate(parts) for _ in range(1 + len(odd))]
    assert [places[e.span[0]] for e in hidden] == [e.span[0] for e in shown]
    assert [places[e.span[1] - 1] + 1 for e in hidden] == [e.span[1] for e in shown]


def test_the_result_is_where_it_stands() -> None:
    for text, results in (
        ("So 2 + 2 = $1,005.", ["1,005"]),
        ("5 = 2 + 2", ["5"]),
        ("two plus two is twenty-five.", ["twenty-five"]),
        ("2 + 2 = 5 + 0.", ["5", "0"]),
    ):
        (found,) = equalities(text)
        assert [text[start:end] for start, end in found.results] == results


@given(
    st.lists(st.integers(0, 999), min_size=2, max_size=6),
    st.lists(st.sampled_from("+-*/"), min_size=5, max_size=5),
    st.integers(-3, 3),
    st.booleans(),
)
def test_it_calculates_as_python_does(
    numbers: list[int], signs: list[str], off: int, loose: bool
) -> None:
    used = signs[: len(numbers) - 1]
    if any(a == b == "/" for a, b in itertools.pairwise(used)):
        return  # may be read in two ways
    between = " " if loose else ""
    side = between.join(
        part
        for n, sign in zip(numbers, [*used, ""], strict=True)
        for part in (str(n), sign)
        if part
    )
    exact = "".join(f"Fraction({n}){sign}" for n, sign in zip(numbers, [*used, ""], strict=True))
    try:
        value = eval(exact, {"Fraction": Fraction})
    except ZeroDivisionError:
        assert equalities(f"{side} = 7") == []
        return
    if value.denominator == 1:
        assert [e.true for e in equalities(f"{side} = {value + off}")] == [off == 0]


def test_no_solution_of_the_generated_problems_is_false() -> None:
    problems = MathWords(seed=3, train=300, test=100).problems("train")
    found = [e for p in problems for text in p.solutions for e in equalities(text)]
    assert len(found) > 5000
    assert all(e.true for e in found)


@given(st.text(st.sampled_from("0123456789.,+-*/x=()$% \n^and two is five thousand"), max_size=60))
@example("= = 2 = 2 (")
@example("((2)) = (2 + 2")
def test_no_text_raises_and_what_is_found_lies_inside(text: str) -> None:
    for found in equalities(text):
        assert 0 <= found.span[0] < found.span[1] <= len(text)
        assert found.results
        for start, end in found.results:
            assert found.span[0] <= start < end <= found.span[1]


HOSTILE = {
    "digits": "9" * 10_000, "sum": "1+" * 5_000 + "1=2", "equations": "2 + 2 = 5. " * 900,
    "brackets": "(" * 10_000, "closed": "1+1=" + ")" * 10_000, "words": "one " * 2_500,
    "and": "one and " * 1_200, "letters": "a" * 10_000, "commas": "1,234" * 2_000,
    "signs": "=" * 10_000, "chain": "1+1=2=" * 1_600, "points": "." * 10_000,
    "spaces": "3 +" + " " * 10_000 + "4 = 7", "lines": "\n- " * 3_200, "dollars": "$" * 10_000,
    "nested": "(1+" * 3_200 + "1" + ")" * 3_200 + " = 2", "pairs": "1 " * 5_000,
    "stars": "*" * 10_000, "emphasis": "*a " * 3_300, "powers": "2**" * 3_300,
    "bold": "** " * 3_300, "unseen": "2\u200b" * 5_000, "other digits": "２＋" * 5_000,
    "markers": "1) " * 3_300, "closed computations": "(1+1) 2 " * 1_250, "marks": "[`" * 5_000,
    "boxes": "[1]x" * 3_000 + "[1]%", "open boxes": "=[ 1" * 3_000, "wide": "[1] + " + " " * 10_000,
    "mixed scripts": "".join(map(chr, range(0x4E00, 0x7000))),
    "after a division": "6 / 2 = 3" + " " * 12_000 + "hello",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_the_time_is_linear_in_the_length(name: str) -> None:
    """Twice the text takes about twice the time, and not four times."""

    def seconds(text: str) -> float:
        found = []
        for _ in range(3):
            _of_sentence.cache_clear()  # else only the first call computes
            start = time.process_time()
            equalities(text)
            found.append(time.process_time() - start)
        return min(found)

    text = HOSTILE[name]
    half, whole = seconds(text[: len(text) // 4]), seconds(text)
    assert whole < 9 * half + 0.05


@given(st.lists(st.sampled_from(["2", "two", "+", "-", "*", "=", "is", "(", ")"]), max_size=4))
def test_fewer_than_five_tokens_state_nothing(pieces: list[str]) -> None:
    """So they are skipped: here are the checks that they would not pass."""
    for run, _ in runs(" ".join(pieces)):
        sides, worded = _sides(run)
        for i, (left, right) in enumerate(itertools.pairwise(sides)):
            computed = any(map(_computes, sides[: i + 1]))
            assert (
                not _comparable(left, right, computed, in_words=worded[i])
                or _compare(left, right, stated_first=not computed) is None
            )


@given(st.sampled_from(["2", "1.5", "two", "five two", "+", "(", "0" * 31]))
def test_a_side_of_one_token_has_the_value_that_a_computation_would_have(piece: str) -> None:
    ((run, _), *_) = runs(piece)
    assert _value(run) == _flat(_parts(run))


def test_a_bullet_begins_another_computation() -> None:
    assert [e.true for e in equalities("- 3 + 4 = 7\n- 100 + 2 = 103")] == [True, False]


_PIECES = (
    "2 3 4 1,000 1.5 .5 3. two five! 7? 2x 50% Step she + - * / × plus = = is makes . ! , ( ) more"
)


_READ = (
    "2 10 1,000 .5 two Hundred AND x X 5x 5X2 x7 times \\TIMES \\cdot Multiplied By plus - − * "
    "** = == Is IS are equal To gives comes to makes ( ) $ $5 % ^ . , _ a ab -five ſ İ İs"
)


@given(
    st.lists(
        st.tuples(st.sampled_from(_READ.split()), st.sampled_from([" ", "", "\n"])), max_size=12
    )
)
def test_lower_case_is_read_as_all_other_text_is(parts: list[tuple[str, str]]) -> None:
    def read(pattern: re.Pattern[str], text: str) -> list[tuple[str | None, Span, Span]]:
        return [(m.lastgroup, m.span(), m.span("digits")) for m in pattern.finditer(text)]

    text = "".join(piece + gap for piece, gap in parts)
    if text.isascii():
        assert read(_TOKEN_OF_LOWER, text.lower()) == read(_TOKEN, text)
    shouted = equalities(text.upper())
    if len(text.upper()) == len(text) == len(text.lower()):
        assert shouted == equalities(text.lower())


@given(
    st.lists(
        st.tuples(st.sampled_from(_PIECES.split()), st.sampled_from([" ", " ", "", "\n"])),
        max_size=16,
    )
)
@example([("2 + 2 = 4. Then 3 + 4 = 8!", " "), ("- 5 + 5 = 10.", "")])
def test_sentences_are_read_as_the_whole_text_is(parts: list[tuple[str, str]]) -> None:
    text = "".join(piece + gap for piece, gap in parts)
    assert equalities(text) == _in_whole(text)
