"""Processor time of four real nodes: the network's share of a round, and the same without it."""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.net.meter import Meter
from swarmproof.config import load
from swarmproof.engines import local, nodes
from swarmproof.engines.nodes import NodeTrials
from swarmproof.swarm.trial import Trial, play_trial
from swarmproof.types import RoundRecord

_ROWS = "net-cost.jsonl"
_SKIPPED = 1  # rounds in which nodes meet, and a process runs everything for the first time


def measured(trial: Trial, *, resume: bool, on_round: Callable[[RoundRecord, float], None]) -> None:
    """`run_trial`, with a line of processor seconds and counts for each round."""
    assert threading.current_thread() is threading.main_thread()
    meter = Meter()
    meter.attach()
    trial.folder.mkdir(parents=True, exist_ok=True)
    with (trial.folder / _ROWS).open("w") as file:
        before = _now(meter)
        for record, seconds in play_trial(trial, resume=resume):
            after = _now(meter)
            after.subtract(before)
            file.write(json.dumps({"round": record.round, "wall": seconds, **after}) + "\n")
            file.flush()
            before = _now(meter)
            on_round(record, seconds)


def _now(meter: Meter) -> Counter[str]:
    sums = meter.take()
    main, process = time.thread_time(), time.process_time()
    sums.update({"process": process, "other threads": process - main})
    return sums


def compare(experiment: str, arm: str, rounds: int, overrides: Sequence[str]) -> dict[str, Any]:
    """The same nodes over `net` and over `folder`, one after the other.

    Returns:
        `share`: processor time of signing, agreement, archive and transport over that of a round,
        all nodes together, in the swarm over the network. `ratio`: a round over the network over a
        round of the same processes with files; only as exact as the machine is quiet.
    """
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        config = load(
            experiment, arms=[arm], overrides=["exchange.name=net", f"rounds={rounds}", *overrides]
        )
        trial = Trial(experiment, arm, 0, config.arms[arm], root / "net")
        over_net = _over_net(NodeTrials.of(trial, root / "nodes"))
        over_files = _over_files(trial, root)
    network = statistics.mean(row["network"] for row in over_net)
    whole = statistics.mean(row["process"] for row in over_net)
    files = statistics.mean(row["process"] for row in over_files)
    spread = sorted(row["network"] / row["process"] for row in over_net)
    return {
        "rounds": rounds - _SKIPPED,
        "share": network / whole,
        "share_range_of_nodes_and_rounds": [spread[0], spread[-1]],
        "ratio": whole / files,
        "seconds_a_round": {"net": whole, "of it network": network, "folder": files},
        "parts": _means(over_net),
        "parts_folder": _means(over_files),
    }


def _over_net(swarm: NodeTrials) -> list[dict[str, float]]:
    run = local.run_trials

    def run_measured(trials: Sequence[Trial], **kwargs: Any) -> None:
        run(trials, **kwargs | {"run_trial": measured})

    with mock.patch.object(local, "run_trials", run_measured):
        nodes.run_swarm(swarm, resume=False, on_event=lambda _: None)
    return _rows(swarm.nodes)


def _over_files(trial: Trial, root: Path) -> list[dict[str, float]]:
    exchange = {"name": "folder", "path": str(root / "messages")}
    config = trial.config.model_copy(update={"exchange": exchange})
    trials = NodeTrials.of(replace(trial, config=config), root / "files").nodes
    local.run_trials(
        trials, jobs=len(trials), resume=False, on_event=lambda _: None, run_trial=measured
    )
    return _rows(trials)


def _rows(trials: Sequence[Trial]) -> list[dict[str, float]]:
    rows = []
    for trial in trials:
        for line in (trial.folder / _ROWS).read_text().splitlines()[_SKIPPED:]:
            row = json.loads(line)
            calls = sum(row.get(name, 0.0) for name in ("describe", "publish", "gather"))
            rows.append(row | {"network": calls + row["other threads"]})
    return rows


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    names = sorted({name for row in rows for name in row} - {"round"})
    return {name: sum(row.get(name, 0.0) for row in rows) / len(rows) for name in names}
