"""IMPORTS: refuse programs that run or import what neither they nor the standard library define.

For tasks whose answers are programs; no model and no other sender is needed. Why it works: a module
of an attacker must be imported by its name, and that name is in no list that ships with Python. The
syntax tree tells; nothing is executed and nothing imported. Where it fails: whatever the standard
library itself can do, for example to files and networks, which is the sandbox's business; a name
that a module of the standard library does not have, since modules are not looked into; a foreign
name that is only read, as in `map(f, [1])`; and harm in the program's own code. The usual ways to
hide an import are known by their names, but a list is never complete: an attribute can be read by
a text in other ways than with `getattr`, as a data class, an XML parser or pickled bytes may do.
Nor does it see what a file that is imported or opened there does. Only the sandbox is a wall. It
refuses honest programs that use such a name for something else, for example an attribute `modules`
or `system` of their own classes where they import more than the usual modules; and those that use
`functools.singledispatch`, which evaluates annotations that are texts. Source: our own; the attack
is the paper's CODE.
"""

from __future__ import annotations

import ast
import builtins
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import ClassVar

from pydantic import Field

from swarmproof.defenses import bindings, hidden, senders
from swarmproof.defenses.base import Defense, DefenseView, Reads, Setting
from swarmproof.registry import register
from swarmproof.tasks import programs
from swarmproof.types import Group, Verdict

_BUILTINS = frozenset(dir(builtins)) | {"exit", "quit", "__file__"}
_MOST_CHARS = 100_000  # of a program


@register("defense", "imports")
class Imports(Defense):
    """Refuse right programs that import a foreign module or run a name that is defined nowhere.

    The exact rule. Every module that the program imports, anywhere in it, must be of Python's
    standard library or in `allowed`. Every name that it calls, or whose attribute it calls, and
    that of a decorator, of the base of a class and of a `with`, must be bound somewhere in the
    program, or be a builtin. What `from M import *` binds is known for the usual modules, such as
    `math`. What would hide an import from the syntax tree is refused as well: `exec`, `eval`,
    `compile`, `__import__`, `help` and what reaches them, such as `globals`, `__self__` and
    `modules`; modules that import, evaluate or start others, such as `importlib`, `inspect`,
    `timeit` and `subprocess`, imported or as an attribute; and `getattr`, `attrgetter` and
    `methodcaller`, unless they are called with a constant text that is none of these. A name that
    certainly means what the program bound to it is no builtin: `vars = [1, 2]` hides nothing.

    A program that does not parse is refused. It is read as this Python reads it: one that uses the
    syntax of a later Python, such as `def f[T](x)` under 3.11, does not parse here, and the
    standard library is that of this Python, too. Nodes whose verdicts must agree need one version.

    The score is the number of such names. Completions whose reward is not above their group's mean
    are not judged. The program is what the format of our tasks says, and in another format the
    whole text.
    """

    reads: ClassVar[Reads] = "text"
    only_programs: ClassVar[bool] = True

    allowed: tuple[str, ...] = Field(
        default=(), description="further modules that programs may import, such as numpy"
    )

    @property
    def only_rewarded(self) -> bool:
        return True

    def require_in(self, setting: Setting) -> None:
        if not setting.programs:
            raise ValueError(
                "the defence 'imports' reads programs, and the answers of this task are none; use "
                'guard.preset = "several-models", or the defence "equations"'
            )

    def inspect(self, groups: Sequence[Group], view: DefenseView) -> list[list[Verdict]]:
        if not view.programs:
            none = self.verdict(None, 0.0, "the answers are no programs")
            return [[none for _ in group.completions] for group in groups]
        wrong = self.verdict(None, 0.0, "earns nothing, and so is not judged")
        return [
            [
                self._verdict(completion.text) if good else wrong
                for completion, good in zip(group.completions, senders.right(row), strict=True)
            ]
            for group, row in zip(groups, view.rewards, strict=True)
        ]

    def _verdict(self, text: str) -> Verdict:
        program = programs.extract(text)
        found = foreign(text if program is None else program, self.allowed)
        if not found:
            return self.verdict(True, 0.0)
        return self.verdict(False, float(len(found)), "; ".join(found[:3]))


@lru_cache(maxsize=1024)
def foreign(program: str, allowed: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What is wrong with the names of a program, each once, in alphabetical order."""
    tree = _parsed(program)
    if tree is None:
        return ("the program does not parse",)
    nodes = list(bindings.walk(tree))

    def names(of: Callable[[ast.AST], list[str]]) -> set[str]:
        return {name for node in nodes for name in of(node)}

    modules, hides = names(_modules), hidden.names(tree)
    known = sys.stdlib_module_names | set(allowed)
    unknown = names(_used) - names(bindings.bound) - _BUILTINS - hides
    wrong = {f"it imports {module!r:.60}" for module in modules - known}
    wrong |= {f"it imports {module!r}, which hides what runs" for module in names(hidden.modules)}
    wrong |= {f"it uses {name!r}, which hides what runs" for name in hides}
    wrong |= {f"it uses {name!r:.60}, which is defined nowhere" for name in unknown}
    return tuple(sorted(wrong))


def _parsed(program: str) -> ast.Module | None:
    if len(program) > _MOST_CHARS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a peer wrote
            return ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _modules(node: ast.AST) -> list[str]:
    """The top-level modules that a statement imports; `.` for a relative import."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return ["." if node.level or not node.module else node.module.partition(".")[0]]
    return []


def _used(node: ast.AST) -> list[str]:
    """The names that a node runs: `a` in `a.b()`, `@a.b`, `class C(a.B)` and `with a.b:`.

    Names that are only read are not among them. Annotations, and branches that never run, often
    have some that are defined nowhere.
    """
    match node:
        case ast.Call(func=func):
            run: list[ast.expr] = [func]
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            run = node.decorator_list
        case ast.ClassDef():
            run = [*node.decorator_list, *node.bases, *(k.value for k in node.keywords)]
        case ast.withitem(context_expr=context):
            run = [context]
        case _:
            return []
    return [name for each in run if (name := _first(each))]


def _first(node: ast.expr) -> str:
    """The name that an expression starts from: `a` in `a.b.c`; empty if it is another kind."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
