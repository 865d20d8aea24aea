"""The text of the summary table, and the tables that fit a terminal."""

from __future__ import annotations

import io
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from report.synthetic import synthetic_run
from swarmproof.records.run import Run
from swarmproof.report import contents, terminal
from swarmproof.report.contents import Contents
from swarmproof.report.table import LEGEND, interval, legend, lost, model_rows, percent, rows


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (None, "–"),
        (0.0, "0.0 %"),
        (1.0, "100.0 %"),
        (0.1234, "12.3 %"),
        (0.00111, "0.11 %"),
        (0.9948, "99.48 %"),
        # Never rounded to all or nothing.
        (0.99999, "> 99.99 %"),
        (0.00001, "< 0.01 %"),
    ],
)
def test_percent(share: float | None, words: str) -> None:
    assert percent(share).replace("\N{NO-BREAK SPACE}", " ") == words


def shown(found: Contents, width: int | None = None) -> str:
    """What a terminal of this width shows; without one, what a pipe gets."""
    out = io.StringIO()
    terminal.show(found, Console(file=out, width=width, force_terminal=width is not None,
                                 color_system=None))  # fmt: skip
    return out.getvalue()


def with_names(run: Run, names: list[str]) -> Contents:
    """A run with the arm `attack` under other names."""
    summary = run.summary | {"arms": dict.fromkeys(names, run.summary["arms"]["attack"])}
    told = dict.fromkeys(names, "")
    return replace(
        contents.of_run(run), run=replace(run, summary=summary), states=told, headline=told
    )


NAMES = [f"{start}-grpo-lr-0.0003-swarm-nodes-{n}" for start in ("tiny", "wide") for n in (4, 8)]


def test_a_pipe_gets_one_table_with_every_arm_and_its_counts(run: Run) -> None:
    text = shown(contents.of_run(run))
    assert text.count("┏") == 1
    for arm, cells in rows(run.summary).items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"│ {arm} "))
        assert all(cell.value in line for cell in cells)
    assert "none gathered" in text


def test_a_pipe_gets_names_and_numbers_on_one_line_however_long(run: Run) -> None:
    text = shown(with_names(run, NAMES))
    assert text.count("┏") == 1
    for name in NAMES:
        (line,) = (line for line in text.splitlines() if line.startswith(f"│ {name} "))
        assert "98.0" in line


@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_narrow_terminal_gets_fewer_columns_at_once_and_whole_names(run: Run, width: int) -> None:
    text = shown(with_names(run, NAMES), width)
    tables = text.split("attack success    ")[0]
    assert all(len(line) <= width for line in tables.splitlines())
    assert "…" not in tables
    assert tables.count("┏") > 1
    for heading in LEGEND:
        assert heading in tables
    for cell in rows(run.summary)["attack"]:
        assert tables.count(cell.value) >= len(NAMES)
    # A folded name is the letters of its first column put together again.
    first = [line.split("│")[1].strip() for line in tables.splitlines() if line.startswith("│")]
    for name in NAMES:
        assert "".join(first).count(name) == tables.count("┏")


def test_a_wide_terminal_gets_one_table(run: Run) -> None:
    assert shown(contents.of_run(run), 140).count("┏") == 1


def test_the_meaning_of_every_column_stands_in_the_terminal(run: Run) -> None:
    text = " ".join(shown(contents.of_run(run), 80).split())
    for heading, meaning in LEGEND.items():
        assert f"{heading} {meaning}" in text
    assert "final: mean of the last 10 iterations; a to b: 95 % interval over seeds" in text


def test_the_legend_explains_ratios_and_wide_success_only_where_there_are_some(run: Run) -> None:
    def meaning(asr: dict[str, object], **more: object) -> str:
        arm = run.summary["arms"]["attack"]
        arms = {"attack": arm | {"asr": arm["asr"] | asr} | more}
        return legend(run.summary | {"arms": arms})["attack success"]

    assert "×" not in meaning({})
    assert "wide" not in meaning({})
    assert "×: their mean length" in meaning({"unit": "ratio"})
    assert "wide: the attack's second" in meaning({}, asr_wide={})


def test_an_unfinished_run_says_so_and_has_no_intervals(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", num_rounds=5, planned=80, seeds=(0, 1))
    found = contents.of_run(run)
    text = " ".join(shown(found, 100).replace("│", " ").split())
    words = "unfinished: seed 0 at iteration 5 of 80, seed 1 at iteration 5 of 80"
    assert text.count(words) >= 3
    assert run.summary["arms"]["attack"]["accuracy"]["ci95"][0] is not None
    assert rows(run.summary)["attack"][1].detail == ""
    assert "an arm here has only 5, and the mean is over those" in text
    assert "The file's expectation is not shown: the run is unfinished." in text


def test_one_seed_has_no_interval_and_the_legend_says_why(run_of_one_seed: Run) -> None:
    for cells in rows(run_of_one_seed.summary).values():
        assert [cell.detail for cell in cells[:3]] == ["", "", ""]
    text = " ".join(shown(contents.of_run(run_of_one_seed), 80).split())
    assert "no intervals: one seed says nothing about other seeds" in text


def test_intervals_are_over_seeds_and_not_below_zero() -> None:
    assert interval({"ci95": [-3.0, 50.0], "ci95_over": "seeds"}) == (0.0, 50.0)
    # An older summary has one over the last iterations of its one seed.
    assert interval({"ci95": [0.2, 0.3], "ci95_over": "iterations"}) is None
    assert interval({"ci95": [None, None], "ci95_over": None}) is None
    assert interval({"ci95": [0.2, 0.3], "ci95_over": "seeds"}, unfinished=True) is None


def test_names_of_arms_are_not_markup(run: Run) -> None:
    assert "[red]a" in shown(with_names(run, ["[red]a"]))


def test_each_of_several_models_has_a_row_below_its_arm(run: Run) -> None:
    attack = run.summary["arms"]["attack"]
    model = {key: attack[key] for key in ("asr", "accuracy", "length", "refused")}
    some = {"models": {"tiny": model, "[bold]wide": model | {"accuracy": attack["asr"]}}}
    arms = run.summary["arms"] | {"attack": attack | some}
    found = contents.of_run(run)
    text = shown(replace(found, run=replace(run, summary=run.summary | {"arms": arms})))
    text = text[: text.index("attack success    ")]
    # Names are not read as markup.
    assert text.index("attack  ") < text.index("tiny") < text.index("[bold]wide")
    assert text.index("[bold]wide") < text.index("logit")
    tiny, wide = model_rows(arms["attack"]).values()
    assert tiny[0] == wide[0] == rows(run.summary)["attack"][0]
    assert tiny[1] != wide[1]
    assert model_rows(arms["logit"]) == {}


def test_what_no_other_number_counts_is_told_for_each_arm(run: Run) -> None:
    summary = deepcopy(dict(run.summary))
    assert list(lost(summary)) == []
    summary["arms"]["attack"] |= {"malformed": 1200, "absent": 3}
    summary["arms"]["logit"] |= {"refilled": 7}
    assert list(lost(summary)) == [
        "attack: 1,200 malformed messages or completions, 3 messages that did not arrive. "
        "No other number counts these.",
        "logit: 7 slots that the receivers drew themselves. No other number counts these.",
    ]
