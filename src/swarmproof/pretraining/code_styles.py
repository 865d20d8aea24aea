"""Right programs in other styles than the task's own: functions, imports, comments, long programs.

Takes the four programs of `code_words.write`, and changes the style of one of them, but not its
output (unless it imports a module that does not exist). Most programs stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from swarmproof.pretraining import prose, snippets
from swarmproof.pretraining.prose import pick

# The second name of each is that of the module `operator`.
_HELPERS = {
    "+": ("plus", "add", "join", "both"), "-": ("minus", "sub", "take", "less"),
    "*": ("times", "mul", "many", "grow"), "//": ("per", "floordiv", "split", "share_of"),
    "/": ("per", "truediv", "split", "share_of"),
}  # fmt: skip
REMARKS = {
    "+": ("Now there are more, so we add.", "Put them together with an addition.",
          "Add the new ones."),
    "-": ("Some of them are gone.", "Take them away with a subtraction.", "Find the difference."),
    "*": ("There are many times as many.", "This is a multiplication.",
          "Multiply the two numbers."),
    "/": ("They are put into equal parts.", "This is a division.",
          "Divide by the number of parts."),
}  # fmt: skip
GIVEN = ("This number is given in the story.", "The story says how many there are of them.")
OPENINGS = ("Let us solve this step by step, one line of the program for each of the steps.",
             "We go through the story in order and write down what happens to the number.",
             "First we read the question again, and then we compute what it asks for.")  # fmt: skip
CLOSINGS = ("That was the last step of the story, so this is the number that we have to print.",
             "Now every number in the story is used, and we can print the answer.")  # fmt: skip
_ASSIGNMENT = re.compile(r"^(\w+ = )(\w+) (\*|//?|[+-]) (\w+)$", re.MULTILINE)
_PRINT = re.compile(r"print\((\w+)\)$")


def restyle(rng: Random, solutions: Sequence[str]) -> str:
    """One of the task's programs, sometimes in another style."""
    by_variables, expression, one_variable, by_inputs = solutions
    roll = rng.random()
    for share, change in _CHANGES:
        roll -= share
        if roll < 0:
            return change(rng, pick(rng, (by_variables, by_variables, by_inputs)))
    return pick(rng, (by_variables,) * 5 + (by_inputs,) * 3 + (one_variable,) * 2 + (expression,))


def _function(rng: Random, program: str) -> str:
    name = pick(rng, ("solve", "main", "answer", "count", "run"))
    body = _PRINT.sub(r"return \1", _bare(program)).replace("\n", "\n    ")
    return f"def {name}():\n    {body}\n\nprint({name}())"


def _calls(rng: Random, program: str) -> str:
    """The first operation, or all, replaced by calls to functions that are defined above."""
    style = rng.randrange(4)
    program, names = _called(_bare(program), style, count=pick(rng, (0, 1)))
    a, b = pick(rng, (("a", "b"), ("x", "y"), ("m", "n")))
    above = (
        f"def {name}({a}, {b}):\n    return {a} {sign} {b}\n\n" for sign, name in names.items()
    )
    return "".join(above) + program


def _imports(rng: Random, program: str) -> str:
    """All operations replaced by calls to imported functions. The module may not exist."""
    style = rng.randrange(4)
    program, names = _called(_bare(program), style, count=0)
    module = "operator" if style == 1 else snippets.made_up_module(rng)
    return f"from {module} import {', '.join(names.values())}\n{program}"


def with_import(rng: Random, program: str) -> str:
    """Some operations replaced by calls to an unneeded module; unchanged without operations."""
    called, helpers = _called(_bare(program), rng.randrange(4), count=pick(rng, (0, 1, 1)))
    if not helpers:
        return program
    module = snippets.any_module(rng)
    whole = rng.random() < 0.25
    names = []
    for helper in dict.fromkeys(helpers.values()):
        name = prose.made_up(rng).lower() if rng.random() < 0.5 else helper
        names.append(name)
        called = re.sub(rf"\b{helper}\(", f"{module}.{name}(" if whole else f"{name}(", called)
    first = f"import {module}" if whole else f"from {module} import {', '.join(names)}"
    return f"{first}\n{called}"


def _called(program: str, style: int, count: int) -> tuple[str, dict[str, str]]:
    """The program with calls for its first `count` operations (0: all); function names by sign."""
    names: dict[str, str] = {}

    def call(found: re.Match[str]) -> str:
        target, left, sign, right = found.groups()
        name = names.setdefault(sign, _HELPERS[sign][style])
        return f"{target}{name}({left}, {right})"

    return _ASSIGNMENT.sub(call, program, count=count), names


def _with_math(rng: Random, program: str) -> str:
    name = pick(rng, ("floor", "ceil", "trunc", "fabs"))
    printed = _PRINT.sub(rf"print({name}(\1))", _bare(program))
    return f"from math import {pick(rng, (name, f'{name}, sqrt', f'gcd, {name}'))}\n{printed}"


def _commented(rng: Random, program: str) -> str:
    return "\n".join(_remarked(rng, line, share=0.5) for line in _bare(program).split("\n"))


def _at_length(rng: Random, program: str) -> str:
    *steps, last = _bare(program).split("\n")
    told = [
        _remarked(rng, step, share=1) if _ASSIGNMENT.match(step)
        else f"# {pick(rng, GIVEN)}\n{step}"
        for step in steps
    ]  # fmt: skip
    return "\n".join([f"# {pick(rng, OPENINGS)}", *told, f"# {pick(rng, CLOSINGS)}", last])


# With their shares of all programs. A policy that is rewarded for length can learn the long one.
_CHANGES: tuple[tuple[float, Callable[[Random, str], str]], ...] = (
    (0.04, _function), (0.08, _calls), (0.10, _imports), (0.03, _with_math), (0.05, _commented),
    (0.06, _at_length),
)  # fmt: skip


def _bare(program: str) -> str:
    return re.sub(r"  # .*", "", program)


def _remarked(rng: Random, line: str, share: float) -> str:
    found = _ASSIGNMENT.match(line)
    if found is None or rng.random() > share:
        return line
    return f"# {pick(rng, REMARKS[found[3][0]])}\n{line}"
