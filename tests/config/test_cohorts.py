"""Which node trains which model is plain from the list, and every cohort has a name of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmproof.config import TrialConfig
from swarmproof.config.cohorts import HOMOGENEOUS, deal, of_trial

PATHS = st.lists(st.sampled_from(["a", "b", "x/a", "y/a", "a-2", "/", "b/"]), min_size=1)


@given(PATHS, st.integers(1, 12))
def test_models_are_dealt_in_turn_and_every_node_is_in_one_cohort(
    paths: list[str], num_honest: int
) -> None:
    dealt = deal(paths, num_honest)
    of_node = {node: members for members in dealt for node in members.nodes}
    assert sorted(of_node) == list(range(num_honest))
    assert sum(len(members.nodes) for members in dealt) == num_honest
    for node in range(num_honest):
        assert of_node[node].path == paths[node % len(paths)]
    assert len({m.path for m in dealt}) == len({m.name for m in dealt}) == len(dealt)
    assert (dealt[0].name == HOMOGENEOUS) is (len(dealt) == 1)


def test_a_cohort_is_called_after_its_model() -> None:
    names = [m.name for m in deal(["tiny-math", "Qwen/Qwen2.5-1.5B", "mine/tiny-math"], 3)]
    assert names == ["tiny-math", "Qwen2.5-1.5B", "tiny-math-2"]


def test_the_cohorts_of_an_arm_are_those_of_its_config_in_a_run_folder() -> None:
    table = {"rounds": 1, "task": {"name": "math_words"}, "attack": {"name": "text"}}
    for swarm in ({}, {"models": ["a", "b"]}, {"malicious": 0, "models": ["a", "a", "b"]}):
        trial = TrialConfig.model_validate(table | {"swarm": swarm})
        dumped = trial.model_dump(mode="json")
        assert ("models" in dumped["swarm"]) is ("models" in swarm)
        assert of_trial(dumped) == trial.cohorts
        assert TrialConfig.model_validate(dumped) == trial
