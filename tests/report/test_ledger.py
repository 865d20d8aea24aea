"""The ledger of peers, from records and from an audit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from report.synthetic import synthetic_run
from rounds import RECORD
from swarmproof.engines.auditing import Conduct, Findings
from swarmproof.records.folder import CONFIG
from swarmproof.records.streams import ROUNDS, _line, as_row
from swarmproof.report import ledger


def test_a_ledger_says_what_each_peer_sent_and_why_it_was_absent(tmp_path: Path) -> None:
    synthetic_run(tmp_path / "run", num_rounds=2, seeds=(0,), arms={"attack": (0.0, 0.0, 0.0)})
    path = tmp_path / "run" / "trials" / "attack" / "seed-0" / ROUNDS
    head, *_ = path.read_bytes().splitlines(keepends=True)
    counts = {"completions": 10, "refused": 4, "malformed": 1}
    records = [
        replace(RECORD, round=0, by_node={"1": counts}, absent={"2": "late", "3": "equivocated"}),
        replace(RECORD, round=1, by_node={"1": counts}, absent={"2": "missing"}),
    ]
    path.write_bytes(head + b"".join(_line(as_row(record)) for record in records))
    lines = ledger.of_folder(tmp_path / "run").splitlines()
    assert lines[0] == "attack, seed 0: 2 of 2 rounds"
    assert lines[2].startswith(
        "  node 1: 8 of 20 (21.9 to 61.3 %) completions refused, 2 malformed"
    )
    assert lines[3].endswith("absent in 2 rounds (late 1, missing 1)")
    assert lines[4].endswith("0 malformed; absent in 1 rounds (equivocated 1)")


def test_a_ledger_names_the_nodes_that_were_started_as_liars(tmp_path: Path) -> None:
    run = tmp_path / "run"
    synthetic_run(run, num_rounds=2, seeds=(0,), arms={"attack": (0.0, 0.0, 0.0)})
    assert "lies" not in ledger.of_folder(run)
    config = json.loads((run / CONFIG).read_text())
    config["arms"]["attack"]["exchange"] = {"name": "net", "liars": [[2, "late"]]}
    (run / CONFIG).write_text(json.dumps(config))
    lines = ledger.of_folder(run).splitlines()
    assert lines[3].startswith("  node 2 (lies: late): ")
    assert sum("lies" in line for line in lines) == 1


def test_an_audit_is_sound_only_if_everything_is() -> None:
    good = Conduct(rounds=3, completions=24)
    assert Findings(3, [], {0: good}).sound
    for bad in (
        Findings(3, ["round 1: 1 nodes signed its outcome"], {0: good}),
        Findings(3, [], {0: good, 1: replace(good, other_draws=1)}),
        Findings(3, [], {0: good, 1: replace(good, other_weights=1)}),
        Findings(3, [], {0: good, 1: replace(good, equivocated=1)}),
    ):
        assert not bad.sound
    told = list(ledger.of_audit(Findings(3, [], {1: replace(good, other_draws=6)})))
    assert "other draws 6 of 24 (12.0 to 44.9 %)" in told[-1]
