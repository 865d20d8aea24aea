"""Imports: foreign names are refused, whatever hides them, and honest programs pass."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmproof.attacks import CodeInjection
from swarmproof.defenses import DefenseView, Imports, hidden
from swarmproof.defenses.base import Setting
from swarmproof.defenses.imports import foreign
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
    "variable vars": "vars = [1, 2]\nprint(sum(vars))",
    "variable exec": "def f(exec):\n    return exec + 1\nprint(f(3))",
    "variable eval": "for eval in (1, 2):\n    print(eval)",
    "function compile": "def compile(a, b):\n    return a + b\nprint(compile(1, 2))",
    "comprehension of vars": "print([vars for vars in (1, 2)])",
    "variable modules": "modules = 3\nprint(modules * 2)",
    "imported compile": "from re import compile\nprint(compile('a').pattern)",
    "named attribute": "import math\nprint(getattr(math, 'sqrt')(4))",
    "attribute getter": "from operator import attrgetter\nprint(attrgetter('real', 'imag')(2))",
    "own eval": "class A:\n    def eval(self):\n        return 3\nprint(A().eval())",
    "usual modules": "import math, itertools, functools, fractions, decimal, collections, re\n"
    "import statistics, datetime, string, random, operator, typing, dataclasses, sys, json\n"
    "print(sys.stdin.name, sys.maxsize, sys.argv, functools.reduce(operator.add, [1, 2]))\n"
    "print(datetime.date(2020, 1, 1).day, string.digits, typing.Optional[int], json.dumps(3))\n"
    "sys.setrecursionlimit(2000)",
    "ordinary words": "class A:\n    code = 3\n    trace = profile = 4\n    site = 5\n"
    "print(A.code + A.trace + A.profile + A.site)",
    "formatter of a log": "import logging\nprint(logging.Formatter('%(message)s'))",
    "other name of logging": "import logging as log\nimport logging.handlers\n"
    "print(log.Formatter('a'), logging.Formatter('b'))",
    "platform": "import platform\nprint(platform.system())",
    "own system": "class A:\n    def __init__(self):\n        self.system = 3\n"
    "    def f(self):\n        return self.system\nprint(A().f())",
    "own modules": "import sys, math, collections as c\nfrom functools import cache\nclass A:\n"
    "    @cache\n    def modules(self):\n        return c.Counter(sys.argv)\n"
    "print(A().modules(), math.pi)",
    "own words": "class A:\n    def __init__(self):\n        self.inspect = self.gc = 3\n"
    "    def unittest(self):\n        self.timeit = self.gc\n        return self.inspect\n"
    "print(A().unittest())",
    "super": "class A:\n    def __init__(self):\n        super().__init__()\nprint(A().__class__)",
}  # fmt: skip

HOSTILE = {
    "self of a builtin": ("print(print.__self__.__import__('calc').addition(1, 2))", "__self__"),
    "named attribute": ("getattr(print, '__self__')", "__self__"),
    "attribute getter": ("import operator\noperator.attrgetter('__self__')(print)", "__self__"),
    "globals": ("globals()['__builtins__'].eval('1')", "globals"),
    "vars": ("print(vars())", "vars"),
    "modules": ("import sys\nsys.modules['builtins'].abs(1)", "modules"),
    "modules by name": ("from sys import modules\nprint(modules)", "modules"),
    "other name of sys": ("import sys as s\ns.modules['importlib']", "modules"),
    "star of sys": ("from sys import *\nmodules['importlib']", "modules"),
    "named modules": ("import sys\ngetattr(sys, 'modules')", "modules"),
    "module of a module": ("import os\nos.sys.modules", "modules"),
    "importlib of a module": ("import zipfile\nzipfile.importlib.util", "importlib"),
    "imported importlib": ("from zipfile import importlib as i\ni.import_module", "importlib"),
    "builtins of a module": ("import enum\nenum.bltns.eval('4')", "bltns"),
    "inspect": ("import inspect\ninspect.importlib.import_module('calc')", "inspect"),
    "frozen": ("import _frozen_importlib as f\nf._gcd_import('calc')", "_frozen_importlib"),
    "made name": ("getattr(getattr(print, '__se' + 'lf__'), '__imp' + 'ort__')('calc')", "getattr"),
    "other name of getattr": ("g = getattr\ng(print, '__se' + 'lf__')", "getattr"),
    "mapped getattr": ("print(*map(getattr, [print], ['__se' + 'lf__']))", "getattr"),
    "starred getattr": ("getattr(*[print, '__se' + 'lf__'])", "getattr"),
    "dotted getter": ("from operator import attrgetter\nattrgetter('sin.__self__')", "__self__"),
    "made getter": ("import operator as o\no.attrgetter('__se' + 'lf__')(print)", "attrgetter"),
    "renamed getter": ("from operator import attrgetter as a\na('__se' + 'lf__')", "attrgetter"),
    "method caller": ("import operator as o\no.methodcaller('__im' + 'port__', 'calc')", "methodc"),
    "star of operator": ("from operator import *\nattrgetter('__se' + 'lf__')", "attrgetter"),
    "pattern": ("import sys\nmatch sys:\n    case object(modules=m): m['calc']", "modules"),
    "match arguments": ("class A:\n    __match_args__ = ('__se' + 'lf__',)", "__match_args__"),
    "forward reference": ("import typing\ntyping.ForwardRef('4')._evaluate({}, {}, set())", "Forw"),
    "hints": ("from typing import *\nget_type_hints(f)\ndef f(): pass", "get_type_hints"),
    "loader of tests": ("import unittest\nunittest.defaultTestLoader.loadTestsFromName('calc')",
                        "unittest"),
    "logging": ("from logging import config\nconfig.dictConfig({})", "logging.config"),
    "frames": ("try:\n    1 / 0\nexcept Exception as e:\n    e.__traceback__.tb_frame", "tb_frame"),
    "code of a function": ("def f(): pass\nf.__code__ = 3", "__code__"),
    "parser of XML": ("import xml.sax\nxml.sax.make_parser(['calc'])", "make_parser"),
    "formatter": ("import string\nstring.Formatter().get_field('0.__self__', print, {})", "Format"),
    "shell": ("import os\nos.system('python -c \"import calc\"')", "system"),
    "process": ("import subprocess\nsubprocess.run(['python'])", "subprocess"),
    "help": ("help('calc')", "help"),
    "bound in another function": ("def f(exec): pass\nexec('import calc')", "exec"),
    "bound later": ("def f():\n    exec('import calc')\nf()\nexec = 3", "exec"),
    "bound never": ("if 0:\n    exec = 3\nexec('import calc')", "exec"),
    "bound in no turn": ("for exec in []:\n    pass\nexec('import calc')", "exec"),
    "bound and deleted": ("exec = 3\ndel exec\nexec('import calc')", "exec"),
    "deleted by except": ("exec = 3\ntry:\n    1 / 0\nexcept Exception as exec:\n    pass\n"
                          "exec('import calc')", "exec"),
    "global": ("def f():\n    global exec\n    exec('import calc')\n    exec = 3\nf()", "exec"),
    "class in a function": ("def f(exec):\n    class A:\n        exec('import calc')\n"
                            "        exec = 3\nf(3)", "exec"),
    "method of a class": ("class A:\n    exec = 3\n    def f(self):\n        exec('import calc')",
                          "exec"),
    "default": ("def f(exec=exec('import calc')):\n    pass", "exec"),
    "first iterable": ("print([exec for exec in exec('import calc')])", "exec"),
    "itself": ("exec = exec\nexec('import calc')", "exec"),
    "unentered with": ("import contextlib\nwith contextlib.suppress(TypeError), 3 as exec: pass\n"
                       "exec('import calc')", "exec"),
    "walrus": ("0 and (exec := 3)\nexec('import calc')", "exec"),
    "walrus in a comprehension": ("[(exec := 3) for _ in []]\nexec('import calc')", "exec"),
    "timeit": ("from timeit import timeit\ntimeit('import calc')", "timeit"),
    "pickle": ("import pickle\npickle.loads(b'')", "pickle"),
    "formatter of logging": ("import logging\nlogging._str_formatter.get_field('0', [], {})",
                             "_str_formatter"),
    "no logging": ("import string as logging\nlogging.Formatter()", "Formatter"),
    "two of a name": ("import logging\nimport string as logging\nlogging.Formatter()", "Format"),
    "logging is set": ("import logging, string\nlogging = string\nlogging.Formatter()", "Format"),
    "logging of a star": ("import logging\nfrom string import *\nlogging.Formatter()", "Format"),
    "logging as argument": ("import logging, string\ndef f(logging): logging.Formatter()\n"
                            "f(string)", "Formatter"),
    "part of logging": ("import logging\nlogging.os.system('python')", "system"),
    "part of that name": ("import xml.sax as logging\nlogging.Formatter()", "Formatter"),
    "no platform": ("import os as platform\nplatform.system('python')", "system"),
    "platform.os": ("import platform\nplatform.os.system('python')", "system"),
    "self is a module": ("import sys\nclass A:\n    def modules(self): return self.modules\n"
                         "A.modules(sys)['importlib']", "modules"),
    "class of a module": ("import os\nclass A:\n    def system(self): pass\n"
                          "os.system('python')", "system"),
    "module in a module": ("import collections\nclass A: pass\nA().modules = 3\n"
                           "collections._sys.modules", "modules"),
    "imported module": ("from collections import _sys as s\ndef modules(): pass\ns.modules",
                        "modules"),
    "other name of a module": ("import math\nimport sys as math\ndef modules(): pass\n"
                               "x = math\nx.modules", "modules"),
    "single dispatch": ("import functools\nfunctools.singledispatch(abs)", "singledispatch"),
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


def test_no_module_that_may_be_imported_has_one_that_hides_what_runs() -> None:
    """Except by a name that is refused: `dataclasses.inspect`, `enum.bltns`."""
    seen = 0
    for name, module in sorted(sys.modules.items()):
        known = name.partition(".")[0] in sys.stdlib_module_names
        if not known or foreign(f"import {name}") or name == "concurrent.futures.process":
            continue
        for attribute, value in vars(module).items():
            if isinstance(value, ModuleType) and foreign(f"import {value.__name__}"):
                program = f"import {name}\n{name}.{attribute}"
                # Other tests import more. No module of these imports such a part of it by itself.
                alone = value.__name__ in hidden.SUBMODULES
                if value.__name__.partition(".")[0] in sys.stdlib_module_names and not alone:
                    seen += 1
                    assert foreign(program), program
    assert seen > 3


@pytest.mark.parametrize(
    "program",
    ["x = exec = 3\n" * 5000, "lambda exec: " * 3000 + "exec", "[exec for exec in a]\n" * 4000,
     "def f(exec):\n exec\n" * 4000, "getattr(a, 'b')." * 5000 + "c", "a.modules\n" * 8000,
     "import logging\n" * 4000 + "logging.Formatter\n" * 4000, "a.gc = math.pi\n" * 8000],
)  # fmt: skip
def test_the_time_is_linear_in_the_length(program: str) -> None:
    def seconds(text: str) -> float:
        found = []
        for _ in range(3):
            foreign.cache_clear()
            start = time.process_time()
            foreign(text)
            found.append(time.process_time() - start)
        return min(found)

    half, whole = seconds(program[: len(program) // 4]), seconds(program)
    assert whole < 9 * half + 0.05


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
