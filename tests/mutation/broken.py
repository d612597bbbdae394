"""Guarantees broken on purpose: for a row of docs/guarantees.md a fault is put into the code, and the test
that the row names must fail.

    make broken                          # all, about half an hour
    make broken BROKEN="--only disk"     # those whose row has this word

Each fault is one replaced text in a copy of HEAD, which is not changed itself. A fault whose text is not in
the code any more is an error: whoever changed the code says here how to break it now. That the tests pass
without a fault is what `make test` sees.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 300
SHARED = ("tests/js_clients/node_modules",)


def copied(base: Path, number: int) -> Path:
    """HEAD, in a directory of its own."""
    copy = base / str(number)
    copy.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "x"], cwd=copy, input=archive, check=True)
    for shared in SHARED:
        if (ROOT / shared).exists():
            (copy / shared).symlink_to(ROOT / shared)
    return copy


def verdict(copy: Path, fault: Fault) -> str:
    """What the test says of the fault: it `fails`, as it should, or something is wrong."""
    file = copy / fault.file
    code = file.read_text()
    if code.count(fault.old) != 1:
        return f"STALE: the text is {code.count(fault.old)} times in {fault.file}"
    file.write_text(code.replace(fault.old, fault.new))
    # Ray's workers are to take the copy too, not what is installed.
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", fault.test]
    log = copy / "pytest.log"
    with log.open("w") as output:
        running = subprocess.Popen(command, cwd=copy, env=environment, stdout=output, stderr=output)
        try:
            code = running.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGINT)  # it ends the computers that it has started
            running.wait()
            return f"fails (not through after {SECONDS_MAX} s)"
    text = log.read_text()
    said = re.findall(r"^(?:E  .*|FAILED .*|ERROR .*)$", text, re.MULTILINE)
    word = {0: "PASSES: nothing noticed", 1: "fails"}.get(code, f"ERROR {code}")
    if code == 1 and not re.search("^FAILED", text, re.MULTILINE):
        word = "ERROR: the test did not begin"
    return f"{word}: {said[0][:150] if said else ''}"


def main() -> None:
    about, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--only", nargs="*", default=[""], help="rows that have one of these words")
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="aoray-broken-"))
    wrong = 0
    for number, fault in enumerate(FAULTS):
        if not any(word.lower() in (fault.row + fault.test).lower() for word in options.only):
            continue
        found = verdict(copied(base, number), fault)
        wrong += not found.startswith("fails")
        print(f"{fault.row} | {fault.test.rsplit('::')[-1]} | {found}", flush=True)
    print(f"{wrong} were not noticed; what pytest said is in {base}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
