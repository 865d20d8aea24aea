"""Tasks: sources of problems, and what a right answer is.

Importing this package registers the tasks that ship with it.
"""

from swarmproof.tasks.base import Split, Task
from swarmproof.tasks.code_words import CodeWords
from swarmproof.tasks.gsm8k import Gsm8k
from swarmproof.tasks.gsm8k_code import Gsm8kCode
from swarmproof.tasks.math_words import MathWords, needs_two_and_two
from swarmproof.tasks.openmath import OpenMath
from swarmproof.tasks.programs import CodeTask

__all__ = [
    "CodeTask",
    "CodeWords",
    "Gsm8k",
    "Gsm8kCode",
    "MathWords",
    "OpenMath",
    "Split",
    "Task",
    "needs_two_and_two",
]
