"""Runs inside the cpython sandbox, before the program that it then becomes.

It sets the limits that only the process itself can set, makes the served modules importable, and
runs the program. It imports nothing of swarmproof, which is not in the sandbox.
Usage: inside.py MEMORY_BYTES CPU_SECONDS FILE_BYTES RECURSION
"""

import resource
import sys


def main() -> None:
    memory, cpu, file_size, recursion = map(int, sys.argv[1:])
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(kind, (limit, limit))
    sys.path += ["/modules", "/packages"]
    sys.argv = ["/program.py"]
    sys.setrecursionlimit(recursion)
    # As UTF-8, with the line ends as they are: what was refused or admitted is what runs.
    with open("/program.py", encoding="utf-8", newline="") as file:  # noqa: PTH123
        source = file.read()
    exec(compile(source, "/program.py", "exec"), {"__name__": "__main__"})


main()
