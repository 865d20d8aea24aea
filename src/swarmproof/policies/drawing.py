"""What draws completions, as a plug-in: its parameters, and how it is made ready for a model.

Imports no torch, so that a config is checked quickly.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from swarmproof.config import ModelConfig, SamplingConfig
from swarmproof.policies.codec import Codec
from swarmproof.registry import Kind, Plugin, register

if TYPE_CHECKING:
    from swarmproof.policies.generator import Generator


class DrawEngine(Plugin):
    """Parameters of a generator; `start` makes it ready to draw with one model."""

    kind: ClassVar[Kind] = "generator"

    def require(self, model: ModelConfig) -> None:
        """Check that it can be used here, before any model is loaded.

        Args:
            model: how the models that it draws with are loaded.

        Raises:
            ValueError: one line with the remedy.
        """

    def held_bytes(self, parameters: float, size: int) -> float:  # noqa: ARG002 - most hold nothing
        """The memory that it holds beside the model, from its start on.

        Args:
            parameters: of the model.
            size: bytes of a weight.
        """
        return 0.0

    @abstractmethod
    def start(
        self, model: Any, codec: Codec, sampling: SamplingConfig, room: int | None
    ) -> Generator:
        """Make it ready.

        Args:
            model: a loaded causal LM. Its weights change between two calls of `generate`, and what
                is drawn must be drawn with those of the moment.
            codec: its tokenizer.
            sampling: the generation strategy.
            room: tokens that may be drawn at once; None: as many as are usual.

        Raises:
            ValueError: it cannot draw with this model; one line with the remedy.
        """


@register("generator", "packed")
class Packed(DrawEngine):
    """Our own: the trained model itself draws, many rows at a time, each prompt held once."""

    def start(
        self, model: Any, codec: Codec, sampling: SamplingConfig, room: int | None
    ) -> Generator:
        from swarmproof.policies.generator import PackedGenerator

        return PackedGenerator(model, codec, sampling, room)
