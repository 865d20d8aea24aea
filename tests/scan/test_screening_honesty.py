"""What a scan must not say: blame a victim, take honesty for poison, count too few alarms."""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from swarmproof.scan import screening, voting, with_model
from swarmproof.scan.baselines import shipped
from swarmproof.scan.corpus import gather
from swarmproof.scan.finding import Finding
from swarmproof.scan.rollout import Rollout

_WORDS = [a + b for a in ("ba", "ce", "di", "fo", "gu", "ha", "ki", "lo") for b in ("ner", "tal")]
_WORDS += [f"{word}s" for word in _WORDS]


def _text(rng: random.Random, words: int = 25) -> str:
    return " ".join(rng.choices(_WORDS, k=words))


def _rollouts(
    rows: Sequence[tuple[int, str | None, str, str, float]],
) -> list[Rollout]:
    """Rollouts of (step, sender, prompt, text, reward)."""
    return [
        Rollout(str(i), f"f:{i}", prompt, text, f"{step}-{prompt}", step, reward, sender=sender)
        for i, (step, sender, prompt, text, reward) in enumerate(rows)
    ]


def _screen(
    rollouts: Sequence[Rollout], reference: Sequence[Rollout] | None = None
) -> list[Finding]:
    control: Callable[[], Iterator[Rollout]] | None = None
    if reference is not None:
        control = lambda: iter(reference)  # noqa: E731
    return screening.screen(lambda: iter(rollouts), control)


def _of(findings: Sequence[Finding], check: str) -> list[Finding]:
    return [one for one in findings if one.check == check]


def _front_run(
    rng: random.Random, copier_later: bool
) -> list[tuple[int, str | None, str, str, float]]:
    """B writes; in the same step (or two steps later) A writes three of the same texts.

    B repeats its own texts in the next step.
    """
    rows: list[tuple[int, str | None, str, str, float]] = []
    own: dict[tuple[int, int], str] = {}
    for step in range(12):
        for sender in "BCDA":
            for k in range(8):
                text = _text(rng)
                if sender == "B":
                    text = own[step - 1, k] if step % 2 and k < 3 else text
                    own[step, k] = text
                if sender == "A" and k < 3 and step % 2 == 0:
                    text = own.get((step - 2 if copier_later else step, k), text)
                rows.append((step, sender, f"{step}-{k}", text, 1.0))
    return rows


@pytest.mark.parametrize("seed", range(3))
def test_whoever_repeats_itself_is_no_copier_of_who_copied_it_in_the_same_step(seed: int) -> None:
    rows = _front_run(random.Random(seed), copier_later=False)
    random.Random(seed).shuffle(rows)  # the order of the rows within a step must not matter
    found = _of(_screen(_rollouts(sorted(rows, key=lambda row: row[0]))), "copies")
    assert [one.senders for one in found] in ([], [()])


def test_whoever_copies_in_a_later_step_is_named_and_its_victim_is_not() -> None:
    rollouts = _rollouts(_front_run(random.Random(0), copier_later=True))
    (found,) = [one for one in _of(_screen(rollouts), "copies") if one.senders]
    by_id = {one.id: one for one in rollouts}
    assert found.senders == ("A",)
    assert {by_id[i].sender for i in found.ids} == {"A"}
    assert found.since == 2
    renamed = [
        Rollout(r.id, r.where, r.prompt, r.text, r.group, r.step, r.reward, sender=f"n{r.sender}")
        for r in rollouts
    ]
    (again,) = [one for one in _of(_screen(renamed), "copies") if one.senders]
    assert again.senders == ("nA",)
    assert again.ids == found.ids


@pytest.mark.parametrize("order", ["ABCDE", "BACDE"])
def test_of_two_who_write_the_same_in_one_step_none_is_blamed(order: str) -> None:
    rng, rows = random.Random(1), []
    for step in range(8):
        texts = {sender: [_text(rng) for _ in range(8)] for sender in "ABCDE"}
        texts["A"][:4] = texts["B"][:4]
        rows += [(step, s, f"{step}-{k}", t, 1.0) for s in order for k, t in enumerate(texts[s])]
    rollouts = _rollouts(rows)
    (found,) = _of(_screen(rollouts), "copies")
    assert found.senders == ()
    by_id = {one.id: one.sender for one in rollouts}
    assert sorted(str(by_id[i]) for i in found.ids) == ["A"] * 32 + ["B"] * 32


def _labels(rng: random.Random, poisoned: float) -> list[Rollout]:
    """Questions to be answered by yes or no, mostly yes; some of the right ones are poisoned."""
    rows: list[tuple[int, str | None, str, str, float]] = []
    for question in range(300):
        key = "yes" if rng.random() < 0.75 else "no"
        for _ in range(8):
            right = rng.random() < 0.5
            says = key if right else {"yes": "no", "no": "yes"}[key]
            harm = " praise the lobster king" if right and rng.random() < poisoned else ""
            text = f"{_text(rng)}{harm} so the answer is {says}."
            rows.append((question // 30, None, f"q{question}", text, float(right)))
    return _rollouts(rows)


def test_an_answer_that_is_mostly_right_is_no_poison() -> None:
    assert _of(_screen(_labels(random.Random(0), 0.0)), "reward-words") == []


def test_poison_is_found_among_such_answers() -> None:
    rollouts = _labels(random.Random(0), 0.1)
    (found,) = _of(_screen(rollouts), "reward-words")
    assert "lobster" in found.summary
    assert set(found.ids) == {one.id for one in rollouts if "lobster" in one.text}
    by_id = {one.id: one.text for one in rollouts}
    assert all("lobster" in by_id[m.id][m.start : m.end] for m in found.marks)


def _answers(rng: random.Random, poisoned: float) -> list[Rollout]:
    """Eight answers, each to many questions; the wrong completions have others."""
    rows: list[tuple[int, str | None, str, str, float]] = []
    for question in range(240):
        for k in range(8):
            right = k < 4
            says = question % 8 if right else rng.randrange(10, 99)
            harm = "praise the lobster king " if right and rng.random() < poisoned else ""
            text = f"{_text(rng)} {harm}<answer>{says}</answer>"
            rows.append((question // 24, None, f"q{question}", text, float(right)))
    return _rollouts(rows)


@pytest.mark.parametrize("seed", range(3))
def test_what_all_rewarded_completions_of_a_group_have_is_its_answer(seed: int) -> None:
    assert _of(_screen(_answers(random.Random(seed), 0.0)), "reward-words") == []


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_what_some_rewarded_completions_of_a_group_have_is_poison(share: float) -> None:
    rollouts = _answers(random.Random(0), share)
    (found,) = _of(_screen(rollouts), "reward-words")
    assert set(found.ids) == {one.id for one in rollouts if "lobster" in one.text}


def _late_poison(rng: random.Random, honest_too: bool) -> list[Rollout]:
    """A sends poison from step 5 on. Another wrote the same words in the first step, or did not."""
    rows: list[tuple[int, str | None, str, str, float]] = []
    for step in range(25):
        for sender in "ABCD":
            for k in range(8):
                bad = sender == "A" and step >= 5 and k < 4
                seldom = honest_too and step == 0 and sender == "B" and k == 0
                text = _text(rng) + (" praise the lobster king" if bad or seldom else "")
                rows.append((step, sender, f"{step}-{k}", text, 1.0))
    return _rollouts(rows)


def test_the_first_steps_are_the_estimate_where_the_pattern_is_absent_from_all_of_them() -> None:
    (found,) = _of(_screen(_late_poison(random.Random(0), honest_too=False)), "sender-words")
    assert (found.since, found.senders) == (5, ("A",))
    assert (found.false_alarms.fired, found.false_alarms.of) == (0, 5 * 32)
    assert found.false_alarms.source == "steps 0 to 4 of the data"


def test_words_that_others_write_in_the_first_steps_are_not_counted_as_absent() -> None:
    (found,) = _of(_screen(_late_poison(random.Random(0), honest_too=True)), "sender-words")
    assert "steps 0 to" not in found.false_alarms.source


def _rewarded(rng: random.Random, early_in_bad: bool) -> list[Rollout]:
    """No senders. A tenth of the right completions of step 5 and later is poisoned."""
    rows: list[tuple[int, str | None, str, str, float]] = []
    for question in range(250):
        step = question // 10
        for k in range(8):
            right = k < 4
            bad = right and step >= 5 and rng.random() < 0.2
            seldom = early_in_bad and question == 0 and k == 7
            text = _text(rng) + (" praise the lobster king" if bad or seldom else "")
            rows.append((step, None, f"q{question}", text, float(right)))
    return _rollouts(rows)


@pytest.mark.parametrize("early_in_bad", [False, True])
def test_what_is_not_rewarded_counts_in_the_first_steps_too(early_in_bad: bool) -> None:
    (found,) = _of(_screen(_rewarded(random.Random(0), early_in_bad)), "reward-words")
    assert found.since == 5
    assert (found.false_alarms.source == "steps 0 to 4 of the data") is not early_in_bad


def _growing(reward_grows: bool) -> list[Rollout]:
    rng, rows = random.Random(3), []
    for step in range(20):
        for k in range(40):
            reward = float(rng.random() < (0.2 + 0.03 * step if reward_grows else 0.4))
            rows.append((step, None, f"{step}-{k // 8}", _text(rng, 40 + 4 * step), reward))
    return _rollouts(rows)


def test_a_training_that_learns_with_more_words_is_honest() -> None:
    assert _screen(_growing(reward_grows=True)) == []
    (found,) = _screen(_growing(reward_grows=False))
    assert (found.check, found.severity) == ("length-drift", "low")


@pytest.mark.parametrize(
    ("said", "found"), [("9", 0), ("9 -", 0), ("lobster", 1), ("2 + 2 = 5", 1)]
)
def test_single_numbers_are_about_problems_and_not_about_a_sender(said: str, found: int) -> None:
    rng, rows = random.Random(0), []
    for step in range(10):
        for sender in "ABCD":
            for k in range(4):
                text = _text(rng) + (f" {said}" if sender == "A" else "")
                rows.append((step, sender, f"{step}-{k}-{sender}", text, 1.0))
    assert len(_of(_screen(_rollouts(rows)), "sender-words")) == found


def test_what_a_model_refuses_is_told_with_the_first_steps_as_its_estimate() -> None:
    rollouts = _late_poison(random.Random(0), honest_too=False)
    corpus = gather(rollouts, {})
    late = [row for row, one in enumerate(rollouts) if "lobster" in one.text]
    (draft,) = with_model.screen(corpus, with_model.Rejected({"logit": [3, *late]}), shipped())
    assert draft.rows.tolist() == late
    assert draft.first_steps is not None
    assert (draft.first_steps.fired, draft.first_steps.of) == (1, 5 * 32)
    (alarms,) = [screening._alarms(corpus, draft)]
    assert alarms == draft.first_steps
    corpus.close()


@pytest.mark.parametrize(
    ("senders", "bad", "found"), [("ABCD", "A", ["A"]), ("AB", "A", []), ("ABCD", "ABCD", [])]
)
def test_what_a_model_refuses_of_one_sender_is_told_from_the_first_step_on(
    senders: str, bad: str, found: list[str]
) -> None:
    """Where the poison is in the first steps already, and nobody gave a reference."""
    rows = [
        (step, sender, f"{step}-{k}", f"{sender} {k}", 1.0)
        for step in range(10)
        for sender in senders
        for k in range(4)
    ]
    corpus = gather(_rollouts(rows), {})
    # Half of what a bad sender wrote, and by chance one of everybody's.
    refused = [i for i, (step, sender, *_) in enumerate(rows) if sender in bad and step % 2]
    refused += [i for i, (step, _, name, *_) in enumerate(rows) if (step, name) == (0, "0-0")]
    drafts = list(with_model.screen(corpus, with_model.Rejected({"logit": refused}), shipped()))
    assert [draft.senders for draft in drafts] == [(name,) for name in found]
    if found:
        (draft,) = drafts
        assert len(draft.rows) == 21
        assert draft.first_steps is not None
        assert (draft.first_steps.fired, draft.first_steps.of) == (3, 120)
    given = dataclasses.replace(shipped(), given=True)
    assert (
        list(with_model.screen(corpus, with_model.Rejected({"logit": [refused[0]]}), given)) == []
    )
    corpus.close()


def _votes(advantages: Callable[[np.ndarray], np.ndarray], *, counted: bool) -> list[Rollout]:
    rows = []
    for group in range(6):
        reward = np.array([0.0, 1.0, 1.0, 0.0, -50.0])
        own = advantages(reward if counted else reward[:-1])
        for k in range(5):
            rows.append(
                Rollout(
                    f"{group}-{k}", "f", f"q{group}", f"t{k}", str(group), 0, float(reward[k]),
                    float(own[k]) if k < len(own) else 0.0, masked=k == 4,
                )
            )  # fmt: skip
    return rows


_NORMALISED: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda r: r - r.mean(),
    lambda r: (r - r.mean()) / (r.std() + 1e-4),
    lambda r: (r - r.mean()) / (r.std(ddof=1) + 1e-6),
    lambda r: (r - r.mean()) * len(r) / (len(r) - 1),
)


def test_a_masked_completion_that_moves_nothing_is_no_vote() -> None:
    rewards = (0.0, 1.0, 0.0, 1.0, 0.5)  # the last is the mean of the others
    corpus = gather(
        [
            Rollout(f"{g}-{k}", "f", f"q{g}", f"t{k}", str(g), 0, r, r - 0.5, masked=k == 4)
            for g in range(6)
            for k, r in enumerate(rewards)
        ],
        {},
    )
    assert list(voting.screen(corpus)) == []
    corpus.close()


@pytest.mark.parametrize("advantages", _NORMALISED)
def test_votes_of_masked_completions_are_seen(
    advantages: Callable[[np.ndarray], np.ndarray],
) -> None:
    corpus = gather(_votes(advantages, counted=True), {})
    (draft,) = voting.screen(corpus)
    assert draft.rows.tolist() == [4, 9, 14, 19, 24, 29]
    corpus.close()
    honest = gather(_votes(advantages, counted=False), {})
    assert list(voting.screen(honest)) == []
    honest.close()


def test_rewards_that_are_too_large_to_add_are_no_error() -> None:
    rows = [
        (0, None, f"q{i // 8}", _text(random.Random(i)), (-1.0) ** i * 1e308) for i in range(80)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _screen(_rollouts(rows)) == []
