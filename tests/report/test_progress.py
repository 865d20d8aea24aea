"""The live display: what a line says, and when it is printed where there is no terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from swarmproof.engines.events import Finished, RoundDone, Started
from swarmproof.report.progress import Progress
from swarmproof.types import RoundRecord


class FakeConfig:
    def __init__(self, rounds: int) -> None:
        self.rounds = rounds


class FakeTrial:
    experiment, folder = "fake", Path("fake")

    def __init__(self, arm: str, seed: int = 0, rounds: int = 20) -> None:
        self.arm, self.seed, self.config = arm, seed, FakeConfig(rounds)


def record(round: int, **values: Any) -> RoundRecord:
    zeros = dict.fromkeys(RoundRecord.__dataclass_fields__, 0)
    nothing = dict.fromkeys(("asr_wide", "heldout_asr", "heldout_asr_wide", "heldout_accuracy"))
    table = {**zeros, **nothing, "cohort": "honest"}
    return RoundRecord(**{**table, "round": round, **values})


def play(
    trials: list[FakeTrial],
    *,
    jobs: int = 4,
    rounds: int = 20,
    terminal: bool = False,
    width: int = 120,
    **values: Any,
) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None)
    with Progress(cast(Any, trials), jobs=jobs, console=console) as progress:
        for trial in cast(Any, trials):
            progress.on_event(Started(trial))
        for number in range(rounds):
            for trial in cast(Any, trials):
                progress.on_event(RoundDone(trial, record(number, **values), 2.0))
        for trial in cast(Any, trials):
            if rounds == trial.config.rounds:
                progress.on_event(Finished(trial))
    return out.getvalue()


def test_without_a_terminal_there_is_a_line_every_ten_iterations_and_at_the_end() -> None:
    lines = play([FakeTrial("attack", rounds=25)], rounds=25, asr=0.5).splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "attack: iteration 10/25",
        "attack: iteration 20/25",
        "attack: iteration 25/25",
    ]


def test_a_line_tells_success_accuracy_and_both_refused_shares() -> None:
    values: dict[str, Any] = {
        "asr": 0.25,
        "heldout_accuracy": 0.5,
        "poisoned": 3,
        "poisoned_refused": 3,
    }
    text = play([FakeTrial("logit")], **values, length=30.4, honest=200, honest_refused=1)
    assert (
        "attack success 25 %, length 30, held-out accuracy 50 %, "
        "refused poisoned 100.0 %, refused honest 0.5 %" in text
    )


def test_accuracy_stays_from_the_last_evaluation_and_none_is_no_claim() -> None:
    assert "accuracy" not in play([FakeTrial("attack")])
    assert "success" not in play([FakeTrial("attack")], asr=None)


def test_seeds_of_an_arm_share_its_line() -> None:
    text = play([FakeTrial("attack", seed) for seed in range(3)])
    assert text.count("iteration 10/60 (3 seeds, 20 each)") == 1
    assert text.count("iteration 60/60 (3 seeds, 20 each)") == 1


def test_the_time_left_counts_trials_that_wait_for_a_slot() -> None:
    trials = [FakeTrial("a"), FakeTrial("b"), FakeTrial("c")]
    progress = Progress(cast(Any, trials), jobs=2, console=Console(file=io.StringIO()))
    for trial in cast(Any, trials[:2]):
        progress.on_event(Started(trial))
        progress.on_event(RoundDone(trial, record(9), 2.0))
    # Ten rounds of 2 s are left for a and b; c waits for them and then has twenty.
    assert progress._seconds_left() == {("a", 0): 20.0, ("b", 0): 20.0, ("c", 0): 60.0}


def test_a_resumed_trial_counts_from_where_it_goes_on() -> None:
    trial = cast(Any, FakeTrial("a"))
    progress = Progress([trial], jobs=1, console=Console(file=io.StringIO()))
    progress.on_event(Started(trial))
    progress.on_event(RoundDone(trial, record(14), 3.0))
    assert progress._seconds_left() == {("a", 0): 15.0}


def test_a_terminal_gets_one_row_per_arm_and_the_total_time() -> None:
    text = play([FakeTrial("no-attack"), FakeTrial("attack")], rounds=10, terminal=True)
    last = text[text.rindex("iteration") :]
    assert last.count("10/20") == 2
    assert "0:20 left in all" in last


def test_quiet_shows_nothing() -> None:
    out = io.StringIO()
    trial = cast(Any, FakeTrial("a", rounds=1))
    with Progress([trial], jobs=1, console=Console(file=out), quiet=True) as progress:
        progress.on_event(RoundDone(trial, record(0), 1.0))
    assert out.getvalue() == ""


def test_of_many_arms_only_those_that_run_are_shown_and_the_trials_are_counted() -> None:
    trials = [cast(Any, FakeTrial(f"arm-{i}", rounds=1)) for i in range(40)]
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=True, color_system=None)
    with Progress(trials, jobs=2, console=console) as progress:
        progress.on_event(Started(trials[0]))
        progress.on_event(RoundDone(trials[0], record(0), 2.0))
        progress.on_event(Finished(trials[0]))
        progress.on_event(Started(trials[1]))
    last = out.getvalue()[out.getvalue().rindex("iteration") :]
    assert "arm-1 " in last
    assert last.count("arm-") == 1
    assert "1 of 40 trials done, " in last


@pytest.mark.parametrize(
    ("width", "columns"),
    [
        (40, 1),
        (60, 2),
        (90, 4),
        (120, 6),
        (160, 7),
    ],
)
def test_a_narrow_terminal_shows_fewer_columns_and_whole_names(width: int, columns: int) -> None:
    names = [f"{start}-with-a-rather-long-name" for start in ("tiny", "wide")]
    values: dict[str, Any] = {
        "asr": 0.5,
        "heldout_accuracy": 0.5,
        "poisoned": 3,
        "honest": 3,
        "length": 30,
    }
    trials = [FakeTrial(name) for name in names]
    text = play(trials, rounds=10, terminal=True, width=width, **values)
    header, *rows = text[text.rindex("arm ") :].splitlines()
    for name, row in zip(names, rows, strict=False):
        assert row.startswith(f"{name} ")
        assert "10/20" in row
    assert len(re.split("  +", header.strip())) == 1 + columns
    assert "…" not in text


def test_a_name_wider_than_the_terminal_is_folded() -> None:
    text = play(
        [FakeTrial("a-name-of-more-than-thirty-letters")], rounds=1, terminal=True, width=30
    )
    lines = text[text.rindex("arm ") :].splitlines()[1:3]
    assert "".join(line.split()[0] for line in lines) == "a-name-of-more-than-thirty-letters"
