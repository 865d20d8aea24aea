"""The board's page in a real browser: readable and usable, hostile names run nothing."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from browser import Page
from report.test_browser import ATTACKS, CONTRAST
from swarmproof.board import page as board_page
from swarmproof.board.command import BoardPlan


def numbers(plan: BoardPlan) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((plan.root / "board.json").read_text(encoding="utf-8"))
    return found


def test_it_fetches_nothing_and_says_nothing_to_the_console(
    page: Page, small_board: BoardPlan
) -> None:
    page.open(small_board.root / "board.html")
    asked = [e for e in page.events if e["method"] == "Network.requestWillBeSent"]
    assert len(asked) == 1
    logged = [e for e in page.events if e["method"].startswith(("Log.", "Runtime.exception"))]
    assert not logged


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_and_as_wide_as_the_screen(
    page: Page, small_board: BoardPlan, scheme: str
) -> None:
    for width in (1400, 400):
        page.open(small_board.root / "board.html", scheme=scheme, width=width)
        page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        ratio, text = page.run(CONTRAST)
        assert ratio >= 4.5, text
        assert page.run("document.documentElement.scrollWidth") <= width


def test_the_guards_stand_in_the_order_of_the_numbers(page: Page, small_board: BoardPlan) -> None:
    page.open(small_board.root / "board.html")
    shown = page.run(
        "[...document.querySelector('table').tBodies[0].rows].map("
        "(r) => r.cells[0].querySelector('b').innerText)"
    )
    assert shown == [row["guard"] for row in numbers(small_board)["settings"]["one"]["guards"]]


def test_every_cell_says_its_seeds_and_rounds_and_opens_on_its_report(
    page: Page, small_board: BoardPlan
) -> None:
    page.open(small_board.root / "board.html")
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    rows = page.run(
        "[...document.querySelectorAll('details tbody tr')].map((r) => "
        "[r.innerText, [...r.querySelectorAll('a')].map((a) => a.getAttribute('href'))])"
    )
    assert len(rows) == 9
    for text, links in rows:
        assert "1 seed, 2 rounds" in text
        assert len(links) == 3
        for link in links:
            assert (small_board.root / link).is_file()
    assert "cannot run against quiet, phrase, long: defenses.0: no defense is called" in page.run(
        "document.body.innerText"
    )
    page.open(small_board.root / rows[0][1][0])
    assert "What the nodes wrote" in page.run("document.body.innerText")


def test_a_link_to_a_guard_opens_its_cells(page: Page, small_board: BoardPlan) -> None:
    page.open(small_board.root / "board.html")
    page.run("document.querySelector('td a[href=\"#one/draws\"]').click()")
    assert page.run("document.getElementById('one/draws').checkVisibility()")


def test_what_misses_its_goal_stands_above_the_tables(page: Page, small_board: BoardPlan) -> None:
    page.open(small_board.root / "board.html")
    guards = numbers(small_board)["settings"]["one"]["guards"]
    (recommended,) = [row for row in guards if row["recommended"]]
    told = page.run("document.querySelector('.misses').innerText")
    assert recommended["missed"], "the guard of this board refuses honest ones"
    for attack, words in recommended["missed"].items():
        assert f"{attack}: {'; '.join(words)}".replace("\N{NO-BREAK SPACE}", " ") in told.replace(
            "\N{NO-BREAK SPACE}", " "
        )


def test_hostile_words_run_nothing(page: Page, small_board: BoardPlan, tmp_path: Path) -> None:
    board = copy.deepcopy(numbers(small_board))
    setting = board["settings"]["one"]
    for cell, attack in zip(setting["cells"], ATTACKS, strict=False):
        cell["reason"] = attack
        cell["missed"] = [attack]
        cell["attack"] = attack
    for guard, attack in zip(setting["guards"], ATTACKS, strict=False):
        guard["title"] = attack
    page.open(board_page.write(board, tmp_path))
    assert "swarmproof" in page.run("document.title")
    assert page.run("document.querySelectorAll('iframe, img, svg, script').length") == 0
