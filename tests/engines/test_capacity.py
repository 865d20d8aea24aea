"""What a machine lacks is said in one line, with the number, before anything starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from swarmproof.config import TrialConfig, load
from swarmproof.engines import capacity
from swarmproof.engines.place import Place
from swarmproof.swarm import needs

HERE = Place("local", None, None)
PLENTY = 1e15


def small(**model: Any) -> TrialConfig:
    overrides = [f"model.{key}={value}" for key, value in model.items()]
    return load("small/text-horizontal", overrides=overrides).arms["no-attack"]


def disk_of(config: TrialConfig) -> float:
    found = needs.checkpoint_bytes(config)
    assert found is not None
    return found


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the machine has."""

    def has(memory: float = PLENTY, disk: float = PLENTY, *, bf16: bool | None = True) -> None:
        monkeypatch.setattr(capacity, "free_memory", lambda: memory)
        monkeypatch.setattr(capacity, "has_bf16", lambda: bf16)
        usage = type(shutil.disk_usage("/"))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, int(disk)))

    return has


def test_what_fits_is_let_through(machine: Any, tmp_path: Path) -> None:
    config = small()
    found = needs.of_trial(config)
    assert found is not None
    machine(found.peak, 2 * disk_of(config))
    capacity.require([config], tmp_path, HERE, resume=False)


def test_too_little_memory_is_said_with_both_numbers(machine: Any, tmp_path: Path) -> None:
    config = small()
    found = needs.of_trial(config)
    assert found is not None
    told = f"{found.peak / 1e9:.1f} GB of memory, and 3.0 GB are free"
    machine(3e9)
    with pytest.raises(ValueError, match=f"a trial needs about {told}; lower") as caught:
        capacity.require([config], tmp_path / "new", HERE, resume=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_trials_side_by_side_need_more(machine: Any, tmp_path: Path) -> None:
    config = small()
    found = needs.of_trial(config)
    assert found is not None
    machine(1.5 * found.peak)
    capacity.require([config] * 2, tmp_path, Place("local", None, 1), resume=False)
    with pytest.raises(ValueError, match=r"2 trials at once need about .* give --jobs 1, or"):
        capacity.require([config] * 2, tmp_path, Place("local", None, 2), resume=False)


def test_too_little_disk_is_said_unless_the_checkpoints_are_there(
    machine: Any, tmp_path: Path
) -> None:
    config = small()
    machine(disk=3 * disk_of(config) - 1)
    capacity.require([config], tmp_path, HERE, resume=False)
    with pytest.raises(ValueError, match=r"checkpoints of 2 trials need 4\.8 GB.*--out"):
        capacity.require([config] * 2, tmp_path, HERE, resume=False)
    capacity.require([config] * 2, tmp_path, HERE, resume=True)


def test_a_tiny_model_is_never_asked_about(machine: Any, tmp_path: Path) -> None:
    machine(1, 1)
    config = load("text-horizontal").arms["attack"]
    capacity.require([config] * 4, tmp_path, HERE, resume=False)


def test_bfloat16_on_a_processor_without_it_is_refused(machine: Any, tmp_path: Path) -> None:
    machine(bf16=False)
    with pytest.raises(ValueError, match=r"--set model.dtype=float32 --set warmup.dtype=float32$"):
        capacity.require([small()], tmp_path, HERE, resume=False)
    with pytest.raises(ValueError, match=r"add --set warmup.dtype=float32$"):
        capacity.require([small(dtype="float32")], tmp_path, HERE, resume=False)
    machine(bf16=None)  # not known: not refused
    capacity.require([small()], tmp_path, HERE, resume=False)
    machine(bf16=False)
    gpu = small(device="cuda", dtype="bfloat16")
    gpu = gpu.model_copy(update={"warmup": gpu.warmup.model_copy(update={"dtype": "float32"})})
    capacity.require([gpu], tmp_path, HERE, resume=False)


@pytest.mark.parametrize(
    ("cpu", "told"),
    [
        ("vendor_id : GenuineIntel\nflags : avx512_bf16", True),
        ("vendor_id : GenuineIntel\nflags : avx512_bf16 amx_bf16", False),
        ("vendor_id : AuthenticAMD\nflags : avx512_bf16", False),
        ("Features : asimd bf16", False),
    ],
)
def test_bfloat16_that_is_slower_than_float32_is_told_and_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpu: str, told: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(cpu)
    monkeypatch.setattr(capacity, "_CPUINFO", tmp_path / "cpuinfo")
    note = capacity.slow([small(), small(dtype="float32")], HERE)
    assert ("--set model.dtype=float32 --set warmup.dtype=float32 should be faster" in note) is told
    assert capacity.slow([load("text-horizontal").arms["attack"]], HERE) == ""
    capacity.require([small()], tmp_path, HERE, resume=True)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 vme", True),
        ("flags\t\t: fpu avx512f avx512_bf16x vme", False),
        ("Features\t: fp asimd bf16", True),
        ("processor\t: 0", None),
    ],
)
def test_the_flags_of_the_processor_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, found: bool | None
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\n{line}\n")
    monkeypatch.setattr(capacity, "_CPUINFO", tmp_path / "cpuinfo")
    assert capacity.has_bf16() is found
    assert not capacity.has_tiles()
    (tmp_path / "cpuinfo").write_text(f"{line}\nflags : avx512_bf16 amx_bf16 amx_tile\n")
    assert capacity.has_tiles() is (found is None)  # the flags of the first processor count


def test_free_memory_is_the_least_of_machine_and_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  2048 kB\n")
    monkeypatch.setattr(capacity, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(capacity, "_CGROUP", tmp_path)
    assert capacity.free_memory() == 2048 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    assert capacity.free_memory() == 2048 * 1024
    (tmp_path / "memory.max").write_text("1000\n")
    assert capacity.free_memory() == 995


@pytest.mark.parametrize(
    ("stat", "free"),
    [
        ("anon 5\ninactive_file 600\nactive_file 50\n", 900.0),
        ("anon 5\nactive_file 50\n", 300.0),
        ("inactive_file\n", 300.0),
        (None, 300.0),
    ],
)
def test_files_that_the_kernel_may_forget_are_no_used_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stat: str | None, free: float
) -> None:
    """In a container that had read a data set, trials that fit were refused."""
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    if stat is not None:
        (tmp_path / "memory.stat").write_text(stat)
    monkeypatch.setattr(capacity, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(capacity, "_CGROUP", tmp_path)
    assert capacity.free_memory() == free
