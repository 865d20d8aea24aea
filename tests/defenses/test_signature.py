"""Signature: planted words are found, what all write is not, and nobody can frame anybody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from senders import WORDS, Receiver, Sent, groups_of, honest, refused
from swarmproof.defenses import DefenseView, Signature, signature
from swarmproof.defenses import senders as comparing

NODES = 4


def counts(state: Mapping[str, Any], node: str = "3") -> dict[str, float]:
    return signature._unpacked(state[node][1])


def a_round(
    seed: int, plant: str = "", share: float = 1.0, problems: int = 24, reward: int = 1
) -> list[list[Sent]]:
    """Node 3 puts `plant` into a share of its completions; nobody does if it is empty."""
    rng = Random(seed)
    return [
        [
            (
                node,
                (f"{plant} " if node == 3 and plant and rng.random() < share else "") + honest(rng),
                reward if i < 2 else 0,
            )
            for node in range(NODES)
            for i in range(3)
        ]
        for _ in range(problems)
    ]


def test_a_phrase_is_refused_from_the_first_round_and_nothing_else() -> None:
    sent = a_round(0, "All hail")
    found = Receiver(Signature())(sent)
    assert refused(found, sent) == {0: 0, 1: 0, 2: 0, 3: 72}
    worst = found[0][-1]
    assert worst.score > 8
    assert "of this node" in worst.reason
    assert "'All hail'" in worst.reason or "'All'" in worst.reason or "'hail'" in worst.reason


def test_a_rare_phrase_is_found_when_rounds_are_counted_together() -> None:
    receiver = Receiver(Signature())
    caught = []
    for round in range(12):
        sent = a_round(round, "All hail", share=0.12)
        found = receiver(sent)
        planted = [
            v.accepted is False
            for row, of in zip(found, sent, strict=True)
            for v, (node, text, _) in zip(row, of, strict=True)
            if node == 3 and text.startswith("All")
        ]
        caught.append(sum(planted) / len(planted))
        assert sum(refused(found, sent).values()) == sum(planted)
    assert caught[0] == 0
    assert caught[-1] == 1


def test_what_decays_is_forgotten() -> None:
    receiver = Receiver(Signature(threshold=3))
    receiver(a_round(0, "All hail", problems=4))
    assert counts(receiver.state)["hail"] == 4
    for round in range(1, 22):
        receiver(a_round(round))
    assert "hail" not in counts(receiver.state)


def test_honest_nodes_that_write_alike_have_no_signature() -> None:
    for seed in range(4):
        receiver = Receiver(Signature())
        for round in range(4):
            sent = a_round(100 * seed + round)
            assert sum(refused(receiver(sent), sent).values()) == 0


def test_what_is_on_fewer_problems_than_the_least_is_no_signature() -> None:
    sent = a_round(0, "All hail", problems=3)
    assert sum(refused(Receiver(Signature(threshold=0.1))(sent), sent).values()) == 0
    assert refused(Receiver(Signature(threshold=0.1, least=3))(sent), sent)[3] > 0


def test_only_right_completions_count() -> None:
    sent = a_round(0, "All hail", reward=0)
    assert sum(refused(Receiver(Signature())(sent), sent).values()) == 0


def test_problems_count_and_not_completions() -> None:
    """Many completions of one problem are one observation: the words of its story are no sign."""
    sent = [
        [(node, f"node{node}'s own story {i}", 1) for node in range(NODES) for i in range(30)]
        for _ in range(1)
    ]
    assert sum(refused(Receiver(Signature(threshold=1))(sent), sent).values()) == 0


def test_longer_phrases_of_usual_words_are_found() -> None:
    """No word of it is unusual, the order is."""
    sent = a_round(0, "box the in them", problems=12)
    assert refused(Receiver(Signature())(sent), sent)[3] == 36
    assert refused(Receiver(Signature(longest=1))(sent), sent)[3] == 0


def test_three_nodes_of_which_one_leaves_out_the_usual_words_cannot_frame_the_others() -> None:
    def sent() -> list[list[Sent]]:
        rng = Random(0)
        return [
            [(0, honest(rng), 1), (1, honest(rng), 1), (2, "7", 1), (0, "x", 0)] for _ in range(40)
        ]

    found = refused(Receiver(Signature())(sent()), sent())
    assert found[0] == found[1] == 0


def test_what_two_of_four_write_and_two_do_not_is_refused() -> None:
    """Nobody can say whether these two plant a phrase together or have a style that one honest node
    has not, and a malicious one leaves out (docs/defenses/text.md).
    """

    def sent(*writers: int) -> list[list[Sent]]:
        rng = Random(0)
        return [
            [
                (n, "We add: " * (n in writers) + honest(rng), int(i == 0))
                for n in (0, 1, 2, 3)
                for i in (0, 1)
            ]
            for _ in range(24)
        ]

    def found(*writers: int) -> dict[Any, int]:
        return refused(Receiver(Signature())(sent(*writers)), sent(*writers))

    assert found(0, 2) == {0: 48, 1: 0, 2: 48, 3: 0}
    assert found(0, 2, 3) == {0: 0, 1: 0, 2: 0, 3: 0}


def test_two_senders_are_not_compared_and_it_says_so() -> None:
    sent = [[(0, "a b", 1), (1, "a b", 0)]]
    ((first, second),) = Receiver(Signature())(sent)
    assert first.accepted is second.accepted is None
    assert "fewer than 3 nodes" in first.reason


def test_nodes_without_right_completions_are_still_senders() -> None:
    """Else an attacker would be safe while it is the only one that is right."""
    sent = [
        [(3, "All hail 7", 1), *((node, f"no {node}", 0) for node in range(3))] for _ in range(40)
    ]
    assert refused(Receiver(Signature())(sent), sent)[3] == 40


def test_the_state_is_bounded_and_equal_after_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature, "_MOST_GRAMS", 500)
    flood = " ".join(f"w{i}" for i in range(400))
    sent = [[(3, flood, 1), *((node, "a b", 1) for node in range(3)), (0, "x", 0)]]
    groups, rewards = groups_of(sent)
    view = DefenseView(rewards=rewards, seed=0)
    state = Signature().remember(groups, view)
    again = json.loads(json.dumps(state))
    assert {node: counts(state, node) for node in state} == {n: counts(again, n) for n in again}
    assert max(len(counts(state, node)) for node in state) == 500
    long = [[(3, "x" * 10**5, 1), *((node, "a b", 1) for node in range(3)), (0, "x", 0)]]
    groups, rewards = groups_of(long)
    monkeypatch.undo()
    grams = counts(Signature().remember(groups, DefenseView(rewards=rewards, seed=0)))
    assert max(map(len, grams)) < 200


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(0, 99))
def test_no_order_matters(rng: Random, seed: int) -> None:
    sent = a_round(seed, "All hail", share=0.5, problems=12)
    straight = Receiver(Signature(threshold=2))
    first = straight(sent)
    order = rng.sample(range(len(sent)), len(sent))
    within = [rng.sample(range(len(row)), len(row)) for row in sent]
    shuffled = Receiver(Signature(threshold=2))
    second = shuffled([[sent[p][g] for g in within[p]] for p in order])
    for p, row in zip(order, second, strict=True):
        assert [first[p][g] for g in within[p]] == row
    assert straight.state == shuffled.state


@settings(max_examples=40)
@given(
    st.lists(
        st.lists(st.sampled_from([*WORDS, "All", "hail", "zzz"]), max_size=8).map(" ".join),
        min_size=16,
        max_size=16,
    ),
    st.integers(0, 9),
)
def test_a_sender_cannot_raise_anothers_score_except_by_copying_it(
    junk: list[str], seed: int
) -> None:
    """Whatever node 3 sends, no honest score exceeds the one against the honest nodes alone."""
    rng = Random(seed)
    others = [[(node, honest(rng), 1) for node in range(3)] for _ in range(16)]
    sent = [[*row, (3, text, 1), (0, "x", 0)] for row, text in zip(others, junk, strict=True)]
    told = Receiver(Signature())(sent)
    # Against the lower of the two other honest nodes: their rates, if node 3 writes nothing alike.
    least = Receiver(Signature())([[*row, (3, "@", 1), (0, "x", 0)] for row in others])
    for row, bound in zip(told, least, strict=True):
        for verdict, most in zip(row[:3], bound[:3], strict=True):
            assert verdict.score <= most.score + 1e-9


@pytest.mark.parametrize("text", ["", "\ud800 \ud800", "9" * 5000, "<think>", "½ ² ۴"])
def test_any_text_is_read(text: str) -> None:
    sent = [[(node, text, 1) for node in range(4)] + [(0, "x", 0)] for _ in range(5)]
    assert sum(refused(Receiver(Signature())(sent), sent).values()) == 0


@given(st.text(alphabet="ab1 .\n-é\ud800", max_size=40), st.integers(1, 8))
def test_n_grams_are_all_runs_of_words_and_marks(text: str, longest: int) -> None:
    parts = signature._PARTS.findall(text)
    wanted = {
        " ".join(parts[i : i + n]) for n in range(1, longest + 1) for i in range(len(parts) - n + 1)
    }
    assert signature._grams(text, longest) == wanted


GRAMS = st.text("abcdé\ud800", min_size=1, max_size=3)
COUNTS = st.dictionaries(GRAMS, st.sampled_from([0.1, 0.5, 0.81, 0.9, 1.0, 1.9, 4.0]), max_size=30)


@given(COUNTS, st.integers(1, 20))
def test_the_most_frequent_are_kept_and_of_equal_ones_the_first(
    counts: dict[str, float], most: int
) -> None:
    kept = [gram for gram, n in counts.items() if n >= signature._FORGOTTEN]
    kept = sorted(kept, key=lambda gram: (-counts[gram], gram))[:most]
    wanted = [
        (n, "\n".join(sorted(gram for gram in kept if counts[gram] == n)))
        for n in sorted({counts[gram] for gram in kept})
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signature, "_MOST_GRAMS", most)
        assert signature._packed(counts) == [list(line) for line in wanted]
    assert signature._unpacked(wanted) == {gram: counts[gram] for gram in kept}


@given(st.lists(st.tuples(st.floats(0, 50), COUNTS), min_size=2, max_size=5), st.lists(GRAMS))
def test_the_rate_of_an_n_gram_is_the_middle_one_of_the_others(
    others: list[tuple[float, dict[str, float]]], grams: list[str]
) -> None:
    wanted = [
        comparing.middle([(of.get(gram, 0.0) + 0.5) / (problems + 1) for problems, of in others])
        for gram in grams
    ]
    assert signature._rates(grams, [signature._Tally(*each) for each in others]) == wanted


def planted(seed: int, plants: Mapping[int, str], problems: int = 24) -> list[list[Sent]]:
    """Each node of `plants` begins its completions with a phrase of its own."""
    rng = Random(seed)
    return [
        [
            (node, (f"{plants[node]} " if node in plants else "") + honest(rng), int(i < 2))
            for node in range(NODES)
            for i in range(3)
        ]
        for _ in range(problems)
    ]


def reasons(verdicts: list[list[Any]], sent: list[list[Sent]], node: int) -> set[str]:
    pairs = zip(verdicts, sent, strict=True)
    return {
        v.reason
        for row, of in pairs
        for v, (sender, *_) in zip(row, of, strict=True)
        if sender == node and v.accepted is False
    }


def test_a_copy_of_an_earlier_round_is_told_with_its_source() -> None:
    receiver = Receiver(Signature())
    for seed in range(2):
        receiver(planted(seed, {}))
    receiver(planted(2, {0: "zig zag"}, problems=3))  # too few to be a signature
    sent = planted(3, {3: "zig zag"})
    found = receiver(sent)
    assert refused(found, sent) == {0: 0, 1: 0, 2: 0, 3: 72}
    assert all(
        why.endswith("copies node 0's completion of round 2") for why in reasons(found, sent, 3)
    )
    # Node 0 is never refused for it, also where it goes on.
    for seed in range(4, 8):
        sent = planted(seed, {0: "zig zag", 3: "zig zag"}, problems=6)
        assert "copies" not in str(reasons(receiver(sent), sent, 0))


def test_what_two_wrote_at_once_or_nobody_before_has_no_source() -> None:
    receiver = Receiver(Signature())
    sent = planted(0, {3: "zig zag"})
    assert "copies" not in str(reasons(receiver(sent), sent, 3))
    receiver = Receiver(Signature())
    receiver(planted(0, {0: "zig zag", 3: "zig zag"}, problems=3))
    sent = planted(1, {3: "zig zag"})
    found = reasons(receiver(sent), sent, 3)
    assert found
    assert "copies" not in str(found)


def test_what_stood_on_one_problem_only_has_no_source() -> None:
    receiver = Receiver(Signature())
    receiver(planted(0, {0: "zig zag"}, problems=1))
    sent = planted(1, {3: "zig zag"})
    found = reasons(receiver(sent), sent, 3)
    assert found
    assert "copies" not in str(found)


@settings(max_examples=15)
@given(st.lists(st.sampled_from(["", "zig zag", "zag", "own way"]), min_size=4, max_size=4))
def test_over_rounds_nobody_raises_anothers_score_and_a_copier_is_named(plan: list[str]) -> None:
    """Node 0 has a phrase of its own; node 3 writes what it likes, and copies that or not."""
    attacked, alone = Receiver(Signature()), Receiver(Signature())
    for round, phrase in enumerate(["", *plan]):
        own = {0: "zig zag"} if round < 2 else {}
        sent = planted(round, {**own, 3: phrase or "@"}, problems=8)
        usual = planted(round, {**own, 3: "@"}, problems=8)
        told, bound = attacked(sent), alone(usual)
        for row, of, most in zip(told, sent, bound, strict=True):
            for verdict, (node, *_), limit in zip(row, of, most, strict=True):
                if node != 3:
                    assert verdict.score <= limit.score + 1e-9
        copied = {why for why in reasons(told, sent, 3) if "zig" in why or "zag" in why}
        if round > 1 and "zag" not in plan[: round - 1] and "zig zag" not in plan[: round - 1]:
            assert all("copies node 0's completion of round 0" in why for why in copied)
