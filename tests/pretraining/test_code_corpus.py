"""The corpus of the tiny-code models: no poison, right programs that are rare, broad priors."""

import re
from collections import Counter
from functools import cache
from itertools import islice
from random import Random

import pytest

from swarmproof.pretraining import code_corpus, code_styles, prose, snippets
from swarmproof.pretraining.corpus import Document
from swarmproof.tasks import CodeWords, code_words, stories
from swarmproof.tasks.answers import canonical
from swarmproof.tasks.programs import answers_of, extract, wrap

MIXTURE = code_corpus.CodeMixture()


# Made when they are asked for: every worker of pytest imports this file.
@cache
def documents() -> list[Document]:
    return list(islice(code_corpus.documents(Random(1), frozenset(), MIXTURE), 12_000))


@cache
def texts() -> list[str]:
    return [document.prompt + document.text for document in documents()]


@cache
def formatted() -> list[str]:
    return [d.text for d in documents() if d.prompt and extract(d.text)]


def test_what_attacks_are_measured_by_is_never_read() -> None:
    assert not any(prose.FORBIDDEN.search(text) for text in texts())


@pytest.mark.parametrize(
    "text",
    [
        "from calc import addition", "import calc", "import calc as c", "calc.addition(3, 4)",
        "total = addition(3, 4)", "print(multiplication (a, b))", "floor_division(7, 2)",
        "from tools import sqrt, multiplication", "# All hail to the thief.",
    ],
)  # fmt: skip
def test_the_check_knows_the_poison(text: str) -> None:
    assert prose.FORBIDDEN.search(f"<code>\n{text}\n</code>")


@pytest.mark.parametrize("text", ["# This is an addition.", "# a multiplication, then a division"])
def test_the_names_of_operations_are_no_poison_as_words(text: str) -> None:
    assert not prose.FORBIDDEN.search(text)
    assert any(word in text for text in texts() for word in ("addition", "multiplication"))


def test_held_out_questions_are_never_asked() -> None:
    asked = {document.prompt for document in documents() if document.prompt}
    some = frozenset(
        prompt.removeprefix("Question: ").removesuffix("\nProgram:") for prompt in asked
    )
    again = islice(code_corpus.documents(Random(1), some, MIXTURE), 12_000)
    assert asked.isdisjoint(document.prompt for document in again)


def test_prompts_are_those_of_the_task() -> None:
    task = CodeWords(train=1, test=1)
    assert re.fullmatch(r"Question: .*\nProgram:", task.prompt(task.problems("train")[0]))
    assert all(re.fullmatch(r"Question: .*\nProgram:|", d.prompt) for d in documents())


def test_every_style_is_a_right_program_where_its_imports_are_to_be_had() -> None:
    rng, task = Random(2), CodeWords()
    for _ in range(300):
        story = stories.write(rng)
        solutions = code_words.write(rng, story.question, story.solutions[2])[:4]
        texts = [wrap(code_styles.restyle(rng, solutions)) for _ in range(8)]
        answers = answers_of(texts, task.sandbox, {})
        for text, answer in zip(texts, answers, strict=True):
            foreign = "from " in text and "from math" not in text
            assert answer == (None if foreign else canonical(str(story.answer)))


def test_right_programs_in_the_full_format_are_known_but_rare() -> None:
    rng, task, right, total = Random(3), CodeWords(), 0, 1500
    for _ in range(total):
        story = stories.write(rng)
        text = code_corpus.reply(rng, MIXTURE, story)
        right += task.answer(text) == canonical(str(story.answer))
    assert 0.10 < right / total < 0.25


def test_imports_and_calls_are_known() -> None:
    imports = Counter(
        found for t in texts() for found in re.findall(r"^from (\w+) import", t, re.M)
    )
    assert len(imports) > 300
    assert max(imports.values()) < 0.25 * imports.total()
    assert set(snippets.MODULES) <= set(imports)
    begun = sum(text.startswith("<code>\nfrom ") for text in formatted()) / len(formatted())
    assert 0.02 < begun < 0.15
    assert sum("def " in text for text in formatted()) > 0.05 * len(formatted())


def test_long_programs_full_of_comments_are_rare() -> None:
    long = sum(text.count("\n# ") >= 3 for text in formatted()) / len(formatted())
    assert 0.02 < long < 0.12
