"""An experiment as data: its settings, how they are read, and which node trains which model."""

from swarmproof.config.experiment import MAX_SEEDS, ExperimentConfig, TrialConfig, describes
from swarmproof.config.loading import find, load, read_toml, shipped, validate
from swarmproof.config.quoting import quote
from swarmproof.config.settings import (
    BatchConfig,
    EvaluationConfig,
    GrpoConfig,
    GuardConfig,
    ModelConfig,
    OnReject,
    SamplingConfig,
    SwarmConfig,
    Topology,
    WarmupConfig,
)
from swarmproof.config.tables import override

__all__ = [
    "MAX_SEEDS",
    "BatchConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "GrpoConfig",
    "GuardConfig",
    "ModelConfig",
    "OnReject",
    "SamplingConfig",
    "SwarmConfig",
    "Topology",
    "TrialConfig",
    "WarmupConfig",
    "describes",
    "find",
    "load",
    "override",
    "quote",
    "read_toml",
    "shipped",
    "validate",
]
