"""The report of a run: one HTML file that asks nothing of a network, in light and dark.

Completions are hostile text. The template escapes everything, what cannot be seen is spelt out,
and a content policy forbids the page to run or to fetch anything.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from swarmproof import registry
from swarmproof.report import curves
from swarmproof.report.headline import headline
from swarmproof.report.palette import arm_colours
from swarmproof.report.table import HEADINGS, model_rows, percent, rows

if TYPE_CHECKING:
    from swarmproof.records import Run

# Longer completions are cut in the report; the run folder has them whole.
MAX_TEXT = 1200
_SHOWN = {False: 2, True: 1}  # completions per round in the sample: honest, poisoned


def write(run: Run, out: Path) -> Path:
    """Write `report.html` into the folder `out`; its path.

    Raises:
        ValueError: no arm has a round yet.
        OSError: the folder cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("swarmproof.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    colours = arm_colours(run.summary["arms"])
    page = environment.get_template("report.html.j2").render(
        summary=run.summary,
        title=run.config.get("title") or run.summary["experiment"],
        headline=headline(run.summary, run.config),
        headings=HEADINGS,
        rows=rows(run.summary),
        model_rows={name: model_rows(arm) for name, arm in run.summary["arms"].items()},
        colours=colours,
        percent=percent,
        curves=Markup(_inline_svg(run)),
        samples={arm: samples(run, arm) for arm in run.summary["arms"]},
        phrases={arm: success_phrase(run.config["arms"][arm]) for arm in run.summary["arms"]},
        config=json.dumps(run.config, indent=2, ensure_ascii=False),
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def samples(run: Run, arm: str) -> list[dict[str, Any]]:
    """A few completions of the first and the last round of an arm's first seed.

    The first by slot, not chosen by content: what a reader sees is what there was.
    """
    ours = run.completions[run.completions["arm"] == arm]
    if ours.empty:
        return []
    ours = ours[ours["seed"] == ours["seed"].iloc[0]]
    chosen = []
    for number in dict.fromkeys([ours["round"].min(), ours["round"].max()]):
        in_round = ours[ours["round"] == number]
        for poisoned, count in _SHOWN.items():
            some = in_round[in_round["poisoned"] == poisoned].head(count)
            for row in some.to_dict("records"):
                row["text"] = visible(row["text"])
                row["verdicts"] = [v | {"reason": visible(v["reason"])} for v in row["verdicts"]]
                chosen.append({str(key): value for key, value in row.items()})
    return chosen


def visible(text: str) -> str:
    """Cut to `MAX_TEXT` characters; control and direction characters spelt out, as `⟨U+202E⟩`."""
    more = len(text) - MAX_TEXT
    shown = "".join(
        character
        if character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co")
        else f"⟨U+{ord(character):04X}⟩"
        for character in text[:MAX_TEXT]
    )
    return f"{shown} … ({more:,} more characters)" if more > 0 else shown


def success_phrase(trial: Mapping[str, Any]) -> str | None:
    """The phrase that an attack wants to see, if it has one: a parameter called `phrase`."""
    table = trial["attack"]
    if "phrase" not in table:
        plugin = registry.plugins("attack").get(table.get("name", ""))
        field = plugin.model_fields.get("phrase") if plugin else None
        phrase = field.default if field else None
    else:
        phrase = table["phrase"]
    return phrase if isinstance(phrase, str) and phrase else None


def _inline_svg(run: Run) -> str:
    """The curves with the page's own colours for text and grid, so that they suit light and dark.

    Our own drawing: arms' names are glyph outlines in it, no text that could be markup.
    """
    drawing = curves.svg(run, transparent=True)
    drawing = drawing[drawing.index("<svg") :]
    variables = {curves.INK: "--ink", curves.FAINT: "--line"}
    for colour in arm_colours(run.summary["arms"]).values():
        variables[colour] = f"--arm-{colour[1:]}"
    for colour, variable in variables.items():
        drawing = drawing.replace(colour, f"var({variable})")
    return drawing
