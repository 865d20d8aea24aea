"""Four real processes, a node each, end as the simulation of their swarm does: the same bytes."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from swarmproof.attacks import Text
from swarmproof.config import TrialConfig
from swarmproof.randomness import gumbel
from swarmproof.records.streams import COMPLETIONS, ROUNDS, read_completions, read_rounds
from swarmproof.registry import register
from swarmproof.swarm.assembly import assemble
from swarmproof.swarm.checkpoint import CHECKPOINT
from swarmproof.swarm.round import play_round
from swarmproof.swarm.trial import Trial, run_trial
from swarmproof.types import Problem, Slot
from swarms import trial_config

NODES = 4
NUM_ROUNDS = 3
SEED = 5


@register("attack", "choosy_text")
class ChoosyText(Text):
    """Picks problems about the first letters of the alphabet, some of which others have."""

    def picks(self, problem: Problem) -> bool:
        return problem.question[-1] in "abcdef"


ARMS: Mapping[str, dict[str, Any]] = {
    "horizontal": {"defenses": [{"name": "logit", "tolerance": 3.0}]},
    "vertical": {"swarm": {"topology": "vertical"}, "attack": {"foil": "gibberish"}},
    # Two who collude, each in a process of its own.
    "picks": {
        "swarm": {"topology": "vertical", "malicious": 2},
        "attack": {"name": "choosy_text", "foil": "gibberish"},
    },
}


def config_of(model: Path, arm: str, **exchange: Any) -> TrialConfig:
    common: dict[str, Any] = {
        "rounds": NUM_ROUNDS,
        "model": {"dtype": "float32"},
        "batch": {"problems": 4, "group_size": 8},
        "evaluation": {"every": 2, "problems": 2},
        "checkpoint_every": 2,
        "exchange": exchange or {"name": "memory"},
    }
    return trial_config(model, **common | ARMS[arm])


def node_of_all(model: Path, root: Path, node: int) -> None:
    """One process: a node of each arm's swarm, one swarm after another."""
    for arm in ARMS:
        config = config_of(model, arm, name="folder", path=root / "exchange" / arm, deadline=300.0)
        folder = root / arm / f"node-{node}"
        run_trial(Trial("e", arm, SEED, config, folder, local=(node,)), resume=False)


@pytest.fixture(scope="module")
def root(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All arms played by four processes at once, and each in this process alone."""
    root = tmp_path_factory.mktemp("processes")
    context = multiprocessing.get_context("forkserver")  # one that has imported torch
    context.set_forkserver_preload(["swarmproof.swarm.round", "swarmproof.records.streams"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        processes = [
            context.Process(target=node_of_all, args=(random_model, root, node))
            for node in range(NODES)
        ]
        for process in processes:
            process.start()
    for arm in ARMS:
        config = config_of(random_model, arm)
        run_trial(Trial("e", arm, SEED, config, root / arm / "simulation"), resume=False)
    for process in processes:
        process.join(600)
    assert [process.exitcode for process in processes] == [0] * NODES
    return root


def draws(folder: Path) -> dict[Slot, dict[str, Any]]:
    return {
        Slot(row["round"], row["problem_id"], row["index"]): row for row in read_completions(folder)
    }


def difference(config: TrialConfig, simulation: Path, other: Path) -> str:
    """The first token that another process drew otherwise, and by how much it was the better one.

    A batch of other rows may round otherwise: a margin of about 1e-6 is that, a large one a fault.
    """
    mine, theirs = draws(simulation), draws(other)
    if mine.keys() != theirs.keys():
        slot = min(mine.keys() ^ theirs.keys())
        return f"only one of them has a completion for {slot}"
    slots = [slot for slot in mine if mine[slot]["token_ids"] != theirs[slot]["token_ids"]]
    if not slots:
        return "no token differs"
    slot = min(slots)
    tokens, others = mine[slot]["token_ids"], theirs[slot]["token_ids"]
    pairs = enumerate(zip(tokens, others, strict=False))
    t = next((t for t, (a, b) in pairs if a != b), min(len(tokens), len(others)))
    who = f"{slot} of node {mine[slot]['node']}, token {t} of {tokens} and {others}"
    if mine[slot]["poisoned"] or t >= min(len(tokens), len(others)):
        return f"{who}: not drawn"
    swarm = assemble(config, SEED)
    for round in range(slot.round):
        play_round(swarm, round)
    (cohort,) = swarm.cohorts
    prompt = swarm.task.prompt(swarm.train[slot.problem_id])
    rivals = [tuple(row[: t + 1]) for row in (tokens, others)]
    (scores,) = cohort.policy.scorer.score([prompt], [rivals]).scores
    logprobs = torch.tensor([float(score.logprob[t]) for score in scores])
    noise = gumbel(
        torch.tensor([cohort.slot_seed(slot)]), t, torch.tensor([[row[t] for row in rivals]])
    )
    mine_is, theirs_is = (logprobs + noise[0]).tolist()
    return f"{who}: by a margin of {mine_is - theirs_is:.2g}"


def folders(root: Path, arm: str) -> tuple[Path, list[Path]]:
    return root / arm / "simulation", [root / arm / f"node-{node}" for node in range(NODES)]


@pytest.mark.parametrize("arm", ARMS)
def test_every_process_records_what_the_simulation_does(
    random_model: Path, root: Path, arm: str
) -> None:
    simulation, nodes = folders(root, arm)
    for folder in nodes:
        same = (
            (folder / ROUNDS).read_bytes() == (simulation / ROUNDS).read_bytes(),
            unzipped(folder) == unzipped(simulation),
        )
        told = "" if all(same) else difference(config_of(random_model, arm), simulation, folder)
        assert same == (True, True), f"{folder.name}: {told}"


def test_a_token_that_differs_is_told_with_its_margin(
    random_model: Path, root: Path, tmp_path: Path
) -> None:
    simulation, _ = folders(root, "horizontal")
    lines = unzipped(simulation).splitlines(keepends=True)
    (at, row) = next(
        (i, row)
        for i, row in enumerate(map(json.loads, lines))
        if row.get("round") == 1 and not row["poisoned"] and len(row["token_ids"]) > 4
    )
    row["token_ids"][3] = (row["token_ids"][3] + 1) % 256
    lines[at] = json.dumps(row).encode() + b"\n"
    (tmp_path / COMPLETIONS).write_bytes(gzip.compress(b"".join(lines)))
    told = difference(config_of(random_model, "horizontal"), simulation, tmp_path)
    (margin,) = re.findall(r"round=1, .*, token 3 of .*: by a margin of (\S+)$", told)
    assert float(margin) > 1e-3


def unzipped(folder: Path) -> bytes:
    return gzip.decompress((folder / COMPLETIONS).read_bytes())


@pytest.mark.parametrize("arm", ARMS)
def test_every_process_ends_with_the_weights_of_the_simulation(root: Path, arm: str) -> None:
    simulation, nodes = folders(root, arm)
    mine = load_file(simulation / CHECKPOINT)
    weights = [name for name in mine if "/model." in name]
    assert len(weights) > 20
    for folder in nodes:
        theirs = load_file(folder / CHECKPOINT)
        assert theirs.keys() == mine.keys()
        differ = [name for name in weights if not torch.equal(mine[name], theirs[name])]
        assert differ == [], folder.name


@pytest.mark.parametrize("arm", ARMS)
def test_there_was_something_to_disagree_about(random_model: Path, root: Path, arm: str) -> None:
    """All nodes sent, honest ones learnt, and the adversary had its way."""
    simulation, (first, *_) = folders(root, arm)
    records = read_rounds(simulation)
    assert [record.round for record in records] == list(range(NUM_ROUNDS))
    assert all(record.malformed == 0 and not record.absent for record in records)
    assert sum(record.groups_learned for record in records) > 0
    assert all(record.poisoned for record in records)
    config = config_of(random_model, arm)
    dealt = [assemble(config, SEED).deal(round) for round in range(NUM_ROUNDS)]
    rows = list(read_completions(first))
    assert {row["node"] for row in rows} == set(range(NODES))
    own = {(row["round"], row["problem_id"]) for row in rows if row["poisoned"]}
    if arm == "picks":
        assert all(name[-1] in "abcdef" for _, name in own)
        assert any(name not in dealt[round].problems for round, name in own)
    else:
        assert all(name in dealt[round].problems for round, name in own)
