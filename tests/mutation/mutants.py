"""Mutation testing: small faults are put into the modules that decide, one at a time, and unit tests run.

    make mutants                            # a sample of each module, about half an hour of two cores
    make mutants MUTANTS="--each 0"         # all of them, some hours
    make mutants MUTANTS="--groups wasm"

mutmut makes and runs the mutants. A mutant that no test notices survives: a test is missing, or the mutant
does the same as the code (docs/mutation.md names those there are). What differs in words for people alone is
not run: an argument of an error or of a log line, or a text with a space in it (`only_words`).

What is mutated is HEAD, in a directory of its own; the working tree is not touched. The sample depends on the
seed and on the names of the mutants, so that the same code gives the same sample. Prints one line a module
and the survivors as diffs, and writes both as JSON with --out.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOOL = HERE / ".mutmut"  # what mutmut.lock names (`make mutants` installs it)


class Group(NamedTuple):
    """Modules that the same tests hold."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


GROUPS = {
    "scheduler": Group(
        (
            "aoray/scheduler/ordering.py",
            "aoray/scheduler/cron_rules.py",
            "aoray/storage/decisions.py",
            "aoray/scheduler/committer.py",
        ),
        (
            "tests/unit/scheduler/test_ordering.py",
            "tests/unit/scheduler/test_cron.py",
            "tests/unit/scheduler/test_cron_faults.py",
            "tests/unit/scheduler/test_cron_rules.py",
            "tests/unit/scheduler/test_decisions.py",
            "tests/unit/scheduler/test_committer.py",
            "tests/unit/storage/test_log.py",
            "tests/unit/scheduler/test_shard_queue.py",
            "tests/unit/protocol/test_statements.py",
        ),
    ),
    "protocol": Group(
        (
            "aoray/protocol/forms.py",
            "aoray/protocol/cron.py",
            "aoray/protocol/assignments.py",
            "aoray/protocol/attestations.py",
            "aoray/protocol/handovers.py",
            "aoray/protocol/spawn_chain.py",
        ),
        (
            "tests/unit/protocol/test_assignments.py",
            "tests/unit/protocol/test_attestations.py",
            "tests/unit/protocol/test_handovers.py",
            "tests/unit/protocol/test_cron_tags.py",
            "tests/unit/protocol/test_spawn_chain.py",
            "tests/unit/protocol/test_statements.py",
            "tests/unit/verify/test_verify_strangers.py",
            "tests/unit/verify/test_verify_ticks.py",
            "tests/unit/verify/test_verify_hand_overs.py",
            "tests/unit/scheduler/test_cron.py",
            "tests/unit/scheduler/test_cron_faults.py",
            "tests/unit/scheduler/test_cron_rules.py",
            "tests/unit/gateway/push/test_push_quota.py",
        ),
    ),
    "verify": Group(
        (
            "aoray/verify/rules.py",
            "aoray/verify/workers.py",
        ),
        (
            "tests/unit/verify/test_verify_rules.py",
            "tests/unit/verify/test_verify_ticks.py",
            "tests/unit/verify/test_workers.py",
            "tests/unit/verify/test_verify.py::test_the_fast_check_passes_no_fault",
            "tests/unit/verify/test_verify.py::test_the_fast_check_finds_what_the_full_check_finds",
            "tests/unit/verify/test_verify.py::test_a_message_over_the_bounds_does_not_pass_the_fast_check",
            "tests/unit/verify/test_verify_strangers.py::test_a_slot_whose_assignment_has_not_its_form_is_none",
        ),
    ),
    "actors": Group(
        (
            "aoray/actors/planner.py",
            "aoray/outbox/entries.py",
            "aoray/outbox/attempts.py",
            "aoray/execution/guest_input.py",
            "aoray/outbox/push_quota.py",
        ),
        (
            "tests/unit/actors/test_planner.py",
            "tests/unit/actors/test_planner_hibernation.py",
            "tests/unit/outbox/test_entries.py",
            "tests/unit/outbox/test_attempts.py",
            "tests/unit/execution/test_guest_input.py",
            "tests/unit/gateway/push/test_push_quota.py",
        ),
    ),
    "bounds": Group(
        (
            "aoray/gateway/core/pressure.py",
            "aoray/util/rates.py",
        ),
        (
            "tests/unit/gateway/core/test_pressure.py",
            "tests/unit/gateway/core/test_admission.py",
            "tests/unit/scheduler/test_cron.py",
            "tests/unit/scheduler/test_cron_faults.py",
            "tests/unit/scheduler/test_cron_rules.py",
        ),
    ),
    "wasm": Group(
        (
            "aoray/vm/wasm/code.py",
            "aoray/vm/wasm/rewriter.py",
            "aoray/vm/wasm/weight.py",
        ),
        (
            "tests/unit/vm/wasm/test_code.py",
            "tests/unit/vm/wasm/test_state.py",
            "tests/unit/vm/wasm/test_weight.py",
        ),
    ),
    "pages": Group(
        ("aoray/vm/wasm/pages.py",),
        ("tests/unit/vm/wasm/test_pages.py",),
    ),
}
CONFIG = """
[tool.mutmut]
source_paths = ["aoray"]
only_mutate = {modules}
also_copy = ["aoray", "tests", "docs", "benchmarks", "examples", "README.md", "cluster.yaml", "Makefile"]
pytest_add_cli_args = [
  "-p", "no:cacheprovider", "-k", "not public_modules",
  "--timeout=300", "--hypothesis-profile=ci",  # a busy machine is no failure; and the same examples each time
]
pytest_add_cli_args_test_selection = {tests}
process_isolation = "forkserver"  # no thread of a WASM engine or a gateway is there when a mutant is forked
"""
KILLED, SURVIVED, UNTESTED = "killed", "survived", "no test"
OUTCOMES = {0: SURVIVED, 1: KILLED, 3: KILLED, 33: UNTESTED, 5: UNTESTED}
"""By exit code of pytest; every other one is an end by time or by a signal, which counts as killed."""


def outcome_of(code: int | None) -> str:
    """What became of a mutant."""
    return "not run" if code is None else OUTCOMES.get(code, "timed out")


# Which mutants are worth a run ---------------------------------------------------------------------


def is_words(node: ast.AST | None) -> bool:
    """A text for people: it has a space."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value


def tells_people(node: ast.AST) -> bool:
    """The call of an error's class or of a logger."""
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    if isinstance(function, ast.Attribute):
        return isinstance(function.value, ast.Name) and function.value.id in ("log", "logger", "warnings")
    return isinstance(function, ast.Name) and function.id in ERRORS


def error_names() -> frozenset[str]:
    """The classes of aoray/errors.py, and Python's."""
    tree = ast.parse((ROOT / "aoray/errors.py").read_text())
    own = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    return frozenset(
        own | {"ValueError", "TypeError", "KeyError", "RuntimeError", "AssertionError", "Refused"}
    )


ERRORS = error_names()


def differences(one: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    """The smallest parts in which two syntax trees differ, but for what is in words for people."""
    if type(one) is not type(other) or isinstance(one, ast.Constant):
        same = isinstance(one, ast.AST) and isinstance(other, ast.AST) and ast.dump(one) == ast.dump(other)
        if not same and not is_words(one):
            yield one, other
    elif isinstance(one, ast.AST):
        if tells_people(one) and isinstance(other, ast.Call) and ast.dump(one.func) == ast.dump(other.func):
            return
        for field in one._fields:
            yield from differences(getattr(one, field), getattr(other, field))
    elif isinstance(one, list) and len(one) == len(other):
        for left, right in zip(one, other, strict=True):
            yield from differences(left, right)
    elif one != other:
        yield one, other


def only_words(original: ast.AST, mutant: ast.AST) -> bool:
    """Whether a mutant differs from its original in words for people alone."""
    return not any(differences(getattr(original, "body"), getattr(mutant, "body")))  # noqa: B009


AT_IMPORT = frozenset(("x__form",))
"""Functions that run as modules are imported: mutmut chooses a mutant later, so no test could notice one."""
MUTANT = re.compile(r"(?P<function>.+)__mutmut_(?P<number>\d+|orig)$")


def variants_in(generated: Path) -> dict[str, dict[str, ast.AST]]:
    """By function the original and the mutants in a file that mutmut made, by number."""
    found: dict[str, dict[str, ast.AST]] = {}
    for node in ast.walk(ast.parse(generated.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (name := MUTANT.match(node.name)):
            found.setdefault(name["function"], {})[name["number"]] = node
    return found


def worth_a_run(generated: Path) -> tuple[list[str], int]:
    """The names of a file's mutants that are to be run, and how many differ in words alone."""
    names, words = [], 0
    for function, variants in variants_in(generated).items():
        if function in AT_IMPORT:
            continue
        original = variants.pop("orig")
        for number, mutant in variants.items():
            if only_words(original, mutant):
                words += 1
            else:
                names.append(f"{function}__mutmut_{number}")
    return sorted(names), words


def diff_of(generated: Path, mutant: str) -> str:
    """What a mutant changes, without the lines around it."""
    function, number = mutant.rsplit("__mutmut_", 1)
    variants = variants_in(generated)[function]
    texts = [ast.unparse(getattr(variants[key], "body")).splitlines() for key in ("orig", number)]  # noqa: B009
    lines = difflib.unified_diff(*texts, lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


# Runs --------------------------------------------------------------------------------------------


def mutmut(scratch: Path, script: str, *words: str) -> int:
    """Run mutmut; what it prints (its progress, without end) goes to a file."""
    environment = {**os.environ, "PYTHONPATH": str(TOOL), "PYTHONDONTWRITEBYTECODE": "1"}
    with (scratch / "mutmut.log").open("a") as log:
        command = [sys.executable, "-c", script, *words]
        return subprocess.run(command, cwd=scratch, env=environment, stdout=log, stderr=log).returncode


GENERATE = """
import os
from pathlib import Path
from mutmut.__main__ import create_mutants, copy_src_dir, copy_also_copy_files, setup_source_paths
os.makedirs("mutants", exist_ok=True)

copy_src_dir(); copy_also_copy_files(); setup_source_paths(); create_mutants(2)
"""
RUN = "import sys; from mutmut.__main__ import cli; sys.argv[0] = 'mutmut'; cli()"


def prepared(base: Path, name: str, group: Group) -> Path:
    """A copy of HEAD with the mutants of a group."""
    scratch = base / name
    scratch.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "x"], cwd=scratch, input=archive, check=True)
    with (scratch / "pyproject.toml").open("a") as config:
        config.write(CONFIG.format(modules=json.dumps(group.modules), tests=json.dumps(group.tests)))
    if mutmut(scratch, GENERATE):
        raise RuntimeError(f"mutmut made no mutants: see {scratch}/mutmut.log")
    return scratch


class Choice(NamedTuple):
    """Which mutants of a module are run."""

    each: int  # so many at most; 0 for all
    seed: int
    again: dict[str, list[str]]  # by module those that survived an earlier run, and only they

    def of(self, module: str, names: list[str]) -> list[str]:
        """Those to run, of all that are worth it."""
        if self.again:
            return [name for name in self.again.get(module, []) if name in names]
        if not 0 < self.each < len(names):
            return names
        return sorted(random.Random(f"{self.seed} {module}").sample(names, self.each))


def survivors_of(earlier: Path) -> dict[str, list[str]]:
    """By module the mutants that survived a run."""
    return {
        record["module"]: [name.rsplit(".", 1)[1] for name in record["survivors"]]
        for record in json.loads(earlier.read_text())
    }


def run_group(scratch: Path, group: Group, choice: Choice) -> list[dict[str, Any]]:
    """Run the chosen mutants of a group; one record a module."""
    chosen: dict[str, list[str]] = {}
    records = []
    for module in group.modules:
        names, words = worth_a_run(scratch / "mutants" / module)
        sample = choice.of(module, names)
        dotted = module.removesuffix(".py").replace("/", ".")
        chosen[module] = [f"{dotted}.{name}" for name in sample]
        records.append({"module": module, "mutants": len(names) + words, "words": words, "run": len(sample)})
    begun = time.monotonic()
    names = [name for names in chosen.values() for name in names]
    if names and mutmut(scratch, RUN, "run", "--max-children", "2", *names):
        raise RuntimeError(f"the tests do not pass without a mutant: see {scratch}/mutmut.log")
    for record in records:
        module = str(record["module"])
        codes = json.loads((scratch / f"mutants/{module}.meta").read_text())["exit_code_by_key"]
        ends = {name: outcome_of(codes.get(name)) for name in chosen[module]}
        record["outcomes"] = dict(Counter(ends.values()))
        record["seconds"] = round(time.monotonic() - begun)
        record["survivors"] = {
            name: {"outcome": end, "diff": diff_of(scratch / "mutants" / module, name.rsplit(".", 1)[1])}
            for name, end in ends.items()
            if end not in (KILLED, "timed out")
        }
    return records


def main() -> None:
    about, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--groups", nargs="*", default=list(GROUPS), choices=GROUPS)
    parser.add_argument("--each", type=int, default=60, help="mutants of a module at most; 0 for all")
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--again", type=Path, help="run the survivors of an earlier run's --out only")
    options = parser.parse_args()
    records: list[dict[str, Any]] = []
    choice = Choice(options.each, options.seed, survivors_of(options.again) if options.again else {})
    base = Path(tempfile.mkdtemp(prefix="aoray-mutants-"))
    for name in options.groups:
        scratch = prepared(base, name, GROUPS[name])
        for record in run_group(scratch, GROUPS[name], choice):
            records.append(record)
            print(
                *(record[key] for key in ("module", "mutants", "words", "run", "outcomes", "seconds")),
                flush=True,
            )
            for survivor, found in record["survivors"].items():
                print(
                    f"  {survivor}: {found['outcome']}\n    " + found["diff"].replace("\n", "\n    "),
                    flush=True,
                )
        if options.out:
            options.out.write_text(json.dumps(records, indent=1))
    print(f"mutmut's logs are in {base}")


if __name__ == "__main__":
    main()
