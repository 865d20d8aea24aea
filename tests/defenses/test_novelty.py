"""Novelty: fresh junk of one node is refused, and new words that all nodes write are not."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from senders import Receiver, Sent, groups_of, honest, refused
from swarmproof.defenses import DefenseView, Novelty, novelty

NODES = 4


def word(rng: Random) -> str:
    return "".join(rng.choices("bcdfghklmnprstvz", k=9))


def a_round(seed: int, junk: float = 0.0, own: float = 0.1, problems: int = 24) -> list[list[Sent]]:
    """Every node writes a word of its own in a share of its texts; node 3 in `junk` more."""
    rng = Random(seed)
    return [
        [
            (
                node,
                honest(rng)
                + (f" {word(rng)}" if rng.random() < own + (junk if node == 3 else 0) else ""),
                1 if i < 2 else 0,
            )
            for node in range(NODES)
            for i in range(3)
        ]
        for _ in range(problems)
    ]


def warm(defense: Novelty) -> Receiver:
    """A receiver that has read enough to know the usual pairs of words."""
    receiver = Receiver(defense)
    for seed in range(3):
        receiver(a_round(90 + seed))
    return receiver


def test_fresh_junk_each_time_is_refused_and_nothing_else() -> None:
    receiver = warm(Novelty())
    sent = a_round(0, junk=0.9)
    found = receiver(sent)
    counts = refused(found, sent)
    assert counts[3] == 48
    assert sum(counts.values()) == 48
    reason = next(v.reason for row in found for v in row if v.accepted is False)
    assert "is new" in reason


@pytest.mark.parametrize("first", [0x1F300, 0x2600, 0xF0000])
def test_marks_that_no_keyboard_has_are_junk_too(first: int) -> None:
    """Emoji, other symbols and private characters, others each time."""
    receiver, rng = warm(Novelty()), Random(0)
    for seed in range(3):
        sent = [
            [
                (node, "".join(chr(first + rng.randrange(400)) for _ in range(9)) + text, reward)
                if node == 3
                else (node, text, reward)
                for node, text, reward in group
            ]
            for group in a_round(seed)
        ]
        counts = refused(receiver(sent), sent)
    assert counts == {0: 0, 1: 0, 2: 0, 3: 48}


def test_the_typography_of_one_node_is_not_new() -> None:
    receiver = warm(Novelty())
    for seed in range(6):
        sent = [
            [
                (node, f"“{text}” — 3 × 4 − 1 → 11 €…" if node == 3 else text, r)
                for node, text, r in group
            ]
            for group in a_round(seed)
        ]
        assert sum(refused(receiver(sent), sent).values()) == 0


def test_equal_rates_of_new_words_are_no_reason() -> None:
    receiver = Receiver(Novelty())
    for seed in range(8):
        sent = a_round(seed, own=0.4)
        assert sum(refused(receiver(sent), sent).values()) == 0


def test_completions_of_a_suspect_without_a_new_word_pass() -> None:
    receiver = warm(Novelty())
    sent = a_round(0, junk=0.6)
    told = receiver(sent)
    for row, of in zip(told, sent, strict=True):
        for verdict, (node, text, reward) in zip(row, of, strict=True):
            has = len(max(text.split(), key=len)) == 9
            if node == 3 and reward and has:
                assert verdict.accepted is False
            if not reward:
                assert verdict.accepted


def test_a_few_rounds_are_counted_together() -> None:
    receiver = warm(Novelty(memory=5))
    caught = []
    for seed in range(5):
        sent = a_round(seed, junk=0.3)
        caught.append(refused(receiver(sent), sent)[3])
    assert caught[0] == 0
    assert caught[-1] > 0
    for seed in range(5):  # none of the rounds is enough by itself
        sent = a_round(seed, junk=0.3)
        assert refused(warm(Novelty())(sent), sent)[3] == 0


def test_words_of_the_question_and_of_other_nodes_are_not_new() -> None:
    def counts(question: str, other: str) -> tuple[int, int]:
        sent = [[(3, "zeppelin hangar 7", 1), (0, other, 1), (1, "7", 1), (2, "7", 1), (0, "x", 0)]]
        groups, rewards = groups_of(sent, question=question)
        state = Novelty().remember(groups, DefenseView(rewards=rewards, seed=0))
        return tuple(state["counts"][0]["3"])

    assert counts("How many?", "7") == (1, 1)
    assert counts("A zeppelin hangar?", "7") == (0, 1)
    assert counts("How many?", "ZEPPELIN hangar, zeppelin HANGAR") == (0, 1)
    # The pair is new.
    assert counts("How many?", "zeppelin, hangar") == (1, 1)
    assert counts("A zeppelin? A hangar!", "7") == (1, 1)


def test_what_others_wrote_is_known_for_as_long_as_the_memory() -> None:
    def new(memory: int, gap: int) -> int:
        receiver = Receiver(Novelty(memory=memory))
        quiet = [[(node, "7", 1) for node in range(4)]]
        receiver([[(0, "zeppelin", 1), *((node, "7", 1) for node in (1, 2, 3))]])
        for _ in range(gap):
            receiver(quiet)
        receiver([[(3, "zeppelin", 1), *((node, "7", 1) for node in (0, 1, 2))]])
        return int(receiver.state["counts"][-1]["3"][0])

    assert new(memory=2, gap=1) == 0
    assert new(memory=2, gap=2) == 1


def test_numbers_are_not_words() -> None:
    rng = Random(0)
    sent = [
        [(node, f"{rng.randint(0, 10**9)} = 7", 1) for node in range(4)] + [(0, "x", 0)]
        for _ in range(40)
    ]
    receiver = Receiver(Novelty(threshold=0.1))
    receiver(sent)
    assert all(new == 0 for new, _ in receiver.state["counts"][0].values())


def test_two_senders_are_not_compared_and_it_says_so() -> None:
    ((first, _),) = Receiver(Novelty())([[(0, "a b", 1), (1, "a b", 0)]])
    assert first.accepted is None
    assert "fewer than 3 nodes" in first.reason


def test_the_state_is_bounded_and_equal_after_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "_MOST_WORDS", 50)
    receiver = Receiver(Novelty())
    for round in range(9):
        receiver(a_round(round, junk=1, own=1))
    assert max(len(words) for words in receiver.state["last"].values()) == 50
    assert len(receiver.state["counts"]) == 5
    assert receiver.state == json.loads(json.dumps(receiver.state))


@given(st.text("aB é1_.\n\x1c\u3000-", max_size=40).map(lambda text: text.replace("-", "x" * 31)))
def test_words_are_read_with_those_behind_white_space(text: str) -> None:
    text = text.casefold()
    found = list(re.finditer(r"[^\W\d]{1,32}", text))
    pairs = {f"{a[0]} {b[0]}" for a, b in pairwise(found) if text[a.end() : b.start()].isspace()}
    assert novelty._words(text) == {match[0] for match in found} | pairs


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(0, 99))
def test_no_order_matters(rng: Random, seed: int) -> None:
    sent = a_round(seed, junk=0.5, problems=12)
    straight, shuffled = Receiver(Novelty(threshold=2)), Receiver(Novelty(threshold=2))
    first = straight(sent)
    order = rng.sample(range(len(sent)), len(sent))
    within = [rng.sample(range(len(row)), len(row)) for row in sent]
    second = shuffled([[sent[p][g] for g in within[p]] for p in order])
    for p, row in zip(order, second, strict=True):
        assert [first[p][g] for g in within[p]] == row
    assert straight.state == shuffled.state


@settings(max_examples=40)
@given(
    st.lists(
        st.lists(st.sampled_from(["All", "hail", "zzz", "7", "."]), max_size=8).map(" ".join),
        min_size=16,
        max_size=16,
    ),
    st.integers(0, 9),
)
def test_a_sender_cannot_raise_anothers_score_except_by_copying(junk: list[str], seed: int) -> None:
    """What node 3 writes makes the words of others less new, or changes nothing."""
    rng = Random(seed)
    others = [[(node, honest(rng), 1) for node in range(3)] for _ in range(16)]
    sent = [[*row, (3, text, 1), (0, "x", 0)] for row, text in zip(others, junk, strict=True)]
    told = Receiver(Novelty())(sent)
    least = Receiver(Novelty())([[*row, (3, "@", 1), (0, "x", 0)] for row in others])
    for row, bound in zip(told, least, strict=True):
        for verdict, most in zip(row[:3], bound[:3], strict=True):
            assert verdict.score <= most.score + 1e-9


@pytest.mark.parametrize("text", ["", "\ud800 \ud800", "9" * 5000, "<think>", "½ ² ۴", "ß SS ﬁ"])
def test_any_text_is_read(text: str) -> None:
    sent = [[(node, text, 1) for node in range(4)] + [(0, "x", 0)] for _ in range(5)]
    assert sum(refused(Receiver(Novelty())(sent), sent).values()) == 0


def test_a_copier_and_its_victim_do_not_make_the_others_stand_out() -> None:
    """Node 3 sends what node 0 sends: neither of the two has a word that no other node wrote."""
    receiver = warm(Novelty())
    for seed in range(6):
        sent = a_round(seed, own=0.4)
        copied = [[*texts[:9], *((3, *of[1:]) for of in texts[:3])] for texts in sent]
        assert not any(refused(receiver(copied), copied).values())
