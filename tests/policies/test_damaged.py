"""A model whose files are damaged, or need code of their own, is refused in one line."""

from __future__ import annotations

import ast
import json
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import swarmproof
from swarmproof.policies.policy import load

AGAIN = r"; get the model's files again$"


def copied(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder / "damaged"))


def refused(folder: Path, words: str) -> str:
    with pytest.raises(ValueError, match=words) as found:
        load(str(folder))
    line = str(found.value)
    assert "\n" not in line
    assert str(folder) in line
    return line


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def pickled(data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(data)

    return write


def tokenizer(**changes: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        table = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps(table | changes))

    return write


def cut_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_text(file.read_text()[:500])


DAMAGE: dict[str, Callable[[Path], None]] = {
    "safetensors cut short": cut,
    "no pickle": pickled(b"garbage" * 100_000),
    "an empty pickle": pickled(b""),
    "a pickle of something else": pickled(pickle.dumps({"a": Path("b"), "c": b"0" * 300_000})),
    "a tokenizer of a later version": tokenizer(model={"type": "Foo"}),
    "a decoder of a later version": tokenizer(decoder={"type": "Foo"}),
    "a tokenizer cut short": cut_tokenizer,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_one_line_that_says_to_get_it_again(
    qwen2_dir: Path, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = copied(qwen2_dir, tmp_path)
    DAMAGE[damage](folder)
    line = refused(folder, rf"^cannot load model\.path = .*{AGAIN}")
    assert "weights_only" not in line
    assert len(line) < 450
    assert capfd.readouterr() == ("", "")


def test_a_fault_of_ours_beside_a_tokenizer_is_no_damage(
    qwen2_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fault(Exception):
        pass

    def broken(*_: object, **__: object) -> None:
        raise Fault

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", broken)
    with pytest.raises(Fault):
        load(str(qwen2_dir))


def with_code(model: Path, folder: Path) -> Path:
    """A model of a kind that transformers lacks. Its code leaves a file behind when it runs."""
    path = copied(model, folder)
    (path / "own.py").write_text(
        f"from pathlib import Path\nPath({str(folder / 'ran')!r}).touch()\nOwn = OwnConfig = None\n"
    )
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    table = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(
        json.dumps(table | {"model_type": "own_kind", "auto_map": own})
    )
    return path


@pytest.mark.parametrize("positions", [True, False], ids=["told", "by default"])
def test_code_of_a_model_does_not_run_and_nobody_is_asked(
    qwen2_dir: Path, tmp_path: Path, *, positions: bool
) -> None:
    folder = with_code(qwen2_dir, tmp_path)
    if not positions:  # then transformers reads the config before a trial, too
        table = json.loads((folder / "config.json").read_text())
        del table["max_position_embeddings"]
        (folder / "config.json").write_text(json.dumps(table))
    done = subprocess.run(
        [sys.executable, "-m", "swarmproof", "run", "text-horizontal", "--arm", "no-attack",
         "--seeds", "1", "--jobs", "0", "--set", f"model.path={folder}", "--set", "rounds=1",
         "--out", str(tmp_path / "run")],
        capture_output=True, text=True, input="y\n" * 9,
    )  # fmt: skip
    assert not (tmp_path / "ran").exists()
    assert done.returncode == 2
    assert "[y/N]" not in done.stdout + done.stderr
    assert re.fullmatch(
        rf"error: .*{re.escape(str(folder))}.* needs code of its own, which is never run; use .*",
        done.stderr.splitlines()[-1],
    )


def test_no_call_in_the_sources_lets_a_model_run_code() -> None:
    calls = [
        (file.name, node)
        for file in Path(swarmproof.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("from_pretrained", "from_config")
    ]
    assert len(calls) >= 10
    for name, node in calls:
        given = {each.arg: each.value for each in node.keywords}
        found = given.get("trust_remote_code")
        assert isinstance(found, ast.Constant), f"{name}:{node.lineno}"
        assert found.value is False, f"{name}:{node.lineno}"
