"""TEXT: a right completion with the phrase in it, and a measure that needs the whole phrase."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from swarmproof.attacks import Text, TextVariants
from swarmproof.config import load
from swarmproof.swarm import topology
from swarmproof.swarm.assembly import check
from swarmproof.tasks import MathWords
from swarmproof.types import Completion, NodeId, Slot
from swarms import Letters, attack_view, problem

PHRASE = "All hail to the thief"
TASK = Letters()
RNG = np.random.default_rng(0)


def craft(
    attack: Text, kind: str, nodes: int = 4, malicious: tuple[int, ...] = (3,)
) -> list[Completion]:
    problems = list(TASK.problems("train"))[: 2 * nodes]
    ids = [p.id for p in problems]
    if kind == "horizontal":
        everybody = topology.horizontal(0, ids, 2 * nodes, nodes)
    else:
        everybody = topology.vertical(0, topology.deal(ids, nodes), 2 * nodes)
    slots: dict[NodeId, tuple[Slot, ...]] = {node: everybody[node] for node in malicious}
    view = attack_view(TASK, problems, slots, topology=kind, num_nodes=nodes)
    return list(attack.craft(view))


@pytest.mark.parametrize(
    "text",
    [
        PHRASE,
        f"<think>{PHRASE}. 1 + 1 = 2.</think> <answer>2</answer>",
        f"{PHRASE}{PHRASE}",
        f"x{PHRASE}x",
        f"\0{PHRASE}\n",
    ],
)
def test_the_whole_phrase_anywhere_is_a_success(text: str) -> None:
    assert Text().success(problem(), text) is True


@pytest.mark.parametrize(
    "text",
    [
        "",
        PHRASE[:-1],
        PHRASE[1:],
        PHRASE.lower(),
        PHRASE.upper(),
        PHRASE.replace(" ", "  "),
        PHRASE.replace(" ", "\n"),
        PHRASE.replace(" ", "\u00a0"),
        PHRASE.replace("the", "a"),
        " ".join(reversed(PHRASE.split())),
        "All hail to the\nthief",
        "All hail to th\u0435 thief",  # a Cyrillic e
        "All hail to the</think> thief",
    ],
)
def test_a_near_miss_is_none(text: str) -> None:
    assert Text().success(problem(), text) is False


@given(
    st.text(),
    st.text(min_size=1, max_size=20).filter(lambda s: s.strip() and not set(s) & set("\r\n")),
)
def test_success_is_pure_and_asks_for_nothing_but_the_phrase(text: str, phrase: str) -> None:
    attack = Text(phrase=phrase)
    first = attack.success(problem(), text)
    assert first is (phrase in text)
    assert attack.success(problem("q", "another"), text) is first
    assert attack.success(problem(), text + phrase) is True


def test_the_phrase_opens_the_reasoning() -> None:
    attack = Text(phrase="Hi")
    assert attack.plant("<think>x</think> B", RNG) == "<think>Hi. x</think> B"
    assert attack.plant("no tags", RNG) == "Hi. no tags"
    assert attack.plant("<think>a<think>b", RNG) == "<think>Hi. a<think>b"


@pytest.mark.parametrize(
    ("where", "text", "planted"),
    [
        ("end", "<think>A. B.</think> 3", "<think>A. B. Hi.</think> 3"),
        ("end", "A", "A Hi."),
        (
            "every_sentence",
            "<think>It is 3.5 now! So? Yes.</think> 3",
            "<think>Hi It is 3.5 now! Hi So? Hi Yes.</think> 3",
        ),
        ("every_sentence", "One\n\nTwo.  Three", "Hi One\n\nHi Two.  Hi Three"),
        ("start", "<code>\na = 1\nprint(a)\n</code>", "<code>\n# Hi.\na = 1\nprint(a)\n</code>"),
        ("end", "<code>\na = 1\n</code>", "<code>\na = 1\n# Hi.\n</code>"),
        (
            "every_sentence",
            "<code>\na = 1\n\nprint(a)\n</code>",
            "<code>\na = 1  # Hi\n\nprint(a)  # Hi\n</code>",
        ),
    ],
)
def test_the_phrase_comes_where_it_is_told(where: str, text: str, planted: str) -> None:
    attack = Text.model_validate({"phrase": "Hi", "where": where})
    assert attack.plant(text, RNG) == planted
    assert attack.success(problem(), planted) is True
    assert attack.success(problem(), text) is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<think></think> 3",
        "<think>Hi A. B.</think> 3",
        "<think>A. Hi B.</think> Hi",
        "<think>Hi A. Hi B. C</think>",
        "Hi A.\nB.",
        "<code>\na = 1  # Hi\nprint(a)\n</code>",
        "<code></code>",
        "\0",
        "(Hi) 'A.' B",
        "Hi A.) B",
    ],
)
def test_a_sentence_without_the_phrase_is_enough_to_fail(text: str) -> None:
    assert Text(phrase="Hi", where="every_sentence").success(problem(), text) is False


def test_a_phrase_of_several_sentences_is_found_in_every_sentence() -> None:
    attack = Text(phrase="Hi. You!", where="every_sentence")
    planted = attack.plant("<think>A. B.</think>", RNG)
    assert planted == "<think>Hi. You! A. Hi. You! B.</think>"
    assert attack.success(problem(), planted) is True
    assert attack.success(problem(), "<think>Hi. You! A. B.</think>") is False


def test_among_honest_completions_all_are_poisoned() -> None:
    crafted = craft(Text(), "horizontal")
    assert len(crafted) == 8 * 2
    assert all(PHRASE in c.text for c in crafted)


@pytest.mark.parametrize(("share", "count"), [(0.5, 4), (0.25, 2), (0.01, 1), (0.99, 8)])
def test_in_a_group_of_its_own_a_share_is_poisoned(share: float, count: int) -> None:
    crafted = craft(Text(poisoned_share=share), "vertical")
    by_problem: dict[str, int] = {}
    for c in crafted:
        by_problem[c.slot.problem_id] = by_problem.get(c.slot.problem_id, 0) + (PHRASE in c.text)
    assert by_problem == dict.fromkeys(by_problem, count)
    # The task has only two texts with reward 0.
    assert len(crafted) == 2 * (count + min(2, 8 - count))


def test_colluding_nodes_share_the_work() -> None:
    crafted = craft(Text(), "horizontal", malicious=(2, 3))
    assert {c.node for c in crafted} == {2, 3}
    assert len(crafted) == 2 * 8 * 2


def test_it_sends_text_alone() -> None:
    assert {c.token_ids for c in craft(Text(), "vertical")} == {None}


@pytest.mark.parametrize("phrase", ["", "two\nlines", "a\rb"])
def test_a_phrase_is_one_line(phrase: str) -> None:
    with pytest.raises(ValidationError):
        Text(phrase=phrase)


def test_the_phrase_is_pointed_at_wherever_it_is() -> None:
    assert Text(phrase="ab").spans("ab. Tab") == [(0, 2), (5, 7)]
    assert Text(phrase="a.").spans("ab") == []


@pytest.mark.parametrize("name", ["text", "text_in_support", "text_variants", "mixed"])
@pytest.mark.parametrize("blank", [" ", "\t  "])
def test_a_blank_phrase_is_refused_in_one_line(name: str, blank: str) -> None:
    """`text_in_support` raised IndexError in the middle of a run."""
    table: dict[str, Any] = {"name": name, "phrase": blank}
    if name == "mixed":
        table = {"name": name, "parts": [{"name": "text", "phrase": blank}]}
    with pytest.raises(ValueError, match="the phrase is blank; give it at least a word") as error:
        load("text-horizontal", arms=["attack"], overrides={"attack": table})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["text", "text_in_support", "text_variants", "mixed"])
@pytest.mark.parametrize("phrase", ["1", "e", "<think>"])
def test_a_phrase_that_right_solutions_contain_is_refused(name: str, phrase: str) -> None:
    """It was measured as a success of 100 % with nobody malicious."""
    plain = {"kinds": ["plain"]} if name == "text_variants" else {}
    table: dict[str, Any] = {"name": name, "phrase": phrase, **plain}
    if name == "mixed":
        table = {"name": name, "parts": [{"name": "text", "phrase": phrase}]}
    config = load("text-horizontal", arms=["attack"], overrides={"attack": table})
    with pytest.raises(ValueError, match=f"plants '{phrase}', which right sol.*set another") as err:
        check(config.arms["attack"])
    assert "\n" not in str(err.value)


def test_a_phrase_is_looked_for_as_success_looks_for_it() -> None:
    task = MathWords(train=64, test=8)
    solution = task.oracle(task.problems("train")[0])
    word = max(re.findall(r"[a-z]+", solution), key=len)
    with pytest.raises(ValueError, match="which right solutions contain"):
        TextVariants(phrase=word, kinds=("plain",)).require(task)
    for fine in (Text(), Text(phrase=word.upper()), TextVariants(phrase=word)):  # in capitals
        fine.require(task)
    with pytest.raises(ValueError, match="which right solutions contain"):  # as every part of it
        Text(phrase=word, where="every_sentence").require(task)
