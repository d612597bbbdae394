"""`python -m aoray` and the command `aoray`: the command line, which Ctrl-C ends in a sentence from its first
imports on.
"""

from __future__ import annotations

import sys

INTERRUPTED = 130  # 128 and the number of SIGINT, as shells say it


def run() -> None:
    """Run the command line; the exit code is 130 if it is interrupted before it has begun."""
    try:
        from aoray.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("aoray: interrupted\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    run()
