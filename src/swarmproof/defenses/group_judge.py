"""GROUP JUDGE: a judge that reads all completions of a problem before it decides about one.

For any swarm. Why it might work: in contrast with others a reader sees what only some completions
have; the best judge of the TRACE bench finds 63 % of reward hacks so, and 45 % alone. Where it
fails: as `judge` does; where most completions of a group are malicious; and with a judge that was
not trained or instructed for it. The tiny judge is such a one (docs/lab-log.md). It costs as many
decisions as `judge`, each after a prompt as long as the group. Source: "Hail to the Thief", arXiv
2511.09780, judge defence; the contrast is that of the TRACE bench; the form is our own.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from swarmproof.defenses.base import DefenseView
from swarmproof.defenses.judge import Judge, too_long
from swarmproof.randomness import derive_seed
from swarmproof.registry import register
from swarmproof.types import Group


@register("defense", "group_judge")
class GroupJudge(Judge):
    """Refuse a completion that a language model finds wrong beside the others of its group.

    Like `judge`, but every prompt first shows the distinct texts of the group, also those without a
    reward, and then repeats the one to decide about. The receiver's seed gives their order, so that
    neither the order of completions nor a sender decides it. If there are more than `shown`, only
    the first of them are shown. Texts that are too long to judge are not shown. Prompts of your own
    need `{group}` in their first part.
    """

    shows_group: ClassVar[bool] = True

    shown: int = Field(default=16, ge=2, description="how many texts of a group are shown at most")

    def _beside(self, group: Group, view: DefenseView) -> tuple[str, ...]:
        question = group.problem.question

        def place(text: str) -> int:
            return derive_seed(view.seed, "place in a group", question, text)

        most = self._most_bytes(view)
        texts = {text for text in group.texts if not too_long(text, most)}
        return tuple(sorted(texts, key=place)[: self.shown])
