"""Servers to judge with: a real one in a process of its own, and one that says what it is told."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_SECONDS_TO_START = 180


class ServeProcess:
    """`transformers serve` with one model, on a port of its own that it keeps when restarted."""

    def __init__(self, model: Path, log: Path) -> None:
        self.model, self.log, self.port = model, log, _free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(self.model)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--host=127.0.0.1", f"--port={self.port}", "--device=cpu"],
                env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _SECONDS_TO_START
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
                return
            time.sleep(0.2)
        self.kill()
        raise RuntimeError(f"transformers serve did not start: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def drawing(model: Path, to: Path) -> Path:
    """A copy of a model directory that draws, as the other judges do, where it is served."""
    shutil.copytree(model, to)
    _lay_on(to / "generation_config.json", {"do_sample": True})
    return to


def _lay_on(path: Path, settings: dict[str, object]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


Body = dict[str, Any]
# Answers a request, given its body and its number: by status, body and headers, or by itself.
Reply = tuple[int, bytes, dict[str, str]]
Answer = Callable[["Handler", Body, int], Reply | None]


class Handler(BaseHTTPRequestHandler):
    """Hands every request to the server's `answer`, and keeps what was asked."""

    server: Scripted

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.asked)
            self.server.asked.append(body)
            self.server.headers.append(dict(self.headers))
        with contextlib.suppress(OSError):  # a client that had enough
            reply = self.server.answer(self, body, number)
            if reply is not None:
                status, content, headers = reply
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Scripted(ThreadingHTTPServer):
    """A server that answers as a test says."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.lock = answer, threading.Lock()
        self.asked: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextlib.contextmanager
def scripted(answer: Answer) -> Iterator[Scripted]:
    with Scripted(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()


def says(content: object, places: list[tuple[str, dict[str, float]]] | None = None) -> Reply:
    """A chat completion; `places`: of each token, itself and the likely ones."""
    choice: Body = {"index": 0, "message": {"role": "assistant", "content": content}}
    if places is not None:
        choice["logprobs"] = {
            "content": [
                {
                    "token": token,
                    "logprob": -0.1,
                    "top_logprobs": [{"token": t, "logprob": p} for t, p in top.items()],
                }
                for token, top in places
            ]
        }
    return 200, json.dumps({"object": "chat.completion", "choices": [choice]}).encode(), {}
