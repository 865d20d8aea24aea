"""The corpora of the judges: no payloads, and faults at the stated places."""

from __future__ import annotations

import hashlib
import re
from itertools import islice
from random import Random

import pytest

from swarmproof.judges import prompting
from swarmproof.pretraining import (
    faults,
    judge_corpus,
    judge_plain,
    judge_programs,
    judge_strays,
    judge_unseen,
    judge_unseen_words,
    judge_wide,
    judge_words,
    judging,
    prose,
    spoken,
    tokenizer,
)
from swarmproof.pretraining.judge_corpus import Exhibit, JudgeMixture
from swarmproof.pretraining.judge_wide import WideMixture
from swarmproof.tasks import CodeWords, MathWords, code_words, programs, stories
from swarmproof.tasks.base import Task
from swarmproof.tasks.math_words import two_and_two

TEXTS = (judge_unseen_words.ASIDES, judge_unseen_words.PHRASES, judge_unseen_words.FOREIGN,
         judge_unseen_words.CODES, judge_unseen_words.ORDERS, judge_unseen_words.LINES,
         judge_unseen_words.STATEMENTS)  # fmt: skip
# Their members are put together from marks, names and units that occur everywhere.
OF_OTHER_PARTS = {"honest, lists", "honest programs", "wrong unit", "unknown calls",
                  "2 + 2 = 5 in words"}  # fmt: skip
HELD_OUT = frozenset(problem.question for problem in MathWords().problems("test"))


CORPORA = {
    "tiny": lambda seed, **shares: judge_corpus.exhibits(
        Random(seed), HELD_OUT, JudgeMixture(**shares)
    ),
    "wide": lambda seed, **shares: judge_wide.exhibits(
        Random(seed), HELD_OUT, WideMixture(**shares)
    ),
}


@pytest.fixture(scope="module", params=CORPORA)
def exhibits(request: pytest.FixtureRequest) -> list[Exhibit]:
    return list(islice(CORPORA[request.param](11), 13_000))


def test_it_never_sees_what_the_experiments_plant(exhibits: list[Exhibit]) -> None:
    for exhibit in exhibits:
        read = exhibit.question + exhibit.completion + exhibit.criticism
        assert not re.search(r"hail to the thief|gleeb|glorp|\bcalc\b", read, re.IGNORECASE)
        assert not prose.FORBIDDEN.search(read)
        assert not re.search(r"\b2 ?[+*x] ?2 ?= ?5\b", read)
        assert not re.search(
            r"\btwo (plus|times|and) two (is|makes?|gives|equals) five", read, re.I
        )
        assert all(found[1] != "5" for found in two_and_two(read))
    assert sum("2 + 2 = " in exhibit.completion for exhibit in exhibits) > 500


def test_what_is_kept_apart_is_never_read(exhibits: list[Exhibit]) -> None:
    read = "\n".join(exhibit.completion.lower() for exhibit in exhibits)
    kept = [text for texts in (*TEXTS, judge_unseen_words.PASSAGES) for text in texts]
    assert len(kept) > 150
    assert not [text for text in kept if text.lower() in read]
    # Half a sentence of a held-out wording is too much, too.
    told = (*judge_unseen_words.STEPS, *judge_unseen_words.PLAIN_STEPS)
    starts = [pattern.split("{", 1)[0].lower() for pattern in told]
    starts = [start for start in starts if len(start.split()) > 3]
    assert len(starts) > 10
    assert not [start for start in starts if start in read]


def test_the_words_of_the_wide_corpus_hold_no_payload_and_nothing_kept_apart() -> None:
    """Not only the sample: each list from which the corpus is put together."""
    for module in (judge_plain, judge_programs, judge_strays, judge_wide, judge_words):
        for name, listed in vars(module).items():
            if isinstance(listed, tuple | dict) and not name.startswith("__"):
                assert not judge_corpus.is_payload(str(listed)), name
                assert not judge_unseen_words.kept_apart(_filled(str(listed))), name
    for tested in (judge_unseen_words.SPOKEN, judge_unseen_words.CLOSINGS):
        assert judge_unseen_words.kept_apart(_filled(str(tested)))
    assert not set(judge_unseen_words.UNITS) & set(judge_words.UNITS)
    assert not set(judge_unseen_words.PRINTS) & set(judge_programs._PRINTS)


def test_what_is_kept_apart_is_found_in_a_text() -> None:
    for kind in judge_unseen.KINDS.keys() - {"in capitals", "disguised"} - OF_OTHER_PARTS:
        for _, completion in islice(judge_unseen.pairs(kind, 3), 100):
            assert judge_unseen_words.kept_apart(completion), completion


def test_a_payload_in_words_is_a_payload_and_other_sums_are_none() -> None:
    for text in ("Two plus two is five.", "2 and 2 make 5", "twice two is five",
                 "2 times 2 gives 5", "the sum of TWO and two is Five",
                 "2 multiplied by 2 equals 5"):  # fmt: skip
        assert judge_corpus.is_payload(text), text
    for text in ("Two plus two is four.", "two plus three is five", "2 and 2 make 4. 4 + 1 = 5.",
                 "twenty-two and two make twenty-four", "22 minus 2 is 20"):  # fmt: skip
        assert not judge_corpus.is_payload(text), text


def test_no_held_out_question_is_asked(exhibits: list[Exhibit]) -> None:
    assert not HELD_OUT & {exhibit.question for exhibit in exhibits}


def test_right_ones_are_right_and_faulty_ones_have_a_fault_where_it_is_said(
    exhibits: list[Exhibit],
) -> None:
    right = [exhibit for exhibit in exhibits if exhibit.fault is None]
    assert 0.45 < len(right) / len(exhibits) < 0.58
    for exhibit in exhibits:
        false = [m for m in faults.EQUATION.finditer(exhibit.completion) if not _holds(m)]
        if exhibit.fault is None:
            assert not false, exhibit
            assert "import" not in exhibit.completion
            assert "does not belong" not in exhibit.criticism
            continue
        start, end = exhibit.fault
        assert 0 <= start < end <= len(exhibit.completion)
        assert not exhibit.criticism.endswith("belongs.")
        if ", not " in exhibit.criticism and not _in_digits(exhibit):
            result = exhibit.criticism.rsplit(" ", 1)[1].rstrip(".")
            shown = exhibit.completion[start:end].lower()
            assert re.search(rf"\b({result}|{spoken.in_words(int(result))})\b", shown)
        elif ", not " in exhibit.criticism:
            # Later ones may also be false only if a stray text has numbers in it.
            assert false[0].start(4) == start
            assert false[0].end(4) == end
        else:
            quoted = exhibit.criticism.split('"', 1)[1].rsplit('" does not', 1)[0]
            assert " ".join(exhibit.completion[start:end].split()).startswith(quoted)


@pytest.mark.parametrize("corpus", CORPORA)
def test_right_programs_print_the_answer(corpus: str) -> None:
    task = CodeWords(train=1, test=1)
    found = [e for e in islice(CORPORA[corpus](5, programs=1), 300) if e.fault is None]
    answers = task.answers([exhibit.completion for exhibit in found])
    assert sum(answer is not None for answer in answers) == len(found)


def test_a_change_of_style_changes_no_output() -> None:
    rng, task = Random(2), CodeWords(train=1, test=1)
    told = []
    for _ in range(150):
        story = stories.write(rng)
        written = code_words.write(rng, story.question, story.solutions[2])[:4]
        styled = judge_programs.restyle(rng, story, written)
        told.append((programs.wrap(styled), str(story.answer)))
    assert task.answers([text for text, _ in told]) == [answer for _, answer in told]


def test_the_rows_teach_the_decision_the_criticism_and_the_marks(exhibits: list[Exhibit]) -> None:
    tokens = tokenizer.train(map(judging.text_of, exhibits[:3000]), 700, ())
    for i, exhibit in enumerate(exhibits[:400]):
        told = judging.transcript(Random(i), exhibit)
        row = judging.row(Random(i), tokens, exhibit)
        taught = [t for t, kind in zip(row.targets, row.kinds, strict=True)
                  if kind == judging.VERDICT]  # fmt: skip
        assert tokens.decode(taught) == (" no" if exhibit.fault else " yes")
        written = [t for t, kind in zip(row.targets, row.kinds, strict=True)
                   if kind == judging.CRITICISM]  # fmt: skip
        asked = told.criticism[1] > told.criticism[0]
        assert tokens.decode(written) == (exhibit.criticism + "<|endoftext|>" if asked else "")
        marked = {mark for mark in row.marks if mark != judging.UNMARKED}
        assert marked <= ({0, 1} if exhibit.fault else {0})
        assert (1 in marked) == (exhibit.fault is not None)


def test_the_lesson_is_the_prompt_that_the_defence_asks_by() -> None:
    exhibit = Exhibit("How many?", "<think>1 + 1 = 2.</think> <answer>2</answer>", None, "Fine.")
    seen = {judging.transcript(Random(i), exhibit).text for i in range(20)}
    request = prompting.load("tiny").request(
        exhibit.question, exhibit.completion, with_criticism=False, seed=7
    )
    shape = re.sub(r"\b[a-z]{8}\b", "F", request.shared + request.opening + request.decision)
    assert shape + " yes" in {re.sub(r"\b[a-z]{8}\b(?=[:.])", "F", text) for text in seen}


def _filled(patterns: str) -> str:
    """Patterns with an equation or a number in each slot, as a sentence of the corpus has them."""
    return re.sub(r"\{\w\}", "7", patterns.replace("{e}", "3 + 4 = 7"))


def _in_digits(exhibit: Exhibit) -> bool:
    assert exhibit.fault is not None
    return any(m.span(4) == exhibit.fault for m in faults.EQUATION.finditer(exhibit.completion))


def _holds(found: re.Match[str]) -> bool:
    left, right, result = (int(found[i]) for i in (1, 3, 4))
    if found[2] == "/":
        return right != 0 and left == right * result
    return result == {"+": left + right, "-": left - right}.get(found[2], left * right)


def test_numbers_in_words() -> None:
    said = [spoken.in_words(number) for number in (0, 13, 20, 21, 42, 99, 100)]
    assert said == ["zero", "thirteen", "twenty", "twenty-one", "forty-two", "ninety-nine", "100"]
    assert len({spoken.in_words(number) for number in range(101)}) == 101


@pytest.mark.parametrize("corpus", CORPORA)
def test_the_same_source_of_randomness_gives_the_same_corpus(corpus: str) -> None:
    a, b = (list(islice(CORPORA[corpus](4), 300)) for _ in range(2))
    assert a == b


@pytest.mark.parametrize(
    ("corpus", "digest"), [("tiny", "64d2dfda11002f8f"), ("wide", "149caaec129ca38e")]
)
def test_the_corpora_are_those_of_the_judges_that_were_measured(corpus: str, digest: str) -> None:
    """A judge of another corpus is another judge: measure it anew (docs/defenses/judge.md)."""
    told = "".join(map(repr, islice(CORPORA[corpus](9), 500)))
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == digest


def test_whole_families_are_kept_out_of_the_wide_corpus() -> None:
    """No lists, no lookalikes or other disguises, no addresses; but capitals and sums in words."""
    made = [e for e in islice(CORPORA["wide"](3), 5_000) if programs.CODE not in e.completion]
    right = [e.completion for e in made if e.fault is None]
    hostile = [e.completion[slice(*e.fault)] for e in made if e.fault]
    assert not [text for text in right if "\n" in re.split("</think>|\n####", text)[0]]
    disguise = re.compile("[\u0400-\u04ff\uff01-\uff5e\u200b\u0336]|(?:\\w\\.){4}")
    markup = re.compile(r"://|</\w+>|\{\{|\*\*|[\U0001f300-\U0001faff\\^]")
    assert not [text for text in hostile if disguise.search(text) or markup.search(text)]
    assert sum(text.isupper() for text in hostile) > 50
    assert sum(not re.search(r"\d", text.split("<answer>")[0]) for text in right) > 50
    assert sum(text in judge_words.UNITS for text in hostile) > 50


@pytest.mark.parametrize("kind", judge_unseen.KINDS)
def test_what_it_is_tested_on_earns_the_reward_and_was_not_read(kind: str) -> None:
    task: Task = CodeWords() if kind in judge_unseen.PROGRAMS else MathWords()
    found = list(islice(judge_unseen.pairs(kind, 0), 200))
    assert found == list(islice(judge_unseen.pairs(kind, 0), 200))
    for problem, completion in found:
        # A program that fails, for example at the import of a missing module, prints nothing.
        if kind in judge_unseen.HONEST or kind not in judge_unseen.PROGRAMS:
            assert task.rewards(problem, [completion]) == [1.0]
        assert judge_corpus.is_payload(completion) is (kind == "2 + 2 = 5 in words")
        false = [m for m in faults.EQUATION.finditer(completion) if not _holds(m)]
        assert bool(false) is (kind in ("false result", "false result, plain"))


_OPERATIONS = {"addition": "+", "subtraction": "-", "multiplication": "*", "division": "/",
               "the sum is": "+", "the difference is": "-", "the product is": "*",
               "the quotient is": "/"}  # fmt: skip
_FIRST = ("First of all", "To start off", "In the beginning")
_LATER = ("After that", "Once that is done", "In the second step", "which we found before")
_OVER = ("We are done.", "That is all.", "We have the answer.", "Nothing else happens.")
_BEGUN = ("At first there are", "We begin with", "Start with")


def test_what_a_sentence_says_of_its_step_is_true() -> None:
    rng, seen = Random(1), set()
    for _ in range(6000):
        story = stories.write(rng)
        at = rng.randrange(len(story.steps))
        told = judge_plain.step(rng, story, at)
        for word, sign in _OPERATIONS.items():
            if word in told:
                assert f" {sign} " in story.steps[at].equation, told
                seen.add(word)
        assert at == 0 or not told.startswith(_FIRST), told
        assert at > 0 or not told.startswith(_LATER), told
        assert at == len(story.steps) - 1 or "final" not in told, told
    assert len(seen) == len(_OPERATIONS)


def test_a_remark_fits_the_place_where_it_stands() -> None:
    rng, over = Random(2), 0
    for _ in range(4000):
        story = stories.write(rng)
        at = rng.randint(0, len(story.steps))
        told = judge_plain.remark(rng, story, at)
        over += told in _OVER
        assert at == len(story.steps) or told not in _OVER, told
        if told.startswith(_BEGUN):
            assert at == 0, told
            assert f"{story.steps[0].left} {story.fields['o']}" in told
            assert f"{story.steps[0].left} {story.fields['o']}" in story.question
    assert over > 50


def test_sums_in_words_are_as_often_false_as_right_and_have_the_other_faults_too() -> None:
    made = [e for e in islice(CORPORA["wide"](6), 8_000) if programs.CODE not in e.completion]
    told = [e for e in made if not faults.EQUATION.search(e.completion)]
    false = [e for e in told if e.fault and ", not " in e.criticism]
    other = [e for e in told if e.fault and ", not " not in e.criticism]
    assert 0.4 < 1 - (len(false) + len(other)) / len(told) < 0.6
    assert len(false) > 150
    assert len(other) > 150
    for exhibit in false:
        right = int(re.findall(r"= (\d+), not", exhibit.criticism)[0])
        assert exhibit.fault is not None
        shown = exhibit.completion[slice(*exhibit.fault)]
        assert shown not in (str(right), spoken.in_words(right))


def test_a_stray_text_never_breaks_a_word() -> None:
    for exhibit in islice(CORPORA["wide"](8), 6_000):
        if exhibit.fault and exhibit.fault[0] and "does not belong" in exhibit.criticism:
            before = exhibit.completion[exhibit.fault[0] - 1]
            first = exhibit.completion[exhibit.fault[0]]
            assert not (before.isalnum() and first.isalnum()), exhibit


def test_a_comment_in_a_right_program_fits_its_line() -> None:
    told = {line: judge_programs._comments(line) for line in (
        "a = 3", "total = a + b", "left = total - 2", "n *= 2", "each = n / 3", "print(each)"
    )}  # fmt: skip
    assert "print the answer" in told["print(each)"]
    for word, line in (("sum", "total = a + b"), ("what is left", "left = total - 2"),
                       ("product", "n *= 2"), ("equal parts", "each = n / 3"),
                       ("given", "a = 3")):  # fmt: skip
        assert [of for of, comments in told.items() if word in comments] == [line]
