"""How far the arms of a run are, in words: an unfinished run must not read like a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarmproof.records.run import Run

_LISTED = 3  # seeds that are named one by one


def of_arms(run: Run) -> dict[str, str]:
    """Arm -> `unfinished, iteration 5 of 80`; empty for a finished arm.

    Covers every arm of the config. A planned seed without a round makes its arm unfinished.
    """
    done = run.rounds.groupby(["arm", "seed"])["round"].max() + 1
    seeds = run.config["seeds"]
    return {
        arm: _words(
            {seed: int(done.get((arm, seed), 0)) for seed in seeds},
            planned=trial["rounds"],
        )
        for arm, trial in run.config["arms"].items()
    }


def _words(done: dict[int, int], *, planned: int) -> str:
    left = {seed: rounds for seed, rounds in done.items() if rounds < planned}
    if not left:
        return ""
    if not any(done.values()):
        return "not started"
    if len(done) == 1:
        (rounds,) = left.values()
        return f"unfinished, iteration {rounds} of {planned}"
    if len(left) > _LISTED:
        least = min(left.values())
        return (
            f"unfinished: {len(left)} of {len(done)} seeds, the slowest at iteration {least} "
            f"of {planned}"
        )
    told = [
        f"seed {seed} at iteration {rounds} of {planned}" if rounds else f"seed {seed} not started"
        for seed, rounds in left.items()
    ]
    return f"unfinished: {', '.join(told)}"
