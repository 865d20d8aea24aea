"""The report as one HTML file that fetches nothing, in light and dark.

Completions are hostile text. Invisible characters in them are spelt out, the template escapes
everything, and a content policy forbids the page to fetch anything and to run anything but the one
script that ships with it, which the policy names by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import jinja2
from markupsafe import Markup

from swarmproof.report import completions, curves, defended, keys, table
from swarmproof.report.contents import Contents
from swarmproof.report.palette import MAX_COLOURS, arm_styles

_SCRIPTS = ("curves.js", "completions.js")


def write(contents: Contents, out: Path) -> Path:
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
    run = contents.run
    arms = run.summary["arms"]
    styles = arm_styles(arms)
    colours = {style.colour: style.dark for style in styles.values()}
    folder = files("swarmproof.report").joinpath("templates")
    script = "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in _SCRIPTS)
    page = environment.get_template("report.html.j2").render(
        summary=run.summary,
        title=contents.title,
        notes=contents.notes,
        states=contents.states,
        headline=contents.headline,
        headings=table.HEADINGS,
        legend=table.legend(run.summary),
        rows=table.rows(run.summary),
        model_rows={name: table.model_rows(arm) for name, arm in arms.items()},
        colours=colours,
        colours_repeat=len(styles) > MAX_COLOURS,
        keys={name: Markup(keys.svg(style)) for name, style in styles.items()},
        curves=[Markup(_with_variables(drawing, colours)) for drawing in curves.panel_svgs(run)],
        lost=list(table.lost(run.summary)),
        defended_headings=defended.HEADINGS,
        defended=defended.rows(run),
        completions=Markup(completions.as_json(run)),
        per_kind=completions.PER_KIND,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        configs={
            name: json.dumps(config, indent=2, ensure_ascii=False)
            for name, config in contents.configs.items()
        },
    )
    path = out / "report.html"
    path.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path


def _with_variables(drawing: str, colours: Iterable[str]) -> str:
    """A drawing with the page's variables for its colours, so that it suits light and dark.

    It is our own: arms' names are escaped in it.
    """
    drawing = drawing[drawing.index("<svg") :]
    variables = {curves.INK: "var(--ink)", curves.FAINT: "var(--line)"}
    variables |= {colour: keys.variable(colour) for colour in colours}
    for colour, variable in variables.items():
        drawing = drawing.replace(colour, variable)
    return drawing
