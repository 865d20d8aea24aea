"""Measure the network, and write `results/net.json`. Takes a quarter of an hour.

    unshare -rn sh -c "ip link set lo up && python -m benchmarks.net"

So the loopback device is this command's alone, and its bytes are those of the nodes. Without
`unshare` they are of everybody. Processor times are only as exact as the machine is quiet; shares
of one process are better than seconds.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.net import alone, cost, traffic
from benchmarks.net.meter import Meter
from swarmproof.records.versions import versions

OUT = Path(__file__).parents[2] / "results" / "net.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="of the trials by four processes")
    parser.add_argument("--only", nargs="*", help="names of measurements; all if not given")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    meter = Meter()  # attached before the first session is opened
    meter.attach()
    played = partial(traffic.play, meter)
    measurements: dict[str, Callable[[], Any]] = {
        f"cost_{arm}": partial(cost.compare, "text-horizontal", arm, options.rounds, ())
        for arm in ("attack", "logit")
    }
    measurements |= {
        "traffic_4": lambda: played(4, real=True, rounds=20),
        "traffic_4_waiting": lambda: played(4, real=True, rounds=3, later=5.0),
        "traffic_16": lambda: played(16, real=True, rounds=3),
        "traffic_16_waiting": lambda: played(16, real=True, later=5.0),
        "traffic_64": lambda: played(64, real=True),
        "traffic_64_memory": lambda: played(64, real=False),
        "agreement": lambda: [alone.play(n) for n in (4, 16, 64, 256, 1000)],
    }
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    results["versions"] = {**versions(), "eclipse-zenoh": version("eclipse-zenoh")}
    results["cores"] = os.cpu_count()
    for name, measure in measurements.items():
        if options.only and name not in options.only:
            continue
        load = os.getloadavg()[0]
        # More than a little says that seconds were shared with somebody.
        results[name] = {"load_before": load, "found": measure()}
        print(name, json.dumps(results[name]), flush=True)
        options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.out}")


if __name__ == "__main__":
    main()
