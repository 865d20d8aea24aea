"""The board as one HTML file that fetches nothing and runs no script, in light and dark.

Its links lead to the reports of the cells, in folders beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from swarmproof.board import scores
from swarmproof.records.folder import write_json
from swarmproof.records.versions import versions

PAGE, NUMBERS = "board.html", "board.json"


def write(board: Mapping[str, Any], out: Path) -> Path:
    """Write `board.html` and `board.json` into the folder `out`; the path of the page.

    Raises:
        OSError: the folder cannot be written.
    """
    made = versions()
    write_json(out / NUMBERS, {**board, "versions": made})
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("swarmproof.board"), jinja2.PackageLoader("swarmproof.report")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": scores.percent, "points": scores.points}
    page = environment.get_template("board.html.j2").render(
        definitions=board["definitions"],
        settings=board["settings"],
        colours={},
        told=scores.told,
        between=_between,
        between_points=_between_points,
        size=_size,
        versions=made,
    )
    path = out / PAGE
    temporary = path.with_name(f".{PAGE}.tmp")
    temporary.write_text(page, encoding="utf-8", errors="backslashreplace")
    temporary.replace(path)
    return path


def _between(row: Mapping[str, Any], ends: list[float] | None) -> str:
    """An interval in words, on a line of its own; empty if there is none."""
    if ends is None:
        return ""
    return f"\n95 %: {scores.told(row, max(0.0, ends[0]))} to {scores.told(row, ends[1])}"


def _between_points(ends: list[float] | None) -> str:
    return f"\n95 %: {scores.points(ends[0])} to {scores.points(ends[1])}" if ends else ""


def _size(row: Mapping[str, Any]) -> str:
    """`1 seed, 30 rounds`."""
    seeds = len(row["seeds"])
    return f"{seeds} seed{'s' * (seeds != 1)}, {row['rounds']} round{'s' * (row['rounds'] != 1)}"
