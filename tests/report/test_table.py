"""The words in the summary table and the headline."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from swarmproof.records.folder import Run
from swarmproof.report.headline import headline
from swarmproof.report.table import model_rows, percent, rows, summary_table


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


def test_the_terminal_shows_every_arm_with_its_counts(run: Run) -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(summary_table(run.summary))
    shown = console.export_text()
    for arm, cells in rows(run.summary).items():
        assert arm in shown
        assert all(cell.value in shown for cell in cells)
    assert "none gathered" in shown


def test_names_of_arms_are_not_markup(run: Run) -> None:
    arm = run.summary["arms"]["attack"]
    table = summary_table({"experiment": "[bold]x", "arms": {"[red]a": arm}})
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(table)
    assert "[red]a" in console.export_text()


def test_headline_tells_attack_and_defence_with_their_numbers(run: Run) -> None:
    attack, logit = headline(run.summary, run.config)
    assert attack.startswith("With 1 malicious of 4 nodes and no defence, the text attack ends at")
    assert percent(run.summary["arms"]["attack"]["asr"]["final"]) in attack
    assert percent(run.summary["arms"]["logit"]["refused"]["honest"]["rate"]) in logit


def test_each_of_several_models_has_a_row_below_its_arm(run: Run) -> None:
    attack = run.summary["arms"]["attack"]
    model = {key: attack[key] for key in ("asr", "accuracy", "length", "refused")}
    some = {"models": {"tiny": model, "[bold]wide": model | {"accuracy": attack["asr"]}}}
    arms = run.summary["arms"] | {"attack": attack | some}
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(summary_table(run.summary | {"arms": arms}))
    shown = console.export_text()
    # Names are not read as markup.
    assert shown.index("attack") < shown.index("tiny") < shown.index("[bold]wide")
    assert shown.index("[bold]wide") < shown.index("logit")
    tiny, wide = model_rows(arms["attack"]).values()
    assert tiny[0] == wide[0] == rows(run.summary)["attack"][0]
    assert tiny[1] != wide[1]
    assert model_rows(arms["logit"]) == {}
