"""The house stays in order: imports point downwards, no cycle, small files and functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src/swarmproof"
# Lowest first. A room imports those in front of it, and itself.
ROOMS = (
    *("types", "registry", "randomness", "config"),
    *("sandbox", "zoo", "tasks", "policies", "judges", "attacks", "defenses", "guard", "exchange"),
    *("records", "swarm", "engines", "tracking", "pretraining", "measure", "report"),
    *("reproduce", "board", "integrations", "scan"),
    *("experiments", "testing", "steps", "api", "cli"),
)
MAX_FILE, MAX_FUNCTION, MAX_BRANCHES = 350, 60, 12
_BRANCHES = (
    *(ast.If, ast.For, ast.While, ast.ExceptHandler, ast.IfExp),
    *(ast.comprehension, ast.BoolOp, ast.match_case),
)


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {name_of(path): path for path in files()}


def imports(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, wherever in it; for types only, too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules())
        if isinstance(node, ast.ImportFrom) and node.module in modules():
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules() else node.module


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_no_import_cycle() -> None:
    graph = {name: set(imports(path)) - {name} for name, path in modules().items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_imports_point_downwards(path: Path) -> None:
    here = room(name_of(path))
    if here in ("", "__main__"):  # the package's front door opens every room
        return
    assert here in ROOMS, f"{here} has no place in the house"
    for module in imports(path):
        there = room(module)
        assert there == "" or ROOMS.index(there) <= ROOMS.index(here), module


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION, node.name
            inside = [n for n in ast.walk(node) if isinstance(n, _BRANCHES)]
            assert len(inside) <= MAX_BRANCHES, f"{node.name} has {len(inside)} branches"


def test_public_names_are_defined_once() -> None:
    """A reader who meets `Trial` knows which one it is."""
    seen: dict[str, str] = {}
    for name, path in modules().items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                assert node.name not in seen, f"{node.name} is in {seen[node.name]} and in {name}"
                seen[node.name] = name
