"""The report in a real browser: hostile completions run nothing, and it is readable and usable."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from browser import Page, chromium, opened
from report.synthetic import PHRASE
from swarmproof.records.folder import Run
from swarmproof.report import defended, html
from swarmproof.report.table import rows

ATTACKS = (
    "<script>document.title = 'owned'</script>",
    "</script><script>document.title = 'owned'</script>",
    "</textarea></pre><img src='http://127.0.0.1:9/x.png' onerror=\"document.title = 'owned'\">",
    "<!--<script>",
    "]]>",
    "&lt;b&gt;",
    "\u2028\u2029\u202e\x00",
    "\\u003c/script\\u003e",
    "{{ 7*7 }}",
    "</noscript><style>* { display: none }</style>",
    "<iframe src=\"javascript:parent.document.title = 'owned'\"></iframe>",
    '<svg onload="document.title = \'owned\'"><a href="javascript:alert(1)">x</a></svg>',
    "<link rel=stylesheet href=http://127.0.0.1:9/x><meta http-equiv=refresh content=0;url=//x>",
)

# The least contrast of any text with what is behind it, by WCAG 2, and where it is.
CONTRAST = """(() => {
  const rgb = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = rgb(colour).map((c) => (c /= 255) <= 0.04045 ? c / 12.92
      : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (rgb(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let worst = [21, ""];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !node.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, texts.currentNode.data];
  }
  return worst;
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    path = chromium()
    if path is None:
        pytest.skip("no chromium is installed; on Debian: apt-get install chromium")
    with opened(path, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def report(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return html.write(run, tmp_path_factory.mktemp("report"))


def trouble(page: Page) -> list[dict[str, Any]]:
    """What the page logged, threw, or asked of a network."""
    found = []
    for event in page.events:
        match event:
            case {"method": "Network.requestWillBeSent", "params": {"request": {"url": url}}}:
                if not url.endswith("/report.html"):
                    found.append(event)
            case {
                "method": "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded"
            }:
                found.append(event)
    return found


def choose(page: Page, **values: object) -> None:
    for name, value in values.items():
        page.run(
            f"{{ const list = document.getElementById('{name}'); list.value = '{value}';"
            "list.dispatchEvent(new Event('change')); }"
        )


def shown(page: Page) -> str:
    text: str = page.run("document.getElementById('shown').innerText")
    return text


def test_it_loads_without_an_error_and_without_asking_a_network(page: Page, report: Path) -> None:
    page.open(report)
    assert trouble(page) == []
    assert page.run("document.getElementById('pick').hidden") is False
    # Neither may it, where something had slipped in.
    assert page.run("fetch('data:,x').then(() => 'fetched', () => 'refused')") == "refused"
    page.run("document.body.append(element('script', 'var ran = true'))")
    assert page.run("typeof ran") == "undefined"


def test_hostile_completions_and_reasons_run_nothing(page: Page, run: Run, tmp_path: Path) -> None:
    frame = run.completions.copy()
    texts = [ATTACKS[i // 4 % len(ATTACKS)] for i in range(len(frame))]
    frame["text"] = texts
    frame["verdicts"] = pd.Series(
        [[{"defense": "d", "accepted": False, "score": 1.0, "reason": text}] for text in texts]
    )
    page.open(html.write(replace(run, completions=frame), tmp_path))
    seen = ""
    for arm in run.summary["arms"]:
        for seed in run.summary["arms"][arm]["seeds"]:
            for iteration in (1, 30, 60):
                choose(page, arm=arm, seed=seed, round=iteration)
                seen += page.run("document.getElementById('shown').textContent")
    for text in ATTACKS:
        # What cannot be seen is spelt out.
        assert re.sub("[\u2028\u2029\u202e\0]", lambda c: f"⟨U+{ord(c[0]):04X}⟩", text) in seen
    assert page.run("document.title").endswith("swarmproof")
    assert trouble(page) == []
    markup = "#shown :is(script, img, iframe, svg, a)"
    assert page.run(f"document.querySelectorAll('{markup}').length") == 0
    assert page.run("document.scripts.length") == 2


def test_choosing_another_arm_shows_its_completions(page: Page, report: Path) -> None:
    page.open(report)
    choose(page, arm="attack", seed=1, round=60)
    assert "poisoned, accepted 1 of 1" in shown(page)
    assert "poisoned, refused" not in shown(page)
    choose(page, arm="logit")
    # The seed and the round stay as they were.
    assert page.run("picks.map((list) => list.value)") == ["logit", "1", "60"]
    assert "poisoned, refused 1 of 1" in shown(page)
    assert "logit refused: 1 of 40 tokens outside the sampling support" in shown(page)
    marks = "[...document.querySelectorAll('#shown mark.{}')].map((m) => m.innerText).join('')"
    assert page.run(marks.format("payload")) == PHRASE
    assert page.run(marks.format("token")) == " to"  # at position 5
    choose(page, arm="no-attack")
    assert "poisoned" not in shown(page)


def test_the_keyboard_reaches_every_list(page: Page, report: Path) -> None:
    page.open(report)
    reached = []
    for _ in range(12):
        for kind in ("keyDown", "keyUp"):
            page.send("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab",
                      windowsVirtualKeyCode=9)  # fmt: skip
        reached.append(page.run("document.activeElement.id || document.activeElement.tagName"))
    assert reached[2:6] == ["arm", "seed", "round", "SUMMARY"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_nothing_is_cut_off(page: Page, report: Path, scheme: str) -> None:
    for width in (1280, 400):
        page.open(report, scheme=scheme, width=width)
        choose(page, arm="logit", round=60)
        ratio, text = page.run(CONTRAST)
        assert ratio >= 4.5, text
        assert page.run("document.documentElement.scrollWidth") <= width
    background = page.run("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") is (scheme == "light")


def test_without_javascript_all_but_the_browser_is_there(page: Page, report: Path) -> None:
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.open(report)
    finally:
        page.send("Emulation.setScriptExecutionDisabled", value=False)
    assert page.run("document.querySelectorAll('.curves svg').length") == 4
    assert "needs JavaScript" in page.run("document.body.innerText")
    assert page.run("document.getElementById('pick').checkVisibility()") is False


def test_the_tables_show_the_numbers_of_the_summary(page: Page, run: Run, report: Path) -> None:
    page.open(report)
    first, second = page.run(
        "[...document.querySelectorAll('table')].map((t) => [...t.tBodies[0].rows].map("
        "(r) => [...r.cells].map((c) => c.innerText)))"
    )
    for (arm, cells), row in zip(rows(run.summary).items(), first, strict=True):
        assert row[0].startswith(arm)
        assert [text.split("\n")[0] for text in row[1:]] == [cell.value for cell in cells]
    ((arm, defence, cells),) = defended.rows(run)
    assert second[0][0].split("\n") == [arm, defence]
    for cell, text in zip(cells, second[0][1:], strict=True):
        assert text.split("\n") == [cell.value, *cell.detail.split("\n")]
