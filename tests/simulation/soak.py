"""`make soak`: one seed after another until it is stopped, or one goes wrong.

Begins at `AORAY_SEED`, or at the time of day, so that each soak sees what none has seen.
"""

from __future__ import annotations

import logging
import os
import sys
import time

from sim_checks import report, run


def main() -> None:
    logging.disable(logging.CRITICAL)
    first = seed = int(os.environ.get("AORAY_SEED") or time.time())
    while not (found := run(seed)):
        seed += 1
        if (seed - first) % 100 == 0:
            print(f"{seed - first} seeds, from {first}: all is well", flush=True)
    sys.exit(report(seed, found))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
