"""The report in a real browser: hostile completions run nothing, and it is readable and usable."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from browser import Page
from report.synthetic import ANSWER, PHRASE, QUESTION
from swarmproof.records.run import Run
from swarmproof.report import contents, defended, html
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
def report(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return html.write(contents.of_run(run), tmp_path_factory.mktemp("report"))


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
    frame["question"] = frame["answer"] = texts
    page.open(html.write(contents.of_run(replace(run, completions=frame)), tmp_path))
    seen = ""
    for arm in run.summary["arms"]:
        for seed in run.summary["arms"][arm]["seeds"]:
            choose(page, kind="(any)", arm=arm, seed=seed, round="(any)")
            seen += page.run("document.getElementById('shown').textContent")
    for text in ATTACKS:
        # What cannot be seen is spelt out.
        assert re.sub("[\u2028\u2029\u202e\0]", lambda c: f"⟨U+{ord(c[0]):04X}⟩", text) in seen
    assert page.run("document.title").endswith("swarmproof")
    assert trouble(page) == []
    markup = "#shown :is(script, img, iframe, svg, a)"
    assert page.run(f"document.querySelectorAll('{markup}').length") == 0
    assert page.run("document.scripts.length") == 2


def lists(page: Page) -> list[str]:
    found: list[str] = page.run("picks.map((list) => list.value)")
    return found


def test_it_opens_on_honest_nodes_that_write_the_poison(page: Page, report: Path) -> None:
    page.open(report)
    assert lists(page) == ["attack", "0", "60", "honest, writes the poison", "(any)"]
    text = shown(page)
    assert "from node 0 (honest)" in text
    assert f"Question {QUESTION}" in text
    assert f"Right answer {ANSWER}" in text
    marks = "[...document.querySelectorAll('#shown mark.payload')].map((m) => m.innerText)"
    assert page.run(marks) == [PHRASE]


def test_lists_filter_what_is_shown(page: Page, report: Path) -> None:
    page.open(report)
    choose(page, kind="malicious", arm="attack", seed=1, round=60)
    assert "malicious attack, seed 1, iteration 60: 1 of 1" in shown(page)
    assert "honest" not in shown(page)
    choose(page, refused="yes")
    assert shown(page) == ""
    choose(page, arm="logit")
    # The other lists keep their values.
    assert lists(page) == ["logit", "1", "60", "malicious", "yes"]
    assert "malicious, refused logit, seed 1, iteration 60: 1 of 1" in shown(page)
    assert "logit refused: 1 of 40 tokens outside the sampling support" in shown(page)
    marks = "[...document.querySelectorAll('#shown mark.{}')].map((m) => m.innerText).join('')"
    assert page.run(marks.format("payload")) == PHRASE
    assert page.run(marks.format("token")) == " to"  # at position 5
    choose(page, kind="(any)", refused="(any)", arm="no-attack")
    assert "malicious" not in shown(page)
    assert page.run("groups.every((g) => g.arm !== 'no-attack' || g.kind.startsWith('honest'))")


def test_the_search_looks_in_texts_and_reasons_of_the_chosen_lists(
    page: Page, report: Path
) -> None:
    page.open(report)
    choose(page, arm="(any)", seed="(any)", round="(any)", kind="(any)")
    every = page.run("found.textContent")
    assert every.startswith("51 of the 51 completions")
    type_in = "search.value = '{}'; search.dispatchEvent(new Event('input')); found.textContent"
    # 3 seeds in 3 iterations, in which logit refuses the one completion of the malicious node.
    assert page.run(type_in.format("SAMPLING SUPPORT")).startswith("9 of the 51 completions")
    assert page.run(type_in.format("nowhere to be found")).startswith("0 of the 51 completions")
    assert shown(page) == ""
    assert page.run(type_in.format("")) == every


def test_hovering_over_a_curve_shows_the_values_of_its_iteration(
    page: Page, run: Run, report: Path
) -> None:
    page.open(report)
    column = "document.querySelectorAll('.curves svg')[0].querySelectorAll('g.hover rect')[59]"
    x, y = page.run(
        f"{column}.scrollIntoView({{block: 'center'}}), (({{x, y, width, height}}) => "
        f"[x + width / 4, y + height / 2])({column}.getBoundingClientRect())"
    )
    assert page.run("document.getElementById('tip').hidden") is True
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    asr = {name: arm["asr"]["by_iteration"][59] for name, arm in run.summary["arms"].items()}
    assert page.run("document.getElementById('tip').innerText").split("\n") == [
        "iteration 60",
        *(f"{name}: {100 * value:.1f} %" for name, value in asr.items()),
    ]
    page.send("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert page.run("document.getElementById('tip').hidden") is True


def test_the_keyboard_reaches_every_list(page: Page, report: Path) -> None:
    page.open(report)
    reached = []
    for _ in range(12):
        for kind in ("keyDown", "keyUp"):
            page.send("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab",
                      windowsVirtualKeyCode=9)  # fmt: skip
        reached.append(page.run("document.activeElement.id || document.activeElement.tagName"))
    assert reached[2:9] == ["arm", "seed", "round", "kind", "refused", "search", "SUMMARY"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_nothing_is_cut_off(page: Page, report: Path, scheme: str) -> None:
    for width in (1280, 400):
        page.open(report, scheme=scheme, width=width)
        choose(page, kind="(any)", arm="logit", round=60)
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
        assert row[0].split("\n") == [arm, "60 iterations, 3 seeds"]
        assert [text.split("\n")[0] for text in row[1:]] == [cell.value for cell in cells]
    ((arm, defence, cells),) = defended.rows(run)
    assert second[0][0].split("\n") == [arm, defence]
    for cell, text in zip(cells, second[0][1:], strict=True):
        assert text.split("\n") == [cell.value, *cell.detail.split("\n")]
