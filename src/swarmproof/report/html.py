"""The report of a run: one HTML file that asks nothing of a network, in light and dark.

Completions are hostile text. What cannot be seen in them is spelt out, the template escapes
everything, and a content policy forbids the page to fetch anything and to run anything but the one
script that ships with it, which is named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from swarmproof.report import completions, curves, defended
from swarmproof.report.headline import headline
from swarmproof.report.palette import arm_colours
from swarmproof.report.table import HEADINGS, model_rows, rows

if TYPE_CHECKING:
    from swarmproof.records.folder import Run

_SCRIPT = files("swarmproof.report").joinpath("templates/completions.js")


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
    script = _SCRIPT.read_text(encoding="utf-8")
    page = environment.get_template("report.html.j2").render(
        summary=run.summary,
        title=run.config.get("title") or run.summary["experiment"],
        headline=headline(run.summary, run.config),
        headings=HEADINGS,
        rows=rows(run.summary),
        model_rows={name: model_rows(arm) for name, arm in run.summary["arms"].items()},
        colours=colours,
        curves=[Markup(_inline_svg(run, panel)) for panel in (*curves.PANELS, curves.HELDOUT)],
        defended_headings=defended.HEADINGS,
        defended=defended.rows(run),
        completions=Markup(completions.as_json(run)),
        per_kind=completions.PER_KIND,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        config=json.dumps(run.config, indent=2, ensure_ascii=False),
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def _inline_svg(run: Run, panel: curves.Panel) -> str:
    """A panel with the page's own colours for text and grid, so that they suit light and dark.

    Our own drawing: arms' names are glyph outlines in it, no text that could be markup.
    """
    drawing = curves.svg(run, [panel], transparent=True)
    drawing = drawing[drawing.index("<svg") :]
    variables = {curves.INK: "--ink", curves.FAINT: "--line"}
    for colour in arm_colours(run.summary["arms"]).values():
        variables[colour] = f"--arm-{colour[1:]}"
    for colour, variable in variables.items():
        drawing = drawing.replace(colour, f"var({variable})")
    return drawing
