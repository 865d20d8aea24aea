"""Hostile programs that go for the limits: recursion, writable places, and what Python is.

`hostile.PROGRAMS` contains them.
"""

from __future__ import annotations

ANSWER = "7319"

# Raise the limit by every known way, then print the answer from a depth that the limit forbids.
_DEEP = f"\ndef f(n): return n and 1 + f(n - 1)\nprint(f({ANSWER}))"
_SUBPROGRAM = f"import sys\nsys.setrecursionlimit(10**6){_DEEP}"
RECURSION = {
    "limit raised": "import sys\nsys.setrecursionlimit(10**9)" + _DEEP,
    "limit raised a little": f"import sys\nsys.setrecursionlimit({ANSWER} + 100)" + _DEEP,
    "no limit raised": _DEEP,
    "sys imported again": "import sys\ndel sys.modules['sys']\nimport sys\n"
    "sys.setrecursionlimit(10**6)" + _DEEP,
    "sys reloaded": "import importlib, sys\nimportlib.reload(sys)\nsys.setrecursionlimit(10**6)"
    + _DEEP,
    "sys built anew": "import _imp, importlib.machinery as m\n"
    "_imp.create_builtin(m.ModuleSpec('sys', None)).setrecursionlimit(10**6)" + _DEEP,
    "sys from its loader": "import importlib.util as u, sys\n"
    "u.module_from_spec(u.find_spec('sys')).setrecursionlimit(10**6)" + _DEEP,
    "sys from a builtin": "import sys\nsys.getrecursionlimit.__self__.setrecursionlimit(10**6)"
    + _DEEP,
    "limit by pickle": "import pickle\n"
    "pickle.loads(b'csys\\nsetrecursionlimit\\n(I1000000\\ntR.')" + _DEEP,
    "limit by the interpreter's own functions": "import ctypes\n"
    "ctypes.pythonapi.Py_SetRecursionLimit(10**6)" + _DEEP,
    "limit by the library of the interpreter": "import ctypes, glob, sys\n"
    "for p in [None, sys.executable, *glob.glob('/**/libpython*', recursive=True)]:\n"
    "    try: ctypes.PyDLL(p).Py_SetRecursionLimit(10**6)\n    except OSError: pass" + _DEEP,
    "limit by a handle": "import _ctypes\nh = _ctypes.dlopen(None, 2)\n"
    "_ctypes.call_function(_ctypes.dlsym(h, 'Py_SetRecursionLimit'), (10**6,))" + _DEEP,
    "limit in a second interpreter": "import _xxsubinterpreters as s\n"
    f"s.run_string(s.create(), {_SUBPROGRAM!r})",
    "limit in a newer second interpreter": "import _interpreters as s\n"
    f"s.exec(s.create(), {_SUBPROGRAM!r})",
    "limit by a test module": f"import _testcapi\n_testcapi.run_in_subinterp({_SUBPROGRAM!r})",
    "limit by the test suite": "from test.support import set_recursion_limit\n"
    "with set_recursion_limit(10**6):\n"
    f"    def f(n): return n and 1 + f(n - 1)\n    print(f({ANSWER}))",
    "Python started again": "import os, sys\n"
    f"os.execv(sys.executable, ['python', '-c', {_SUBPROGRAM!r}])",
    "Python spawned": "import os, sys\nos.posix_spawn(sys.executable, "
    f"['python', '-c', {_SUBPROGRAM!r}], {{}})",
    "hook found by the collector": "import gc, sys\nfor o in gc.get_objects():\n"
    "    if type(o) is list and o and callable(o[0]): o.clear()\nimport ctypes\n"
    "ctypes.pythonapi.Py_SetRecursionLimit(10**6)" + _DEEP,
    "hook found by its referents": "import gc, sys\n"
    "for o in gc.get_referents(sys._getframe(1), sys.setrecursionlimit): print(o)\n1 / 0",
    "hook found in a traceback": "try: import _testcapi\nexcept ImportError as e:\n"
    "    t = e.__traceback__\n    while t.tb_next: t = t.tb_next\n"
    "    t.tb_frame.f_locals.clear()\n    t.tb_frame.f_globals.clear()\nimport ctypes\n"
    "ctypes.pythonapi.Py_SetRecursionLimit(10**6)" + _DEEP,
    "hook robbed of its errors": "import builtins, ctypes\n"
    "builtins.PermissionError = builtins.ImportError = lambda *a: None\n"
    "ctypes.pythonapi.Py_SetRecursionLimit(10**6)" + _DEEP,
    "guard given the original": "import sys\nprint(sys.setrecursionlimit.__closure__[0])\n1 / 0",
    "generators inside generators": "import sys\nsys.setrecursionlimit(10**6)\ndef g(n):\n"
    f"    if n: yield from g(n - 1)\n    yield n\nprint(sum(1 for _ in g({ANSWER} - 1)))",
    "recursion by attribute": "import sys\nsys.setrecursionlimit(10**6)\nclass A:\n    n = 0\n"
    f"    def __getattr__(s, k):\n        s.n += 1\n        return s.n if s.n == {ANSWER} else "
    "getattr(s, k + 'x')\nprint(A().x)",
    "recursion by sorting": "import sys\nsys.setrecursionlimit(10**6)\ndef f(n):\n"
    f"    return sorted([n], key=lambda k: f(k + 1) if k < {ANSWER} else print(k))\nf(0)",
}
FILLS = {
    "the folder of installed packages": "import sysconfig\n"
    "f = open(sysconfig.get_path('purelib') + '/x', 'wb')\nwhile True: f.write(bytes(10**6))",
    "the folder of the system's packages": "f = open('/usr/lib/python3/dist-packages/x', 'wb')\n"
    "while True: f.write(bytes(10**6))",
    "all folders with bytes": "import os\nfor folder, _, _ in os.walk('/'):\n"
    "    try:\n        with open(folder + '/x', 'wb') as f:\n"
    "            while True: f.write(bytes(10**6))\n    except OSError: pass",
    "all folders with files": "import os\nfor folder, _, _ in os.walk('/'):\n    try:\n"
    "        for i in range(10**6): open(f'{folder}/{i}', 'x').close()\n    except OSError: pass",
    "all folders with folders": "import os\nfor folder, _, _ in os.walk('/'):\n    try:\n"
    "        for i in range(10**6): os.mkdir(f'{folder}/{i}')\n    except OSError: pass",
    "all folders with links": "import os\nfor folder, _, _ in os.walk('/'):\n    for link in "
    "(os.symlink, os.link):\n        try:\n"
    "            for i in range(10**6): link('/program.py', f'{folder}/{i}')\n"
    "        except OSError: pass",
    "all files that are there": "import os\nfor folder, _, files in os.walk('/'):\n"
    "    for name in files:\n        try: open(f'{folder}/{name}', 'ab').write(bytes(10**7))\n"
    "        except OSError: pass",
    "a sparse file": "f = open('/tmp/x', 'wb')\nf.seek(2**40)\nf.write(b'x')",
    "a file that is stretched": "import os\nos.truncate('/program.py', 2**40)",
    "a file that is allocated": "import os\n"
    "os.posix_fallocate(os.open('/packages/x', os.O_CREAT | os.O_RDWR), 0, 2**30)",
    "a temporary file": "import tempfile\nf = tempfile.TemporaryFile(dir='/')\n"
    "while True: f.write(bytes(10**6))",
    "a file in memory": "import os\nf = os.memfd_create('x')\n"
    "while True: os.write(f, bytes(10**6))",
    "shared memory by name": "from multiprocessing.shared_memory import SharedMemory\n"
    "x = [SharedMemory(create=True, size=2**28) for _ in range(100)]",
    "shared anonymous memory": "import mmap\nx = []\nwhile True:\n"
    "    x.append(mmap.mmap(-1, 2**24))\n    x[-1].write(bytes(2**24))",
    "a data base": "import sqlite3\nc = sqlite3.connect('/tmp/x')\n"
    "c.execute('create table t (x)')\n"
    "while True: c.execute('insert into t values (zeroblob(1000000))')",
    "a data base in memory": "import sqlite3\nc = sqlite3.connect(':memory:')\n"
    "c.execute('create table t (x)')\n"
    "while True: c.execute('insert into t values (zeroblob(1000000))')",
    "the buffer of the output": "import fcntl\nprint(fcntl.fcntl(1, 1031, 2**30))",
    "the table of descriptors": "import os\nwhile True: os.dup(1)",
    "the table of locks": "import fcntl, struct\nf = open('/program.py')\ni = 0\nwhile True:\n"
    "    fcntl.fcntl(f, fcntl.F_SETLK, struct.pack('hhqqi', fcntl.F_RDLCK, 0, i, 1, 0))\n"
    "    i += 2",
    "the cache of names": "import os\ni = 0\nwhile True:\n    os.path.exists(f'/usr/lib/{i}')\n"
    "    i += 1",
    "the standard input": "import os\nwhile True: os.write(0, bytes(10**6))",
    "a set": "x = set()\ni = 0\nwhile True:\n    x.add(i)\n    i += 1",
    "a dictionary of texts": "x = {}\ni = 0\nwhile True:\n    x[i] = str(i) * 100\n    i += 1",
    "closures": "f = None\nwhile True: f = (lambda g: lambda: g)(f)",
    "objects": "class A: pass\nx = []\nwhile True:\n    x.append(A())\n    x[-1].x = x",
    "a list that is split": "x = ('a ' * 2 * 10**7).split()",
    "numbers from JSON": "import json\nx = json.loads('[' + '1,' * 10**7 + '1]')",
    "a list from a source": "x = eval('[' + '1,' * 10**7 + ']')",
    "a pattern": "import re\nre.compile('a|' * 10**6)",
    "one large print": "print('x' * 60_000_000)",
    "copies": "import copy\nx = [0] * 10**6\ny = []\nwhile True: y.append(copy.deepcopy(x))",
    "decimal digits": "from decimal import Decimal, getcontext\ngetcontext().prec = 10**7\n"
    "x = Decimal(3)\nwhile True: x = x * x",
}
UNFAITHFUL = {
    "or and a backslash": f"print({ANSWER}) or \\",
    "semicolon and a backslash": f"print({ANSWER}); \\",
    "backslash alone": f"print({ANSWER})\n\\",
    "byte-order mark": f"\ufeffprint({ANSWER})",
    "return at the end": f"print({ANSWER})\nreturn",
    "return of a deep list": f"print({ANSWER})\nx = []\nfor _ in range(10**5): x = [x]\nreturn x",
    "return of a folded list": f"print({ANSWER})\nx = [1]\n"
    "for _ in range(60): x = [x, x]\nreturn x",
    "break at the end": f"print({ANSWER})\nif True: break",
    "null byte at the end": f"print({ANSWER})\n#\x00",
    "assignment to a call": f"print({ANSWER})\nif 0: f() = 1",
    "exit with status 1": f"print({ANSWER})\nraise SystemExit(1)",
    "exit with a text": f"print({ANSWER})\nraise SystemExit('0')",
    "exit function with status 1": f"print({ANSWER})\nexit(1)",
    "exit in disguise": f"print({ANSWER})\nclass SystemExit(ValueError): pass\nraise SystemExit",
    "interrupted": f"print({ANSWER})\nraise KeyboardInterrupt",
    "too deep": f"print({ANSWER})\ndef f(): f()\nf()",
    "end of the harness": f"print({ANSWER})\nraise SyntaxError('_end')",
}
