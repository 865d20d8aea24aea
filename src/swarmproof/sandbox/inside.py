"""Run inside the cpython sandbox: set the remaining limits, then run the program.

Bubblewrap starts this file. It imports nothing of swarmproof, which the sandbox does not contain.
Usage: inside.py MEMORY_BYTES CPU_SECONDS RECURSION

The recursion limit. CPython lets every program raise it, and the kernel cannot bound it, because a
call needs only about 100 bytes. So `sys.setrecursionlimit` is replaced by a function that keeps the
limit, and every reference to the original is dropped. An audit hook, which Python code cannot
remove, refuses the other ways to the same effect: to find the hook through the garbage collector,
to call functions of the interpreter with `ctypes`, to start a second interpreter, to execute Python
again. A program that corrupts the memory of its own interpreter, with forged bytecode or pointers
of `ctypes`, can still lift the limit. It stays within the kernel's limits on memory and CPU time.
"""

import builtins
import gc
import resource
import sys


def set_kernel_limits(memory: int, cpu: int) -> None:
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(kind, (limit, limit))


def keep_recursion_limit(limit: int) -> None:
    def setrecursionlimit(limit: int, /) -> None:
        """Check the argument like the original, and keep the limit of the sandbox."""
        if not isinstance(limit, int):
            raise TypeError(f"{type(limit).__name__!r} object cannot be interpreted as an integer")
        if limit < 1:
            raise ValueError("recursion limit must be greater or equal than 1")

    sys.setrecursionlimit(limit)
    original = sys.setrecursionlimit
    # CPython keeps a copy of the names of `sys`, from which a second import of it is filled.
    for names in [found for found in gc.get_referrers(original) if type(found) is dict]:
        for name in [name for name, value in names.items() if value is original]:
            names[name] = setrecursionlimit


def refuse_ways_around() -> None:
    refused_events = frozenset((
        "gc.get_objects", "gc.get_referrers", "gc.get_referents",
        "cpython.PyInterpreterState_New", "os.exec", "os.posix_spawn",
    ))  # fmt: skip
    refused_modules = frozenset((
        "_xxsubinterpreters", "_interpreters", "_testcapi", "_testinternalcapi", "_testlimitedcapi",
    ))  # fmt: skip

    # An error in the hook refuses as well, so a program gains nothing by replacing builtins.
    def hook(
        event: str,
        arguments: tuple[object, ...],
        events: frozenset[str] = refused_events,
        modules: frozenset[str] = refused_modules,
    ) -> None:
        if event == "import":
            name = arguments[0]
            if type(name) is not str or name.rpartition(".")[2] in modules:
                raise ImportError(f"{name} is not available in the sandbox")
        elif event == "ctypes.dlopen" and arguments[0] is None:
            pass  # an import of ctypes does this, as sympy and others do
        elif event in events or event.startswith("ctypes."):
            raise PermissionError(f"{event} is not allowed in the sandbox")

    sys.addaudithook(hook)


def main() -> None:
    memory, cpu, recursion = map(int, sys.argv[1:])
    # As UTF-8 and with its line ends unchanged: the text that was accepted is the text that runs.
    with open("/program.py", encoding="utf-8", newline="") as file:  # noqa: PTH123
        source = file.read()
    sys.path += ["/modules", "/packages"]
    sys.argv = ["/program.py"]
    # The module `site`, which would define these, is not loaded.
    vars(builtins).update(exit=sys.exit, quit=sys.exit)
    set_kernel_limits(memory, cpu)
    keep_recursion_limit(recursion)
    refuse_ways_around()
    exec(compile(source, "/program.py", "exec"), {"__name__": "__main__"})


main()
