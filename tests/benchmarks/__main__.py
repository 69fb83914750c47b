"""``make bench``: figures of docs/baselines.md, each measured now and printed as one JSON object a line.

``make bench ONLY="render delivery"`` measures those named; without names, all but ``cold``, which builds every local
image anew and takes half an hour.
"""

from __future__ import annotations

import json
import sys

from . import bring_up, cold, delivery, load, rendering, telemetry

BENCHMARKS = {
    "render": rendering.measure,
    "bring_up": bring_up.measure,
    "delivery": delivery.measure,
    "telemetry": telemetry.measure,
    "load": load.measure,
    "cold": cold.measure,
}


def main(names: list[str]) -> int:
    """Runs the benchmarks named. Returns 2 for a name that is not known."""
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or [name for name in BENCHMARKS if name != "cold"]:
        for figure in BENCHMARKS[name]():
            print(json.dumps({"benchmark": name, **figure}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
