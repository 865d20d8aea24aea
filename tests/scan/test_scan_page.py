"""The page of a scan in a real browser: hostile texts run nothing, and it is readable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from browser import Page
from report.test_browser import ATTACKS, CONTRAST
from scan.rollout_files import write_lines
from swarmproof.scan import page as pages
from swarmproof.scan.finding import FalseAlarms, Finding, Mark
from swarmproof.scan.outcome import SEVERITIES, Scanned, cut, explain, notes
from swarmproof.scan.source import Tally, open_source


def outcome(folder: Path) -> Scanned:
    """Three findings about texts, prompts, senders, reasons that attack the page."""
    rows = [
        {
            "id": f"{text}{number}",
            "step": number,
            "group": text,
            "sender": text,
            "prompt": text,
            "completion": f"{text} a very long text {'word ' * 60}{text}",
            "reward": 1.0,
            "guard/refused": False,
        }
        for number in range(3)
        for text in ATTACKS
    ]
    path = write_lines(folder / "guard.jsonl", rows)
    source, tally = open_source([str(path)]), Tally()
    rollouts = list(source.read(tally))
    findings = [
        Finding(
            check="check",
            severity=severity,
            summary=f"found {text}",
            ids=tuple(r.id for r in rollouts if text in r.text),
            marks=tuple(Mark(r.id, 0, len(text)) for r in rollouts if r.text.startswith(text)),
            since=0,
            strength=f"strong {text}",
            p_value=0.001,
            false_alarms=FalseAlarms(0, 100, text, text),
            senders=ATTACKS,
        )
        for severity, text in zip(SEVERITIES * 5, ATTACKS, strict=False)
    ]
    shown, flags = explain(source.read, findings)
    return Scanned((str(path),), source, tally, shown, flags, notes(source, tally, "<b>model"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scan")
    pages.write(outcome(folder), folder / "report.html")
    return folder / "report.html"


def test_hostile_texts_run_nothing_and_nothing_is_fetched(page: Page, report: Path) -> None:
    page.open(report)
    requests = [
        event["params"]["request"]["url"]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert requests == [report.as_uri()]
    bad = ("Runtime.exceptionThrown", "Log.entryAdded")
    assert [event for event in page.events if event["method"] in bad] == []
    assert page.run("document.title") == "Scan of rollouts · swarmproof"
    assert page.run("document.scripts.length") == 0
    assert page.run("document.querySelectorAll('script, img, iframe, link').length") == 0
    shown = page.run("document.body.textContent")
    for text in ATTACKS:
        if text.isascii():
            assert text in shown
    assert "⟨U+202E⟩" in shown
    assert page.run("document.querySelectorAll('section').length") == len(ATTACKS)
    marked = page.run("document.querySelector('section mark').textContent")
    assert marked == ATTACKS[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_nothing_is_cut_off(page: Page, report: Path, scheme: str) -> None:
    for width in (1400, 400):
        page.open(report, scheme=scheme, width=width)
        ratio, text = page.run(CONTRAST)
        assert ratio >= 4.5, text
        assert page.run("document.documentElement.scrollWidth") <= width


def test_bars_show_the_share_of_each_step(page: Page, report: Path) -> None:
    page.open(report)
    titles = page.run("[...document.querySelectorAll('section:first-of-type title')]"
                      ".map((t) => t.textContent)")  # fmt: skip
    of = len(ATTACKS)
    assert [title.split(":")[0] for title in titles] == ["step 0", "step 1", "step 2"]
    assert all(title.endswith(f"of {of}") for title in titles)


def test_cut_shows_what_is_around_marks() -> None:
    text = "a" * 500 + "EVIL" + "b" * 500 + "MORE" + "c" * 500
    parts = cut(text, [(500, 504), (502, 504), (1004, 1008)])
    assert [piece for piece, marked in parts if marked] == ["EVIL", "MORE"]
    joined = "".join(piece for piece, _ in parts)
    assert joined.startswith(" … aaa")
    assert joined.endswith("ccc …")
    assert 300 < len(joined) < 400


def test_cut_loses_nothing_of_a_short_text() -> None:
    for marks in ([], [(0, 1)], [(3, 5)], [(0, 3), (6, 9)], [(8, 9)]):
        parts = cut("poison at", marks)
        assert "".join(piece for piece, _ in parts) == "poison at"
        assert [p for p, marked in parts if marked] == ["poison at"[a:b] for a, b in marks]


def test_a_picture_of_no_page_is_an_error_and_not_a_picture(tmp_path: Path) -> None:
    """A browser would show its own page of the error, and its picture looks like a success."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("picture.py"), "none.html", "out.png"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("there is no page none.html; ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.png").exists()
