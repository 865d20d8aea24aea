"""GenRL 0.3: a guard in front of `transplant_trees`, and signed messages in place of hivemind.

filter.py   the payloads that pass a guard     codec.py   payloads as bytes, never a pickle
backend.py  signed messages under GenRL's `Communication`; needs the extra `net`
"""

from __future__ import annotations

from swarmproof.integrations.genrl.backend import SignedBackend
from swarmproof.integrations.genrl.filter import GuardedTransplants, PayloadFilter

__all__ = ["GuardedTransplants", "PayloadFilter", "SignedBackend"]
