"""A real computer keeps to its own `/openapi.json`, by schemathesis: what it allows is answered as it says.

And what it does not allow is not a fault in aoray. Ids of what exists are put in where ids are asked for.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fuzz_strategies import damaged, fuzz
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from aoray.client import Client
from aoray.gateway import apps
from aoray.limits import MIB
from aoray.protocol.ans104.items import build
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag
from aoray.testing.local_computer import LocalComputer

pytestmark = pytest.mark.cluster
TABLE = apps.table(apps.DIALECTS)

USER = generate_ed25519()
AO = (Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
GROWTH_BYTES_MAX = 400 * MIB
"""Of all the computer's processes in one test; generous, since caches fill and arenas grow."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
posted: list[bytes] = [b""]
schemathesis.openapi.media_type(
    "application/octet-stream",
    st.deferred(lambda: st.sampled_from(posted) | st.sampled_from(posted).flatmap(damaged)),
)


class Known:
    """A process with some messages, and what else has an id."""

    def __init__(self, computer: LocalComputer) -> None:
        self.process = ""
        self.ids: list[str] = []
        with asyncio.Runner() as runner:
            runner.run(self._make(computer))

    async def _make(self, computer: LocalComputer) -> None:
        async with Client(computer.url, USER) as client:
            process = await client.spawn()
            codes = ["return 1", "error('no')", f"Send({{Target='{process}', Data='x'}}) return 2"]
            tags = [Tag("Action", "Eval")]
            messages = [await client.send(process, data=code, tags=tags) for code in codes]
            for message in messages:
                await client.result(process, message)
            self.process = process
            self.ids += [process, *messages, computer.health["module"]]
        for number in range(5):
            tags = [*AO, Tag("Type", "Message")]
            item = build(USER, target=process, tags=tags, data=b"%d" % number)
            posted.append(item.raw)
            self.ids.append(item.id)


@pytest.fixture(scope="module")
def known(computer: LocalComputer) -> Known:
    return Known(computer)


def memory(computer: LocalComputer) -> int:
    """Resident bytes of all that belongs to the computer (what is shared counts more than once)."""
    found = 0
    for pid in computer.members():
        try:
            found += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
        except OSError:  # it has ended meanwhile
            continue
    return found


UNITS = {"all": 0, "arweave": 1, "messenger": 2, "scheduler": 3, "compute": 4}


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_answers_as_it_says(computer: LocalComputer, known: Known, unit: str) -> None:
    url = computer.unit(UNITS[unit])
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 5
    modes = st.sampled_from([GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
    cases = st.tuples(st.sampled_from(operations), modes).flatmap(
        lambda chosen: chosen[0].as_strategy(generation_mode=chosen[1])
    )
    before = memory(computer)

    @fuzz(100 if unit == "all" else 20, cases, st.data())
    def ask(case: Any, data: st.DataObject) -> None:
        put_known(case, known, data)
        if "/result/" in case.path:
            case.query["wait"] = "0"
        response = case.call(timeout=30)
        case.validate_response(response, checks=CHECKS)

    ask()
    assert memory(computer) - before < GROWTH_BYTES_MAX


def put_known(case: Any, known: Known, data: st.DataObject) -> None:
    """Ids of what exists instead of those made up, as a rule: of an id at random there is never anything."""
    told = TABLE.get((case.method.lower(), case.path))
    if told and "process-id" in told.query and data.draw(st.integers(0, 4)):
        case.query["process-id"] = known.process
    for place in (case.path_parameters, case.query):
        for name in place or ():
            if name in ("process_id", "process-id") and data.draw(st.integers(0, 4)):
                place[name] = known.process
            elif (name.endswith("id") or name == "assign") and data.draw(st.integers(0, 4)):
                place[name] = data.draw(st.sampled_from(known.ids))
            elif name in ("number", "nonce", "from-nonce", "to-nonce", "size") and data.draw(st.booleans()):
                place[name] = data.draw(st.integers(-1, 6))
