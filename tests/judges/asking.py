"""Asks a scripted server through the `openai` back end."""

from __future__ import annotations

from typing import Any

from servers import Answer, Body, Reply, Scripted
from swarmproof.judges import Judgement, OpenAI, Request

KEY = "sk-very-secret-0123456789"


def request(
    text: str = "It is 5.", *, criticism: str | None = "Criticise.", seed: int = 7
) -> Request:
    return Request("What is 2 + 3?\n", f"[{text}]\n", criticism, "Yes or no?", seed)


def back_end(server: Scripted, **settings: Any) -> OpenAI:
    quick: dict[str, Any] = {"retries": 2, "backoff": 0.001, "timeout": 30, "concurrency": 4}
    return OpenAI(base_url=server.url, model="m", **quick | settings)


def judge(server: Scripted, *requests: Request, **settings: Any) -> list[Judgement]:
    return back_end(server, **settings).judge(requests or [request()], max_tokens=20)


def probing(body: Body) -> bool:
    return bool(body["messages"][0]["content"] == "Say yes.")


def always(reply: Reply) -> Answer:
    return lambda *_: reply
