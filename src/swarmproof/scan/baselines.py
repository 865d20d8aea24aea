"""How often checks fire on honest data: of a reference, or of the honest runs that ship."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from swarmproof.scan.chance import upper
from swarmproof.scan.finding import FalseAlarms

_FILE = Path(__file__).parent / "baselines.json"


@dataclass(frozen=True, slots=True)
class Honest:
    """Counts on honest data, by check."""

    counts: Mapping[str, FalseAlarms]
    given: bool  # a user's reference, which is of the same kind as the data

    def upper(self, check: str) -> float:
        """The upper end of the 95 % interval of its rate; 1 where nothing is known."""
        known = self.counts.get(check)
        return 1.0 if known is None else upper(known.fired, known.of)

    def of(self, check: str) -> FalseAlarms | None:
        return self.counts.get(check)


@cache
def shipped() -> Honest:
    """The counts of honest runs of the shipped models (docs/scan-checks.md says how)."""
    table: Mapping[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    counts = {
        name: FalseAlarms(one["fired"], one["of"], one["unit"], f"shipped: {table['source']}")
        for name, one in table["counts"].items()
    }
    return Honest(counts, given=False)
