"""What draws, scores and learns. Importing this package registers the generators that ship with it.

It imports no torch, but its modules do.
"""

from swarmproof.policies.drawing import DrawEngine, Packed
from swarmproof.policies.vllm_generator import Vllm

__all__ = ["DrawEngine", "Packed", "Vllm"]
