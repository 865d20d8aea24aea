"""A guard in TRL's trainers: wrapped reward functions, a mixin, and peers' completions.

Written for TRL 1.16. `wrap` and `rollout_func` use what TRL documents, `GuardMixin` two private
methods of its trainers.
"""

from __future__ import annotations

from swarmproof.integrations.trl.callbacks import GuardCallback
from swarmproof.integrations.trl.mixin import GuardMixin
from swarmproof.integrations.trl.rewards import wrap
from swarmproof.integrations.trl.rollouts import rollout_func

__all__ = ["GuardCallback", "GuardMixin", "rollout_func", "wrap"]
