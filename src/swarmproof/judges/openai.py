"""A judge behind any OpenAI-compatible endpoint: vLLM, llama.cpp, Ollama, OpenAI itself.

It knows how a request becomes a conversation, and where in an answer the decision is. `chat` sends
requests and handles servers that do not answer them.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx2
from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from swarmproof.judges import chat
from swarmproof.judges.base import Judgement, JudgeModel, Request
from swarmproof.judges.chat import Chat, Endpoint, NotAnsweredError
from swarmproof.registry import register

_CHARACTERS_A_TOKEN = 16  # bound on a criticism if the server ignores `max_tokens`
_LOWEST = -100.0  # servers write -9999 and the like for "impossible"
_OURS = {"messages", "max_tokens", "stream", "n"}  # keys of the body that `extra` must not set
_TRIVIAL = "Say yes."  # asked to see whether a server works
_CHECKS = 3  # trivial requests before a run, until one is answered as needed


def _address(text: str) -> str:
    try:
        url = urlsplit(text)
        plain = url.scheme in ("http", "https") and url.hostname and url.port != 0
        httpx2.URL(text)
    except (ValueError, httpx2.InvalidURL):
        plain = None
    # The error does not show the text, as it may hold a password.
    if not plain or "@" in url.netloc or url.query or url.fragment:
        raise ValueError("write it as http://localhost:8000/v1, without user, password or query")
    return text.rstrip("/")


def _variable(name: str) -> str:
    if not re.fullmatch(r"\w*", name, re.ASCII):  # the error does not show it: it may be the key
        raise ValueError("give the name of an environment variable, not the key")
    return name


def _additions(extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if taken := _OURS & extra.keys():
        raise ValueError(f"{', '.join(sorted(taken))} cannot be set here; leave it out")
    return extra


@register("judge", "openai")
class OpenAI(JudgeModel):
    """Any OpenAI-compatible server, given its address and the name of a model.

    A request is sent again, after pauses that double, if there is no connection, no answer in time,
    status 408, 429 or 5xx, or an answer that is not a chat completion. Other 4xx statuses stop the
    run at once. If a request stays unanswered, a trivial request is sent. If the trivial one is
    answered, the completion is at fault (too long for the judge, say), and is refused for that
    reason. If it is not answered either, the server is at fault, and the run stops with an error.

    Log-probabilities are read at the decision, the first token that is not white space, from the
    `logprobs` most likely tokens. A word that is not listed gets an upper bound: the lowest
    log-probability in the list, or that of all the remaining probability if it is lower. If neither
    word is listed, "no" counts as certain. The servers named in the documentation report
    log-probabilities before temperature, top-p and top-k are applied, unless told otherwise.
    """

    # A field may hold a key by mistake, so no error shows the input.
    model_config = ConfigDict(hide_input_in_errors=True)

    base_url: Annotated[str, AfterValidator(_address)] = Field(
        default="http://localhost:8000/v1",
        description="address of the server, without `/chat/completions`",
    )
    model: str = Field(
        default="Qwen/Qwen2.5-14B-Instruct", description="name of the model on the server"
    )
    api_key_env: Annotated[str, AfterValidator(_variable)] = Field(
        default="OPENAI_API_KEY",
        description="environment variable with the API key; if it is unset, no key is sent",
    )
    concurrency: int = Field(
        default=8, ge=1, le=1024, description="maximum number of requests at once"
    )
    timeout: float = Field(default=120, gt=0, description="seconds for one attempt")
    retries: int = Field(default=5, ge=0, le=100, description="further attempts after the first")
    backoff: float = Field(default=1, ge=0, description="seconds before the first retry; doubles")
    temperature: float = Field(default=0.6, ge=0, description="of the criticism and the decision")
    top_p: float = Field(default=0.9, gt=0, le=1, description="of the criticism and the decision")
    word_tokens: int = Field(
        default=4,
        ge=1,
        le=1024,
        description="maximum tokens of the decision, white space included; 1 for the tiny judge",
    )
    logprobs: int = Field(
        default=20,
        ge=0,
        le=1000,
        description="how many likely tokens to request; 0: request no log-probabilities",
    )
    extra: Annotated[dict[str, JsonValue], AfterValidator(_additions)] = Field(
        default_factory=dict,
        description="more fields of a request's body that the server accepts, as {top_k = 10}",
    )

    def __hash__(self) -> int:  # a dict has none
        return hash(self.model_dump_json())

    def require(self) -> None:
        chat.wait_for(self._check(logprobs=False))

    def require_logprobs(self) -> None:
        if not self.logprobs:
            raise ValueError(
                "the judge is asked for no log-probabilities (logprobs = 0); set logprobs = 20, or "
                'decision = "sampled"'
            )
        chat.wait_for(self._check(logprobs=True))

    async def _check(self, *, logprobs: bool) -> None:
        """Ask trivial requests, for at most `timeout` seconds, until an answer is as needed."""
        endpoint = self._endpoint()
        await chat.greet(endpoint)
        server, where = Chat(endpoint), f"the judge at {endpoint.url}"
        silent = True
        try:
            async with asyncio.timeout(self.timeout), server.client:
                for seed in range(_CHECKS):
                    choice = await server.ask(self._trivial(seed))
                    said = bool(_content(choice).strip())
                    if said and (not logprobs or None not in _logprobs(choice)):
                        return
                    silent = silent and not said
        except NotAnsweredError as fault:
            raise ValueError(f"{where} {fault}; check the server and its settings") from None
        except TimeoutError:
            raise ValueError(
                f"{where} does not answer a short request within {self.timeout:g} seconds; check "
                "the server, or set a longer timeout"
            ) from None
        if silent:
            raise ValueError(
                f"{where} writes nothing in its first {self.word_tokens} tokens; for a model that "
                "thinks first, switch thinking off with `extra`, or set more word_tokens"
            )
        raise ValueError(
            f"{where} returns no log-probabilities of yes and no; set "
            'decision = "sampled", or use a server that returns them'
        )

    def judge(self, requests: Sequence[Request], *, max_tokens: int) -> list[Judgement]:
        return chat.wait_for(self._judge(requests, max_tokens)) if requests else []

    async def _judge(self, requests: Sequence[Request], max_tokens: int) -> list[Judgement]:
        slots = asyncio.Semaphore(self.concurrency)
        server = Chat(self._endpoint())

        async def one(request: Request) -> Judgement:
            async with slots:
                return await self._judge_one(server, request, max_tokens)

        async with server.client:
            tasks = [asyncio.ensure_future(one(request)) for request in requests]
            try:
                return await asyncio.gather(*tasks)
            finally:  # the first error cancels the others
                for task in tasks:
                    task.cancel()

    def _endpoint(self) -> Endpoint:
        return Endpoint(
            url=f"{self.base_url}/chat/completions",
            model=self.model,
            key_variable=self.api_key_env,
            timeout=self.timeout,
            retries=self.retries,
            backoff=self.backoff,
            connections=self.concurrency,
        )

    async def _judge_one(self, server: Chat, request: Request, max_tokens: int) -> Judgement:
        try:
            return await self._converse(server, request, max_tokens)
        except NotAnsweredError as fault:
            try:
                await server.ask(self._trivial(0))
            except NotAnsweredError:
                kind = ConnectionError if fault.unavailable else ValueError
                raise kind(
                    f"the judge at {server.endpoint.url} {fault}; check the server, then continue "
                    "with --resume"
                ) from None
            return Judgement("", None, None, "", fault=f"the judge's server {fault}")

    async def _converse(self, server: Chat, request: Request, max_tokens: int) -> Judgement:
        """A criticism and then a decision, or only a decision."""
        subject = request.shared + request.opening
        if request.criticism is None:
            turns, criticism = [subject + request.decision], ""
        else:
            turns = [subject + request.criticism]
            choice = await server.ask(self._body(turns, max_tokens, request.seed))
            criticism = _content(choice)[: _CHARACTERS_A_TOKEN * max_tokens]
            turns += [criticism, request.decision]
        choice = await server.ask(self._body(turns, self.word_tokens, request.seed, self.logprobs))
        said = _content(choice)[:100]
        if not said.strip():  # and so no token to read log-probabilities at
            return Judgement(criticism, None, None, "", fault="the judge said nothing")
        word = re.search(r"[^\W\d_]+", said)
        yes, no = _logprobs(choice) if self.logprobs else (None, None)
        return Judgement(criticism, yes, no, word[0].lower() if word else "")

    def _trivial(self, seed: int) -> dict[str, Any]:
        return self._body([_TRIVIAL], self.word_tokens, seed, self.logprobs)

    def _body(
        self, turns: Sequence[str], max_tokens: int, seed: int, logprobs: int = 0
    ) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [
                {"role": ("user", "assistant")[i % 2], "content": text}
                for i, text in enumerate(turns)
            ],
            "max_tokens": max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": seed % 2**31,  # every server accepts that range
            **({"logprobs": True, "top_logprobs": logprobs} if logprobs else {}),
            **self.extra,
        }


def _content(choice: dict[str, Any]) -> str:
    """The text of an answer; empty if there is none, as when the model called a tool."""
    content = choice["message"].get("content")
    if not isinstance(content, str):
        return ""
    # Some servers show the control token that ended the turn. It is cut off: as a part of the next
    # request it would be text of the conversation.
    return content.encode(errors="replace").decode().partition("<|")[0]


def _logprobs(choice: dict[str, Any]) -> tuple[float | None, float | None]:
    """Log-probability of yes and of no at the decision; None if the server returned none."""
    try:
        places = choice["logprobs"]["content"]
        place = next((place for place in places if place["token"].strip()), places[-1])
        listed = [(e["token"].strip().lower(), float(e["logprob"])) for e in place["top_logprobs"]]
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError):
        return None, None
    listed = [(token, min(max(p, _LOWEST), 0.0)) for token, p in listed if not math.isnan(p)]
    if not listed:
        return None, None
    left = 1 - sum(math.exp(logprob) for _, logprob in listed)
    bound = min(*(logprob for _, logprob in listed), math.log(max(left, 1e-9)))
    yes, no = (
        sum(math.exp(logprob) for token, logprob in listed if token == word)
        for word in ("yes", "no")
    )
    if not yes and not no:
        return bound, 0.0
    return _log(yes, bound), _log(no, bound)


def _log(probability: float, if_none: float) -> float:
    return min(0.0, math.log(probability)) if probability else if_none
