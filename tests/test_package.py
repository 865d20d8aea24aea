"""What the package promises before anything runs: light imports, pinned needs, its TOMLs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "matplotlib", "pandas", "scipy", "ray")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["list"],
        ["list", "settings"],
        ["new", "mine.toml"],
        ["zoo", "list"],
        ["run", "no-such-experiment"],
        ["run", "--set", "grpo.lrr=1"],
        ["run", "--set", "attack.name=nothing"],
        ["run", "--set", "model.path=no/such/model"],
        ["run", "--resume", "--out", "nowhere"],
        ["run", "--engine", "ray", "--address", "nowhere"],
    ],
    ids=" ".join,
)
def test_help_and_mistakes_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from swarmproof.cli import main\n"
        f"sys.argv = ['swarmproof', *{arguments!r}]\n"
        "try:\n    main()\n"
        "except SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines()[-1] == "HEAVY []", done.stdout + done.stderr


def test_every_direct_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, names in needs.items():
        # Trainers that cannot live in one environment with our pins have files of their own.
        own = ROOT / f"tests/integrations/pins/{extra}.txt"
        pins = own if own.exists() else ROOT / "constraints.txt"
        pinned = {
            _canonical(line.partition("==")[0])
            for line in pins.read_text().splitlines()
            if "==" in line
        }
        assert {_canonical(re.split(r"[<>=\[; ]", name)[0]) for name in names} <= pinned, extra


def test_the_version_is_the_one_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert version("swarmproof") == project["version"]


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "swarmproof", "--version"], capture_output=True, text=True
    )
    assert done.stdout.strip() == version("swarmproof")


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
