"""GenRL's own game with a trainer that draws nothing, and builders of what a node sends."""

from __future__ import annotations

import importlib
import random
import sys
import types
from collections.abc import Sequence
from typing import Any

from genrl.communication import Payload
from genrl.misc_utils.utils import generate_md5_hash_id
from genrl.state import WorldState


def data_manager() -> type[Any]:
    """GenRL's own data manager for code. Its module imports hivemind, from which it needs only a
    name for a type here."""
    hivemind = types.ModuleType("hivemind")
    vars(hivemind).update(DHT=object, get_dht_time=None)
    before = sys.modules.get("hivemind")
    sys.modules["hivemind"] = hivemind
    try:
        module = importlib.import_module("genrl.examples.code_generation.solver_data")
    finally:
        del sys.modules["hivemind"]
        if before is not None:
            sys.modules["hivemind"] = before
    found: type[Any] = module.CodeGenerationDataManager
    return found


def payload(question: str, actions: Any, answer: str = "7") -> Any:
    world = WorldState({"question": question, "answer": answer}, None, None)
    return Payload(world_state=world, actions=actions, metadata=None)


def stage(*pairs: tuple[str, Sequence[str]]) -> dict[str | int, list[Any]]:
    """What a node sends in a stage: a payload for each question."""
    return {generate_md5_hash_id(q): [payload(q, list(texts))] for q, texts in pairs}


class Drawn:
    """A trainer of GenRL that draws the same completions for each prompt, and keeps the trees."""

    def __init__(self, actions: Sequence[str]) -> None:
        self.actions = list(actions)
        self.trees: list[dict[str, dict[str, list[str]]]] = []  # one for each round

    def generate(self, inputs: Any) -> list[list[str]]:
        return [list(self.actions) for _ in inputs]

    def train(self, state: Any, *_: Any) -> None:
        self.trees.append(
            {
                agent: {key: tree[0][0].actions for key, tree in of.items()}
                for agent, of in state.trees.items()
            }
        )

    def cleanup(self) -> None:
        pass


def game(trainer: Drawn, question: str, rounds: int, **of_backend: Any) -> Any:
    """GenRL's game manager; `of_backend` goes to `Communication.create`, as GenRL does it."""
    from genrl.game.game_manager import DefaultGameManagerMixin, GameManager
    from genrl.state import GameState

    world = {"question": question, "answer": "7", "test": "", "metadata": {}}

    class Data(data_manager()):  # type: ignore[misc]
        def __init__(self) -> None:
            self.num_transplant_trees, self.num_generations = 8, len(trainer.actions)
            self.system_prompt = ""

        def get_round_data(self) -> list[list[Any]]:
            return [[generate_md5_hash_id(question), WorldState(dict(world), None, None)]]

    class Rewards:
        def update_rewards(self, _: Any) -> None: ...

        def reset(self) -> None: ...

    class Game(DefaultGameManagerMixin, GameManager):  # type: ignore[misc]
        max_stage, max_round = 1, rounds

        def end_of_game(self) -> bool:
            return bool(self.state.round >= self.max_round)

        def end_of_round(self) -> bool:
            return bool(self.state.stage >= self.max_stage)

    random.seed(0)
    return Game(GameState(round=0, stage=0), Rewards(), trainer, Data(), **of_backend)
