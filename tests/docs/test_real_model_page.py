"""The rise of accuracy in docs/real-model.md is that of the exported runs."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

from swarmproof.records.summary import t_interval

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/real-model.md").read_text(encoding="utf-8")


def test_the_rise_of_accuracy_is_that_of_the_runs() -> None:
    rises = []
    for seed in range(3):
        file = ROOT / f"results/smollm2/no-attack-seed-{seed}.json"
        arm = json.loads(file.read_text(encoding="utf-8"))["arms"]["no-attack"]
        assert (arm["seeds"], arm["rounds"], arm["unfinished_seeds"]) == ([seed], 50, [])
        heldout = arm["heldout"]["accuracy"]["by_iteration"]
        rewards = [100 * reward for reward in arm["accuracy"]["by_iteration"]]
        rises.append(100 * (heldout[-1] - heldout[0]))
        tens = ", ".join(f"{fmean(rewards[i : i + 10]):.1f}" for i in range(0, 50, 10))
        (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| {seed} | "))
        shown = row.split("|")[2].replace("%", "").split(",")
        assert shown[0].strip() == f"{100 * heldout[0]:.1f}"
        assert shown[-1].strip() == f"{100 * heldout[-1]:.1f}"
        assert row.endswith(f"| {rises[-1]:.1f} | {tens} % |")
    ends = t_interval(rises)
    assert ends is not None
    assert f"rises by {fmean(rises):.1f} points in 50 iterations" in PAGE
    assert f"three seeds {ends[0]:.1f} to {ends[1]:.1f};" in PAGE
