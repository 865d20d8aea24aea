"""Questions are asked again, ever more slowly, and never twice at once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import pytest

from swarmproof.exchange.net.asking import Asker
from swarmproof.exchange.net.transport import Loopback

Play = Callable[..., list[float]]


@pytest.fixture(params=[3])
def play(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Play:
    """Wants a value for some seconds of a clock of its own; returns when questions were asked.

    The parameter: number of peers.
    """
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    asked: list[float] = []

    def weather(*_: object) -> float:
        asked.append(round(now - 1000.0, 3))
        return 0.0

    asker = Asker(Loopback(weather).join(0), request.param)

    def play(seconds: float, nodes: tuple[int, ...] = (1,), **how: bool) -> list[float]:
        nonlocal now
        before, turn = len(asked), 0
        end = now + seconds
        while now < end:
            asker.want(nodes[turn % len(nodes)], "o/0", 10, 2.0, **how)
            asker.answers(0.0)
            now, turn = now + 0.005, turn + 1
        return asked[before:]

    return play


def pauses(times: list[float]) -> list[float]:
    return [b - a for a, b in itertools.pairwise(times)]


def test_pauses_grow_to_a_quarter_of_a_second(play: Play) -> None:
    found = pauses(play(3.0))
    assert found[0] == pytest.approx(0.02, abs=0.006)
    assert max(found) <= 0.256
    assert found[-1] == pytest.approx(0.25, abs=0.006)


@pytest.mark.parametrize(
    ("play", "longest"), [(16, 0.5), (63, 1.97), (999, 2.0)], indirect=["play"]
)
def test_a_node_of_many_peers_asks_each_of_them_less_often(play: Play, longest: float) -> None:
    found = pauses(play(20.0))
    assert found[0] == pytest.approx(0.02, abs=0.006)
    assert found[-1] == pytest.approx(longest, abs=0.011)
    assert found[-1] == pytest.approx(max(found))
    assert pauses(play(20.0, slow=True))[-1] == pytest.approx(max(longest, 1.0), abs=0.011)


def test_a_slow_question_is_asked_once_a_second_and_at_once_when_it_hurries(play: Play) -> None:
    assert pauses(play(9.9, slow=True))[-1] == pytest.approx(1.0, abs=0.006)
    assert len(play(1.0)) >= 4


def test_one_pause_counts_for_all_peers_that_may_have_a_copy(play: Play) -> None:
    many = tuple(range(1, 60))
    assert len(play(5.0, many, slow=True, anybody=True)) <= 9
    # Without that, each of them is asked at once.
    assert len(play(5.0, many, slow=True)) >= len(many)


def test_an_open_question_is_asked_again_when_no_answer_can_come_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even if the transport never says that it has ended."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    asked: list[float] = []

    def lost(*_: object) -> None:
        asked.append(now - 1000.0)

    asker = Asker(Loopback(lost).join(0), 1)
    while now < 1030.0:
        asker.want(1, "h/0", 10, 10.0)
        now += 0.5
    assert asked == [0.0, 12.0, 24.0]
