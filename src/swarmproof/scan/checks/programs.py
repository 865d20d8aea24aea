"""What a program in a completion imports and calls. It is parsed, and never run."""

from __future__ import annotations

import re

from swarmproof.defenses import imports
from swarmproof.scan.corpus import Span

# Our tasks', Markdown's, and those of other formats.
_FENCED = re.compile(
    r"<code>\s*\n?(.*?)</code>|```(?:python|py)[^\n]*\n(.*?)```", re.DOTALL | re.IGNORECASE
)
_STATEMENT = re.compile(r"^\s*(?:import\s+\w|from\s+[\w.]+\s+import\b)", re.MULTILINE)


def foreign_names(text: str) -> list[tuple[Span, str]]:
    """Modules that are imported and names that are called, which nothing there defines.

    A text without a fence is a program only if it imports something, and parses.
    """
    if "<code>" in text or "```" in text:
        found = list(_FENCED.finditer(text))
        parts = [
            (m[1] or m[2] or "", m.start(1) if m[1] is not None else m.start(2)) for m in found
        ]
    elif _STATEMENT.search(text):
        parts = [(text, 0)]
    else:
        return []
    hits = []
    for program, start in parts:
        for why in imports.foreign(program):
            name = why.partition("'")[2].partition("'")[0]
            at = program.find(name) if name else -1
            if at >= 0:
                hits.append(((start + at, start + at + len(name)), why[:80]))
    return hits
