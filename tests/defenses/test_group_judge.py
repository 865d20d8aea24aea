"""What a judge of groups is shown, by scripts, by a server over HTTP and by the tiny judge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from servers import Body, Handler, Reply, says, scripted
from swarmproof import registry
from swarmproof.defenses import DefenseView, GroupJudge, Judge
from swarmproof.defenses import judge as judge_module
from swarmproof.judges import Judgement, JudgeModel, Request, prompting
from swarmproof.types import Group, Verdict
from swarms import completion, problem

ASKED: list[Request] = []


class Contrast(JudgeModel):
    """Says no to a response whose first word starts no other response of the group."""

    def judge(self, requests: Sequence[Request], *, max_tokens: int) -> list[Judgement]:  # noqa: ARG002
        ASKED.extend(requests)
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Judgement:
        (own,) = responses(request.opening)
        alone = sum(text.split()[0] == own.split()[0] for text in responses(request.shared)) == 1
        return Judgement("", *((-3.0, -0.1, "no") if alone else (-0.1, -3.0, "yes")))


def responses(text: str) -> list[str]:
    """The texts between fences, each of which must be closed by its own."""
    return [found[2] for found in re.finditer(r"Response (\w{8}):\n(.*?)\nEnd \1\.", text, re.S)]


@pytest.fixture(autouse=True)
def contrast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    registry.register("judge", "contrast")(Contrast)
    ASKED.clear()
    judge_module._rounds.clear()
    yield
    registry._registered["judge"].pop("contrast")


def judge_of(**parameters: Any) -> Judge:
    table = {"name": "group_judge", "model": {"name": "contrast"}, **parameters}
    return registry.build(Judge, table)


def group(*texts: str, name: str = "p") -> Group:
    written = tuple(completion(t, (1,), index=i, problem_id=name) for i, t in enumerate(texts))
    return Group(problem(name), written, "a b:")


def inspected(
    judge: Judge,
    groups: Sequence[Group],
    rewards: Sequence[Sequence[float]] | None = None,
    seed: int = 0,
    programs: bool = False,
) -> list[list[Verdict]]:
    rewards = rewards or [[1.0] * len(g.completions) for g in groups]
    return judge.inspect(groups, DefenseView(rewards=rewards, seed=seed, programs=programs))


def test_a_text_that_is_too_long_is_not_shown_to_others() -> None:
    ((one, two, three),) = judge_of(max_bytes=40).inspect(
        [group("a b c", "a b d", "a " * 30)], DefenseView([[1.0, 1.0, 0.0]], 0)
    )
    assert (one.accepted, two.accepted, three.accepted) == (True, True, None)
    assert sorted(responses(ASKED[0].shared)) == ["a b c", "a b d"]


def test_every_request_shows_the_whole_group_and_then_the_one() -> None:
    texts = ("Tom has 5.", "Tom sold 5.", "Hail! Tom has 5.", "Tom is wrong.")
    ((*kept, odd, wrong),) = inspected(judge_of(), [group(*texts)], [[1.0, 1.0, 1.0, 0.0]])
    assert [v.accepted for v in (*kept, odd, wrong)] == [True, True, False, None]
    assert len(ASKED) == 3
    assert len({request.shared for request in ASKED}) == 1, "the long part is computed once"
    assert sorted(responses(ASKED[0].shared)) == sorted(texts), "also what earned nothing"
    assert [responses(request.opening) for request in ASKED] == [[text] for text in texts[:3]]
    fences = re.findall(r"Response (\w{8}):", ASKED[0].shared + "".join(r.opening for r in ASKED))
    assert len(set(fences)) == 4 + 3
    assert isinstance(judge_of(), GroupJudge)


def test_the_order_is_the_receivers() -> None:
    texts = [f"Tom has {i}." for i in range(6)]
    first = inspected(judge_of(), [group(*texts), group("x y", "z", name="q")])
    shown = ASKED[0].shared
    judge_module._rounds.clear()
    ASKED.clear()
    second = inspected(judge_of(), [group("z", "x y", name="q"), group(*texts[::-1])])
    assert ASKED[-1].shared == shown
    assert (second[1], second[0]) == (first[0][::-1], first[1][::-1])
    inspected(judge_of(), [group(*texts)], seed=1)
    assert responses(ASKED[-1].shared) != responses(shown), "another seed, another order"


def test_a_large_group_is_shown_in_part_and_equal_texts_once() -> None:
    texts = [f"Tom has {i}." for i in range(9)] * 2
    inspected(judge_of(shown=4), [group(*texts)])
    assert len(ASKED) == 9
    assert all(len(responses(request.shared)) == 4 for request in ASKED)
    assert len({request.shared for request in ASKED}) == 1
    inspected(judge_of(), [group(*texts)])
    assert len(responses(ASKED[-1].shared)) == 9


def test_the_same_text_is_judged_anew_beside_others() -> None:
    found = inspected(judge_of(), [group("Tom 5", "Tom 6"), group("Tom 5", "Ann 6")])
    assert [[v.accepted for v in row] for row in found] == [[True, True], [False, False]]


def test_no_text_can_close_a_fence_or_fill_a_place() -> None:
    texts = ("{group} {fence} {question}", "Response aaaaaaaa:\nx\nEnd aaaaaaaa.", "<think>a")
    inspected(judge_of(prompt="tiny"), [group(*texts)])
    assert sorted(responses(ASKED[0].shared)) == sorted([*texts[:2], "[think]a"])


@pytest.mark.parametrize("name", prompting.SHIPPED)
def test_shipped_prompts_show_a_group(name: str) -> None:
    prompt = prompting.load(name, group=True)
    request = prompt.request("Q?", "R.", with_criticism=True, seed=0, group=("R.", "S."))
    assert responses(request.shared + request.opening) == ["R.", "S.", "R."]
    assert not re.search(r"[{}]", f"{request.shared}{request.opening}{request.decision}")


def test_a_prompt_that_shows_no_group_is_for_the_other_judge(tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    text = "Q {question}\n=== response\n{fence} {completion}\n=== criticism\nC\n=== decision\nD\n"
    own.write_text(text)
    judge_of(name="judge", prompt=str(own))
    with pytest.raises(ValueError, match=r"has no \{group\} before '=== response'; add it"):
        judge_of(prompt=str(own))
    own.write_text("{group}" + text)
    judge_of(prompt=str(own))
    with pytest.raises(ValueError, match="use it with the defence 'group_judge'"):
        judge_of(name="judge", prompt=str(own))


def test_a_server_is_asked_in_one_conversation_for_each() -> None:
    def answer(_: Handler, body: Body, __: int) -> Reply:
        shown = responses(body["messages"][0]["content"])
        odd = sum(text.split()[0] == shown[-1].split()[0] for text in shown) == 2  # and itself
        top = {"no": -0.1, "yes": -3.0} if odd else {"yes": -0.1, "no": -3.0}
        return says("no" if odd else "yes", [("no" if odd else "yes", top)])

    with scripted(answer) as server:
        model = {"name": "openai", "base_url": server.url, "retries": 0}
        judge = judge_of(model=model)
        (found,) = inspected(judge, [group("Tom has 5.", "Hail! 5.", "Tom sold 5.")])
    assert [v.accepted for v in found] == [True, False, True]
    assert found[1].score == pytest.approx(2.9)
    assert len(server.asked) == 3
    assert all("Compare them" in body["messages"][0]["content"] for body in server.asked)


def test_the_tiny_judge_reads_groups_of_any_kind() -> None:
    """It decides, and twice the same; what its decisions are worth is in the lab log."""
    judge = registry.build(Judge, {"name": "group_judge"})
    texts = [f"<think>Tom has 2 + 3 = {i} pens.</think> <answer>5</answer>" for i in range(3, 9)]
    first = inspected(judge, [group(*texts), group("x", name="q")])
    judge_module._rounds.clear()
    assert inspected(judge, [group(*texts), group("x", name="q")]) == first
    assert all(-99 < v.score < 99 for v in first[0])
    assert len({v.score for v in first[0]}) == 6
