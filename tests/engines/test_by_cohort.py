"""The parts of a trial find out that they would not hear each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swarmproof.engines import by_cohort
from swarmproof.swarm import warmup
from swarmproof.swarm.trial import Trial, run_trial
from swarms import trial_config


def play(part: Trial) -> None:
    """Play its round, without waiting for the other part."""
    impatient = part.config.exchange | {"deadline": 0.1}
    config = part.config.model_copy(update={"exchange": impatient})
    run_trial(replace(part, config=config), resume=True)


def on_another_processor(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    teach = warmup._teach

    def otherwise(trained: Any, *rest: Any) -> list[float]:
        losses = teach(trained, *rest)
        trained.learner.masters[0].data += 1e-5
        return losses

    monkeypatch.setattr(warmup, "_teach", otherwise)
    monkeypatch.setenv("SWARMPROOF_CACHE", str(cache))


@pytest.mark.parametrize("first", [0, 1])
def test_parts_whose_warm_ups_differ_end_at_once(
    random_model: Path, foreign_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    first: int,
) -> None:  # fmt: skip
    monkeypatch.setenv("SWARMPROOF_CACHE", str(tmp_path / "cache"))
    config = trial_config(
        random_model,
        swarm={"models": [str(random_model), str(foreign_model)]},
        warmup={"steps": 1, "batch": 2, "problems": 16},
        rounds=1,
    )
    trial = Trial("experiment", "arm", 0, config, tmp_path / "trial")
    parts = by_cohort.parts_of(trial)
    play(parts[first])
    play(parts[1 - first])  # a cache that is shared, or the same processor
    by_cohort.discard(trial)
    play(parts[first])
    on_another_processor(monkeypatch, tmp_path / "other")
    told = rf"do not agree on the warmed-up model at '{random_model}' .* processor .* --out$"
    for _ in range(2):  # also when it is tried again
        with pytest.raises(ValueError, match=told) as caught:
            play(parts[1 - first])
        assert "\n" not in str(caught.value)
    # A worker that died and continues on another processor.
    with pytest.raises(ValueError, match=r"the warmed-up model at .* changed since"):
        play(parts[first])
