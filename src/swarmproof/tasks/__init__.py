"""Tasks: where problems come from and what a right answer is.

Importing this package registers the tasks that ship with it.
"""

from swarmproof.tasks.base import Split, Task
from swarmproof.tasks.gsm8k import Gsm8k
from swarmproof.tasks.math_words import MathWords, needs_two_and_two

__all__ = ["Gsm8k", "MathWords", "Split", "Task", "needs_two_and_two"]
