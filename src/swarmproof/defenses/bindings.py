"""What a Python program binds: the names, where they hold, and what `from math import *` brings.

Knows no defence, and runs and imports nothing of the program. Time and memory are linear in the
length of the program, because programs come from peers.
"""

from __future__ import annotations

import ast
import bisect
import cmath
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import heapq
import itertools
import math
import operator
import random
import re
import statistics
import string
import time
import types
import typing
from collections.abc import Collection, Iterator
from functools import cache
from typing import NamedTuple

Names = frozenset[str]

# Modules whose names are known here, for `from math import *`.
STARRED = (math, cmath, random, itertools, functools, collections, operator, fractions, decimal,
           statistics, string, datetime, re, heapq, bisect, typing, dataclasses, enum, copy,
           time)  # fmt: skip


def walk(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes. Iterative, so that a deeply nested program is no problem."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += ast.iter_child_nodes(node)


def bound(node: ast.AST) -> list[str]:
    """The names that a node binds, in whatever scope."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return [name]
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.ClassDef(name=name) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
            return [name]
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return [name]
        case ast.MatchMapping(rest=str(name)):
            return [name]
        case ast.ImportFrom(module=module, names=[ast.alias(name="*")]):
            return [*_public(module or "")]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [(alias.asname or alias.name).partition(".")[0] for alias in names]
    if _is_type_parameter(node):
        return [str(getattr(node, "name", ""))]
    return []


def _is_type_parameter(node: ast.AST) -> bool:
    return type(node).__name__ in ("TypeVar", "ParamSpec", "TypeVarTuple")  # of Python 3.12


_OF_SYS = frozenset(
    ("argv", "exit", "maxsize", "setrecursionlimit", "stderr", "stdin", "stdout", "version_info")
)


@cache
def _public(module: str) -> Names:
    """The names that `from MODULE import *` binds, if they are known here."""
    for known in STARRED:
        if known.__name__ == module:
            listed = getattr(known, "__all__", None)
            return frozenset(listed or (name for name in dir(known) if name[0] != "_"))
    return frozenset()


@cache
def without_modules(module: str) -> Names:
    """The public names of a module that is known here, except those that are modules."""
    for known in STARRED:
        if known.__name__ == module:
            values = ((name, getattr(known, name)) for name in _public(module))
            return frozenset(n for n, v in values if not isinstance(v, types.ModuleType))
    return _OF_SYS if module == "sys" else frozenset()


class _Scope(NamedTuple):
    """What a function, lambda, comprehension or class binds, and what it declares as global."""

    binds: set[str]
    outside: set[str]


class _Watched(NamedTuple):
    names: Names
    never: Names
    deleted: set[str]  # anywhere in the program

    def bound(self, node: ast.AST) -> Names:
        found = self.names.intersection(bound(node))
        return found - self.never if isinstance(node, ast.ImportFrom) else found

    def kept(self, found: Collection[str]) -> Names:
        return self.names.intersection(found) - self.deleted


def with_own(
    tree: ast.Module, names: Names, never: Names = frozenset()
) -> Iterator[tuple[ast.AST, Names]]:
    """All nodes, each with those of `names` that there certainly mean what the program bound.

    In a function, a name that it binds is no builtin. In a module it is one until it is bound, and
    after it is deleted. So there it counts in what comes after its binding in the same block, and
    only if the program deletes it nowhere.

    Args:
        names: those that are looked for, a short list.
        never: those that are not the program's own if an import binds them.
    """
    watched = _Watched(names, never, set())
    scopes = _scopes(tree, watched)
    waiting: list[tuple[ast.AST, Names, bool]] = [(tree, frozenset(), True)]
    while waiting:
        node, own, of_module = waiting.pop()
        yield node, own
        if scope := scopes.get(id(node)):
            outer, inner = _parts(node)
            waiting += ((child, own, False) for child in outer)
            inside = _inside(node, own, scope)
            waiting += ((child, inside, False) for child in inner)
        elif of_module:
            waiting += ((child, known, True) for child, known in _in_turn(node, own, watched))
        else:
            waiting += ((child, own, False) for child in ast.iter_child_nodes(node))


def _in_turn(node: ast.AST, own: Names, watched: _Watched) -> Iterator[tuple[ast.AST, Names]]:
    """The children of a node of the module, each with what is bound before it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt):
            yield child, own
    for name, block in ast.iter_fields(node):
        now = own | watched.kept(_at_first(node) if name == "body" else ())
        for statement in block if isinstance(block, list) else ():
            if isinstance(statement, ast.stmt):
                yield statement, now
                now |= watched.kept(_afterwards(statement, watched))


def _inside(node: ast.AST, own: Names, scope: _Scope) -> Names:
    # Before a class binds a name, it may mean the builtin, whatever is around the class.
    found = own - scope.binds if isinstance(node, ast.ClassDef) else own | scope.binds
    return frozenset(found - scope.outside)


def _at_first(node: ast.AST) -> list[str]:
    """What is bound in the body of a `for` or `with` before its first statement."""
    match node:
        case ast.For(target=target) | ast.AsyncFor(target=target):
            return [*_targets(target)]
        case ast.With(items=items) | ast.AsyncWith(items=items):
            return [name for item in items for name in _targets(item.optional_vars)]
    return []


def _afterwards(node: ast.stmt, watched: _Watched) -> Collection[str]:
    """What is certainly bound after a statement, if the program goes on."""
    match node:
        case ast.Assign(targets=targets):
            return [name for target in targets for name in _targets(target)]
        case ast.AnnAssign(target=target, value=ast.expr()):
            return [*_targets(target)]
        case ast.Import() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return bound(node)
        case ast.ImportFrom():
            return watched.bound(node)
    return []


def _targets(target: ast.expr | None) -> Iterator[str]:
    """The names in the target of an assignment."""
    waiting = [target]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Tuple | ast.List):
            waiting += node.elts
        elif isinstance(node, ast.Starred):
            waiting.append(node.value)
        elif isinstance(node, ast.Name):
            yield node.id


def _scopes(tree: ast.Module, watched: _Watched) -> dict[int, _Scope]:
    """What each scope binds, by the id of its node. Fills `watched.deleted`."""
    scopes: dict[int, _Scope] = {}
    waiting: list[tuple[ast.AST, _Scope]] = [(tree, _Scope(set(), set()))]
    while waiting:
        node, scope = waiting.pop()
        outer, inner = _parts(node)
        if inner:
            parameters = watched.names.intersection(_parameters(node))
            scopes[id(node)] = inside = _Scope(set(parameters), set())
            waiting += ((child, inside) for child in inner)
        match node:
            case ast.Global(names=declared):
                scope.outside.update(watched.names.intersection(declared))
            case ast.Name(id=name, ctx=ast.Del()) | ast.ExceptHandler(name=str(name)):
                watched.deleted.add(name)
            case ast.NamedExpr(value=value):  # it does not bind in a comprehension around it
                outer = [value]
        if not isinstance(node, ast.arg) and not _is_type_parameter(node):  # of what is inside
            scope.binds.update(watched.bound(node))
        waiting += ((child, scope) for child in outer)
    return scopes


def _parts(node: ast.AST) -> tuple[list[ast.AST], list[ast.AST]]:
    """The children of a node, and those that it evaluates in a scope of its own.

    Decorators, defaults and the first iterable of a comprehension are evaluated outside.
    """
    inner: list[ast.AST] = []
    match node:
        case ast.FunctionDef(body=body) | ast.AsyncFunctionDef(body=body) | ast.ClassDef(body=body):
            inner = [*body]
        case ast.Lambda(body=value):
            inner = [value]
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            first, *others = node.generators
            told = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            return [first.iter], [*told, first.target, *first.ifs, *others]
        case _:
            return [*ast.iter_child_nodes(node)], []
    into = {id(child) for child in inner}
    return [child for child in ast.iter_child_nodes(node) if id(child) not in into], inner


def _parameters(node: ast.AST) -> list[str]:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return []
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [argument.arg for argument in named if argument]
