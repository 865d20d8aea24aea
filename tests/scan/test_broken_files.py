"""Whatever a file holds, the command ends with one line that names it, and runs nothing of it."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import json
import lzma
import os
import pickle
import socket
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from scan.rollout_files import (
    SAID,
    WRITERS,
    episode,
    sample,
    trl_frame,
    verl_row,
    write_lines,
)
from swarmproof.cli import main
from swarmproof.records import lines as records
from swarmproof.scan.readers import inputs, lines, slime, tables, values, verifiers
from swarmproof.scan.readers.columns import ColumnNames
from swarmproof.scan.source import open_source

GOOD = json.dumps(verl_row(SAID[0])).encode()
Make = Callable[[Path], Path]


class Bomb:
    """Makes a file if anything loads it as a pickle."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def raw(data: bytes, name: str = "1.jsonl") -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def second_line(line: bytes) -> Make:
    return raw(GOOD + b"\n" + line + b"\n")


def changed(**values: Any) -> Make:
    """A verl file whose second row has other values; a value of ... takes its key away."""
    row = {k: v for k, v in (verl_row(SAID[1]) | values).items() if v is not ...}
    return second_line(json.dumps(row).encode())


def traced(**values: Any) -> Make:
    """A traces.jsonl whose second trace has other values in the node of the model."""

    def make(folder: Path) -> Path:
        bad = episode(SAID[1])
        bad["traces"][0]["nodes"][1] |= values
        return write_lines(folder / "traces.jsonl", [episode(SAID[0]), bad])

    return make


def slimy(**values: Any) -> Make:
    def make(folder: Path) -> Path:
        samples = [sample(SAID[0]), sample(SAID[1]) | values]
        torch.save({"rollout_id": 1, "samples": samples}, folder / "rollout.pt")
        return folder / "rollout.pt"

    return make


def parquet(change: Callable[[pd.DataFrame], Any]) -> Make:
    def make(folder: Path) -> Path:
        frame = trl_frame(1)
        change(frame)
        frame.to_parquet(folder / "completions_00001.parquet")
        return folder / "completions_00001.parquet"

    return make


def damaged_parquet(change: Callable[[bytes], bytes]) -> Make:
    def make(folder: Path) -> Path:
        path = parquet(nothing)(folder)
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def nothing(_: pd.DataFrame) -> None:
    pass


def doubled_columns(folder: Path) -> Path:
    table = pa.table([["q"], ["a"], ["b"]], names=["prompt", "completion", "completion"])
    pq.write_table(table, folder / "x.parquet")
    return folder / "x.parquet"


def torch_code(folder: Path) -> Path:
    """Looks like a dump of slime at its beginning."""
    value = {"rollout_id": 1, "samples": [Bomb(folder / "executed")]}
    torch.save(value, folder / "rollout.pt")
    return folder / "rollout.pt"


def weights(folder: Path) -> Path:
    torch.save({"w": torch.ones(2)}, folder / "w.pt")
    return folder / "w.pt"


def torch_old(folder: Path) -> Path:
    torch.save({"rollout_id": 1}, folder / "r.pt", _use_new_zipfile_serialization=False)
    return folder / "r.pt"


def pickled(name: str) -> Make:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(pickle.dumps(Bomb(folder / "executed")))
        return folder / name

    return make


def zipped(name: str, entries: dict[str, bytes]) -> Make:
    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, data in entries.items():
                archive.writestr(entry, data)
        return folder / name

    return make


def loop(folder: Path) -> Path:
    (folder / "a.jsonl").symlink_to(folder / "b.jsonl")
    (folder / "b.jsonl").symlink_to(folder / "a.jsonl")
    return folder / "a.jsonl"


def folder_of_loops(folder: Path) -> Path:
    """Links to itself and to its parent, and no file at all."""
    (folder / "x").mkdir()
    (folder / "x/y").symlink_to(folder / "x")
    (folder / "x/z").symlink_to(folder)
    return folder / "x"


def sparse(folder: Path) -> Path:
    """One line of a gigabyte that takes no room on the disk."""
    with (folder / "big.jsonl").open("wb") as file:
        file.write(GOOD + b'\n{"input": "')
        file.truncate(1 << 30)
    return folder / "big.jsonl"


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "x.jsonl")
    return folder / "x.jsonl"


def unix_socket(folder: Path) -> Path:
    here = Path.cwd()
    os.chdir(folder)  # the names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("x.jsonl")
    finally:
        os.chdir(here)
    return folder / "x.jsonl"


def forbidden(folder: Path) -> Path:
    path = raw(GOOD)(folder)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    return path


def empty_parquet(folder: Path) -> Path:
    trl_frame(1).head(0).to_parquet(folder / "completions_00001.parquet")
    return folder / "completions_00001.parquet"


def packed_run(data: bytes) -> Make:
    return raw(data, "completions.jsonl.gz")


def deep(depth: int) -> bytes:
    return b'{"input": "q", "output": "a", "score": 1, "x": ' + b"[" * depth + b"]" * depth + b"}"


def folder_of(name: str, data: bytes) -> Make:
    def make(folder: Path) -> Path:
        (folder / "in").mkdir()
        (folder / "in" / name).write_bytes(data)
        return folder / "in"

    return make


HUGE = b"9" * 400
CASES: dict[str, tuple[Make, str]] = {
    # what there is
    "nothing there": (lambda folder: folder / "no.jsonl", "is not there"),
    "pattern without a match": (lambda folder: folder / "*.jsonl", "no file matches"),
    "pattern that is none": (lambda folder: folder / "a**b" / "*.jsonl", "no "),
    "empty folder": (folder_of_loops, "has no files"),
    "empty file": (raw(b""), "is empty"),
    "file of empty lines": (raw(b"\n\n \n"), "is empty"),
    "links in a circle": (loop, "cannot be read"),
    "named pipe": (fifo, "is a named pipe"),
    "device": (lambda _: Path("/dev/zero"), "is a device"),
    "socket": (unix_socket, "is a socket"),
    "no right to read": (forbidden, "cannot be read"),
    "memory of this process": (lambda _: Path("/proc/self/mem"), "is empty"),
    # encodings and lines
    "UTF-16": (raw(GOOD.decode().encode("utf-16")), ":1: is UTF-16"),
    "invalid UTF-8": (second_line(GOOD.replace(b"What", b"\xff\xfe")), ":2: is not UTF-8"),
    "half a surrogate": (second_line(GOOD.replace(b"What", b"\\ud800")), ":2: is not JSON"),
    "cut in the middle": (second_line(GOOD[:40]), ":2: is not JSON"),
    "two objects in a line": (second_line(GOOD + GOOD), ":2: is not JSON"),
    "a gigabyte in a line": (sparse, ":2: the line is longer than"),
    "zeros": (raw(bytes(1000)), "1.jsonl"),
    "nested too deeply": (second_line(deep(100_000)), ":2: is nested too deeply"),
    "a list for an object": (second_line(b'["a", 1]'), ":2: is a list, not an object"),
    "a key twice": (second_line(GOOD[:-1] + b', "output": "x"}'), "'output' twice"),
    "a key twice, escaped": (
        second_line(GOOD[:-1] + b', "\\u006futput" : "x"}'), "'output' twice",
    ),
    "a key twice, inside": (second_line(GOOD[:-1] + b', "x": {"a": 1, "a": 2}}'), "'a' twice"),
    # types
    "NaN for a reward": (second_line(GOOD.replace(b"1.0", b"NaN")), ":2: NaN is no JSON number"),
    "endless reward": (second_line(GOOD.replace(b"1.0", b"1e999")), ":2: "),
    "huge integer reward": (second_line(GOOD.replace(b"1.0", HUGE)), ":2: "),
    "text for a reward": (changed(score="high"), ":2: `score` is text, not a number"),
    "list for a reward": (changed(score=[1.0]), ":2: `score` is a list, not a number"),
    "number for a text": (changed(output=4), ":2: `output` is a number, not text"),
    "nothing for a text": (changed(output=None), ":2: `output` is nothing, not text"),
    "half a step": (changed(step=1.5), ":2: `step` is 1.5, not a step"),
    "negative step": (changed(step=-1), ":2: `step` is -1, not a step"),
    "huge step": (changed(step=2**60), ":2: `step` is"),
    "table for a uid": (changed(uid={"a": 1}), ":2: `uid` is a table"),
    "endless uid": (changed(uid="u" * 1000), ":2: `uid` has over 200 characters"),
    "huge integer for a uid": (changed(uid=10**15 * 2**30), ":2: `uid` is beyond 2**53"),
    "another schema in line 2": (changed(output=...), ":2: has no `output`"),
    "another format in line 2": (
        second_line(json.dumps(episode(SAID[0])).encode()), ":2: has no `",
    ),
    "endless text": (changed(output="a" * ((1 << 24) + 1)), ":2: `output` has 16,777,217 char"),
    # tokens
    "a log-probability too few": (traced(logprobs=[-1.0] * 3), "4 sampled tokens and 3 log-prob"),
    "a log-probability too many": (traced(logprobs=[-1.0] * 5), "4 sampled tokens and 5 log-prob"),
    "a mask too short": (traced(mask=[True]), ":2: a node has 5 token ids and 1 bits of mask"),
    "negative ids": (traced(token_ids=[-1, 1, 2, 3, 4]), ":2: `token_ids`: "),
    "ids of text": (traced(token_ids=["a"] * 5), ":2: `token_ids`: "),
    "a text for ids": (traced(token_ids="abcde"), ":2: `token_ids` is text, not a list"),
    "a mask of twos": (traced(mask=[2] * 5), ":2: `mask`: "),
    "a parent behind its child": (traced(parent=1), ":2: node 1 has the parent 1"),
    "a message of numbers": (traced(message=7), ":2: `message` is a number, not a table"),
    "no messages but a text": (
        raw(b'{"env": {}, "task": {}, "traces": "none"}', "traces.jsonl"),
        ":1: `traces` is text, not a list",
    ),
    "slime: too few log-probabilities": (
        slimy(rollout_log_probs=[-1.0]), ":sample 2: has 4 tokens of response and 1 log-prob",
    ),
    "slime: mask too long": (slimy(loss_mask=[1] * 9), ":sample 2: has 4 tokens of response and 9"),
    "slime: response longer than tokens": (slimy(response_length=50), "not aligned"),
    "slime: NaN in log-probabilities": (
        slimy(rollout_log_probs=[float("nan")] * 4), ":sample 2: `rollout_log_probs` has a number",
    ),
    "slime: NaN reward": (slimy(reward=float("nan")), ":sample 2: `reward` is nan"),
    "slime: tensor for tokens": (slimy(tokens=torch.ones(3)), ":sample 2: `tokens` is Tensor"),
    # code
    "torch file with code": (torch_code, "is refused by torch's weights-only loader"),
    "torch file of the old kind": (torch_old, "is a pickle, which can run code"),
    "pickle": (pickled("rollouts.pkl"), "is a pickle, which can run code"),
    "pickle under another name": (pickled("1.jsonl"), "is a pickle, which can run code"),
    "torch file of weights": (
        weights,
        "neither slime's debug dump",
    ),
    # archives
    "gzip": (raw(gzip.compress(GOOD), "1.jsonl.gz"), "is compressed with gzip; unpack it first"),
    "gzip under another name": (raw(gzip.compress(GOOD)), "is compressed with gzip"),
    "gzip bomb": (raw(gzip.compress(bytes(1 << 26)), "1.jsonl"), "is compressed with gzip"),
    "bzip2": (raw(bz2.compress(GOOD)), "is compressed with bzip2"),
    "xz": (raw(lzma.compress(GOOD)), "is compressed with xz"),
    "zstd": (raw(b"\x28\xb5\x2f\xfd" + GOOD), "is compressed with zstd"),
    "zip of anything": (zipped("x.zip", {"a.txt": b"a"}), "is a zip archive or torch file"),
    "half a zip": (raw(b"PK\x03\x04" + GOOD, "log.eval"), "is a zip archive or torch file"),
    "log with a bomb": (
        zipped("log.eval", {"samples/1_epoch_1.json": b'{"id": 1' + b" " * (70 << 20)}),
        "samples/1_epoch_1.json: is longer than",
    ),
    "log with a broken sample": (
        zipped("log.eval", {"samples/1_epoch_1.json": b"{"}), "is not JSON",
    ),
    "log without an input": (
        zipped("log.eval", {"samples/1_epoch_1.json": b'{"id": 1}'}), "has no `input`",
    ),
    "run folder: no gzip at all": (packed_run(b"\x1f\x8bxxxx"), "is damaged"),
    "run folder: another schema": (
        packed_run(gzip.compress(b'{"schema": 1}\n')), "is of schema 1",
    ),
    "run folder: a wrong line": (
        packed_run(gzip.compress(b'{"schema": 2}\n{"round": -1}\n')), "damaged in line 2",
    ),
    # parquet
    "parquet without its end": (damaged_parquet(lambda data: data[:-100]), "is no complete"),
    "parquet without its beginning": (damaged_parquet(lambda data: data[50:]), "1.parquet: is "),
    "parquet of one word": (raw(b"PAR1", "x.parquet"), "is no complete Parquet file"),
    "parquet with a hole": (
        damaged_parquet(lambda data: data[:20] + bytes(200) + data[220:]), "1.parquet",
    ),
    "parquet without rows": (empty_parquet, "has no completions"),
    "parquet of other columns": (
        parquet(lambda frame: frame.pop("advantage")),
        "is no known rollout file (it has step, prompt, completion",
    ),
    "parquet with a column twice": (doubled_columns, "two columns of the same name"),
    "parquet with numbers for texts": (
        parquet(lambda frame: frame.__setitem__("completion", 1)),
        ":1: `completion` is a number, not text or a list of messages",
    ),
    "parquet with an infinite reward": (
        parquet(lambda frame: frame.__setitem__("right", float("inf"))), ":1: `right` is inf",
    ),
    "parquet with a missing step": (
        parquet(lambda frame: frame.__setitem__("step", -3)), ":1: `step` is -3",
    ),
    # unknown
    "text": (raw(b"hello\n", "notes.txt"), "is no known rollout file; known are swarmproof run"),
    "program": (raw(b"import os\nos.mkdir('executed')\n", "1.py"), "is no known rollout file"),
    "picture": (raw(b"\x89PNG\r\n\x1a\n" + bytes(90), "a.png"), "is no known rollout file"),
    "settings": (raw(b'{"lr": 1}', "config.json"), "but no inspect log"),
    "list in a file": (raw(b"[\n1\n]", "x.json"), "is one JSON list; write one object a line"),
    "other keys": (raw(b'{"a": 1, "b": 2}\n'), "(it has a, b); known are"),
    "CSV without names of columns": (raw(b"q,a\n1,2\n", "x.csv"), "(it has q, a); known are"),
    "folder of other things": (folder_of("config.json", b"{}"), "in/config.json: is one JSON obj"),
    "folder with a broken file": (folder_of("1.jsonl", GOOD + b"\n{"), "in/1.jsonl:2: is not JSON"),
    "log-likelihoods": (
        raw(b'{"doc_id": 1, "doc": {}, "arguments": [["q"]], "resps": [[[-1.5, false]]]}'),
        ":1: `resps` has log-likelihoods, not text",
    ),
}  # fmt: skip
COLUMNS = ("--prompt", "q", "--completion", "a", "--reward", "r")
CASES_OF_COLUMNS: dict[str, tuple[Make, str]] = {
    "a column that is not there": (raw(b"q,b,r\n1,2,3\n", "x.csv"), "has no column 'a' for --comp"),
    "a header with a name twice": (raw(b"q,a,a,r\n1,2,3,4\n", "x.csv"), ":1: has two columns"),
    "a field too many": (raw(b"q,a,r\n1,2,3\n1,2,3,4\n", "x.csv"), ":3: has 4 fields"),
    "quotes without an end": (raw(b'q,a,r\n1,2,3\n"1,2,3\n', "x.csv"), ":3: is not CSV"),
    "CSV in Latin-1": (raw(b"q,a,r\n1,\xe9,3\n", "x.csv"), ":2: is not UTF-8"),
    "a word for a number": (raw(b"q,a,r\n1,2,high\n", "x.csv"), ":2: `r` is 'high', not a number"),
    "nan in a CSV": (raw(b"q,a,r\n1,2,nan\n", "x.csv"), ":2: `r` is nan"),
    "a JSON line without it": (
        raw(b'{"q": "x", "a": "y", "r": 1}\n{"q": "x", "r": 1}\n'), ":2: has no `a`",
    ),
    "a CSV with its header only": (raw(b"q,a,r\n", "x.csv"), "has no completions"),
}  # fmt: skip


def refused(arguments: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The one line of a command that ends with code 2."""
    monkeypatch.setattr(sys, "argv", ["swarmproof", "scan", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    return str(err)


@pytest.mark.parametrize("name", [*CASES, *CASES_OF_COLUMNS])
def test_one_line_and_nothing_is_executed(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, words = (CASES | CASES_OF_COLUMNS)[name]
    path = make(tmp_path)
    options = COLUMNS if name in CASES_OF_COLUMNS else ()
    error = refused([str(path), *options], capsys, monkeypatch)
    assert words in error
    assert str(path) in error
    assert not (tmp_path / "executed").exists()


def test_there_are_enough_of_them() -> None:
    assert len(CASES) + len(CASES_OF_COLUMNS) >= 50


LIMITS: dict[str, tuple[Any, str, int, Make, str]] = {
    "line": (lines, "MAX_LINE", 40, second_line(GOOD), ":1: the line is longer than 40 bytes"),
    "whole file": (
        lines, "MAX_WHOLE", 40, WRITERS["inspect-json"], "is one JSON value of over 40 bytes",
    ),
    "row group": (tables, "MAX_ROW_GROUP", 40, parquet(nothing), "row group 1 has"),
    "columns": (tables, "MAX_COLUMNS", 4, parquet(nothing), "has over 4 columns"),
    "torch file": (slime, "MAX_BYTES", 40, slimy(), "unpacks to over 40 bytes"),
    "files": (inputs, "MAX_FILES", 1, WRITERS["verl"], "has over 1 files"),
    "text": (values, "MAX_TEXT", 10, raw(GOOD), ":1: `input` has 14 characters"),
    "messages of a trace": (verifiers, "MAX_NODES", 1, traced(), ":1: a trace has over 1 messages"),
    "round of a run": (
        records, "_MAX_MEMBER", 40, packed_run(gzip.compress(bytes(10_000))), "over 40 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_what_is_read_at_once_is_bounded(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, limit, value, make, words = LIMITS[name]
    monkeypatch.setattr(module, limit, value)
    (tmp_path / "in").mkdir()
    path = make(tmp_path / "in" if make not in WRITERS.values() else tmp_path / "in/out")
    assert words in refused([str(path)], capsys, monkeypatch)


def test_a_long_text_in_many_rows_is_kept_once(tmp_path: Path) -> None:
    """3 GB of text in a file of some kilobytes."""
    texts = pa.array(["a" * 500_000]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 6000, pa.int32()), texts.dictionary)
    table = pa.table({"prompt": column, "completion": column})
    # Without Arrow's own schema the columns are plain text to a reader.
    pq.write_table(table, tmp_path / "x.parquet", store_schema=False)
    source = open_source([str(tmp_path)], ColumnNames("prompt", "completion"))
    assert source.size < 1_000_000
    before = pa.default_memory_pool().max_memory()
    first = next(source.read())
    assert len(first.text) == 500_000
    assert pa.default_memory_pool().max_memory() - before < 16_000_000


def test_json_lines_are_streamed(tmp_path: Path) -> None:
    row = GOOD.replace(b"What", b"What" + b" a word" * 100) + b"\n"
    (tmp_path / "1.jsonl").write_bytes(row * 5000)
    source = open_source([str(tmp_path)])
    assert source.size > 4_000_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in source.read()) == 5000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_without_pyarrow_the_remedy_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(nothing)(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    error = refused([str(path)], capsys, monkeypatch)
    assert f"{path}: Parquet needs pip install 'swarmproof[scan]'" in error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fail-on", "hihg"], "did you mean 'high'"),
        (["--prompt", "q"], "give both"),
        (["--reward", "r"], "give both"),
        (["--reference", "nowhere.jsonl"], "nowhere.jsonl: is not there"),
    ],
)
def test_wrong_options(
    options: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = raw(GOOD)(tmp_path)
    assert words in refused([str(path), *options], capsys, monkeypatch)
