"""A scan as one HTML file that fetches nothing and runs nothing, in light and dark.

Texts, names and paths are hostile: invisible characters are spelt out, the template escapes
everything, and a content policy forbids scripts and network.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2

from swarmproof.report.marks import visible
from swarmproof.scan.outcome import Excerpt, Scanned, Shown, false_alarms, heading

_FILES, _SENDERS, _BARS = 100, 20, 60
_WIDTH, _HEIGHT = 600.0, 64.0


def write(outcome: Scanned, path: Path) -> None:
    """Write the page.

    Raises:
        OSError: the file cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("swarmproof.scan"), jinja2.PackageLoader("swarmproof.report")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    files, skipped = outcome.source.files, outcome.source.skipped
    page = environment.get_template("scan.html.j2").render(
        colours={},
        heading=heading(outcome),
        notes=list(map(visible, outcome.notes)),
        findings=[_finding(each, outcome) for each in outcome.shown],
        files=[(visible(str(f.source.path)), f.format) for f in files[:_FILES]],
        more_files=max(0, len(files) - _FILES),
        skipped=list(map(visible, skipped[:_FILES])),
        num_skipped=len(skipped),
        version=version("swarmproof"),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8", errors="backslashreplace")


def _finding(shown: Shown, outcome: Scanned) -> dict[str, Any]:
    finding, honest = shown.finding, shown.finding.false_alarms
    senders = ", ".join(visible(name) for name in finding.senders[:_SENDERS])
    if len(finding.senders) > _SENDERS:
        senders += f" and {len(finding.senders) - _SENDERS} more"
    bars = _bars(shown.by_step, outcome.tally.steps)
    return {
        "check": visible(finding.check),
        "severity": finding.severity,
        "summary": visible(finding.summary),
        "strength": visible(finding.strength),
        "p_value": None if finding.p_value is None else f"{finding.p_value:.2g}",
        "count": f"{len(finding.ids):,}",
        "share": f"{100 * len(finding.ids) / max(1, outcome.tally.completions):.1f} % of all",
        "since": "–" if finding.since is None else f"{finding.since:,}",
        "honest": f"{honest.fired:,} of {honest.of:,}",
        "unit": visible(honest.unit),
        "false_alarms": visible(false_alarms(honest)),
        "senders": senders,
        "bars": bars,
        "bars_label": "Share of completions that show it, by step "
        f"{min(outcome.tally.steps)} to {max(outcome.tally.steps)}; a full bar is all of them"
        if bars
        else "",
        "excerpts": [_excerpt(each) for each in shown.excerpts],
    }


def _bars(found: Mapping[int, int], every: Mapping[int, int]) -> list[dict[str, str]]:
    """A bar for each step, or for each of `_BARS` runs of steps; none for a single step."""
    steps = sorted(every)
    if len(steps) < 2 or not found:
        return []
    size = -(-len(steps) // _BARS)
    runs = [steps[i : i + size] for i in range(0, len(steps), size)]
    width = _WIDTH / len(runs)
    bars = []
    for number, run in enumerate(runs):
        count, of = sum(found.get(step, 0) for step in run), sum(every[step] for step in run)
        height = _HEIGHT * count / of
        at = f"step {run[0]}" if len(run) == 1 else f"steps {run[0]} to {run[-1]}"
        bars.append(
            {
                "x": f"{number * width:.2f}",
                "width": f"{0.8 * width:.2f}",
                "y": f"{_HEIGHT - height:.2f}",
                "height": f"{height:.2f}",
                "title": f"{at}: {count:,} of {of:,}",
            }
        )
    return bars


def _excerpt(excerpt: Excerpt) -> dict[str, Any]:
    facts = [visible(excerpt.where)]
    facts += [] if excerpt.step is None else [f"step {excerpt.step}"]
    facts += [] if excerpt.sender is None else [f"from {visible(excerpt.sender)}"]
    facts += [] if excerpt.reward is None else [f"reward {excerpt.reward:g}"]
    return {
        "facts": facts,
        "prompt": visible(excerpt.prompt),
        "parts": [(visible(piece), marked) for piece, marked in excerpt.parts],
    }
