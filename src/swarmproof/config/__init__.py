"""An experiment as data: its settings, how they are read, and who trains which model."""

from swarmproof.config.loading import load, override, shipped, validate
from swarmproof.config.settings import (
    BatchConfig,
    EvaluationConfig,
    ExperimentConfig,
    GrpoConfig,
    ModelConfig,
    OnReject,
    SamplingConfig,
    SwarmConfig,
    Topology,
    TrialConfig,
    describes,
)

__all__ = [
    "BatchConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "GrpoConfig",
    "ModelConfig",
    "OnReject",
    "SamplingConfig",
    "SwarmConfig",
    "Topology",
    "TrialConfig",
    "describes",
    "load",
    "override",
    "shipped",
    "validate",
]
