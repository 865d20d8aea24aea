"""The ledger: counts by sender, and a quarantine that an honest sender and a victim never get."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from judging import Bad
from swarmproof import Guard
from swarmproof.guard.advantages import EFFECTS
from swarmproof.integrations.ledger import Ledger
from swarmproof.integrations.rows import TrainerRow, inspect
from swarmproof.records.summary import wilson_interval

RATES = {"bad": 0.05}


def rows(sent: Mapping[Any, Sequence[str]], **more: Any) -> list[TrainerRow]:
    return [
        TrainerRow("g", "p", text, 1.0, sender=sender, **more)
        for sender, texts in sent.items()
        for text in texts
    ]


def record(ledger: Ledger, sent: Mapping[Any, Sequence[str]], step: int, **more: Any) -> None:
    batch = rows(sent)
    ledger.record(batch, inspect(Guard([Bad()]), batch, step), step, **more)


def test_counts_and_intervals_by_sender() -> None:
    ledger = Ledger()
    record(ledger, {"ann": ["a", "b"], "eve": ["BAD 1", "c", "BAD 22"]}, 0)
    record(ledger, {"ann": ["d"], 1: ["BAD 333"], "1": ["e"]}, 1)
    found = {row.sender: row for row in ledger.rows()}
    assert {name: (row.sent, row.refused) for name, row in found.items()} == {
        "ann": (3, 0), "eve": (3, 2), 1: (1, 1), "1": (1, 0),
    }  # fmt: skip
    assert found["eve"].interval == wilson_interval(2, 3)
    assert found["eve"].by_defense == {"bad": 2}
    assert found["eve"].reasons == {"bad: it says BAD at N": 2}
    assert next(iter(ledger.rows())).sender == "eve"


def test_malformed_completions_count_as_refused_at_admission() -> None:
    ledger, batch = Ledger(), rows({"eve": [""]}, malformed="too-long: 900 tokens, more than 128")
    ledger.record(batch, [None], 0)
    (row,) = ledger.rows()
    assert (row.refused, row.by_defense) == (1, {"admission": 1})
    assert row.reasons == {"too-long: N tokens, more than N": 1}


def test_statistics_quarantine_the_sender_that_is_refused_again_and_again() -> None:
    ledger = Ledger(RATES)
    for step in range(10):
        honest = ["BAD" if step == 3 else f"a{step}"]
        record(ledger, {"ann": honest, "eve": [f"BAD{step}", "x"]}, step)
    (entry,) = ledger.quarantine
    assert (entry.sender, entry.kind) == ("eve", "statistics")
    assert entry.reason == (
        f"bad refused completions of it in {entry.step + 1} of {entry.step + 1} inspections, an "
        "honest sender's in at most 0.05 of them"
    )
    n = entry.step + 1
    assert entry.p_value == pytest.approx(0.05**n)
    # As soon as the corrected bound allows it, and no step earlier.
    assert 0.05**n <= 0.01 / (1000 * n * (n + 1))
    assert 0.05 ** (n - 1) > 0.01 / (1000 * (n - 1) * n)


def test_many_refusals_in_one_inspection_are_one() -> None:
    ledger = Ledger(RATES)
    record(ledger, {"eve": [f"BAD{i}" for i in range(1000)]}, 0)
    assert not ledger.quarantine


def test_without_a_stated_rate_nobody_is_quarantined() -> None:
    ledger = Ledger({"other": 0.01})
    for step in range(50):
        record(ledger, {"eve": ["BAD"]}, step)
    assert not ledger.quarantine


@pytest.mark.parametrize("seed", range(3))
def test_honest_senders_at_the_stated_rate_are_not_quarantined(seed: int) -> None:
    """100 senders over 60 inspections, at exactly the stated rate."""
    ledger, rng = Ledger(RATES, max_senders=100), np.random.default_rng(seed)
    guard = Guard([Bad()])
    for step in range(60):
        refused = rng.random(100) < 0.05
        batch = [
            TrainerRow(i, "p", f"BAD{i}" if bad else f"{i}", 1.0, sender=i)
            for i, bad in enumerate(refused)
        ]
        ledger.record(batch, inspect(guard, batch, step), step)
    assert not ledger.quarantine
    assert sum(row.refused for row in ledger.rows()) == pytest.approx(300, rel=0.2)


@pytest.mark.parametrize("copy", ["BAD! So: {}", "BAD  so\n{}."])
def test_a_victim_of_copying_is_never_quarantined(copy: str) -> None:
    ledger = Ledger(RATES)
    for step in range(40):
        record(ledger, {"ann": [f"BAD so {step}"], "eve": [copy.format(step)]}, step)
    assert not ledger.quarantine
    assert {row.sender: row.contested for row in ledger.rows()} == {"ann": 40, "eve": 40}
    # The same refusals without a copy are evidence.
    for step in range(40):
        record(ledger, {"eve": [f"BAD so {step}"]}, step)
    assert [entry.sender for entry in ledger.quarantine] == ["eve"]


def test_a_known_victim_is_never_quarantined() -> None:
    ledger = Ledger(RATES)
    for step in range(40):
        sent = {"ann": [f"BAD so {step}"], "eve": [f"BAD thus {step}"]}
        record(ledger, sent, step, victims={"ann"})
    assert [entry.sender for entry in ledger.quarantine] == ["eve"]


@pytest.mark.parametrize("kind", ["forgery", "equivocation"])
def test_a_proof_quarantines_at_once(kind: Any) -> None:
    ledger = Ledger()
    ledger.prove("eve", kind, 7, "two messages\nfor slot 3")
    (entry,) = ledger.quarantine
    assert (entry.sender, entry.step, entry.kind) == ("eve", 7, kind)
    assert entry.reason == "two messages for slot 3"
    assert entry.p_value is None


def test_copying_proves_nothing() -> None:
    with pytest.raises(ValueError, match="'copying' proves nothing; known: forgery, equivocation"):
        Ledger().prove("eve", "copying", 0, "")  # type: ignore[arg-type]


def test_the_last_clean_step_is_the_one_before_anything_of_it_trained() -> None:
    ledger = Ledger()
    record(ledger, {"ann": ["a"], "eve": ["BAD"]}, 0)  # refused: it trained nothing
    record(ledger, {"ann": ["a"]}, 1)
    record(ledger, {"ann": ["a"], "eve": ["x"]}, 5)
    record(ledger, {"ann": ["a"], "eve": ["y"]}, 9)
    assert EFFECTS["drop"].trains is False
    assert ledger.last_clean_step("eve") == 5  # its completion of step 5 made the weights of 6
    assert ledger.last_clean_step("ann") == 0
    assert ledger.last_clean_step("nobody") == 9


def test_names_are_hostile() -> None:
    ledger = Ledger(RATES, max_senders=3)
    long = ["x" * 10**6, "x" * 10**6 + "y", "\ud800" * 100]
    record(ledger, {name: ["a"] for name in long}, 0)
    for step in range(50):
        record(ledger, {f"sybil{step}": ["BAD"], "late": ["BAD2"]}, step)
    found = ledger.rows()
    assert len(found) == 4
    assert {row.sender is None for row in found} == {True, False}
    assert all(len(str(row.sender)) <= 64 for row in found)
    assert next(row for row in found if row.sender is None).sent == 100
    assert not ledger.quarantine
    json.dumps(ledger.state_dict())


def test_reasons_are_bounded() -> None:
    ledger = Ledger()
    for i in range(100):
        batch = rows({"eve": [""]}, malformed=f"reason {'i' * i}")
        ledger.record(batch, [None], 0)
    (row,) = ledger.rows()
    assert len(row.reasons) <= 17
    assert sum(row.reasons.values()) == 100


def test_the_state_survives_json() -> None:
    ledger = Ledger(RATES)
    for step in range(20):
        record(ledger, {"ann": ["a"], "eve": [f"BAD{step}"], 3: ["b"]}, step)
    ledger.prove(3, "forgery", 4, "why")
    other = Ledger(RATES)
    other.load_state_dict(json.loads(json.dumps(ledger.state_dict())))
    assert other.rows() == ledger.rows()
    assert other.quarantine == ledger.quarantine
    assert len(other.quarantine) == 2
    for both in (ledger, other):
        record(both, {"ann": ["BAD"]}, 20)
    assert other.state_dict() == ledger.state_dict()


@pytest.mark.parametrize("state", [{}, {"accounts": 3}, {"accounts": [["a", {"sent": 1, "x": 2}]]}])
def test_another_state_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match="not the state of a ledger"):
        Ledger().load_state_dict(state)


@pytest.mark.parametrize(
    "arguments",
    [{"honest_rates": {"bad": 0.0}}, {"honest_rates": {"bad": 1.0}}, {"false_alarm": 0.0},
     {"max_senders": 0}],
)  # fmt: skip
def test_impossible_settings_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Ledger(**arguments)
