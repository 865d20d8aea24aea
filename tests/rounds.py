"""A round record in which nothing happened, to be changed by `dataclasses.replace`."""

from swarmproof.types import RoundRecord

RECORD = RoundRecord(
    round=0,
    cohort="honest",
    asr=0.0,
    asr_wide=None,
    reward=0.5,
    length=20.0,
    heldout_asr=None,
    heldout_asr_wide=None,
    heldout_accuracy=None,
    poisoned=0,
    poisoned_refused=0,
    honest=0,
    honest_refused=0,
    by_defense={},
    by_node={},
    absent={},
    refusals=[],
    malformed=0,
    groups_learned=0,
    loss=0.0,
    grad_norm=0.0,
    kl=None,
    generated_tokens=0,
    learned_tokens=0,
)
