"""Trials as processes: events arrive, errors stop the run, and no process is left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from swarmproof.engines.endings import TrialCrashedError
from swarmproof.engines.events import Event, Finished, RoundDone, Started
from swarmproof.engines.local import RunTrial, default_jobs, run_trials


@dataclass(frozen=True)
class FakeTrial:
    arm: str
    folder: Path
    seed: int = 0
    experiment: str = "fake"


OnRound = Callable[[Any, float], None]


def run_fake(trial: FakeTrial, *, resume: bool, on_round: OnRound) -> None:
    """Does what the name of the arm says, and writes its process id into its folder."""
    (trial.folder / f"{trial.arm}.pid").write_text(str(os.getpid()))
    on_round("first", 0.5)
    match trial.arm:
        case "threads":
            on_round((os.environ["OMP_NUM_THREADS"], "torch" in sys.modules, resume), 0.0)
        case "bad-config":
            raise ValueError("lr: must be positive")
        case "disk-full":
            raise OSError(errno.ENOSPC, "No space left on device", "/x/y")
        case "bug":
            raise ZeroDivisionError("a bug in the trial")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "sleeps":
            time.sleep(600)


def run(arms: Sequence[str], folder: Path, *, jobs: int | None = None) -> list[Event]:
    events: list[Event] = []
    trials = [FakeTrial(arm, folder) for arm in arms]
    run_trials(
        cast(Any, trials),
        jobs=jobs,
        resume=True,
        on_event=events.append,
        run_trial=cast(RunTrial, run_fake),
    )
    return events


def gone(pid: int, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def wait_for(path: Path, seconds: float = 60.0) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return text
        time.sleep(0.05)
    raise AssertionError(f"{path.name} did not appear")


@pytest.mark.parametrize(
    ("trials", "cores", "jobs"),
    [
        (1, 2, 1),
        (2, 2, 2),
        (3, 2, 3),
        (4, 2, 2),
        (5, 2, 2),
        (7, 4, 7),
        (8, 4, 4),
        (9, 4, 4),
        (1, 64, 1),
    ],
)
def test_a_few_more_trials_than_cores_run_at_once(trials: int, cores: int, jobs: int) -> None:
    assert default_jobs(trials, cores) == jobs


def test_the_events_of_a_trial_arrive_in_order(tmp_path: Path) -> None:
    events = run(["a", "b", "c"], tmp_path, jobs=2)
    for arm in "abc":
        own = [event for event in events if event.trial.arm == arm]
        assert [type(event) for event in own] == [Started, RoundDone, Finished]
        assert isinstance(own[1], RoundDone)
        assert own[1].seconds == 0.5


def test_a_child_is_told_its_one_thread_before_torch_is_imported(tmp_path: Path) -> None:
    told = [event for event in run(["threads"], tmp_path) if isinstance(event, RoundDone)][1]
    assert cast(Any, told.record) == ("1", False, True)


def test_a_mistake_stops_the_others_and_comes_out_as_its_own_kind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^lr: must be positive$"):
        run(["sleeps", "bad-config"], tmp_path, jobs=2)
    pid = tmp_path / "sleeps.pid"
    assert not pid.exists() or gone(int(pid.read_text()))


def test_a_full_disk_keeps_its_error_number(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        run(["disk-full"], tmp_path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/x/y")


def test_a_bug_shows_the_traceback_of_the_child(tmp_path: Path) -> None:
    with pytest.raises(TrialCrashedError, match=r"(?s)arm bug.*in run_fake.*ZeroDivisionError"):
        run(["bug"], tmp_path)


def test_a_killed_trial_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        ChildProcessError, match=r"arm killed, seed 0 was killed by SIGKILL.*--resume"
    ):
        run(["killed"], tmp_path)


def test_a_trial_that_leaves_without_a_word_is_a_crash(tmp_path: Path) -> None:
    with pytest.raises(TrialCrashedError, match="exit code 3"):
        run(["exit"], tmp_path)


def test_an_error_in_the_parent_leaves_no_child(tmp_path: Path) -> None:
    def broken(event: Event) -> None:
        if isinstance(event, RoundDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials(
            cast(Any, [FakeTrial("sleeps", tmp_path)]),
            resume=False,
            on_event=broken,
            run_trial=cast(RunTrial, run_fake),
        )
    assert gone(int((tmp_path / "sleeps.pid").read_text()), seconds=0.5)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_leave_with_a_killed_parent(tmp_path: Path, how: signal.Signals) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        if __name__ == "__main__":
            from test_local import run
            run(["sleeps"], Path({str(tmp_path)!r}))
        """)
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    try:
        child = int(wait_for(tmp_path / "sleeps.pid"))
        parent.send_signal(how)
        parent.wait(10)
        assert gone(child)
    finally:
        parent.kill()
        parent.wait()
