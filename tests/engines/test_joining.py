"""A swarm's file: all nodes read the same swarm from it, and mistakes in it are one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmproof.config import load
from swarmproof.engines.joining import SWARM, Membership, SwarmMember, number_of, write_swarm
from swarmproof.exchange.net.keys import make_keys
from swarmproof.swarm.trial import Trial

KEYS = ["aa" * 32, "bb" * 32, "cc" * 32]


def swarm_file(folder: Path, text: str = "", keys: list[str] | None = None) -> Path:
    head = 'experiment = "text-horizontal"\narm = "logit"\n'
    nodes = "".join(f'[[nodes]]\nkey = "{key}"\n' for key in (KEYS if keys is None else keys))
    (folder / SWARM).write_text(head + text + nodes)
    return folder / SWARM


def test_a_file_is_an_experiment_with_as_many_nodes_as_it_lists(tmp_path: Path) -> None:
    text = 'seed = 7\nsettings = { rounds = 3, "swarm.malicious" = 0 }\nexchange = { faults = 0 }\n'
    found = Membership.read(swarm_file(tmp_path, text))
    trial = found.config.arms["logit"]
    assert (trial.rounds, trial.swarm.nodes, trial.swarm.malicious) == (3, 3, 0)
    assert trial.exchange == {"name": "net", "faults": 0}
    assert (found.config.seeds, found.roster) == ((7,), KEYS)
    assert list(found.config.arms) == ["logit"]


def test_a_trial_that_is_written_as_a_swarm_is_read_as_the_same_trial(tmp_path: Path) -> None:
    overrides = {
        "attack.phrase": 'say "50 %" \x7f\u2028é',
        "exchange": {"name": "net", "step": 2.5},
        "defenses": [{"name": "logit"}, {"name": "surprise", "on_reject": "drop"}],
    }
    for name, arm in (("text-horizontal", "logit"), ("heterogeneous-text", "surprise")):
        config = load(name, arms=[arm], overrides=overrides).arms[arm]
        members = [SwarmMember(key=key, certificate="a\nb") for key in (*KEYS, "dd" * 32)]
        write_swarm(tmp_path, Trial(name, arm, 5, config, tmp_path), members)
        found = Membership.read(tmp_path / SWARM)
        assert found.config.arms == {arm: config}
        assert (found.file.seed, found.file.nodes) == (5, tuple(members))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed = -1\n", "seed"),
        ("colour = 3\n", "colour"),
        ("settings = { rounds = 0 }\n", "rounds"),
        ("exchange = { fault = 1 }\n", "fault"),
        ("exchange = { faults = ", "is not valid TOML"),
        ("a" + ".a" * 3000 + " = 1", "a key has more than"),
        ('settings = { "batch.group_size" = 10 }\n', "nodes may be 1, 2, 5, 10"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Membership.read(swarm_file(tmp_path, text))


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*swarm\.toml: No such file"):
        Membership.read(tmp_path / SWARM)


def test_a_key_has_the_number_of_its_place_in_the_file(tmp_path: Path) -> None:
    own = make_keys(tmp_path / "ann", "ann")
    found = Membership.read(swarm_file(tmp_path, keys=[KEYS[0], own, KEYS[2]]))
    assert number_of(found, tmp_path / "ann") == 1
    other = Membership.read(swarm_file(tmp_path))
    with pytest.raises(ValueError, match=f"{own} is not in the roster"):
        number_of(other, tmp_path / "ann")
