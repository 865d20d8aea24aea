"""One request to a hub that exists, and to one that does not. A real server on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from swarmproof.zoo import hub


class _Hub(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/api/models/someone/known" else 401)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def _hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = HTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.require.cache_clear()
    yield
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("_hub")
def test_a_model_that_the_hub_has_passes() -> None:
    hub.require("someone/known")


@pytest.mark.usefixtures("_hub")
def test_a_model_that_it_does_not_have_is_named() -> None:
    with pytest.raises(ValueError, match=r"'someone/unknown'.*answers 401.*check the name"):
        hub.require("someone/unknown")


@pytest.mark.usefixtures("_hub")
def test_offline_is_told_from_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        hub.require("someone/known")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"cannot be reached.*give a model directory"):
        hub.require("someone/known")
