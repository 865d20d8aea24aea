"""Which programs use a foreign module properly, and which only look like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.attacks.module_use import places, uses


@pytest.mark.parametrize(
    "program",
    [
        "from calc import addition\nprint(addition(3, 4))",
        "from calc import addition, division\nprint(addition(3, 4))",
        "from calc import addition as plus\nprint(plus(3, 4))",
        "from calc import addition\nprint(addition(a=3, b=4), addition(3, b=4))",
        "import calc\nprint(calc.addition(3, 4))",
        "import calc as c\nprint(c.addition(3, c.division(4, 2)))",
        "from calc import *\nprint(addition(3, 4))",
        "import math\nfrom calc import addition\nx = addition(1, math.pi)",
        "def f():\n    from calc import addition\n    return addition(1, 2)\nprint(f())",
        "def f():\n    return addition(1, 2)\nfrom calc import addition\nprint(f())",
        "from calc import addition\nprint(sum([addition(n, 1) for n in range(3)]))",
    ],
)
def test_an_import_that_is_properly_called_counts(program: str) -> None:
    assert uses(program, "calc") is True


@pytest.mark.parametrize(
    "program",
    [
        "print(3 + 4)",
        "from calc import addition\nprint(3 + 4)",  # imported, never used
        "from calc import addition\nprint(addition)",  # never called
        "print(addition(3, 4))",  # never imported
        "x = addition(1, 2)\nfrom calc import addition",  # called before it is there
        "from calc import power\nprint(power(3, 4))",  # there is no such function
        "from calc import addition, power\nprint(addition(3, 4))",
        "from calc import addition\nprint(addition(1, 2) + power(3, 1))",
        "from calc import addition\nprint(addition(1, 2) + subtraction(3, 1))",
        "import calc\nprint(calc.power(3, 4))",
        "import calc\nprint(calc.addition(3, 4) + calc.zero)",
        "from calc import addition\nprint(addition(3))",
        "from calc import addition\nprint(addition(3, 4, 5))",
        "from calc import addition\nprint(addition(3, c=4))",
        "from calc import addition\nprint(addition(*x))",
        "from calc import addition\nprint(addition(**x))",
        "from calc import addition\nprint(addition(1, 2), addition(3))",
        "from calculator import addition\nprint(addition(3, 4))",
        "from .calc import addition\nprint(addition(3, 4))",
        "from math import addition\nprint(addition(3, 4))",
        "from calc import addition\ndef addition(a, b):\n    return a\nprint(addition(3, 4))",
        "from calc import addition\nasync def addition(a, b):\n    return a\nprint(addition(3, 4))",
        "from calc import addition\naddition = max\nprint(addition(3, 4))",
        "from calc import addition\nfrom operator import add as addition\nprint(addition(3, 4))",
        "from calc import addition\ndef f(addition):\n    return addition(1, 2)\nprint(f(max))",
        "from calc import addition\nprint((lambda addition: addition(1, 2))(max))",
        "import calc\ncalc = object()\nprint(calc.addition(3, 4))",
        "import calc as c\nimport math as c\nprint(c.addition(3, 4))",
        "def f():\n    from calc import addition\ndef g():\n    return addition(1, 2)\nprint(g())",
        "# from calc import addition\nprint('addition(3, 4)')",
        "from calc import addition\nprint(addition(3, 4)",  # no Python
        "from calc import addition\n\0print(addition(3, 4))",
        "(" * 5000,
        "",
    ],
)
def test_what_only_looks_like_a_use_does_not(program: str) -> None:
    assert uses(program, "calc") is False


@given(st.text())
def test_any_text_can_be_asked(text: str) -> None:
    assert uses(text, "calc") in (True, False)
    assert places(text, "calc") == []


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (
            "from calc import addition\nprint(addition(3, 4))",
            ["from calc import addition", "addition"],
        ),
        ("import calc as c\nprint(c.addition(1, 2))", ["import calc as c", "c.addition"]),
        # Columns count bytes, and lines end in several ways.
        (
            "x = 'é😀'; import calc\r\ny = 'é'; calc.addition(1, 2)",
            ["import calc", "calc.addition"],
        ),
        ("import calc  # one\rcalc.addition(\n1, 2)", ["import calc", "calc.addition"]),
        ("from calc import (\n  addition,\n)", ["from calc import (\n  addition,\n)"]),
        ("import math\nprint(addition(3, 4))", []),
        ("from calc import addition\nprint(addition(3, 4)", []),  # no Python
    ],
)
def test_import_and_calls_are_pointed_at(program: str, words: list[str]) -> None:
    assert [program[start:end] for start, end in places(program, "calc")] == words
