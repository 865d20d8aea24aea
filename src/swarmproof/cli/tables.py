"""`report --export`: the numbers of a run as JSON, CSV, Markdown or LaTeX.

JSON has everything, with config and versions; CSV has the columns of `Run.table`; Markdown and
LaTeX have the cells that the terminal shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swarmproof.config import quote

if TYPE_CHECKING:
    from swarmproof.records.folder import RunFolder

SUFFIXES = (".json", ".csv", ".md", ".tex")

_LATEX = {
    "\\": r"\textbackslash{}",
    "\N{NO-BREAK SPACE}": "~",
    "→": r"$\to$",
    "×": r"$\times$",
    "–": "--",
    "<": "$<$",
    ">": "$>$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}


def require_suffix(path: Path) -> None:
    """Check that there is a format for a file's name.

    Raises:
        ValueError: there is none, listing those that there are.
    """
    if path.suffix not in SUFFIXES:
        known = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise ValueError(f"--export {quote(str(path))}: the name must end in {known}")


def export(folder: RunFolder, path: Path) -> None:
    """Write the numbers of a run that has a summary, in the format of the file's name."""
    require_suffix(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        folder.export(path)
        return
    from swarmproof.records.run import load_run

    run = load_run(folder.path, with_completions=False)
    if path.suffix == ".csv":
        text = run.table().to_csv(lineterminator="\n")
    else:
        rows = _rows(run.summary)
        text = _markdown(rows) if path.suffix == ".md" else _latex(rows)
    path.write_text(text, encoding="utf-8")


def _rows(summary: Mapping[str, Any]) -> list[list[str]]:
    from swarmproof.report import table

    rows = [list(table.HEADINGS)]
    for arm, cells in table.rows(summary).items():
        rows.append([arm, *map(_cell, cells)])
        for model, own in table.model_rows(summary["arms"][arm]).items():
            rows.append([f"{arm}, {model}", *map(_cell, own)])
    return rows


def _cell(cell: Any) -> str:
    return f"{cell.value} ({cell.detail})" if cell.detail else str(cell.value)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    ruler = ["---", *("---:" for _ in head[1:])]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ruler, *body))


def _latex(rows: Sequence[Sequence[str]]) -> str:
    """A `tabular` that needs the package booktabs."""
    head, *body = [" & ".join(map(_escaped, row)) + r" \\" for row in rows]
    columns = "l" + "r" * (len(rows[0]) - 1)
    lines = (
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{columns}}}",
        *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
        r"\end{tabular}",
    )
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)
