"""Whether real nodes record the bytes of the simulation: `run` and `swarm up` with the same seed.

python tests/nodes/equality.py text-horizontal --arm attack --arm logit --set rounds=20 --out DIR

Prints, for each arm, whether the streams are equal; for the first line that differs, both. Exit
code 1: they differ.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from swarmproof.records.streams import COMPLETIONS, ROUNDS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("experiment")
    parser.add_argument("--arm", action="append", required=True)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    options = [f"--seeds={chosen.seed},", "--quiet"]
    options += [f"--arm={arm}" for arm in chosen.arm]
    options += [f"--set={setting}" for setting in chosen.settings]
    # Sums are split by thread: one thread for all.
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, command in (("simulation", ["run", "--jobs=1"]), ("nodes", ["swarm", "up"])):
        subprocess.run(
            [sys.executable, "-m", "swarmproof", *command, chosen.experiment, *options,
             f"--out={chosen.out / name}"],
            env=env, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    different = 0
    for arm in chosen.arm:
        trial = Path("trials") / arm / f"seed-{chosen.seed}"
        for stream in (ROUNDS, COMPLETIONS):
            one, other = (chosen.out / name / trial / stream for name in ("simulation", "nodes"))
            same = one.read_bytes() == other.read_bytes()
            different += not same
            print(f"{arm}: {stream}: {'equal' if same else 'DIFFERENT'}", flush=True)
            if not same and stream == ROUNDS:
                pairs = zip(one.open(), other.open(), strict=False)
                print(*next((pair for pair in pairs if pair[0] != pair[1]), ()), sep="")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
