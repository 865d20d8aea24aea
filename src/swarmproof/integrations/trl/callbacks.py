"""`GuardCallback`: the state of the guard in every checkpoint of the trainer."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from swarmproof.integrations.watch import Watch

STATE = "swarmproof_guard.json"
_log = logging.getLogger("swarmproof")


class GuardCallback(TrainerCallback):  # type: ignore[misc]
    """Saves the state of defences and ledger with each checkpoint, and loads it on resumption.

    `GuardMixin` has one already.

    Args:
        guarded: what `wrap` returned.

    Raises:
        ValueError: on resumption: the state is of a guard with other defences.
    """

    def __init__(self, guarded: Sequence[Any] | Watch) -> None:
        self._watch = guarded if isinstance(guarded, Watch) else guarded[0].shared.watch

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.is_world_process_zero:
            text = json.dumps(self._watch.state_dict())
            (_checkpoint(args, state) / STATE).write_text(text, encoding="utf-8")

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if not state.global_step:
            return
        path = _checkpoint(args, state) / STATE
        if path.exists():
            self._watch.load_state_dict(json.loads(path.read_text(encoding="utf-8")))
        else:
            _log.warning("there is no %s; the guard starts without what it remembered", path)


def _checkpoint(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
