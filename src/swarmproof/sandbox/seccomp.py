"""The system calls that a sandboxed CPython may make, as a filter for the kernel.

It knows numbers of system calls and the kernel's filter machine, nothing of Python or bubblewrap.
It is a list of allowed calls. The kernel answers every other call, including those that later
kernels add, as if it did not have it, so that the C library falls back. Not allowed are sockets,
pipes, new processes and threads, sleep, signals to others, changes to files and folders, mounts,
name spaces, tracing and keys. Threads are not allowed because a limit on memory leaves room for
hundreds of them, which others on the machine may need. A single thread has nobody to wait for, so a
futex may only wake; the C library ends at once a program that would wait for its own lock.
Source: Linux, Documentation/userspace-api/seccomp_filter.rst, include/uapi/linux/seccomp.h.
"""

from __future__ import annotations

import platform
import struct

# name: (number on x86_64, number on aarch64); None where there is no such call
_ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "stat": (4, None), "fstat": (5, 80),
    "lstat": (6, None), "lseek": (8, 62), "mmap": (9, 222), "mprotect": (10, 226),
    "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "ioctl": (16, 29), "pread64": (17, 67), "readv": (19, 65),
    "writev": (20, 66), "access": (21, None), "sched_yield": (24, 124), "mremap": (25, 216),
    "madvise": (28, 233), "dup": (32, 23), "dup2": (33, None), "getpid": (39, 172),
    "execve": (59, 221), "exit": (60, 93), "wait4": (61, 260), "uname": (63, 160),
    "fcntl": (72, 25), "getdents": (78, None), "getcwd": (79, 17), "chdir": (80, 49),
    "readlink": (89, None), "gettimeofday": (96, 169), "getrlimit": (97, 163),
    "getrusage": (98, 165), "sysinfo": (99, 179), "times": (100, 153), "getuid": (102, 174),
    "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173),
    "sigaltstack": (131, 132), "arch_prctl": (158, None), "setrlimit": (160, 164),
    "gettid": (186, 178), "sched_getaffinity": (204, 123), "getdents64": (217, 61),
    "set_tid_address": (218, 96), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "exit_group": (231, 94), "tgkill": (234, 131), "openat": (257, 56), "newfstatat": (262, 79),
    "readlinkat": (267, 78), "faccessat": (269, 48), "set_robust_list": (273, 99),
    "dup3": (292, 24), "prlimit64": (302, 261), "getrandom": (318, 278), "membarrier": (324, 283),
    "statx": (332, 291), "rseq": (334, 293), "faccessat2": (439, 439),
}  # fmt: skip
_FUTEX = (202, 98)
_FUTEX_WAKE, _FUTEX_PRIVATE = 1, 128

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_ENOSYS = 38
_RET_ALLOW, _RET_ERRNO, _RET_KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE, _SECOND_ARGUMENT = 0, 4, 24  # offsets in struct seccomp_data


def program(machine: str | None = None) -> bytes:
    """Return the filter as an array of `struct sock_filter`, the format of `bwrap --seccomp`.

    A call of another architecture, or with a 32-bit number, kills the process, because the numbers
    mean something else there.

    Args:
        machine: `x86_64` or `aarch64`; this machine's by default.

    Raises:
        ValueError: the architecture is another one.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise ValueError(
            f"the sandbox cpython supports {' and '.join(_ARCHITECTURES)}, not {machine}; use the "
            "sandbox monty"
        )
    column, audit = _ARCHITECTURES[machine]
    numbers = [both[column] for both in _ALLOWED.values()]
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _RET_KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for number in numbers:
        if number is not None:
            code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _RET_ALLOW)]
    code += [
        (_EQUAL, 0, 3, _FUTEX[column]),
        (_LOAD, 0, 0, _SECOND_ARGUMENT),
        (_EQUAL, 2, 0, _FUTEX_WAKE),
        (_EQUAL, 1, 0, _FUTEX_WAKE | _FUTEX_PRIVATE),
        (_RETURN, 0, 0, _RET_ERRNO | _ENOSYS),
        (_RETURN, 0, 0, _RET_ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
