"""Programs whose outcome in both sandboxes is compared with CPython's.

`HONEST` are programs that a user would expect to work. `ENDINGS` and `INVALID` end in unusual ways
or are not valid Python. `DIFFERENCES` are programs on which the default sandbox, or both, cannot
agree with CPython; docs/sandboxes.md has a row for each of them.
"""

# ruff: noqa: E501

from __future__ import annotations

HONEST = {
    "one number": "print(42)",
    "several prints": "print(1)\nprint(2, 3)\nprint()\nprint('a', 'b', sep='-', end='!\\n')",
    "arithmetic": "print(7 + 3 * 2 - 1, (7 + 3) * 2, 2 ** 10, 2 ** -1, 5 * -3)",
    "true division": "print(7 / 2, 6 / 3, 1 / 3, -7 / 2, 10 / 4 * 4)",
    "integer division": "print(7 // 2, -7 // 2, 7 // -2, -7 // -2, 7.5 // 2)",
    "negative modulo": "print(-7 % 3, 7 % -3, -7 % -3, 7.5 % 2, divmod(-7, 3))",
    "big integers": "print(2 ** 200, 3 ** 100 % 1000007, pow(3, 10 ** 18, 998244353))",
    "factorial": "import math\nprint(math.factorial(30), math.gcd(84, 36), math.lcm(4, 6))",
    "floats": "print(0.1 + 0.2, 1e16, 1e-7, 123456789.123, 100.0, 1.5e300 * 1e10)",
    "no number": "print(float('inf'), -float('inf'), float('nan') == float('nan'))",
    "rounding": "print(round(2.5), round(3.5), round(-2.5), round(2.345, 1), round(1234, -2))",
    "decimal output": "print(f'{3.14159:.2f}', format(2 / 3, '.4f'), '%.3f' % (1 / 7))",
    "f-strings": "x, y = 3, 4.5\nprint(f'{x} {y:.1f} {x + y} {x!r:>4} {x:03d} {y:8.2f}|{x=}')",
    "nested f-string": "w = 8\nprint(f'{42:>{w}}|{42:<{w}}|{42:^{w}}|{1234567:,}|{255:x} {5:b}')",
    "format": "print('{} {1}'.replace('{1}', '{}').format(1, 2), '{a}-{b:>3}'.format(a=1, b=2))",
    "percent": "print('%d %s %5.1f %x %%' % (3, 'a', 2.25, 255))",
    "text methods": "s = ' Hello, World '\nprint(s.strip().lower().split(', '), s.count('l'), "
    "s.find('W'), 'a-b-c'.split('-', 1), '7'.zfill(3), 'abc'[::-1], 'x'.join('abc'))",
    "text tests": "print('12'.isdigit(), 'a1'.isalnum(), 'Ab'.isupper(), 'abc'.startswith('ab'))",
    "unicode": "s = 'Grüße, 世界 🧮'\nprint(s, len(s), s.upper(), s[7:9], ord('é'), chr(8364))",
    "repr": "print(repr('a\\'b\\n'), [1.0, 'x', None, True], {'a': (1,)}, (1,), set())",
    "list": "x = [3, 1, 2]\nx.append(5)\nx.insert(0, 9)\nx.remove(1)\nprint(x, x.pop(), x[-1], x[1:])",
    "slices": "x = list(range(10))\nprint(x[2:8:3], x[::-1], x[-3:])\nx[1:3] = [0]\nprint(x)",
    "sorting": "x = ['pear', 'fig', 'apple']\nprint(sorted(x), sorted(x, key=len, reverse=True))\n"
    "x.sort(key=lambda s: (len(s), s))\nprint(x, min(x), max(x, key=len))",
    "stable sort": "print(sorted([(1, 'b'), (0, 'z'), (1, 'a')], key=lambda p: p[0]))",
    "list comprehension": "print([i * j for i in range(4) for j in range(3) if (i + j) % 2])",
    "dict comprehension": "print({k: v ** 2 for k, v in zip('abc', range(3))})",
    "set comprehension": "print(sorted({i % 3 for i in range(10)}), len({1, 1.0, True}))",
    "generator expression": "print(sum(i for i in range(10) if i % 2), any(i > 3 for i in [1, 5]))",
    "dict order": "d = {'b': 1, 'a': 2}\nd['c'] = 3\nd['b'] = 9\nprint(d, list(d), d.get('z', 0))\n"
    "print(sorted(d.items(), key=lambda p: -p[1]), d.pop('a'), d.setdefault('q', 4), d)",
    "dict counts": "d = {}\nfor c in 'banana':\n    d[c] = d.get(c, 0) + 1\nprint(d)",
    "set operations": "a, b = {1, 2, 3}, {2, 3, 4}\nprint(sorted(a & b), sorted(a | b), a - b, a <= b)",
    "tuples": "a, (b, *c), d = 1, (2, 3, 4), 5\na, d = d, a\nprint(a, b, c, d, (1, 2) < (1, 3))",
    "walrus": "if (n := len('abcd')) > 3:\n    print(n)",
    "chained comparison": "x = 5\nprint(1 < x <= 5 < 10, 1 < x > 6, not x == 5, x is not None)",
    "boolean operators": "print(0 or 'a', 1 and 2, [] or {} or 'z', True + True, bool('0'))",
    "bits": "print(6 & 3, 6 | 3, 6 ^ 3, ~6, 1 << 20, -5 >> 1, bin(10), hex(255), oct(8))",
    "while": "n, steps = 27, 0\nwhile n != 1:\n    n = n // 2 if n % 2 == 0 else 3 * n + 1\n"
    "    steps += 1\nelse:\n    print('done')\nprint(steps)",
    "break and continue": "for i in range(10):\n    if i == 2:\n        continue\n"
    "    if i == 5:\n        break\n    print(i)\nelse:\n    print('never')",
    "enumerate and zip": "for i, (a, b) in enumerate(zip('abc', [1, 2, 3]), start=1):\n    print(i, a, b)",
    "map and filter": "print(list(map(int, '1 2 3'.split())), list(filter(None, [0, 1, '', 'a'])))",
    "function defaults": "def f(a, b=2, *args, c=3, **kw):\n    return a, b, args, c, sorted(kw)\n"
    "print(f(1), f(1, 5, 6, c=7, z=8), f(*[1, 2], **{'c': 0}))",
    "positional and keyword only": "def f(a, /, *, b):\n    return a - b\nprint(f(5, b=3))",
    "lambda": "f = lambda x, y=2: x ** y\nprint(f(3), (lambda: 7)(), list(map(lambda x: x * 2, [1, 2])))",
    "recursion": "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\nprint(fib(15))",
    "deep recursion": "def f(n):\n    return n and 1 + f(n - 1)\nprint(f(150))",
    "hanoi": "def move(n, a, b, c):\n    return 0 if n == 0 else move(n - 1, a, c, b) + 1 + "
    "move(n - 1, c, b, a)\nprint(move(8, 'a', 'b', 'c'))",
    "closure": "def counter():\n    n = 0\n    def step():\n        nonlocal n\n        n += 1\n"
    "        return n\n    return step\nc = counter()\nc()\nprint(c(), c())",
    "global": "total = 0\ndef add(n):\n    global total\n    total += n\nadd(3)\nadd(4)\nprint(total)",
    "late binding": "fs = [lambda: i for i in range(3)]\nprint([f() for f in fs])",
    "memoised": "memo = {}\ndef ways(n):\n    if n < 2:\n        return 1\n    if n not in memo:\n"
    "        memo[n] = ways(n - 1) + ways(n - 2)\n    return memo[n]\nprint(ways(80))",
    "try and except": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    print('caught', e)\n"
    "else:\n    print('no')\nfinally:\n    print('end')",
    "several errors": "for x in ('a', None, '7'):\n    try:\n        print(int(x))\n"
    "    except (ValueError, TypeError) as e:\n        print(type(e).__name__)",
    "raise and catch": "def f(n):\n    if n < 0:\n        raise ValueError('negative')\n    return n\n"
    "try:\n    f(-1)\nexcept ValueError as e:\n    print(e)",
    "key and index errors": "try:\n    {}['a']\nexcept KeyError as e:\n    print(e)\n"
    "try:\n    [][1]\nexcept IndexError as e:\n    print(e)",
    "assertion": "assert 1 + 1 == 2, 'no'\ntry:\n    assert False, 'message'\n"
    "except AssertionError as e:\n    print(e)",
    "main guard": "def main():\n    print(6 * 7)\n\nif __name__ == \"__main__\":\n    main()",
    "main without input": "def solve():\n    pens = 3 + 4\n    return pens\n\nprint(solve())\n",
    "class": "class Point:\n    scale = 2\n    def __init__(self, x):\n        self.x = x\n"
    "    def far(self):\n        return self.x * self.scale\nprint(Point(3).far())",
    "bound method": "x = []\nfor i in range(3):\n    x.append(i)\nprint(x)",
    "assertion without a text": "try:\n    assert 1 == 2\nexcept AssertionError as e:\n"
    "    print(repr(str(e)))",
    "decorator": "def twice(f):\n    def g(x):\n        return f(f(x))\n    return g\n@twice\n"
    "def add(x):\n    return x + 1\nprint(add(1))",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int = 2\n"
    "print(P(1).x + P(1).y)",
    "dates": "from datetime import date, timedelta\nprint(date(2024, 2, 28) + timedelta(days=2), "
    "(date(2024, 3, 1) - date(2024, 1, 1)).days)",
    "match": "def f(x):\n    match x:\n        case 0:\n            return 'zero'\n"
    "        case [a, b]:\n            return a + b\n        case _:\n            return 'other'\n"
    "print(f(0), f([1, 2]), f('q'))",
    "annotations": "def f(n: int) -> float:\n    x: float = n / 2\n    return x\nprint(f(3))",
    "semicolons and continuation": "x = 1; y = 2\nz = x + \\\n    y\nprint((x +\n       y), z)",
    "comments and docstrings": "'''A module.'''\ndef f():\n    '''A function.'''\n    return 1  # one\n"
    "# the end\nprint(f())  # ends in a backslash \\",
    "windows line ends": "x = '''a\r\nb'''\r\nif x:\r\n    print(len(x))\r\n",
    "old Mac line ends": "x = 1\rprint(x)",
    "empty": "pass",
    "gcd by hand": "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\nprint(gcd(1071, 462))",
    "primes": "n = 100\nsieve = [True] * (n + 1)\nfor i in range(2, n + 1):\n    if sieve[i]:\n"
    "        for j in range(i * i, n + 1, i):\n            sieve[j] = False\n"
    "print([i for i in range(2, n + 1) if sieve[i]])",
    "math": "import math\nfrom math import sqrt, pi\nprint(sqrt(2), math.floor(-1.5), math.ceil(1.2), "
    "round(pi, 4), math.comb(10, 3), math.isclose(0.1 + 0.2, 0.3))",
    "itertools": "import itertools\nprint(list(itertools.combinations('abc', 2)), "
    "len(list(itertools.permutations(range(4)))), list(itertools.product([0, 1], repeat=2)))",
    "collections": "from collections import Counter, defaultdict\nd = defaultdict(int)\n"
    "for c in 'aab':\n    d[c] += 1\nprint(dict(d), Counter('aab').most_common(1))",
    "functools": "from functools import reduce\nprint(reduce(lambda a, b: a * b, range(1, 6)))",
    "regular expressions": "import re\nprint(re.findall(r'\\d+', 'a1b22c333'), "
    "re.sub(r'(\\w)-(\\w)', r'\\2-\\1', 'a-b'), bool(re.match(r'^x+$', 'xxx')))",
    "JSON": "import json\nprint(json.dumps({'a': [1, 2.5, None, True]}), json.loads('[1, {\"b\": 2}]'))",
    "decimal": "from decimal import Decimal\nprint(Decimal('0.1') + Decimal('0.2'), Decimal(1) / 3)",
    "bisect": "import bisect\nprint(bisect.bisect([1, 3, 5], 3), bisect.bisect_left([1, 3, 5], 3))",
    "served module": "from calc import addition\nprint(addition(2, 3))",
    "nested data": "d = {'x': [{'y': 1}, {'y': 2}]}\nprint(sum(p['y'] for p in d['x']), d['x'][1])",
    "exec and eval": "exec('x = 3')\nprint(x, eval('x + 1'))",
}  # fmt: skip

ENDINGS = {
    "bare exit": "print(1)\nraise SystemExit\nprint(2)",
    "exit with status 0": "print(1)\nraise SystemExit(0)",
    "exit with no status": "print(1)\nraise SystemExit(None)",
    "exit with status 1": "print(1)\nraise SystemExit(1)",
    "exit with a text": "print(1)\nraise SystemExit('no')",
    "exit function": "print(1)\nexit()\nprint(2)",
    "exit function with status 0": "print(1)\nexit(0)",
    "exit function with status 3": "print(1)\nexit(3)",
    "quit function": "print(1)\nquit()",
    "exit that is caught": "try:\n    raise SystemExit(0)\nexcept SystemExit:\n    print('caught')",
    "exit through finally": "try:\n    raise SystemExit(0)\nfinally:\n    print('finally')",
    "error": "print(1)\n1 / 0",
    "error in a function": "def f():\n    return [][0]\nprint(1)\nf()",
    "unknown name": "print(1)\nprint(unknown)",
    "failed assertion": "print(1)\nassert False",
    "keyboard interrupt": "print(1)\nraise KeyboardInterrupt",
    "too deep": "def f(n):\n    return f(n + 1)\nprint(f(0))",
    "missing module": "print(1)\nimport no_such_module",
    "backslash in a last comment": "print(1)\n# \\",
    "backslash and an empty line": "print(1); \\\n\n",
    "form feed": "\x0cprint(1)\x0c",
    "no newline at the end": "if 1:\n    print(1)",
    "long integer literal": "print(1)\nx = " + "9" * 5000,
}

INVALID = {
    "or and a backslash": "print(42) or \\",
    "semicolon and a backslash": "print(42); \\",
    "backslash": "print(42) \\",
    "backslash alone": "print(42)\n\\",
    "backslash and a newline": "print(42) or \\\n",
    "semicolon, backslash and a newline": "print(42); \\\n",
    "backslash and a space": "print(42) or \\ ",
    "byte-order mark": "\ufeffprint(42)",
    "byte-order mark inside": "print(42)\n\ufeffprint(1)",
    "null byte": "print(42)\x00",
    "null byte in a comment": "print(42)\n# \x00",
    "return outside a function": "print(42)\nreturn",
    "return of a value": "print(42)\nreturn 1",
    "return at the end of a branch": "print(42)\nif True:\n    return",
    "break outside a loop": "print(42)\nbreak",
    "continue outside a loop": "print(42)\ncontinue",
    "nonlocal at module level": "x = 1\nnonlocal x\nprint(42)",
    "global after use": "def f():\n    x = 1\n    global x\nprint(42)",
    "repeated argument": "def f(a, a): pass\nprint(42)",
    "repeated keyword": "print(42)\nif 0: f(a=1, a=2)",
    "default before a plain argument": "def f(a=1, b): pass\nprint(42)",
    "positional after keyword": "print(42)\nif 0: f(a=1, 2)",
    "assignment to a constant": "None = 1\nprint(42)",
    "assignment to a number": "print(42)\nif 0: 1 = x",
    "assignment to a call": "print(42)\nif 0: f() = 1",
    "two stars": "*a, *b = [1, 2]\nprint(42)",
    "deletion of a number": "print(42)\nif 0: del 1",
    "leading zero": "print(042)",
    "Python 2": "print 42",
    "unclosed bracket": "print(42",
    "unclosed text": "print('42)",
    "unclosed triple quotes": "print(42)\n'''",
    "closing bracket": "print(42))",
    "missing colon": "if True\n    print(42)",
    "missing block": "print(42)\nif True:",
    "unexpected indentation": "print(42)\n    print(1)",
    "inconsistent indentation": "if True:\n        print(42)\n    print(1)",
    "tab after spaces": "if True:\n        print(42)\n\tprint(1)",
    "conditional without else": "print(42) if True",
    "statement as a value": "x = (pass)\nprint(42)",
    "bad f-string": "print(42)\nif 0: f'{1!z}'",
    "empty f-string field": "print(42)\nif 0: f'{}'",
    "bad escape": "print(42)\nif 0: '\\x'",
    "bytes with an accent": "print(42)\nif 0: b'é'",
    "unknown future": "from __future__ import nothing\nprint(42)",
    "star import in a function": "def f():\n    from math import *\nprint(42)",
    "walrus at the start": "x := 42\nprint(x)",
    "try without except": "try:\n    print(42)\nprint(1)",
    "typographic quotes": "print(‘42’)",
    "prose": "The answer is 42.",
    "Markdown fence": "```python\nprint(42)\n```",
    "dollar": "print($42)",
    "increment": "x = 41\nx++\nprint(x)",
}

# name: which sandboxes differ from CPython, and a program that shows it. docs/sandboxes.md has one
# row for each name, and only those.
DIFFERENCES = {
    "round": ("monty", "print(round(2.675, 2))"),
    "generator functions": ("monty", "def f():\n    yield 1\nprint(list(f()))"),
    "generator expressions": ("monty", "g = (i for i in range(3))\nprint(next(g))"),
    "del": ("monty", "x = [1, 2]\ndel x[0]\nprint(x)"),
    "inheritance": ("monty", "class E(Exception):\n    pass\nprint(1)"),
    "method decorators": ("monty", "class A:\n    @property\n    def x(self):\n        return 3\n"
                          "print(A().x)"),
    "special methods": ("monty", "class A:\n    def __len__(self):\n        return 3\nprint(len(A()))"),
    "nested classes": ("monty", "class A:\n    class B:\n        pass\nprint(1)"),
    "exception groups": ("monty", "try:\n    print(1)\nexcept* ValueError:\n    pass"),
    "exception arguments": ("monty", "try:\n    raise ValueError(3)\nexcept ValueError:\n    print(1)"),
    "texts of errors": ("monty", "try:\n    1 // 0\nexcept ZeroDivisionError as e:\n    print(e)"),
    "sys": ("monty", "import sys\nprint(1)\nsys.exit()"),
    "exit with an empty text": ("monty", "print(1)\nraise SystemExit('')"),
    "missing modules": ("monty", "from fractions import Fraction\nprint(Fraction(1, 3))"),
    "missing names": ("monty", "print(callable(print))"),
    "missing methods": ("monty", "print((5).bit_length())"),
    "attributes of methods": ("monty", "d = {'a': 1, 'b': 2}\nprint(max(d, key=d.get))"),
    "attributes of functions": ("monty", "def f():\n    'text'\nprint(f.__doc__)"),
    "star import": ("monty", "from math import *\nprint(sqrt(4))"),
    "order of sets": ("monty", "print({5, 3, 1, 100, 33})"),
    "hash": ("both", "print(hash('a'))"),
    "modular inverse": ("monty", "print(pow(2, -1, 7))"),
    "digits of other scripts": ("monty", "print(int('१२'))"),
    "names of classes": ("monty", "class A:\n    pass\nprint(A)"),
    "late future import": ("monty", "print(1)\nfrom __future__ import annotations"),
    "bare except first": ("monty", "try:\n    print(1)\nexcept:\n    pass\nexcept ValueError:\n    pass"),
    "return in a dead branch": ("monty", "print(1)\nif False:\n    return"),
    "deeply nested source": ("monty", "print(" + "+".join(["1"] * 500) + ")"),
    "deep recursion": ("both", "def f(n):\n    return n and f(n - 1)\nprint(f(500))"),
    "setrecursionlimit": ("both", "import sys\nsys.setrecursionlimit(500)\n"
                          "print(sys.getrecursionlimit())"),
    "files": ("both", "open('/tmp/swarmproof-no-file', 'w').close()\nprint(1)"),
    "clock": ("both", "import time\nstart = time.time()\ntime.sleep(0.001)\n"
              "print(time.time() > start)"),
    "threads and processes": ("both", "import threading\nthreading.Thread(target=print).start()"),
    "introspection": ("both", "import gc\nprint(len(gc.get_objects()) > 0)"),
    "asynchronous code": ("cpython", "import asyncio\nasync def f():\n    return 1\n"
                          "print(asyncio.run(f()))"),
}  # fmt: skip
