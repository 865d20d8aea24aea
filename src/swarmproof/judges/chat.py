"""Chat completions over HTTP: a request, tried until it is answered, or an error that says why not.

Knows the protocol; not what is asked, nor what an answer is good for. What a server sends is as
little trusted as what a peer sends: bounded in time and size, and read field by field.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

_MAX_BYTES = 1 << 20  # of an answer
_MAX_WAIT_SECONDS = 60.0  # between two attempts, whatever the server asks for
_SECONDS_TO_GREET = 10.0
_BUSY = (408, 429)
_ABOUT_THE_REQUEST = (400, 413, 422)


class NotAnsweredError(Exception):
    """The server is there, and this request it does not answer; the message says what it did."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is, and how patient one is with it."""

    url: str  # of the chat completions
    model: str
    key_variable: str  # of the environment; the key itself is in no value that can be shown
    timeout: float  # seconds for one attempt, from its start to the last byte
    retries: int
    backoff: float  # seconds before the first of them; doubles
    connections: int

    def key(self) -> str:
        """The key; empty where the variable is not set.

        Raises:
            ValueError: no key can look like that.
        """
        key = os.environ.get(self.key_variable, "").strip() if self.key_variable else ""
        if not re.fullmatch(r"[!-~]*", key):
            raise ValueError(
                f"what {self.key_variable} holds is no key; set it to one, or unset it"
            )
        return key


def require(endpoint: Endpoint) -> None:
    """Pass if somebody answers there, whatever it is.

    Raises:
        ValueError: nobody does, or the key is none; one line with the remedy.
    """
    endpoint.key()
    try:
        with httpx2.stream("GET", endpoint.url, timeout=_SECONDS_TO_GREET):
            pass
    except (httpx2.HTTPError, OSError) as error:
        raise ValueError(
            f"the judge at {endpoint.url} cannot be reached ({str(error)[:200] or 'no answer'}); "
            "start its server, or set its base_url"
        ) from None


class Chat:
    """One server; `client` holds the connections, and is to be entered."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint, self._key = endpoint, endpoint.key()
        self.client = httpx2.AsyncClient(
            headers={
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",  # what is not compressed cannot grow
                **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            },
            timeout=endpoint.timeout,
            follow_redirects=False,  # they would take the key elsewhere
            limits=httpx2.Limits(max_connections=endpoint.connections),
        )

    async def ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The first choice of a chat completion; its `message` is a dict, all else is unchecked.

        Raises:
            NotAnsweredError: the server is there, but only ever said 5xx or something else than a
                chat completion; or, at once, 400, 413 or 422.
            ConnectionError: the server cannot be reached, is too slow or too busy.
            ValueError: any other status; one line with the remedy.
        """
        content = json.dumps(body).encode()  # ASCII, halves of surrogate pairs as escapes
        for attempt in range(self.endpoint.retries + 1):
            wait, busy = 0.0, True
            try:
                async with asyncio.timeout(self.endpoint.timeout):
                    status, headers, answer = await self._post(content)
            except (httpx2.HTTPError, OSError) as error:  # a TimeoutError is an OSError
                fault = f"does not answer ({self._shown(str(error)) or type(error).__name__})"
            else:
                choice = _first_choice(answer) if status == 200 else None
                if choice is not None:
                    return choice
                fault, busy = self._fault(status, answer), status in _BUSY
                wait = _asked_for(headers.get("retry-after", ""))
            if attempt < self.endpoint.retries:
                # Jitter, so that requests that failed together do not come back together.
                wait = max(wait, self.endpoint.backoff * 2**attempt * random.uniform(0.5, 1))
                await asyncio.sleep(min(wait, _MAX_WAIT_SECONDS))
        if busy:
            raise ConnectionError(self.complaint(fault))
        raise NotAnsweredError(fault)

    def complaint(self, fault: str) -> str:
        return f"the judge at {self.endpoint.url} {fault}; see to it, then go on with --resume"

    async def _post(self, content: bytes) -> tuple[int, httpx2.Headers, bytes]:
        """Status, headers and body; no body if it is longer than any answer can be."""
        answer = bytearray()
        async with self.client.stream("POST", self.endpoint.url, content=content) as response:
            async for chunk in response.aiter_raw():
                answer += chunk
                if len(answer) > _MAX_BYTES:
                    answer.clear()
                    break
            return response.status_code, response.headers, bytes(answer)

    def _fault(self, status: int, answer: bytes) -> str:
        """What the server did, where it may be worth another attempt.

        Raises:
            NotAnsweredError, ValueError: where it is not.
        """
        where = f"the judge at {self.endpoint.url}"
        if status in (401, 403):  # what it says is not shown: some servers repeat the key
            raise ValueError(
                f"{where} answers {status}; set {self.endpoint.key_variable or 'api_key_env'} "
                "to a key that it takes"
            )
        if status == 404:
            raise ValueError(
                f"{where} answers 404; check base_url, and that it has the model "
                f"{self.endpoint.model!r}"
            )
        if 300 <= status < 400:
            raise ValueError(f"{where} redirects; set base_url to the address that it points to")
        if status == 200:
            return "sends no chat completion (base_url ends in /v1 for most servers)"
        said = self._shown(answer.decode(errors="replace"))
        fault = f"answers {status}" + (f": {said}" if said else "")
        if status in _ABOUT_THE_REQUEST:
            raise NotAnsweredError(fault)
        if status < 500 and status not in _BUSY:
            raise ValueError(f"{where} {fault}")
        return fault

    def _shown(self, text: str) -> str:
        """What a server or library said, in one short line and without the key."""
        if self._key:
            text = text.replace(self._key, "…")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def _asked_for(retry_after: str) -> float:
    """Seconds that a server wants to be left alone; its other form, a date, is not read."""
    return float(retry_after) if re.fullmatch(r"\d{1,6}", retry_after, re.ASCII) else 0.0


def _first_choice(answer: bytes) -> dict[str, Any] | None:
    try:
        choice = json.loads(answer)["choices"][0]
        return choice if isinstance(choice["message"], dict) else None
    # Not JSON or not UTF-8, nested too deeply, or of another shape.
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
