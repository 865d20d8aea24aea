"""`node run`: a mistake of the operator is one line with the remedy, before anything is started."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from swarmproof import cli, registry, steps
from swarmproof.engines.joining import Membership
from swarmproof.exchange.net import keys
from swarmproof.exchange.net.liars import LIARS
from swarmproof.exchange.net.plugin import Net, liars_of
from swarmproof.records.folder import RunFolder

Run = Callable[..., str]
_SETTINGS = '{ rounds = 1, "batch.problems" = 2, "batch.group_size" = 4, "swarm.malicious" = 0 }'


def swarm_file(folder: Path, certificates: list[str] | None = None, names: str = "ann bob") -> Path:
    """Two nodes, with keys in folders of these names beside the file."""
    text = f'experiment = "text-horizontal"\narm = "no-attack"\nsettings = {_SETTINGS}\n'
    text += "exchange = { faults = 0 }\n"
    for number, name in enumerate(names.split()):
        own = folder / name
        if not own.exists():
            keys.make_keys(own, name)
        signer = keys.Signer.open(own)
        signer.close()
        certificate = (own / keys.CERTIFICATE).read_text()
        certificate = certificate if certificates is None else certificates[number]
        text += f"[[nodes]]\nkey = '{signer.public.hex()}'\ncertificate = '''\n{certificate}'''\n"
    (folder / "swarm.toml").write_text(text)
    return folder / "swarm.toml"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `node run swarm.toml --key NAME …`; returns its one line."""

    def run(*arguments: str, key: str = "ann") -> str:
        file, own = tmp_path / "swarm.toml", tmp_path / key
        command = ["swarmproof", "node", "run", str(file), "--key", str(own), *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 2
        told = capsys.readouterr().err
        assert told.startswith("error: ")
        assert told.count("\n") == 1
        assert not (tmp_path / f"{key}-run").exists()
        return told

    return run


HERE = ("--listen", "tls/127.0.0.1:7447")


def test_a_node_without_links_is_told_the_options(tmp_path: Path, run: Run) -> None:
    swarm_file(tmp_path)
    assert "--listen, --connect" in run()


def test_a_key_that_is_in_no_roster_is_named(tmp_path: Path, run: Run) -> None:
    swarm_file(tmp_path)
    stranger = keys.make_keys(tmp_path / "eve", "eve")
    assert f"{stranger} is not in the roster" in run(*HERE, key="eve")
    assert "swarmproof node init" in run(*HERE, key="nobody")


def test_a_swarm_file_that_would_keep_a_node_out_is_refused(tmp_path: Path, run: Run) -> None:
    swarm_file(tmp_path)
    ann, bob = ((tmp_path / name / keys.CERTIFICATE).read_text() for name in ("ann", "bob"))
    swarm_file(tmp_path, [ann, ""])
    assert "certificate of node 1 is missing; copy what" in run(*HERE)
    swarm_file(tmp_path, [ann, bob.replace("M", "@", 1)])
    assert "certificate of node 1 is not whole; copy what" in run(*HERE)
    swarm_file(tmp_path, [bob, bob])
    assert f"is not {tmp_path / 'ann' / keys.CERTIFICATE}" in run(*HERE)


def test_a_lie_that_does_not_exist_is_refused(tmp_path: Path, run: Run) -> None:
    swarm_file(tmp_path)
    told = run(*HERE, "--lie", "two-outcome")
    assert "no lie is called 'two-outcome'; did you mean 'two-outcomes'?" in told
    assert "`swarmproof node lies` says what each of them is" in told


def test_a_node_that_lies_says_so_and_its_own_folder_records_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []

    def interrupted(membership: Membership, number: int, *_: object, **__: object) -> None:
        found.append((membership, number))
        raise KeyboardInterrupt

    monkeypatch.setattr(steps, "execute_node", interrupted)
    for lie in ([], ["--lie", "late"]):
        file, own = swarm_file(tmp_path), tmp_path / "bob"
        command = ["swarmproof", "node", "run", str(file), "--key", str(own), *HERE, *lie]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit):
            cli.main()
        assert ("node 1 lies to its peers: late\n" in capsys.readouterr().err) == bool(lie)
    (honest, _), (lying, number) = found
    assert number == 1
    folder = RunFolder.create(tmp_path / "run", lying.config, resume=True)
    folder.close()
    recorded = RunFolder.open(tmp_path / "run").config.arms["no-attack"]
    assert liars_of(recorded.exchange) == {1: "late"}
    trial = lying.trial(1, tmp_path, tmp_path, {"lan": True})
    net = registry.build(Net, trial.config.exchange)
    assert net.lies(2) == {1: LIARS["late"]}
    assert net.model_copy(update={"liars": ()}) == registry.build(
        Net, honest.trial(1, tmp_path, tmp_path, {"lan": True}).config.exchange
    )


def test_settings_of_the_network_that_fit_no_swarm_are_refused(tmp_path: Path, run: Run) -> None:
    file = swarm_file(tmp_path)
    file.write_text(file.read_text().replace("faults = 0", "faults = 1"))
    assert "set exchange.faults = 0, or have more nodes" in run(*HERE)


def test_a_clock_that_is_years_off_is_found_out(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_YEARS", 0)  # as a clock ten years later sees a certificate
    swarm_file(tmp_path)
    assert "set the clock, or make new keys" in run(*HERE)


def test_a_full_disk_is_told_how_the_node_continues(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    swarm_file(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "run/archive")

    monkeypatch.setattr(steps, "execute_node", full)
    told = run(*HERE)
    assert "disk is full while writing run/archive" in told
    assert "the same command continues" in told
    assert "--resume" not in told  # `node run` has no such option
