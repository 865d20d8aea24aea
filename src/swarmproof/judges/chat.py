"""Chat completions over HTTP: sends a request until it is answered, or says why it is not.

It knows the protocol. It does not know what is asked or what an answer means. A server is trusted
as little as a peer: its answers are bounded in time and size, read field by field, and the API key
is removed from all text of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from swarmproof.judges.redact import SHORTEST_KEY, Redactor

_MAX_BYTES = 1 << 20  # of an answer
_MAX_READ = 1 << 14  # bytes of an answer that is only shown in an error message
_MAX_SHOWN = 200  # characters of it that are shown
_MAX_WAIT_SECONDS = 60.0  # between two attempts, even if the server asks for more
_SECONDS_TO_GREET = 10.0
_BUSY = (408, 429)
_ABOUT_THE_REQUEST = (400, 413, 422)

T = TypeVar("T")


class NotAnsweredError(Exception):
    """The server did not answer this request. The message says what it did instead.

    `unavailable` is true if the server was unreachable, too slow or too busy. A trivial request
    then shows whether the server or this request is at fault.
    """

    def __init__(self, fault: str, *, unavailable: bool = False) -> None:
        super().__init__(fault)
        self.unavailable = unavailable


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a server, and how long to wait for it."""

    url: str  # of the chat completions
    model: str
    key_variable: str  # of the environment; the key itself is in no value that can be shown
    timeout: float  # seconds for one attempt, from its start to the last byte
    retries: int
    backoff: float  # seconds before the first retry; doubles
    connections: int

    def key(self) -> str:
        """The key; empty if the variable is not set.

        Raises:
            ValueError: the value cannot be a key, or is too short to be removed from answers.
        """
        key = os.environ.get(self.key_variable, "").strip() if self.key_variable else ""
        if not re.fullmatch(r"[!-~]*", key):
            raise ValueError(
                f"the value of {self.key_variable} is not a key; set it to one, or unset it"
            )
        if 0 < len(key) < SHORTEST_KEY:
            raise ValueError(
                f"the value of {self.key_variable} is shorter than {SHORTEST_KEY} characters; set "
                'it to a key, or set api_key_env = "" for a server that needs none'
            )
        return key


@dataclass(frozen=True, slots=True)
class _Answer:
    """An HTTP answer without the key. Every text from the server is in one of these fields."""

    status: int
    wait: float  # seconds that the server asks for before the next attempt
    choice: dict[str, Any] | None  # the first choice of a chat completion
    text: str  # the start of the body in one printable line; empty for a chat completion


async def greet(endpoint: Endpoint) -> None:
    """Return if any server answers at the address within ten seconds, whatever its answer.

    Raises:
        ValueError: no server answers; one line with the remedy.
    """
    try:
        async with (
            asyncio.timeout(_SECONDS_TO_GREET),  # of the whole request, not of each read
            httpx2.AsyncClient(timeout=_SECONDS_TO_GREET) as client,
            client.stream("GET", endpoint.url),
        ):
            pass
    except (httpx2.HTTPError, OSError) as error:
        why = _line(Redactor(endpoint.key()).text(str(error))) or type(error).__name__
        raise ValueError(
            f"the judge at {endpoint.url} cannot be reached ({why}); "
            "start its server, or set its base_url"
        ) from None


class Chat:
    """A connection to one server. Enter `client` before asking."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        key = endpoint.key()
        self._redact = Redactor(key)
        self.client = httpx2.AsyncClient(
            headers={
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",  # an answer that is not compressed cannot grow
                **({"Authorization": f"Bearer {key}"} if key else {}),
            },
            timeout=endpoint.timeout,
            follow_redirects=False,  # a redirect would take the key to another server
            limits=httpx2.Limits(max_connections=endpoint.connections),
        )

    async def ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The first choice of a chat completion. Its `message` is a dict; check everything else.

        Raises:
            NotAnsweredError: after all attempts, the server was unreachable, too slow or too busy,
                answered 5xx, or sent something other than a chat completion; or, at once, it
                answered 400, 413 or 422.
            ValueError: any other status; one line with the remedy.
        """
        content = json.dumps(body).encode()  # ASCII; lone surrogates are sent as escapes
        for attempt in range(self.endpoint.retries + 1):
            wait, unavailable = 0.0, True
            try:
                async with asyncio.timeout(self.endpoint.timeout):
                    answer = await self._post(content)
            except (httpx2.HTTPError, OSError) as error:  # a TimeoutError is an OSError
                why = _line(self._redact.text(str(error))) or type(error).__name__
                fault = f"does not answer ({why})"
            else:
                if answer.choice is not None:
                    return answer.choice
                fault, wait = self._fault(answer), answer.wait
                unavailable = answer.status in _BUSY
            if attempt < self.endpoint.retries:
                # Random, so that requests that failed together do not come back together.
                wait = max(wait, self.endpoint.backoff * 2**attempt * random.uniform(0.5, 1))
                await asyncio.sleep(min(wait, _MAX_WAIT_SECONDS))
        raise NotAnsweredError(fault, unavailable=unavailable)

    async def _post(self, content: bytes) -> _Answer:
        """One attempt. The only place where an answer is read."""
        body = bytearray()
        async with self.client.stream("POST", self.endpoint.url, content=content) as response:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > _MAX_BYTES:  # longer than any answer can be
                    body.clear()
                    break
            wait = _asked_for(response.headers.get("retry-after", ""))
            choice = self._choice(bytes(body)) if response.status_code == 200 else None
            said = body[:_MAX_READ].decode(errors="replace")
            text = "" if choice else _line(self._redact.text(said))
            return _Answer(response.status_code, wait, choice, text)

    def _choice(self, body: bytes) -> dict[str, Any] | None:
        try:
            choice = self._redact.json(json.loads(body)["choices"][0])
            return choice if isinstance(choice["message"], dict) else None
        # Not JSON or not UTF-8, nested too deeply, or of another shape.
        except (ValueError, RecursionError, LookupError, TypeError):
            return None

    def _fault(self, answer: _Answer) -> str:
        """What the server did, if another attempt may help.

        Raises:
            NotAnsweredError, ValueError: another attempt cannot help.
        """
        where, status = f"the judge at {self.endpoint.url}", answer.status
        if status in (401, 403):
            raise ValueError(
                f"{where} answers {status}; set {self.endpoint.key_variable or 'api_key_env'} "
                "to a key that it accepts"
            )
        if status == 404:
            raise ValueError(
                f"{where} answers 404; check base_url, and that the server has the model "
                f"{self.endpoint.model!r}"
            )
        if 300 <= status < 400:
            raise ValueError(f"{where} redirects; set base_url to the address that it redirects to")
        if status == 200:
            return "sends no chat completion (base_url ends in /v1 for most servers)"
        fault = f"answers {status}" + (f": {answer.text}" if answer.text else "")
        if status in _ABOUT_THE_REQUEST:
            raise NotAnsweredError(fault)
        if status < 500 and status not in _BUSY:
            raise ValueError(f"{where} {fault}")
        return fault


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, also for a caller that is inside an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:  # in a notebook, say
        return pool.submit(asyncio.run, work).result()


def _asked_for(retry_after: str) -> float:
    """Seconds that a server asks for. The other form of the header, a date, counts as none."""
    return float(retry_after) if re.fullmatch(r"\d{1,6}", retry_after, re.ASCII) else 0.0


def _line(text: str) -> str:
    """The start of a text in one printable line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_SHOWN]
