"""The page of figures is made from the files that `reproduce --export` wrote, and from no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmproof.reproduce import figures, measured, runner
from swarmproof.reproduce import page as reproduction
from swarmproof.reproduce.criteria import Bound, Criterion, Near, Order
from swarmproof.reproduce.figures import Acceptance, Curves, Theory

ROOT = Path(__file__).parents[2]
RESULTS = reproduction.load(ROOT / "results/reproduction")


def test_the_page_is_made_from_the_files() -> None:
    page = (ROOT / "docs/reproduction.md").read_text(encoding="utf-8")
    assert page == reproduction.page(RESULTS)


@pytest.mark.parametrize(("scale", "name"), RESULTS)
def test_a_result_is_that_of_the_shipped_figure(scale: figures.Scale, name: str) -> None:
    figure, found = figures.read(name, scale), RESULTS[scale, name]
    if isinstance(figure, Curves):
        # The keys are hashes of the resolved configs.
        plan = runner.plan([figure], tuple(found["seeds"]), found.get("set", ()))
        assert found["trials"] == plan.keys(name)
    elif isinstance(figure, Acceptance):
        shipped = {judge: c.model_dump(mode="json") for judge, c in figure.evaluations().items()}
        assert found["judges"] == shipped
    else:
        assert isinstance(figure, Theory)
        assert found["measured"] == measured.of_theory()


def test_a_figure_says_how_it_fared_criterion_by_criterion() -> None:
    course = {"first": 0.0, "final": 0.934, "peak": 1.0, "ci95": [0.9, 0.96]}
    quiet = course | {"final": 0.0, "ci95": None}
    found = {
        "seeds": [0, 1, 2],
        "set": ["rounds=9", "attack.phrase=a b"],
        "versions": [{"commit": "0123456789"}],
        "measured": {"attack": {"asr": course}, "no-attack": {"asr": quiet}, "logit": {}},
    }
    page = reproduction.page({("tiny", "fig3a"): found})
    (row,) = (line for line in page.splitlines() if line.startswith("| Fig. 3a:"))
    assert "attack 93.4 % (90.0 to 96.0)" in row
    assert "**agrees**: The attack ends above 90 %. (attack 93.4 %; needed: at least 90.0 %)" in row
    assert "**not measured**: The logit check stops it. (needed: at most 5.0 %)<br>" in row
    assert "seeds 0, 1, 2<br>with rounds=9, attack.phrase=a b<br>commit 0123456 |" in row
    asked = "`swarmproof reproduce fig3a --seeds 3 --set rounds=9 --set 'attack.phrase=a b'`"
    assert asked in row


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        (Bound(text="", curve="a", at_least=0.2, at_most=0.5), "at least 20.0 %, at most 50.0 %"),
        (Bound(text="", curve="a", at_least=2, stat="growth"), "at least 2.00 ×"),
        (Bound(text="", curve="a", at_most=40, metric="length"), "at most 40.0 tokens"),
        (Order(text="", order=("a", "b"), by=0.2), "20.0 points between each and the next"),
        (Near(text="", near=("a", "b"), within=0.05), "within 5.0 points of each other"),
    ],
)
def test_the_margin_of_a_criterion_is_shown(criterion: Criterion, words: str) -> None:
    assert reproduction.margin(criterion, "asr") == words


def test_a_figure_without_a_file_is_said_not_to_have_been_run() -> None:
    rows = [line for line in reproduction.page({}).splitlines() if line.startswith("| Fig. 3b:")]
    assert len(rows) == 1
    assert "| not run yet |" in rows[0]
