"""The report is safe to open, whatever a completion holds, and says what the summary says.

In a real browser: test_browser.py.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from report.synthetic import HOSTILE, synthetic_run
from swarmproof.records.run import Run
from swarmproof.report import contents, html
from swarmproof.report.palette import arm_styles


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("report")
    return html.write(contents.of_run(run), out).read_text(encoding="utf-8")


def test_hostile_text_is_shown_and_never_markup(page: str) -> None:
    parsed = Tags(page)
    assert not {"img", "iframe", "link", "object", "base"} & set(parsed.tags)
    assert parsed.tags.count("script") == 2  # the data and what shows them
    assert not [name for name in parsed.attributes if name.startswith("on")]
    assert HOSTILE[:16] not in page
    assert "\\u003cscript\\u003ealert('x')" in page
    assert "{{ 7*7 }}" in parsed.text
    assert "\u202e" not in page
    assert "\0" not in page
    assert "⟨U+202E⟩⟨U+0000⟩" in parsed.text


def test_nothing_is_fetched_and_nothing_may_run(page: str) -> None:
    assert "default-src 'none'" in page
    assert "script-src 'sha256-" in page
    targets = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)""", page)
    assert targets  # the curves' own glyphs and clip paths
    assert all(target.startswith("#") for target in targets)
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page


def test_it_carries_table_curves_and_reasons(page: str, run: Run) -> None:
    text = Tags(page).text
    assert "<svg" in page
    assert "1 of 40 tokens outside the sampling support" in text
    refused = run.summary["arms"]["logit"]["refused"]["poisoned"]
    assert f"{refused['count']:,} of {refused['of']:,}" in text
    for arm, paragraph in contents.of_run(run).headline.items():
        assert f"{arm}: {paragraph}" in text


def test_light_and_dark(page: str, run: Run) -> None:
    assert "prefers-color-scheme: dark" in page
    svg = page[page.index("<svg") : page.rindex("</svg>")]
    # Lines and letters take the page's colours, so they are seen on both.
    assert "var(--ink)" in svg
    assert not re.search("#[0-9a-f]{6}", svg)
    for style in arm_styles(run.summary["arms"]).values():
        name = f"--arm-{style.colour[1:]}"
        assert f"{name}: {style.colour};" in page
        assert f"{name}: {style.dark};" in page
        assert f"var({name})" in svg


def test_one_seed_and_three_rounds_are_enough(run_of_one_seed: Run, tmp_path: Path) -> None:
    page = html.write(contents.of_run(run_of_one_seed), tmp_path).read_text(encoding="utf-8")
    assert "no intervals: one seed says nothing about other seeds" in page
    assert "an arm here has only 3, and the mean is over those" in page


def test_an_unfinished_run_says_so_at_every_arm(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path / "run", num_rounds=5, planned=80, seeds=(0,))
    text = Tags(html.write(contents.of_run(run), tmp_path).read_text(encoding="utf-8")).text
    # Once each in the sentences, at the keys and in the table.
    assert text.count("unfinished, iteration 5 of 80") == 9
    assert "The phrase spreads" not in text[: text.index("Settings of")]


def test_two_runs_share_a_page(run: Run, run_of_one_seed: Run, tmp_path: Path) -> None:
    both = contents.of_runs({"one": run, "<b>two": run_of_one_seed})
    page = html.write(both, tmp_path).read_text(encoding="utf-8")
    assert "<b>two" not in page
    text = Tags(page).text
    for name, part in (("one", run), ("<b>two", run_of_one_seed)):
        for arm, paragraph in contents.of_run(part).headline.items():
            assert f"{name}: {arm}: {paragraph}" in text
        assert f"Settings of {name}" in text
    keys = re.findall(r'class="key".*?color: var\((--arm-\w+)\)', page)
    assert len(set(keys[:6])) == 6
