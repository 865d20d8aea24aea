"""Imports: foreign names are refused, whatever hides them, and honest programs pass."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.attacks import CodeInjection
from swarmproof.defenses import DefenseView, Imports
from swarmproof.defenses.base import Setting
from swarmproof.tasks import CodeWords, programs
from swarmproof.types import Group, Verdict

TASK = CodeWords(train=200, test=50)


PLAIN = Imports()


def judged(text: str, defense: Imports = PLAIN, reward: float = 1.0) -> Verdict:
    view = DefenseView(rewards=[[reward, 1 - reward]], seed=0, programs=True)
    ((verdict, _),) = defense.inspect([Group.of("?", [text, "x"])], view)
    return verdict


HONEST = {
    "arithmetic": "a = 2\nb = a + 2\nprint(b)",
    "standard library": "import math\nfrom fractions import Fraction\n"
    "print(math.floor(Fraction(7, 2)))",
    "submodule": "import os.path as p\nimport xml.dom\nprint(len(p.sep), xml.dom)",
    "function": "def total(*a, k=1, **kw):\n    return sum(a)\nprint(total(1, 2))",
    "recursion": "def f(n):\n    return n and f(n - 1)\nprint(f(3))",
    "lambda": "f = lambda g: g(2)\nprint(f(abs))",
    "argument that is called": "def f(g):\n    return g(1)\nprint(f(str))",
    "class": "class A:\n    def m(self):\n        return int('3')\nprint(A().m())",
    "method of a value": "print('a'.upper(), [1].count(1), (2).bit_length())",
    "star target": "a, *b = [print, abs]\nb[0](1)",
    "with": "with open('/dev/null') as f:\n    f.read()",
    "except": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    e.with_traceback(None)",
    "comprehension": "print([f(1) for f in (abs, int)])",
    "walrus": "if (n := 3):\n    print(n.bit_length())",
    "match": "match [abs, {'a': int}]:\n"
    "    case [f, {'a': g, **rest}]:\n        f(1), g(1), rest.get(1)\n",
    "match star": "match [1, 2]:\n    case [a, *others]:\n        others.append(1)\n",
    "global": "def f():\n    global g\n    g = abs\nf()\ng(1)",
    "import in a function": "def f():\n    from math import sqrt\n    return sqrt(4)\nprint(f())",
    "exit": "print(4)\nexit()",
    "decorator": "import functools\n@functools.cache\ndef f():\n    return 1\nprint(f())",
    "escape": "print('\\d')",
    "star import": "from math import *\nprint(sqrt(4), floor(2.5))",
    "regular expression": "import re\nprint(re.compile('a').pattern)",
    "annotation": "def f(nums: List[int]) -> Optional[int]:\n    x: Dict[str, int] = {}\n"
    "    return nums[0]\nprint(f([1]))",
    "old name": "try:\n    input = raw_input\nexcept NameError:\n    pass\nprint(4)",
    "data class": "from dataclasses import *\n@dataclass\nclass A:\n    x: int\nprint(A(1).x)",
    "main": "if __name__ == '__main__':\n    print(3)",
    "super": "class A:\n    def __init__(self):\n        super().__init__()\nprint(A().__class__)",
}  # fmt: skip

HOSTILE = {
    "self of a builtin": ("print(print.__self__.__import__('calc').addition(1, 2))", "__self__"),
    "named attribute": ("getattr(print, '__self__')", "__self__"),
    "attribute getter": ("import operator\noperator.attrgetter('__self__')(print)", "__self__"),
    "globals": ("globals()['__builtins__'].eval('1')", "globals"),
    "vars": ("print(vars())", "vars"),
    "modules": ("import sys\nsys.modules['builtins'].abs(1)", "sys.modules"),
    "modules by name": ("from sys import modules\nprint(modules)", "sys.modules"),
    "timeit": ("from timeit import timeit\ntimeit('import calc')", "timeit"),
    "pickle": ("import pickle\npickle.loads(b'')", "pickle"),
    "star import": ("from math import *\nprint(addition(2, 2))", "addition"),
    "star of others": ("from os import *\nprint(getcwd())", "getcwd"),
    "import": ("import calc\nprint(calc.addition(2, 2))", "calc"),
    "from": ("from calc import addition\nprint(addition(2, 2))", "calc"),
    "other name": ("import calc as math\nprint(math.addition(2, 2))", "calc"),
    "submodule": ("import calc.deep\nprint(4)", "calc"),
    "unused": ("import calc\nprint(4)", "calc"),
    "in a function": ("def f():\n    import calc\nprint(4)", "calc"),
    "in a branch": ("try:\n    import calc\nexcept ImportError:\n    pass\nprint(4)", "calc"),
    "star": ("from calc import *\nprint(4)", "calc"),
    "relative": ("from . import calc\nprint(4)", "'.'"),
    "called only": ("print(addition(2, 2))", "addition"),
    "attribute of nothing": ("print(calc.deep.addition(2, 2))", "calc"),
    "decorator of nothing": ("@calc.hook()\ndef f():\n    return 4\nprint(f())", "calc"),
    "bare decorator": ("try:\n    @calc.hook\n    def f(): pass\nexcept NameError: pass", "calc"),
    "context": ("try:\n    with calc.session: pass\nexcept NameError: pass", "calc"),
    "base of a class": ("try:\n    class A(calc.B): pass\nexcept NameError: pass", "calc"),
    "exec": ("exec('import calc')\nprint(4)", "exec"),
    "alias of exec": ("run = exec\nrun('import calc')\nprint(4)", "exec"),
    "eval": ("print(eval('4'))", "eval"),
    "compile": ("compile('import calc', '', 'exec')\nprint(4)", "compile"),
    "__import__": ("__import__('calc')\nprint(4)", "__import__"),
    "__builtins__": ("__builtins__.exec('4')\nprint(4)", "__builtins__"),
    "builtins": ("import builtins\nbuiltins.exec('4')\nprint(4)", "builtins"),
    "importlib": ("import importlib\nimportlib.import_module('calc')\nprint(4)", "importlib"),
    "importlib.util": ("from importlib.util import find_spec\nprint(4)", "importlib"),
    "runpy": ("import runpy\nrunpy.run_module('calc')\nprint(4)", "runpy"),
    "no program": ("print(", "parse"),
    "null byte": ("print(4)\x00", "parse"),
    "deep": ("print(" + "-" * 200_000 + "4)", "parse"),
    "nested": ("(" * 5000 + "4" + ")" * 5000, "parse"),
    "long": ("print(4)\n" + "#" * 200_000, "parse"),
    "long number": ("print(4)\nx = " + "9" * 5000, "parse"),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_honest_programs_pass(name: str) -> None:
    verdict = judged(programs.wrap(HONEST[name]))
    assert verdict.accepted
    assert verdict.score == 0


@pytest.mark.parametrize("name", HOSTILE)
def test_foreign_and_hidden_names_are_refused(name: str) -> None:
    program, named = HOSTILE[name]
    verdict = judged(programs.wrap(program))
    assert verdict.accepted is False
    assert named in verdict.reason
    assert verdict.score >= 1


def test_a_module_can_be_allowed() -> None:
    program = programs.wrap("import numpy as np\nprint(np.add(2, 2))")
    assert judged(program).accepted is False
    assert judged(program, Imports(allowed=("numpy",))).accepted


def test_nothing_is_imported_or_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bomb.py").write_text("raise SystemExit('run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "import bomb\nimport this\nfrom bomb import a\nbomb.a()\nprint(4)"
    assert judged(programs.wrap(text)).accepted is False
    assert "bomb" not in sys.modules
    assert "this" not in sys.modules


def test_what_earns_nothing_is_not_judged_and_other_tasks_are_refused_before_the_run() -> None:
    verdict = judged(programs.wrap("import calc"), reward=0.0)
    assert verdict.accepted is None
    Imports().require_in(Setting(nodes=1, programs=True))
    with pytest.raises(ValueError, match='"several-models"'):
        Imports().require_in(Setting(nodes=4))
    ((math,),) = Imports().inspect(
        [Group.of("?", ["2 + 2 = 4"])], DefenseView(rewards=[[1.0]], seed=0)
    )
    assert math.accepted is None


def test_a_whole_text_is_a_program_where_it_has_no_tags() -> None:
    assert judged("print(2 + 2)").accepted
    assert judged("import calc\nprint(4)").accepted is False
    assert judged("<code>print(4)").accepted is False


def test_every_oracle_program_passes_and_every_poisoned_one_is_refused() -> None:
    attack, rng = CodeInjection(), np.random.default_rng(0)
    planted = 0
    for problem in TASK.problems("train")[:60]:
        for variant in range(4):
            text = TASK.oracle(problem, variant)
            assert judged(text).accepted
            poison = attack.plant(text, rng)
            if poison is not None:
                planted += 1
                assert judged(poison).accepted is False
    assert planted > 100


@given(st.text(st.characters(), max_size=80))
def test_any_text_gives_a_verdict(text: str) -> None:
    verdict = judged(programs.wrap(text))
    assert bool(verdict.reason) is not verdict.accepted
