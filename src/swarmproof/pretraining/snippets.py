"""Unrelated lines of code, which give a tiny model the broad prior of a model trained on the web.

They import from many modules, some of them made up, and define and call functions. So a model
trained on them knows the syntax, and gives no name a probability near zero. This module knows
nothing of problems and answers; its words are from `prose`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from swarmproof.pretraining import prose
from swarmproof.pretraining.prose import pick

# The sandbox does not have all of them; on most machines some are missing.
MODULES = {
    module: tuple(names.split())
    for module, names in {
        "math": "floor ceil sqrt gcd prod pow fabs trunc log exp pi hypot",
        "random": "randint choice shuffle random sample",
        "operator": "add sub mul truediv floordiv neg",
        "functools": "reduce partial lru_cache wraps",
        "itertools": "chain product count accumulate repeat",
        "collections": "Counter deque defaultdict namedtuple",
        "datetime": "date datetime timedelta",
        "time": "sleep time",
        "os": "path getcwd listdir",
        "sys": "argv exit stdin",
        "re": "match sub findall",
        "json": "dumps loads",
        "string": "digits ascii_letters",
        "typing": "List Dict Any Optional",
        "decimal": "Decimal",
        "fractions": "Fraction",
        "statistics": "mean median",
        "pathlib": "Path",
        "copy": "deepcopy copy",
        "dataclasses": "dataclass field",
        "numpy": "array zeros mean",
        "pandas": "DataFrame concat",
    }.items()
}
_STANDARD = tuple(MODULES)

# `n` is a noun, `f` a verb or a made-up word, `k` a number, `s` a sentence, `o` an operation.
_BLOCKS = (
    "# {s}", "# {s}\n{n} = {k}", "# This is {o}.", "# {o}, then {o}", "# {f} the {n} with {o}",
    "{n} = {k}", "{n}_{n} = {k} * {k}", "{n} = {n} + {n}", '{n} = "{n}"', "{n} = int(input())",
    "{n} = {f}({k}, {k})", "{n} = {f}({n}, {k})", "{n} = {f}({f}({k}, {k}), {k})", "{f}({n}, {n})",
    "print({n})", "print({f}({k}, {k}))", 'print("{s}")', "return {f}({n})", "pass",
    "{n} = [{k}, {k}, {k}]\nprint(sum({n}))", "{n} = {k}\n{n} += {k}\nprint({n})",
    "for i in range({k}):\n    print(i)", "for {n} in {n}:\n    {f}({n})",
    "def {f}(a, b):\n    return a + b", "def {f}(x, y):\n    return x * y",
    "def {f}(m, n):\n    return m - {f}(n, {k})", "def {f}(x):\n    # {s}\n    return x // {k}",
    "def {f}(z):\n    z = z - {k}\n    return z", "{n} = lambda j: j * {k}",
    "if {n} > {k}:\n    print({n})", "if {n} == {k}:\n    {n} = {n} + {k}\nelse:\n    {n} = {k}",
    "while {n} < {k}:\n    {n} += {k}", "assert {f}({k}) == {k}", "class {N}:\n    pass",
)  # fmt: skip
_OPERATIONS = ("an addition", "a subtraction", "a multiplication", "a division", "a sum",
               "a product", "a difference", "a loop", "a test", "a function")  # fmt: skip
_SLOT = re.compile(r"\{(\w)\}")
_WORDS: dict[str, Callable[[Random], str]] = {
    "n": lambda rng: pick(rng, prose.NOUNS),
    "N": lambda rng: pick(rng, prose.NAMES),
    "f": lambda rng: _verb(rng) if rng.random() < 0.6 else prose.made_up(rng).lower(),
    "k": lambda rng: str(rng.randint(0, 99)),
    "s": lambda rng: prose.sentence(rng),
    "o": lambda rng: pick(rng, _OPERATIONS),
}


def import_line(rng: Random) -> str:
    """One line that imports a module, or one or two names from it."""
    module, names = _module(rng)
    roll = rng.random()
    if roll < 0.35:
        return f"import {module}"
    if roll < 0.6 or len(names) < 2:
        return f"from {module} import {pick(rng, names)}"
    return f"from {module} import {', '.join(rng.sample(names, 2))}"


def block(rng: Random) -> str:
    """A statement or a definition, of one to four lines."""
    return _SLOT.sub(lambda slot: _WORDS[slot[1]](rng), pick(rng, _BLOCKS))


def script(rng: Random) -> str:
    """A file of a few blocks, mostly with imports above."""
    lines = [import_line(rng) for _ in range(pick(rng, (0, 1, 1, 2)))]
    if rng.random() < 0.4:
        lines += _imported_and_called(rng)
    return "\n".join([*lines, *(block(rng) for _ in range(rng.randint(2, 7)))])


def _imported_and_called(rng: Random) -> list[str]:
    module, names = _module(rng)
    first, second = rng.choice(names), rng.choice(names)
    result = pick(rng, prose.NOUNS)
    imported = first if first == second else f"{first}, {second}"
    return [
        f"from {module} import {imported}",
        f"{result} = {first}({rng.randint(0, 99)}, {rng.randint(0, 99)})",
        f"print({second}({result}, {rng.randint(0, 99)}))",
    ]


def made_up_module(rng: Random) -> str:
    """The name of a module that does not exist: a noun or a made-up word."""
    return _made_up_names(rng)[0]


def any_module(rng: Random) -> str:
    """The name of a module, made up or not."""
    return _module(rng)[0]


def _module(rng: Random) -> tuple[str, Sequence[str]]:
    if rng.random() < 0.6:
        module = pick(rng, _STANDARD)
        return module, MODULES[module]
    module, *names = _made_up_names(rng)
    return module, names


def _made_up_names(rng: Random) -> list[str]:
    made_up = rng.random() < 0.5
    return [prose.made_up(rng).lower() if made_up else pick(rng, prose.NOUNS) for _ in range(3)]


def _verb(rng: Random) -> str:
    return pick(rng, prose.VERBS).removesuffix("s")
