"""A judge behind any OpenAI-compatible endpoint: vLLM, llama.cpp, Ollama, OpenAI itself.

Knows how a request becomes a conversation, and where in an answer the decision is; how a server
is reached, and what is done about one that is not, is in `chat`.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx2
from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from swarmproof.judges import chat
from swarmproof.judges.base import Judgement, JudgeModel, Request
from swarmproof.judges.chat import Chat, Endpoint, NotAnsweredError
from swarmproof.registry import register

_CHARACTERS_A_TOKEN = 16  # what a criticism may have, should the server ignore `max_tokens`
_LOWEST = -100.0  # servers write -9999 and the like for "impossible"
_NO_DECISION = Judgement("", _LOWEST, 0.0, "")  # as a certain "no" where odds decide
_OURS = {"messages", "max_tokens", "stream", "n"}  # keys of the body that `extra` must not set


def _address(text: str) -> str:
    try:
        url = urlsplit(text)
        plain = url.scheme in ("http", "https") and url.hostname and url.port != 0
        httpx2.URL(text)
    except (ValueError, httpx2.InvalidURL):
        plain = None
    # Not shown: somebody may have put a password into it.
    if not plain or "@" in url.netloc or url.query or url.fragment:
        raise ValueError("write it as http://localhost:8000/v1, without user, password and query")
    return text.rstrip("/")


def _variable(name: str) -> str:
    if not re.fullmatch(r"\w*", name, re.ASCII):  # not shown: it may be the key itself
        raise ValueError("give the name of an environment variable, not the key")
    return name


def _additions(extra: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if taken := _OURS & extra.keys():
        raise ValueError(f"{', '.join(sorted(taken))} cannot be set here; leave it out")
    return extra


@register("judge", "openai")
class OpenAI(JudgeModel):
    """Any OpenAI-compatible server, by its address and the name of a model.

    A request is tried again, after pauses that double, where there is no connection, no answer in
    time, 408, 429, 5xx, or an answer that is none; other 4xx say at once what is wrong. Where a
    server is there and does not answer one request, a trivial one is sent. If that is answered, the
    completion is at fault (too long for the judge, say) and gets no decision: a text that breaks
    only its own request stops no run. If not, the server is, and the run stops with an error.

    Log-probabilities are read where the decision stands, the first place with more than white
    space, among the `logprobs` most likely tokens. A word that is not listed gets an upper bound:
    the lowest that is listed, or all that is left if that is less. Where neither word is listed
    there is no decision, and "no" is taken as certain. The servers named here give them as they are
    before temperature, top-p and top-k, unless told otherwise.
    """

    # What a mistake puts into a field may be a key, so an error shows no input.
    model_config = ConfigDict(hide_input_in_errors=True)

    base_url: Annotated[str, AfterValidator(_address)] = Field(
        default="http://localhost:8000/v1", description="where `/chat/completions` is found"
    )
    model: str = Field(
        default="Qwen/Qwen2.5-14B-Instruct", description="the name that the server knows it by"
    )
    api_key_env: Annotated[str, AfterValidator(_variable)] = Field(
        default="OPENAI_API_KEY", description="variable that holds the key; unset: none is sent"
    )
    concurrency: int = Field(default=8, ge=1, le=1024, description="requests at once")
    timeout: float = Field(default=120, gt=0, description="seconds for one attempt")
    retries: int = Field(default=5, ge=0, le=100, description="attempts after the first")
    backoff: float = Field(default=1, ge=0, description="seconds before the first of them")
    temperature: float = Field(default=0.6, ge=0, description="of the criticism and the word")
    top_p: float = Field(default=0.9, gt=0, le=1, description="of the criticism and the word")
    word_tokens: int = Field(
        default=4,
        ge=1,
        le=1024,
        description="of the decision: a line break, a space, a word; 1 for the tiny judge",
    )
    logprobs: int = Field(
        default=20, ge=0, le=1000, description="of how many tokens they are asked for; 0: not"
    )
    extra: Annotated[dict[str, JsonValue], AfterValidator(_additions)] = Field(
        default_factory=dict,
        description="more of a request's body, as {top_k = 10}, where the server takes it",
    )

    def __hash__(self) -> int:  # a dict has none
        return hash(self.model_dump_json())

    def require(self) -> None:
        chat.require(self._endpoint())

    def judge(self, requests: Sequence[Request], *, max_tokens: int) -> list[Judgement]:
        return _wait_for(self._judge(requests, max_tokens)) if requests else []

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
            finally:  # the first error ends them all
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
                await server.ask(self._body(["Say yes."], self.word_tokens, 0, self.logprobs))
            except NotAnsweredError:
                raise ValueError(server.complaint(str(fault))) from None
            return _NO_DECISION

    async def _converse(self, server: Chat, request: Request, max_tokens: int) -> Judgement:
        """Criticism, then decision; or the decision alone."""
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
        if not said.strip():  # and so no place to read log-probabilities at
            return replace(_NO_DECISION, criticism=criticism)
        word = re.search(r"[^\W\d_]+", said)
        yes, no = _logprobs(choice) if self.logprobs else (None, None)
        return Judgement(criticism, yes, no, word[0].lower() if word else "")

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
            "seed": seed % 2**31,  # what every server takes
            **({"logprobs": True, "top_logprobs": logprobs} if logprobs else {}),
            **self.extra,
        }


def _wait_for(judging: Coroutine[Any, Any, list[Judgement]]) -> list[Judgement]:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(judging)
    with ThreadPoolExecutor(1) as pool:  # called from within a loop, as in a notebook
        return pool.submit(asyncio.run, judging).result()


def _content(choice: dict[str, Any]) -> str:
    """What was written; empty where the model called a tool, say."""
    content = choice["message"].get("content")
    if not isinstance(content, str):
        return ""
    # Some servers show the control token that ended the turn; in the next one it would be another.
    return content.encode(errors="replace").decode().partition("<|")[0]


def _logprobs(choice: dict[str, Any]) -> tuple[float | None, float | None]:
    """Log-probability of yes and of no at the place of the decision; None where there are none."""
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
