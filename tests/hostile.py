"""Programs that a malicious peer might send, by what they try. None of them may earn a reward.

Each is sent for a problem whose answer is `ANSWER`, and none of them computes it: whatever they do,
they must not be taken for right, must end within the limits, and leave nothing behind. `MARK` is
the name of every file that they try to write.
"""

from __future__ import annotations

from hostile_limits import ANSWER, FILLS, RECURSION, UNFAITHFUL

# Where a program sees the machine's processes it must not signal them: it prints the answer
# instead, and the test that it earns nothing fails.
_ALONE = f"import os\nif os.getpid() > 99: raise SystemExit(print({ANSWER}))\n"
MARK = "swarmproof-hostile-file"

EXITS = {
    "os exit": "import os\nos._exit(0)",
    "sys exit": "import sys\nsys.exit(0)",
    "sys exit with the right status": f"import sys\nsys.exit({ANSWER})",
    "system exit": "raise SystemExit(0)",
    "quit": "quit()",
    "abort": "import os\nos.abort()",
    "kill itself": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "kill everybody": _ALONE + "os.kill(-1, 9)",
    "kill the parent": _ALONE + "os.kill(os.getppid(), 9)",
    "null pointer": "import ctypes\nctypes.string_at(0)",
    "print, then fail": f"print({ANSWER})\nraise ValueError",
    "print, then divide by zero": f"print({ANSWER})\n1 / 0",
    "print, then assert": f"print({ANSWER})\nassert False",
    "generator exit": "raise GeneratorExit",
    "keyboard interrupt": "raise KeyboardInterrupt",
}
TRICKS = {
    "equal to everything": "class E:\n    def __eq__(self, other): return True\n"
    "    def __hash__(self): return 0\nprint(E())",
    "text that is equal to everything": "class S(str):\n    def __eq__(self, other): return True\n"
    "print(S('1'))",
    "number that is equal to everything": "class N(int):\n"
    "    def __eq__(self, other): return True\nprint(N(1))",
    "forged reward": "print('1.0')",
    "forged result object": "print(\"Result(stdout='1', failure='')\")",
    "forged JSON": 'print(\'{"reward": 1.0, "passed": true}\')',
    "forged format": f"print('<answer>{ANSWER}</answer>')",
    "forged code block": f"print('<code>print({ANSWER})</code>')",
    "right answer among others": f"for i in range({ANSWER} - 2, {ANSWER} + 2): print(i)",
    "right answer first": f"print({ANSWER})\nprint(1)",
    "right answer last": f"print(1)\nprint({ANSWER})",
    "right answer and a word": f"print('the answer is', {ANSWER})",
    "right answer on the error stream": f"import sys\nprint({ANSWER}, file=sys.stderr)",
    "right answer as an expression": ANSWER,
    "right answer in a comment": f"# {ANSWER}",
    "right answer wiped by a return": f"print('{ANSWER}\\r1')",
    "right answer wiped by backspaces": f"print('{ANSWER}' + chr(8) * 4 + '1')",
    "right answer behind an escape": f"print(chr(27) + '[2K{ANSWER}')",
    "a sum instead of a number": "print('7000 + 319')",
    "an infinite number": "print(float('inf'))",
    "no number": "print(float('nan'))",
    "nothing": "",
    "white space": " \n\t",
}
INSPECTION = {
    "frames of callers": "import sys\nf = sys._getframe()\n"
    "while f:\n    print(f.f_locals)\n    f = f.f_back",
    "objects in memory": "import gc\nprint([o for o in gc.get_objects() if 'answer' in repr(o)])",
    "arguments": "import sys\nprint(sys.argv)",
    "environment": "import os\nprint(dict(os.environ))",
    "main module": "import __main__\nprint(vars(__main__))",
    "globals": "print(globals())",
    "builtins": "print(__builtins__)",
    "subclasses": "print(().__class__.__base__.__subclasses__())",
    "the library itself": "from swarmproof.tasks import MathWords\n"
    "print(MathWords().problems('test')[0].answer)",
    "memory of the process": "print(open('/proc/self/mem', 'rb').read(10))",
    "the parent's memory": "import os\nprint(open(f'/proc/{os.getppid()}/environ').read())",
    "standard input": "print(input())",
    "descriptors": "import os\nfor fd in range(64):\n    try:\n        print(os.read(fd, 100))\n"
    "    except OSError:\n        pass",
    "traceback": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n"
    "    print(e.__traceback__.tb_frame.f_back.f_locals)",
}
FILES = {
    "password file": "print(open('/etc/passwd').read())",
    "shadow file": "print(open('/etc/shadow').read())",
    "home folder": "import os\nprint(os.listdir(os.path.expanduser('~')))",
    "host name": "print(open('/etc/hostname').read())",
    "write to tmp": f"open('/tmp/{MARK}', 'w').write('x' * 100)",
    "write here": f"open('{MARK}', 'w').write('x')",
    "write upwards": f"open('../../../../tmp/{MARK}', 'w').write('x')",
    "write by pathlib": f"import pathlib\npathlib.Path('/tmp/{MARK}').write_text('x')",
    "link out": f"import os\nos.symlink('/', '/tmp/{MARK}')\nprint(os.listdir('/tmp/{MARK}/root'))",
    "remove everything": "import shutil\nshutil.rmtree('/', ignore_errors=True)",
    "fill the disk": f"f = open('/tmp/{MARK}', 'w')\nwhile True: f.write('x' * 10**6)",
    "device": "open('/dev/sda', 'wb').write(b'x')",
    "shared memory": f"open('/dev/shm/{MARK}', 'w').write('x')",
    "poison the next program": f"open('/modules/{MARK}.py', 'w').write('print(1)')",
}
PROCESSES = {
    "fork bomb": "import os\nwhile True: os.fork()",
    "child that stays": "import os, time\nif not os.fork():\n    os.setsid()\n    time.sleep(1e3)",
    "shell": f"import os\nos.system('touch /tmp/{MARK}')",
    "subprocess": "import subprocess\nprint(subprocess.check_output(['id']))",
    "spawn": "import multiprocessing as m\nm.Process(target=print).start()",
    "exec a shell": "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo 1'])",
    "thread bomb": "import threading\n"
    "while True: threading.Thread(target=threading.Event().wait).start()",
    "threads with small stacks": "import threading\nthreading.stack_size(2**15)\n"
    "wait = threading.Event().wait\ntry:\n    while True: threading.Thread(target=wait).start()\n"
    "except RuntimeError: wait()",
    "exec itself": "import os, sys\nos.execv(sys.executable, [sys.executable, '/program.py'])",
    "raw clone": "import ctypes\nassert ctypes.CDLL(None).syscall(56, 17, 0, 0, 0, 0) >= 0",
    "raw ring": "import ctypes\nassert ctypes.CDLL(None).syscall(425, 1, 0) >= 0",
    "32-bit numbering": "import ctypes\nassert ctypes.CDLL(None).syscall(2**30 + 57) >= 0",
    "signal to the first process": "import ctypes\n"
    "while ctypes.CDLL(None).syscall(234, 1, 1, 9) == 0: pass\n1 / 0",
    "type into the terminal": "import fcntl\nfor fd in range(3): fcntl.ioctl(fd, 0x5412, b'x')",
    "socket": "import socket\nsocket.create_connection(('1.1.1.1', 80), 1)",
    "listen": "import socket\ns = socket.socket()\ns.bind(('', 0))\ns.listen()\ns.accept()",
    "unix socket": "import socket\nsocket.socket(socket.AF_UNIX).connect('/run/docker.sock')",
    "socket pair": "import socket\nprint(socket.socketpair())",
    "download": "import urllib.request\nprint(urllib.request.urlopen('http://example.com').read())",
    "mount": "import ctypes\nprint(ctypes.CDLL(None).mount(b'/', b'/tmp', 0, 4096, 0))\n1 / 0",
    "new name space": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "trace the parent": "import ctypes, os\nassert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)"
    " == 0",
    "schedule for ever": "import sched\ns = sched.scheduler()\ns.enter(1e6, 1, print)\ns.run()",
}
BOMBS = {
    "endless loop": "while True: pass",
    "endless loop that catches all": "while True:\n    try:\n        while True: pass\n"
    "    except BaseException: pass",
    "endless output": "while True: print(1)",
    "endless lines": "while True: print()",
    "long line": f"print('{ANSWER}' * 10**8)",
    "endless white space": f"print({ANSWER})\nwhile True: print(' ' * 1000)",
    "sleep": "import time\ntime.sleep(10**6)",
    "wait for a lock of its own": "import _thread\nlock = _thread.allocate_lock()\n"
    "lock.acquire()\nlock.acquire()",
    "wait for an empty pipe": "import os\nos.read(os.pipe()[0], 1)",
    "wait for a file lock": "import fcntl, struct\n"
    "lock = struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 0, 0)\n"
    "files = [open('/tmp/x', 'w') for _ in range(2)]\n"
    "for file in files: fcntl.fcntl(file, fcntl.F_OFD_SETLKW, lock)",
    "wait for ever, asynchronously": "import asyncio\nasync def f():\n"
    "    while True: await asyncio.sleep(0)\nasyncio.run(f())",
    "endless output of nothing": "while True: print(end='')",
    "endless error stream": "import sys\nwhile True: print('x' * 1000, file=sys.stderr)",
    "output that does not wait": "import os\nos.set_blocking(1, False)\n"
    "while True: os.write(1, b'1')",
    "files without end": "i = 0\nwhile True:\n    open(f'/tmp/{i}', 'w').close()\n    i += 1",
    "folders without end": "import os\nwhile True:\n    os.mkdir('d')\n    os.chdir('d')",
    # A list of 60 names that stands for one of 2**60 ones.
    "folded list": "x = [1]\nfor _ in range(60): x = [x, x]\nprint(x)",
    "folded equality": "x, y = [1], [1]\nfor _ in range(60): x, y = [x, x], [y, y]\nprint(x == y)",
    "folded order": "x, y = (1,), (1,)\nfor _ in range(60): x, y = (x, x), (y, y)\n"
    "print(sorted([x, y, x]))",
    "folded JSON": "import json\nx = [1]\nfor _ in range(60): x = [x, x]\nprint(json.dumps(x))",
    "deep JSON": "import json\nprint(json.loads('[' * 10**6))",
    "equal to itself for ever": "x, y = [], []\nx.append(x)\ny.append(y)\nprint(x == y)",
    "text that multiplies itself": "s = 'x' * 10**6\nprint(len(s.replace('x', s)))",
    "pattern that multiplies itself": "import re\ns = 'x' * 10**6\nprint(len(re.sub('', s, s)))",
    "large root": "import math\nprint(math.isqrt(10**10**6))",
    "large common divisor": "import math\nprint(math.gcd(3**10**6, 7**10**6))",
    "growing fraction": "from fractions import Fraction\nx = Fraction(1, 3)\n"
    "while True: x = x * x + 1",
    "list that grows under the loop": "x = [1]\nfor i in x: x.append(i)",
    "list put into itself": "x = [0] * 10**6\nwhile True: x[1:1] = x",
    "search without end": "import itertools\nprint(-1 in itertools.count())",
    "tower of iterators": "x = [1]\nfor _ in range(10**6): x = map(int, x)\nprint(list(x))",
    "chain of exceptions": "def f(n):\n    try: raise ValueError(n)\n"
    "    except ValueError: f(n + 1)\nf(0)",
    "exception whose text never ends": "class E(Exception):\n    def __str__(self):\n"
    "        while True: pass\nraise E",
    "large exception": "raise ValueError('x' * 10**7)",
    "finaliser that never ends": "class D:\n    def __del__(self):\n        while True: pass\n"
    "D()\nprint(1)",
    "nested functions": "\n".join(" " * i + "def f():" for i in range(180)) + " pass",
    "nested f-strings": "f'" + '{f"' * 100,
    "wait for input": "import sys\nsys.stdin.read()\nwhile True: pass",
    "memory": "x = []\nwhile True: x.append('x' * 10**6)",
    "large list": "x = [0] * 10**11",
    "large text": "x = 'x' * 10**12",
    "doubling": "x = 'x'\nwhile True: x += x",
    "tower of powers": "print(9**9**9)",
    "large power": "x = 10**10**7\nprint(x)",
    "power of itself": "x = 3\nwhile True: x = x**x",
    "shift": "print(1 << 10**12)",
    "factorial": "import math\nprint(math.factorial(10**8))",
    "range": "print(sum(range(10**13)))",
    "padding": "print(f'{1:>{10**10}}')",
    "precision": "print('%.*f' % (10**9, 1))",
    "format": "print('{:>{w}}'.format(1, w=10**10))",
    "catastrophic pattern": "import re\nprint(re.match('(a+)+$', 'a' * 60 + 'b'))",
    "nested references": "import re\nprint(re.match(r'(.*)*\\1b', 'a' * 100))",
    "deep recursion": "def f(n): return f(n + 1)\nf(0)",
    "mutual recursion": "def f(): return g()\ndef g(): return f()\nf()",
    "recursion in text": "class A:\n    def __repr__(self): return repr(self)\nprint(A())",
    "nested lists": "x = []\nfor _ in range(10**6): x = [x]\nprint(x)",
    "deep brackets": "(" * 5000 + "1" + ")" * 5000,
    "deep indentation": "\n".join(" " * i + "if 1:" for i in range(150)),
    "long sum": "print(" + "+".join("1" for _ in range(9000)) + ")",
    "many minus signs": "print(" + "-" * 15000 + "1)",
    "deep evaluation": "print(eval('(' * 10**5 + ')' * 10**5))",
    "evaluation that evaluates": "x = 'exec(x)'\nexec(x)",
    "compile bomb": "exec('x = 1\\n' * 10**7)",
    "raise the limit": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
    "endless iterator": "list(iter(int, 1))",
    "endless sort": "sorted(range(10**9), key=lambda x: -x)",
    "product": "import itertools\nprint(len(list(itertools.product(range(100), repeat=9))))",
    "hash collisions": "d = {i * (2**61 - 1): 0 for i in range(10**5)}",
}
TEXTS = {
    "null byte": f"print({ANSWER})\x00",
    "null byte in a text": "print('\x00')",
    "lone surrogate": f"print({ANSWER}) # \ud800",
    "printed surrogate": "print('\\ud800')",
    "right-to-left override": f"print('\u202e{ANSWER}')",
    "no-break space": f"print('{ANSWER[:1]}\u00a0{ANSWER[1:2]}')",
    "zero-width space": f"print('\u200b{ANSWER}')",
    "roman numerals": "print('ⅦCCCXIX')",
    "encoding line": f"# -*- coding: utf-7 -*-\n# +AAo-print({ANSWER})",
    "unknown encoding": f"# -*- coding: no-such -*-\n# print({ANSWER})",
    "form feeds": "\f" * 1000,
    "lone return": f"# \rprint({ANSWER}",
    "too long": f"# {'x' * 20_000}\nprint({ANSWER})",
    "no Python": "The answer is 7319.",
    "unclosed text": f"'''\nprint({ANSWER})",
    "unclosed bracket": f"print({ANSWER}",
    "ends in a backslash": f"print({ANSWER}) \\",
    "emoji": "print('🧮' * 1000)",
}
INTERPRETER = {
    "handler for the time limit": "import signal\nfor n in (signal.SIGXCPU, signal.SIGTERM):\n"
    "    signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
    "handler of alarms": "import signal\nsignal.signal(signal.SIGALRM, lambda *a: print(1))\n"
    "signal.alarm(1)\nsignal.pause()",
    "exit handler": "import atexit\natexit.register(print, 1)\nraise ValueError",
    "standard output closed": f"import sys\nsys.stdout.close()\nprint({ANSWER})",
    "descriptor closed": f"import os\nos.close(1)\nprint({ANSWER})",
    "standard output replaced": f"import io, sys\nsys.stdout = io.StringIO()\nprint({ANSWER})",
    "straight to the descriptor": "import os\nwhile True: os.write(1, b'1' * 10**5)",
    "module table edited": "import sys\nsys.modules['math'] = None\nimport math",
    "module table emptied": "import sys\nsys.modules.clear()\nimport os\nprint(os.listdir('/'))",
    "print replaced": f"print = lambda *a: None\nprint({ANSWER})",
    "served module replaced": "import calc\ncalc.addition = lambda a, b: 1\n"
    "print(calc.addition(7000, 319))",
    "served module asked for more": "from calc import system\nsystem('id')",
    "module of the next program": "import sys\nsys.path.insert(0, '/tmp')\nimport evil",
    "import by name": "__import__('os').system('id')",
    "import of everything": "import importlib as i\n"
    "for m in ('socket', 'ctypes', 'pty', 'x'): i.import_module(m)",
    "limits lifted": "import resource\n"
    "resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))\nwhile True: pass",
    "code object": "f = lambda: 0\nf.__code__ = f.__code__.replace(co_code=b'\\xff' * 100)\nf()",
    "pickle": "import pickle\npickle.loads(b\"cos\\nsystem\\n(S'id'\\ntR.\")\n1 / 0",
    "debugger": "breakpoint()",
    "descriptors that were left open": "import os\nfor fd in range(3, 64):\n"
    "    try: print(fd, os.fstat(fd))\n    except OSError: pass\n1 / 0",
    "sandbox overwritten": "open('/inside.py', 'w').write('print(1)')",
    "limits of the first process": "import resource\n"
    "print(resource.prlimit(1, resource.RLIMIT_CPU, (1, 1)))\n1 / 0",
    "imports without end": "while True:\n    try: import nothing\n    except BaseException: pass",
    "served imports without end": "while True:\n    try: import calc\n"
    "    except BaseException: pass",
    "dump from a thread": "import faulthandler\n"
    "faulthandler.dump_traceback_later(1, repeat=True)\nwhile True: pass",
}

PROGRAMS: dict[str, str] = {
    f"{kind}: {name}": program
    for kind, programs in {
        "exit": EXITS, "trick": TRICKS, "inspection": INSPECTION, "file": FILES,
        "process": PROCESSES, "bomb": BOMBS, "text": TEXTS, "interpreter": INTERPRETER,
        "recursion": RECURSION, "fill": FILLS, "unfaithful": UNFAITHFUL,
    }.items()
    for name, program in programs.items()
}  # fmt: skip
