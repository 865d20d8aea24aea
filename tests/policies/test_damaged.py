"""A model whose files are damaged, or need code of their own, is refused in one line."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
