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
    line = refused(folder, rf"^(cannot load )?model\.path = .*{AGAIN}")
    assert "weights_only" not in line
    assert len(line) < 450
    assert capfd.readouterr() == ("", "")


def test_weights_cut_short_are_refused_before_any_trial_and_leave_no_folder(
    qwen2_dir: Path, tmp_path: Path
) -> None:
    folder = copied(qwen2_dir, tmp_path)
    cut(folder)
    with pytest.raises(ValueError, match=rf"cannot read its model\.safetensors .*{AGAIN}"):
        swarmproof.run(set={"model.path": str(folder)}, out=tmp_path / "run", jobs=0, quiet=True)
    assert not (tmp_path / "run").exists()


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


def with_generation(model: Path, folder: Path, text: str) -> Path:
    path = copied(model, folder)
    (path / "generation_config.json").write_text(text)
    return path


@pytest.mark.parametrize(
    "text", ["{", '{"eos_token_id": [0, 1', "[]", "null", "[" * 100_000, "\x00"]
)
def test_a_damaged_generation_config_is_refused_and_not_dropped(
    qwen2_dir: Path, tmp_path: Path, text: str
) -> None:
    """transformers would go on without the ends of text that it declares."""
    folder = with_generation(qwen2_dir, tmp_path, text)
    refused(folder, rf"^model\.path = .*: cannot read its generation_config\.json .*{AGAIN}")


def test_a_model_without_a_generation_config_has_no_fault(qwen2_dir: Path, tmp_path: Path) -> None:
    folder = copied(qwen2_dir, tmp_path)
    (folder / "generation_config.json").unlink()
    load(str(folder))


def test_the_generation_config_of_a_hub_model_is_read_from_the_cache(
    qwen2_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_generation(qwen2_dir, tmp_path, "{")
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda *_: str(folder / "config.json")
    )
    with pytest.raises(ValueError, match=r"nobody/model.*cannot read its generation_config\.json"):
        load("nobody/model")


@pytest.mark.parametrize(
    "end", [[[2]], {"a": 1}, "abc", "0", True, 1.5, [None, 0], [0, "1"]], ids=str
)
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_an_end_of_text_that_is_no_token_id_is_refused_with_its_file(
    qwen2_dir: Path, tmp_path: Path, name: str, end: Any
) -> None:
    folder = copied(qwen2_dir, tmp_path)
    table = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(table | {"eos_token_id": end}))
    line = refused(folder, r"token_id|end-of-text")
    assert re.search(rf"[ /]{re.escape(name)}[ ,;]", line)


def test_an_end_of_text_that_is_not_declared_is_no_fault(qwen2_dir: Path, tmp_path: Path) -> None:
    folder = copied(qwen2_dir, tmp_path)
    ends: tuple[Any, ...] = (None, [], -1)
    for end in ends:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
        load(str(folder))


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
