"""What `make broken` and `make mutants` put faults into is there: whoever changes or moves the code says how
it is to be broken now, and not when somebody runs them again."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutation.faults import FAULTS, Fault
from mutation.mutants import GROUPS

ROOT = Path(__file__).parents[2]
ROWS = [line for line in (ROOT / "docs/guarantees.md").read_text().splitlines() if line.startswith("|")]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.row}: {fault.file}")
def test_a_fault_is_one_text_of_the_code_and_the_row_that_it_breaks_names_its_test(fault: Fault) -> None:
    assert (ROOT / fault.file).read_text().count(fault.old) == 1
    assert any(f"`{fault.test}`" in row for row in ROWS if row.startswith(f"| {fault.row}"))


@pytest.mark.parametrize("group", GROUPS)
def test_the_modules_and_the_tests_of_a_group_are_there(group: str) -> None:
    for path in (*GROUPS[group].modules, *GROUPS[group].tests):
        file, _, name = path.partition("::")
        assert f"def {name}" in (ROOT / file).read_text(), path
