"""`GuardMixin` where TRL splits a group over two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

SCRIPT = """
import os, sys
from pathlib import Path
from judging import Bad
from swarmproof import Guard
from swarmproof.integrations.ledger import Ledger
from swarmproof.integrations.sidecar import Sidecar
from trl_trainers import PROMPTS, SENDERS, TEXTS, GuardedGRPO, by_text, fixed, trainer

model, folder = map(Path, sys.argv[1:])
here = slice(2 * int(os.environ["RANK"]), 2 * int(os.environ["RANK"]) + 2)
t = trainer(
    model, folder, by_text, kind=GuardedGRPO, guard=Guard([Bad()]), ledger=Ledger(),
    sidecar=Sidecar(folder / "verdicts.jsonl"), prompts=PROMPTS[:1] * 2,
    rollout_func=fixed(TEXTS[here], sender=list(SENDERS[here])),
    settings={"per_device_train_batch_size": 2},
)
t.train()
counts = sorted((row.sender, row.sent, row.refused) for row in t.guard_watch.ledger.rows())
(folder / f"counts{os.environ['RANK']}").write_text(repr(counts))
"""


def test_a_group_over_two_processes(random_model: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    subprocess.run(
        [sys.executable, *command, tmp_path / "script.py", random_model, tmp_path],
        check=True,
        capture_output=True,
        timeout=300,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
    )
    (file,) = (tmp_path / "completions").glob("*.parquet")
    table = pd.read_parquet(file)
    assert table["guard/refused"].tolist() == [False, False, True, False]
    rewards = torch.tensor([1.0, 0.5, 0.0])  # the refused one's is 9
    expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
    assert table["advantage"].tolist() == pytest.approx(
        [float(expected[0]), float(expected[1]), 0.0, float(expected[2])], abs=1e-6
    )
    # Both processes saw all completions, and one of them wrote them down.
    counts = [(tmp_path / f"counts{rank}").read_text() for rank in (0, 1)]
    assert counts == [repr([("ann", 1, 0), ("ben", 1, 0), ("dan", 1, 0), ("eve", 1, 1)])] * 2
    lines = [json.loads(line) for line in (tmp_path / "verdicts.jsonl").open(encoding="utf-8")]
    assert [line["sender"] for line in lines] == ["ann", "ben", "eve", "dan"]
