"""One node of a swarm over a network, in this process: from the swarm's file to its run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from swarmproof import registry
from swarmproof.config import ExperimentConfig, load, read_toml, validate
from swarmproof.exchange.net.plugin import Net
from swarmproof.swarm.trial import Trial

ARCHIVE, CERTIFICATES = "archive", "certificates.pem"
SWARM, _EXPERIMENT = "swarm.toml", "experiment.toml"
MAX_SWARM_FILE = 16 * 1024 * 1024  # bytes; a node takes about one KiB


class SwarmMember(BaseModel):
    """A node, as `swarmproof node init` prints it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str = Field(description="the public key")
    certificate: str = Field(default="", description="the TLS certificate, in PEM")


class SwarmFile(BaseModel):
    """What all nodes of a swarm share: `swarm.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiment: str = Field(description="a shipped experiment, or a .toml beside this file")
    arm: str
    seed: int = Field(default=0, ge=0, lt=2**63)
    settings: dict[str, Any] = Field(default={}, description="as for --set")
    exchange: dict[str, Any] = Field(default={}, description="parameters of the exchange `net`")
    nodes: tuple[SwarmMember, ...] = Field(min_length=1, description="in the order of numbers")


@dataclass(frozen=True, slots=True)
class Membership:
    """A swarm's file, read, and the experiment that it stands for."""

    file: SwarmFile
    config: ExperimentConfig

    @property
    def roster(self) -> list[str]:
        return [member.key for member in self.file.nodes]

    def require_certificates(self, node: int, keys: Path) -> None:
        """Check that TLS lets the nodes in: see `exchange.net.keys.require_certificates`."""
        from swarmproof.exchange.net.keys import require_certificates

        require_certificates([member.certificate for member in self.file.nodes], node, keys)

    @classmethod
    def read(cls, path: Path) -> Membership:
        """Read `swarm.toml`.

        Raises:
            ValueError: one line with the remedy.
        """
        table = read_toml(path, "a swarm's file", MAX_SWARM_FILE)
        try:
            file = validate(SwarmFile, table)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        beside = file.experiment.endswith(".toml")
        shared = {
            **file.settings,
            "exchange": {**file.exchange, "name": "net"},
            "swarm.nodes": len(file.nodes),
        }
        experiment = str(path.parent / file.experiment) if beside else file.experiment
        config = load(experiment, arms=[file.arm], overrides=shared, seeds=(file.seed,))
        return cls(file, config)

    def lying(self, node: int, kind: str) -> Membership:
        """The same swarm, in which a node lies as well, as this node's own folder records it."""
        arm = self.config.arms[self.file.arm]
        exchange = {**arm.exchange, "liars": [*arm.exchange.get("liars", ()), [node, kind]]}
        arms = {self.file.arm: arm.model_copy(update={"exchange": exchange})}
        return replace(self, config=self.config.model_copy(update={"arms": arms}))

    def require(self) -> None:
        """Check that the settings of the network fit the swarm.

        Raises:
            ValueError: one line with the remedy.
        """
        net = registry.build(Net, self.config.arms[self.file.arm].exchange)
        net.require(len(self.roster))

    def trial(self, node: int, folder: Path, root: Path, links: dict[str, Any]) -> Trial:
        """The trial of one node.

        Args:
            node: its number.
            folder: of the trial.
            root: for the node's archive and the certificates of all; written here.
            links: where it listens, which peers it knows, its key.
        """
        (root / CERTIFICATES).write_text("\n".join(m.certificate for m in self.file.nodes))
        config = self.config.arms[self.file.arm]
        exchange = {
            **config.exchange,
            **links,
            "roster": self.roster,
            "certificates": str(root / CERTIFICATES),
            "archive": str(root / ARCHIVE),
        }
        config = config.model_copy(update={"exchange": exchange})
        name = self.config.name
        return Trial(name, self.file.arm, self.file.seed, config, folder, local=(node,))


def number_of(membership: Membership, keys: Path) -> int:
    """The number of the node whose key is in a folder.

    Raises:
        ValueError: no key, or one that is not in the swarm's file.
    """
    from swarmproof.exchange.net.keys import Signer
    from swarmproof.exchange.net.roster import Roster

    signer = Signer.open(keys)
    try:
        return Roster.of(membership.roster).number(signer.public)
    finally:
        signer.close()


def write_swarm(folder: Path, trial: Trial, members: Sequence[SwarmMember]) -> None:
    """Write `swarm.toml` for a trial, with its settings beside it, as `Membership.read` reads it.

    Raises:
        OSError: the folder cannot be written.
    """
    settings = trial.config.model_dump(mode="json")
    exchange = {k: v for k, v in settings.pop("exchange").items() if k != "name"}
    experiment = {"name": trial.experiment, "arms": {trial.arm: {}}, **settings}
    swarm = {
        "experiment": _EXPERIMENT,
        "arm": trial.arm,
        "seed": trial.seed,
        "exchange": exchange,
        "nodes": [member.model_dump() for member in members],
    }
    for name, table in ((_EXPERIMENT, experiment), (SWARM, swarm)):
        lines = (f"{key} = {_toml(value)}" for key, value in table.items() if value is not None)
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = (f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None)
        return f"{{{', '.join(inner)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    # Strings, numbers and truth values are written as in JSON. DEL is the one exception.
    return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")
