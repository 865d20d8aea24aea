"""Can this machine run the trials? Asked before the first of them starts; imports no torch.

Trials that need less than `_SMALL` are not asked about: they fit wherever Python and torch do.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from swarmproof.config import TrialConfig
from swarmproof.engines import local
from swarmproof.engines.place import Place
from swarmproof.swarm import needs
from swarmproof.swarm.needs import GB, Needs

_SMALL = GB
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_CPUINFO = Path("/proc/cpuinfo")
_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # flags of x86 and of Arm


def free_memory() -> float | None:
    """Bytes that new processes may take on this machine; None if the system does not say.

    What the kernel can give, and what is left of the limit of a container.
    """
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = (_CGROUP / "memory.current").read_text(encoding="ascii")
        found += [] if limit == "max" else [float(int(limit) - int(used) + _old_cache())]
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def _old_cache() -> int:
    """Bytes of a container that count as used, and hold only files that were read some time ago.

    The kernel drops them before it refuses memory to a process.
    """
    try:
        lines = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError, IndexError):
        return 0


def has_bf16() -> bool | None:
    """Whether the processor multiplies bfloat16 numbers; None if the system does not say."""
    flags = _flags()
    return None if flags is None else not _BF16.isdisjoint(flags)


def has_tiles() -> bool:
    """Whether the processor multiplies bfloat16 numbers in tiles of a matrix (AMX)."""
    return "amx_bf16" in (_flags() or ())


def _flags() -> list[str] | None:
    """What the processor can do; None if the system does not say."""
    return _cpu("flags", "features")


def _cpu(*names: str) -> list[str] | None:
    """The words of the first line of the processor's description with one of these names."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split() for line in lines if line.lower().startswith(names)), None)


def require(configs: Sequence[TrialConfig], folder: Path, place: Place, *, resume: bool) -> None:
    """Refuse trials that this machine has too little memory or disk for, or not the processor.

    Args:
        configs: of all trials, one for each arm and seed.
        folder: where the records go; need not exist.
        place: where the trials run. Nothing is known of the machines of a cluster.
        resume: the checkpoints are there already.

    Raises:
        ValueError: one line with what is needed, what is there, and the remedy. `model.memory_gb`
            is checked on a cluster, too.
    """
    for config in configs:
        needs.require_limit(config)
    if place.engine != "local":
        return
    _require_bf16(configs)
    sizes = sorted((_on_cpu(config) for config in configs), reverse=True)
    if not sizes or sizes[0] < _SMALL:
        return
    jobs = min(place.jobs or local.default_jobs(len(sizes)), len(sizes))
    together, free = sum(sizes[:jobs]), free_memory()
    if free is not None and together > free:
        what = f"{jobs} trials at once need" if jobs > 1 else "a trial needs"
        remedy = (
            "give --jobs 1, or " if jobs > 1 else ""
        ) + "lower grpo.micro_batch_tokens, set model.gradient_checkpointing or model.memory_gb"
        raise ValueError(
            f"{what} about {together / GB:.1f} GB of memory, and {free / GB:.1f} GB are free; "
            f"{remedy}, or free some (swarmproof run … --plan shows the parts)"
        )
    if not resume:
        _require_disk(configs, folder)


def _require_disk(configs: Sequence[TrialConfig], folder: Path) -> None:
    sizes = [needs.checkpoint_bytes(config) or 0 for config in configs]  # as far as it is known
    disk = sum(sizes) + max(sizes)
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    room = shutil.disk_usage(there).free
    if disk > room:
        raise ValueError(
            f"the checkpoints of {len(configs)} trials need {disk / GB:.1f} GB, and the disk of "
            f"{there} has {room / GB:.1f} GB free; name another folder with --out, or run fewer "
            "arms or seeds"
        )


def _require_bf16(configs: Sequence[TrialConfig]) -> None:
    if (instead := _in_float32(configs)) and has_bf16() is False:
        raise ValueError(
            "bfloat16 is asked for, and this processor has no instructions for it, so it would be "
            f"slower than float32; add {instead}"
        )


def slow(configs: Sequence[TrialConfig], place: Place) -> str:
    """A line for the reader if bfloat16 is asked for and float32 is faster here; else empty."""
    # Measured on Intel only: half as fast. On AMD without AMX bfloat16 was the faster one.
    intel = "GenuineIntel" in (_cpu("vendor_id") or ())
    if place.engine != "local" or not intel or has_tiles() or not (instead := _in_float32(configs)):
        return ""
    return (
        "note: this is an Intel processor without AMX. Where that was measured, bfloat16 was half "
        f"as fast as float32; {instead} should be faster, and is another setting"
    )


def _in_float32(configs: Sequence[TrialConfig]) -> str:
    """The options that make those on a processor compute in float32; empty if all do."""
    here = [config for config in configs if config.model.device == "cpu"]
    asked = {
        "model.dtype": any(config.model.dtype == "bfloat16" for config in here),
        "warmup.dtype": any(c.warmup.steps and c.warmup.dtype == "bfloat16" for c in here),
    }
    return " ".join(f"--set {key}=float32" for key, wanted in asked.items() if wanted)


def lines(arms: Mapping[str, TrialConfig], seeds: int) -> Iterator[str]:
    """What the arms of an experiment need, for the reader; arms with equal needs share a table."""
    tables: dict[Needs | None, list[str]] = {}
    for name, config in arms.items():
        needs.require_limit(config)
        tables.setdefault(needs.of_trial(config), []).append(name)
    for found, names in tables.items():
        yield f"a trial of {', '.join(names)}:"
        if found is None:
            yield "  no estimate: a model is not on this machine, or its config is of another kind"
        else:
            yield from found.lines()
    sizes = [size for size in map(needs.checkpoint_bytes, arms.values()) if size is not None]
    disk = f"{seeds * sum(sizes) / GB:.2f} GB on disk" if len(sizes) == len(arms) else "unknown"
    yield f"checkpoints of {seeds * len(arms)} trials: {disk}"
    if (free := free_memory()) is not None:
        yield f"free memory of this machine: {free / GB:.1f} GB"


def _on_cpu(config: TrialConfig) -> float:
    """Bytes of this machine's memory that a trial needs, as far as it is known."""
    found = needs.of_trial(config)
    return found.peak if found is not None and config.model.device == "cpu" else 0.0
