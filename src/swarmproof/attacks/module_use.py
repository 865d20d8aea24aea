"""Whether a program imports a foreign module and calls it properly, decided by its syntax tree.

No program is run here; that is the task of the sandbox.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from itertools import accumulate

# The functions of `programs.CALC`, by the operator that each replaces. All take a and b.
FUNCTIONS: dict[type[ast.operator], str] = {
    ast.Add: "addition",
    ast.Sub: "subtraction",
    ast.Mult: "multiplication",
    ast.Div: "division",
    ast.FloorDiv: "floor_division",
}
_KNOWN = frozenset(FUNCTIONS.values())
_BUILTINS = frozenset(dir(builtins))

Scope = tuple[int, ...]  # enclosing functions and classes, outermost first


@dataclass(frozen=True, slots=True)
class _Import:
    """A name that an import of the module binds, and where."""

    name: str  # `addition`, or `calc` for the module itself
    is_module: bool
    scope: Scope
    place: tuple[int, int]


def uses(program: str, module: str) -> bool:
    """Whether a program imports functions of the module and calls one of them properly.

    A proper call has the arguments a and b, comes after the import, and is in its scope. The result
    is False if the program uses an attribute that the module does not have, calls a function that
    is defined nowhere, or binds an imported name to something else. An import without a call does
    not count.
    """
    tree = parse(program)
    if tree is None:
        return False
    nodes = list(_walk(tree, ()))
    imports, bound = _imports(nodes, module), _names_bound(nodes, module)
    imported = {found.name for found in imports}
    if not imports or bound & imported:
        return False
    defined = bound | imported | _BUILTINS
    if any(_would_fail(node, imports, defined) for node, _ in nodes):
        return False
    calls = ((node, scope) for node, scope in nodes if isinstance(node, ast.Call))
    return any(_is_proper(node, scope, imports) for node, scope in calls)


def _would_fail(node: ast.AST, imports: list[_Import], defined: Set[str]) -> bool:
    """Whether a part of a program asks for something that the module, or nobody, has."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        whole = any(found.is_module and found.name == node.value.id for found in imports)
        return whole and node.attr not in _KNOWN
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Name) and node.func.id not in defined:
        return True
    return _called(node, imports) is not None and not _takes_two(node)


def _is_proper(node: ast.Call, scope: Scope, imports: list[_Import]) -> bool:
    """Whether a call is of an imported function, after its import and in its scope."""
    called = _called(node, imports)
    if called is None:
        return False
    seen = called.scope == scope[: len(called.scope)]
    return seen and (called.place < (node.lineno, node.col_offset) or called.scope != scope)


def places(program: str, module: str) -> list[tuple[int, int]]:
    """Spans, in characters, of the imports of the module and of the names of called functions."""
    tree = parse(program)
    if tree is None:
        return []
    nodes = list(_walk(tree, ()))
    imports = _imports(nodes, module)
    statements = {found.place for found in imports}
    lines = re.findall(r".*?(?:\r\n|\r|\n|$)", program, re.DOTALL)
    starts = [0, *accumulate(map(len, lines))]

    def at(line: int, column: int) -> int:
        # The tree counts columns in bytes.
        before = lines[line - 1].encode()[:column]
        return starts[line - 1] + len(before.decode(errors="ignore"))

    found = []
    for node, _ in nodes:
        named: ast.stmt | ast.expr
        if isinstance(node, ast.stmt) and (node.lineno, node.col_offset) in statements:
            named = node
        elif isinstance(node, ast.Call) and _called(node, imports):
            named = node.func
        else:
            continue
        end = named.end_lineno or named.lineno, named.end_col_offset or named.col_offset
        found.append((at(named.lineno, named.col_offset), at(*end)))
    return sorted(found)


def parse(program: str) -> ast.Module | None:
    """The syntax tree of an untrusted program; None if it does not parse."""
    try:
        return ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _walk(node: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, Scope]]:
    """All nodes with their scopes. Iterative, so that a deeply nested program is no problem."""
    waiting = [(node, scope)]
    while waiting:
        node, scope = waiting.pop()
        yield node, scope
        opens = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda)
        inner = (*scope, id(node)) if opens else scope
        waiting += [(child, inner) for child in ast.iter_child_nodes(node)]


def _imports(nodes: list[tuple[ast.AST, Scope]], module: str) -> list[_Import]:
    """What the program imports from the module; empty if it imports a name that does not exist."""
    found = []
    for node, scope in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == module and not node.level:
            place = (node.lineno, node.col_offset)
            for alias in node.names:
                names = _KNOWN if alias.name == "*" else {alias.asname or alias.name}
                if alias.name not in _KNOWN | {"*"}:
                    return []
                found += [_Import(name, False, scope, place) for name in sorted(names)]
        elif isinstance(node, ast.Import):
            place = (node.lineno, node.col_offset)
            whole = [alias for alias in node.names if alias.name == module]
            found += [_Import(alias.asname or module, True, scope, place) for alias in whole]
    return found


def _names_bound(nodes: list[tuple[ast.AST, Scope]], module: str) -> set[str]:
    """Names that the program binds to anything except the module and its functions."""
    bound: set[str] = set()
    for node, _ in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                bound.add(name)
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)) | ast.arg(arg=name):
                bound.add(name)
            case ast.ImportFrom() if node.module != module or node.level:
                bound |= {alias.asname or alias.name for alias in node.names}
            case ast.Import():
                others = (alias for alias in node.names if alias.name != module)
                bound |= {(a.asname or a.name).partition(".")[0] for a in others}
    return bound


def _called(call: ast.Call, imports: list[_Import]) -> _Import | None:
    """The import that a call refers to."""
    match call.func:
        case ast.Name(id=name):
            return next((i for i in imports if i.name == name and not i.is_module), None)
        case ast.Attribute(value=ast.Name(id=name)):
            return next((i for i in imports if i.name == name and i.is_module), None)
    return None


def _takes_two(call: ast.Call) -> bool:
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return False
    given = ["a", "b"][: len(call.args)] + [keyword.arg or "**" for keyword in call.keywords]
    return len(call.args) <= 2 and sorted(given) == ["a", "b"]
