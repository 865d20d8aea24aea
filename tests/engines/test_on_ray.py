"""Trials on a real Ray cluster of two nodes: equal bytes, the loss of a node, and errors."""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from swarmproof.engines import by_cohort, local, on_ray, on_ray_task, ray_nodes
from swarmproof.engines.endings import Stopped, TrialCrashedError
from swarmproof.engines.events import Event, Finished, Restarted, RoundDone, Started
from swarmproof.records.streams import COMPLETIONS, ROUNDS, read_rounds
from swarmproof.swarm.checkpoint import CHECKPOINT
from swarmproof.swarm.trial import Trial, play_trial, run_trial
from swarmproof.types import RoundRecord
from swarms import trial_config

NUM_ROUNDS = 6
HALF = 4  # the round after which a node dies: the last checkpoint is of the one before

ray = pytest.importorskip("ray", reason="needs the extra `ray`")

Rounds = Iterator[tuple[RoundRecord, float]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with room for one trial each. The driver is on the first."""
    make: Any = importlib.import_module("ray.cluster_utils").Cluster
    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    # The environment of the nodes, so that their workers find this module.
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        # Beside other tests, a worker with Ray's low default priority would hardly start.
        patch.setenv("RAY_worker_niceness", "0")
        cluster = make(initialize_head=True, head_node_args=small | {"include_dashboard": False})
        try:
            cluster.add_node(**small)
            with on_ray.connected(cluster.address):
                yield cluster
        finally:
            cluster.shutdown()


@pytest.fixture(scope="module")
def by_local(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    trials = two_trials(random_model, tmp_path_factory.mktemp("local"))
    local.run_trials(trials, jobs=2, resume=False, on_event=lambda _: None, run_trial=run_by_local)
    return trials


def run_by_local(trial: Trial, *, resume: bool, on_round: local.OnRound) -> None:
    # In the child, the import of this module has registered the task of the tests.
    run_trial(trial, resume=resume, on_round=on_round)


def two_trials(model: Path, root: Path) -> list[Trial]:
    config = trial_config(model, rounds=NUM_ROUNDS, checkpoint_every=2)
    return [Trial("experiment", "arm", seed, config, root / f"seed-{seed}") for seed in (0, 1)]


def contents(trials: list[Trial]) -> list[dict[str, bytes]]:
    return [{n: (t.folder / n).read_bytes() for n in (ROUNDS, COMPLETIONS)} for t in trials]


def attempts(trial: Trial) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trial.folder / "attempts").read_text().splitlines()]


def told(events: list[Event], trial: Trial) -> list[str | int]:
    """The events of a trial: their kinds, and rounds by number."""
    return [
        event.record.round if isinstance(event, RoundDone) else type(event).__name__
        for event in events
        if event.trial == trial
    ]


def play_noted(trial: Trial, *, resume: bool) -> Rounds:
    """The real function. It also records where it runs, and from which round it resumes."""
    for number, (record, seconds) in enumerate(play_trial(trial, resume=resume)):
        if number == 0:
            at = {"node": ray.get_runtime_context().get_node_id(), "from": record.round}
            with (trial.folder / "attempts").open("a") as file:
                file.write(json.dumps(at) + "\n")
        yield record, seconds


def play_to_the_half(trial: Trial, *, resume: bool) -> Rounds:
    """The first attempt waits half-way until it gets a signal."""
    for record, seconds in play_noted(trial, resume=resume):
        yield record, seconds
        while record.round == HALF and len(attempts(trial)) == 1:
            if (trial.folder / "go").exists():
                break
            time.sleep(0.05)


def play_fake(trial: Trial, *, resume: bool) -> Rounds:
    """Does what the name of the arm says."""
    assert resume, "what may not be gone on with is removed before"
    with (trial.folder / "pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
    match trial.arm:
        case "bad-config":
            raise ValueError("lr: must be positive")
        case "bug":
            raise ZeroDivisionError("a bug in the trial")
        case "dies":
            os._exit(3)
        case "sleeps":
            time.sleep(600)
    yield from ()


def run_fake(arm: str, model: Path, folder: Path) -> list[Event]:
    events: list[Event] = []
    trial = Trial("fake", arm, 0, trial_config(model), folder)
    on_ray.run_trials([trial], resume=False, on_event=events.append, play=play_fake)
    return events


@pytest.mark.usefixtures("cluster")
def test_two_nodes_write_the_bytes_of_the_local_engine(
    random_model: Path, by_local: list[Trial], tmp_path: Path
) -> None:
    trials = two_trials(random_model, tmp_path)
    for trial in trials:  # of an older run, which this one does not go on with
        trial.folder.mkdir()
        (trial.folder / CHECKPOINT).write_bytes(b"not this run's")
    events: list[Event] = []
    assert ray_nodes.room(trials) == 2
    on_ray.run_trials(trials, resume=False, on_event=events.append, play=play_noted)
    assert contents(trials) == contents(by_local)
    for trial in trials:
        assert told(events, trial) == ["Started", *range(NUM_ROUNDS), "Finished"]
    nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    assert {at["node"] for trial in trials for at in attempts(trial)} == nodes
    assert len(nodes) == 2
    events.clear()
    on_ray.run_trials(trials, jobs=1, resume=True, on_event=events.append, play=play_noted)
    assert [type(event) for event in events] == 2 * [Started, Finished]
    assert contents(trials) == contents(by_local)


def two_models(model: Path, other: Path, folder: Path, **changes: Any) -> Trial:
    """Two models, two honest nodes of the first, and an attacker."""
    config = trial_config(
        model,
        rounds=NUM_ROUNDS,
        model={"dtype": "float32"},
        swarm={"models": [str(model), str(other)]},
        defenses=[{"name": "logit", "tolerance": 3.0}],
        **changes,
    )
    return Trial("experiment", "arm", 5, config, folder)


@pytest.fixture(scope="module")
def both_here(
    random_model: Path, foreign_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trial:
    trial = two_models(random_model, foreign_model, tmp_path_factory.mktemp("both"))
    run_trial(trial, resume=False)
    return trial


def play_where(trial: Trial, *, resume: bool) -> Rounds:
    """The real function. It records on which node it begins, and dies once if it is to."""
    whole = trial.folder.parent.parent
    with (whole / "nodes").open("a") as file:
        file.write(ray.get_runtime_context().get_node_id() + "\n")
    for record, seconds in play_trial(trial, resume=resume):
        if record.round == HALF and (whole / "die").exists() and trial.local == (1,):
            (whole / "die").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        yield record, seconds


@pytest.mark.usefixtures("cluster")
def test_a_worker_for_each_model_one_of_which_dies_writes_the_bytes_of_one_process(
    random_model: Path, foreign_model: Path, both_here: Trial, tmp_path: Path
) -> None:
    trial = two_models(random_model, foreign_model, tmp_path)
    stale = by_cohort.parts_of(trial)[1].folder
    stale.mkdir(parents=True)
    (stale / CHECKPOINT).write_bytes(b"not this run's")
    (tmp_path / "die").touch()
    events: list[Event] = []
    on_ray.run_trials([trial], resume=False, on_event=events.append, play=play_where)
    assert contents([trial]) == contents([both_here])
    rounds = [r for number in range(NUM_ROUNDS) for r in (number, number)]
    assert [each for each in told(events, trial) if each != "Restarted"] == [
        "Started", *rounds, "Finished",
    ]  # fmt: skip
    assert sum(isinstance(event, Restarted) for event in events) == 1
    nodes = (tmp_path / "nodes").read_text().split()
    assert (len(nodes), len(set(nodes))) == (3, 2)
    assert not (tmp_path / by_cohort.PARTS).exists()
    # It is now a trial like any other: more rounds continue from its checkpoint in one process.
    for each in (trial, both_here):
        more = each.config.model_copy(update={"rounds": NUM_ROUNDS + 1})
        copy = tmp_path / "copies" / each.folder.name
        shutil.copytree(each.folder, copy, ignore=shutil.ignore_patterns("copies"))
        run_trial(replace(each, config=more, folder=copy), resume=True)
    first, second = (read_rounds(copy) for copy in (tmp_path / "copies").iterdir())
    assert len(first) == 2 * (NUM_ROUNDS + 1)
    assert first == second


def test_what_cannot_be_split_stays_whole(random_model: Path, foreign_model: Path) -> None:
    def num_parts(**changes: Any) -> int:
        trial = two_models(random_model, foreign_model, Path("run"), **changes)
        return len(by_cohort.parts_of(trial))

    assert num_parts() == 2
    # It reads what all honest nodes send.
    assert num_parts(attack={"name": "copying"}) == 0
    assert num_parts(exchange={"name": "folder"}) == 0
    one = Trial("experiment", "arm", 5, trial_config(random_model), Path("run"))
    assert by_cohort.parts_of(one) == ()


@pytest.mark.usefixtures("cluster")
def test_a_trial_that_was_begun_in_parts_is_not_started_anew_for_want_of_room(
    random_model: Path, foreign_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = two_models(random_model, foreign_model, tmp_path)
    part = by_cohort.parts_of(trial)[1].folder
    part.mkdir(parents=True)
    (part / CHECKPOINT).touch()
    monkeypatch.setattr(on_ray, "places", lambda _: 1)
    with pytest.raises(ValueError, match=r"a worker for each of its 2 models, .* no room"):
        on_ray.run_trials([trial], resume=True, on_event=lambda _: None, play=play_fake)
    assert (part / CHECKPOINT).exists()
    # Nor by the local engine, which knows no parts.
    with pytest.raises(ValueError, match=r"a worker for each model; resume it with --engine ray"):
        by_cohort.refuse_begun([trial])
    (tmp_path / CHECKPOINT).touch()
    by_cohort.refuse_begun([trial])


def test_a_node_killed_half_way_loses_nothing(
    cluster: Any, random_model: Path, by_local: list[Trial], tmp_path: Path
) -> None:
    trials = two_trials(random_model, tmp_path)
    (victim,) = cluster.worker_nodes
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if isinstance(event, RoundDone) and event.record.round == HALF:
            (attempt, *later) = attempts(event.trial)
            if later:
                return
            if attempt["node"] == victim.node_id:
                cluster.remove_node(victim, allow_graceful=False)
            else:
                (event.trial.folder / "go").touch()

    on_ray.run_trials(trials, resume=False, on_event=on_event, play=play_to_the_half)
    assert contents(trials) == contents(by_local)
    lost = [trial for trial in trials if len(attempts(trial)) > 1]
    assert len(lost) == 1
    # The round after the checkpoint was played twice, and reported once.
    assert [at["from"] for at in attempts(lost[0])] == [0, HALF]
    before, after = list(range(HALF + 1)), list(range(HALF + 1, NUM_ROUNDS))
    assert told(events, lost[0]) == ["Started", *before, "Restarted", *after, "Finished"]
    assert sum(isinstance(event, Finished) for event in events) == 2


@pytest.mark.usefixtures("cluster")
def test_a_mistake_comes_out_as_its_own_kind_and_is_not_tried_again(
    random_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"^lr: must be positive$"):
        run_fake("bad-config", random_model, tmp_path)
    assert len((tmp_path / "pids").read_text().splitlines()) == 1
    with pytest.raises(TrialCrashedError, match=r"(?s)arm bug.*in play_fake.*ZeroDivisionError"):
        run_fake("bug", random_model, tmp_path)


@pytest.mark.usefixtures("cluster")
def test_a_trial_that_is_lost_again_and_again_is_given_up(
    random_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(ChildProcessError, match=r"arm dies, seed 0 was lost 4 times.*--resume"):
        run_fake("dies", random_model, tmp_path)
    assert len((tmp_path / "pids").read_text().splitlines()) == on_ray.LOSSES


@pytest.mark.usefixtures("cluster")
def test_a_folder_that_the_nodes_do_not_share_is_told(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A path that means something else in every process, like that of a local disk.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"node \S+ of the Ray .* --out on a file system .* share"):
        run_fake("bad-config", random_model, Path("/proc/self/cwd/run"))
    assert (tmp_path / "run").is_dir()


@pytest.mark.usefixtures("cluster")
def test_a_stopped_driver_stops_its_trials(random_model: Path, tmp_path: Path) -> None:
    def interrupt(_: Event) -> None:
        raise KeyboardInterrupt

    trial = Trial("fake", "sleeps", 0, trial_config(random_model), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        on_ray.run_trials([trial], resume=False, on_event=interrupt, play=play_fake)
    with (tmp_path / on_ray_task.LOCK).open("r+b") as file:
        deadline = time.monotonic() + 30
        while not is_free(file):
            assert time.monotonic() < deadline, "the trial still runs"
            time.sleep(0.05)


def is_free(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@pytest.mark.usefixtures("cluster")
def test_a_gpu_that_no_node_has_is_told_before_anything_is_waited_for(
    random_model: Path, tmp_path: Path
) -> None:
    config = trial_config(random_model, model={"device": "cuda"})
    trial = Trial("experiment", "arm", 0, config, tmp_path)
    with pytest.raises(ValueError, match=r"no node .* a CPU and a GPU .* to cpu"):
        on_ray.run_trials([trial], resume=False, on_event=lambda _: None)


def test_a_trial_needs_a_gpu_where_its_model_or_a_judge_does(random_model: Path) -> None:
    judge = {"name": "judge", "model": {"name": "local", "device": "cuda"}}
    assert ray_nodes.gpus(trial_config(random_model)) == 0
    assert ray_nodes.gpus(trial_config(random_model, model={"device": "cuda"})) == 1
    assert ray_nodes.gpus(trial_config(random_model, defenses=[judge])) == 1
    with pytest.raises(ValueError, match=r"'cuda:1'.* Ray picks"):
        ray_nodes.gpus(trial_config(random_model, model={"device": "cuda:1"}))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nowhere", "HOST:PORT"),
        ("auto", "HOST:PORT"),
        ("ray://127.0.0.1:10001", "HOST:PORT"),
        ("127.0.0.1:99999", "no Ray cluster answers at 127.0.0.1:99999"),
    ],
)
def test_an_address_without_a_cluster_is_one_line(address: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        on_ray.require(address)


def test_a_port_where_nothing_listens_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        with pytest.raises(ValueError, match=r"no Ray cluster answers .* refused"):
            on_ray.require(f"127.0.0.1:{taken.getsockname()[1]}")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'swarmproof\[ray\]'"):
        on_ray.require(None)


def says(trial: Trial, token: str) -> list[on_ray_task.Said]:
    return list(on_ray_task.attempt(trial, False, token, str(trial.folder), play_fake))


def test_an_attempt_waits_for_one_that_still_works(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_ray_task, "_SECONDS_TO_WAIT", 0.3)
    trial = Trial("fake", "ends", 0, trial_config(random_model), tmp_path)
    (tmp_path / on_ray_task.LOCK).write_text("new")
    with (tmp_path / on_ray_task.LOCK).open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        (last,) = says(trial, "new")
        assert isinstance(last, Stopped)
        assert "another process still works" in str(last.error)
    assert says(trial, "new") == [on_ray_task.Begun(), on_ray_task.Done()]


def test_an_attempt_that_was_given_up_does_not_begin(random_model: Path, tmp_path: Path) -> None:
    trial = Trial("fake", "ends", 0, trial_config(random_model), tmp_path)
    (tmp_path / on_ray_task.LOCK).write_text("new")
    (last,) = says(trial, "old")
    assert isinstance(last, Stopped)
    assert not (tmp_path / "pids").exists()


def test_when_the_node_of_the_driver_dies_nothing_is_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def die(_: object) -> None:
        raise ray.exceptions.LocalRayletDiedError

    monkeypatch.setattr(ray, "get", die)
    with pytest.raises(ChildProcessError, match=r"this machine died.*--resume"):
        on_ray._next(iter([None]))


def test_what_is_played_again_is_told_once(random_model: Path, tmp_path: Path) -> None:
    trial = Trial("fake", "arm", 0, trial_config(random_model), tmp_path)
    follower = on_ray._Follower(trial, 0, fresh=True)
    events: list[Event] = []
    record = cast(Any, type("Record", (), {"round": 0, "cohort": "honest"}))
    for _ in range(2):
        follower.tell(on_ray_task.Begun(), events.append)
        follower.tell(on_ray_task.Round(record, 0.5), events.append)
    assert [type(event) for event in events] == [Started, RoundDone]
    assert not follower.fresh
    follower.lose("lost", events.append)
    assert events[-1] == Restarted(replace(trial), "lost")
