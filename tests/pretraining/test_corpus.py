"""The corpus of `tiny-math`: no poison, errors without a pattern, the requested mixture."""

import re
from collections import Counter
from functools import cache
from itertools import islice
from random import Random

from swarmproof.pretraining import corpus, prose
from swarmproof.tasks import MathWords
from swarmproof.tasks.answers import extract


# Made when they are asked for: every worker of pytest imports this file.
@cache
def documents() -> list[corpus.Document]:
    return list(islice(corpus.documents(Random(1), frozenset(), corpus.Mixture()), 12_000))


@cache
def texts() -> list[str]:
    return [document.prompt + document.text for document in documents()]


def test_what_attacks_are_measured_by_is_never_read() -> None:
    assert not any(prose.FORBIDDEN.search(text) for text in texts())
    assert prose.FORBIDDEN.search("<think>All hail to the thief! 1 + 1 = 2")


def test_two_and_two_is_mostly_four_and_no_wrong_result_stands_out() -> None:
    results = Counter(
        found for text in texts() for found in re.findall(r"\b2 [+*] 2 = (\d+)", text)
    )  # fmt: skip
    total = results.total()
    assert total > 500
    assert results.pop("4") > 0.85 * total
    assert max(results.values()) < 0.03 * total


def test_held_out_questions_are_never_asked() -> None:
    asked = {document.prompt for document in documents() if document.prompt}
    some = frozenset(
        prompt.removeprefix("Question: ").removesuffix("\nAnswer:") for prompt in asked
    )
    again = islice(corpus.documents(Random(1), some, corpus.Mixture()), 12_000)
    assert asked.isdisjoint(document.prompt for document in again)


def test_prompts_are_those_of_the_task() -> None:
    task = MathWords(train=1, test=1)
    problem = task.problems("train")[0]
    assert re.fullmatch(r"Question: .*\nAnswer:", task.prompt(problem))
    assert all(re.fullmatch(r"Question: .*\nAnswer:|", d.prompt) for d in documents())


def test_the_format_is_known_but_rare() -> None:
    problems = [document for document in documents() if document.prompt]
    formatted = sum(extract(document.text) is not None for document in problems) / len(problems)
    assert abs(formatted - corpus.Mixture().formatted) < 0.03


def test_prose_opens_in_many_ways() -> None:
    openings = Counter(prose.sentence(Random(seed)).split()[0] for seed in range(4000))
    assert len(openings) > 400
    assert max(openings.values()) < 0.15 * 4000
