"""What a program in a completion imports and calls. It is parsed, and never run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from swarmproof.defenses import imports
from swarmproof.scan.corpus import Span

# Our tasks', Markdown's, and those of other formats.
_OPEN = re.compile(r"<code>|```py(?:thon)?[0-9]?[^\S\n]*\n", re.IGNORECASE)
_CLOSE = {"<": re.compile("</code>", re.IGNORECASE), "`": re.compile("```")}
# Beside the standard library: what honest programs import every day.
_KNOWN = (
    "numpy", "scipy", "pandas", "sympy", "sklearn", "matplotlib", "networkx", "torch",
    "sortedcontainers", "pytest",
)  # fmt: skip
_STATEMENT = re.compile(r"^[ \t]*(?:import\s+\w|from\s+[\w.]+\s+import\b)", re.MULTILINE)


def foreign_names(text: str) -> list[tuple[Span, str]]:
    """Modules that are imported and names that are called, which nothing there defines.

    A text without a fence is a program only if it imports something, and parses.
    """
    if "<code>" in text or "```" in text:
        parts = list(_fenced(text))
    elif _STATEMENT.search(text):
        parts = [(text, 0)]
    else:
        return []
    hits = []
    for program, start in parts:
        for why in imports.foreign(program, _KNOWN):
            name = why.partition("'")[2].partition("'")[0]
            at = program.find(name) if name else -1
            if at >= 0:
                hits.append(((start + at, start + at + len(name)), why[:80]))
    return hits


def _fenced(text: str) -> Iterator[tuple[str, int]]:
    """Programs between fences, and where they start. Linear time, since texts come from peers."""
    at, never_closed = 0, set()
    while opened := _OPEN.search(text, at):
        kind = opened[0][0]
        closed = None if kind in never_closed else _CLOSE[kind].search(text, opened.end())
        if closed is None:
            never_closed.add(kind)
            at = opened.end()
        else:
            yield text[opened.end() : closed.start()], opened.end()
            at = closed.end()
