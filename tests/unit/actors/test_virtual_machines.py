"""Processes of other virtual machines than WASM's in a process actor: one that has no checkpoints, one that
has, and one that is not installed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
from actor_rig import PUBLISHER, House, sleeps, until
from calculator import Buttons, Calculator, Display
from installed_package import FORMAT, forget, install

from aoray import limits
from aoray.actors.evaluation import Slice
from aoray.actors.planner import EvaluationBatch
from aoray.actors.process_actor import ProcessActor
from aoray.errors import NotFound
from aoray.protocol.ans104.items import build
from aoray.protocol.modules import module_tags
from aoray.vm.engines import Engine
from aoray.vm.interface import UNIT, Changes, Limits, State

REMEMBERING = "remembering-calculator-1"
MODULE, REMEMBERED = (
    build(PUBLISHER, tags=module_tags(module_format), data=b"add subtract")
    for module_format in (FORMAT, REMEMBERING)
)


class RememberingCalculator(Calculator):
    """One with checkpoints: its state is one page, with the number on the display."""

    def load(self, module: bytes, rules: Engine, owner: str) -> Buttons:
        return RememberingButtons(super().load(module, rules, owner).names, rules)


class RememberingButtons(Buttons):
    def boot(self, limits: Limits) -> Display:
        return RememberingDisplay(self)


class RememberingDisplay(Display):
    supports_checkpoints = True
    boot_id = "calculator"
    boot_state = State(UNIT, (), {})

    def state(self) -> State:
        page = self.total.to_bytes(UNIT, "big", signed=True)
        return State(UNIT, (), {0: sha256(page).digest()} if self.total else {})

    def changes(self, offsets: Sequence[int]) -> Changes:
        pages = [self.total.to_bytes(UNIT, "big", signed=True) for _ in offsets]
        return Changes(UNIT, (), tuple(offsets), b"".join(pages))

    def restore(self, changes: Changes) -> None:
        self.total = int.from_bytes(changes.data, "big", signed=True)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = f"{FORMAT} = calculator:Calculator", f"{REMEMBERING} = {__name__}:RememberingCalculator"
    monkeypatch.syspath_prepend(install(tmp_path / "site", *lines))


@pytest.fixture
async def house(tmp_path: Path, compiled: Path) -> AsyncIterator[House]:
    opened = House(tmp_path, compiled, MODULE, REMEMBERED)
    yield opened
    await opened.close()


async def totals(house: House, actor: ProcessActor, process_id: str, *presses: str) -> list[str]:
    sent = house.send(process_id, *presses)
    await actor.assign(sent.work)
    return [str(each.get("Error", each["Output"])) for each in await house.results_of(actor, sent)]


@pytest.mark.parametrize(("module", "restored"), [(MODULE, 0), (REMEMBERED, 1)], ids=["forgets", "remembers"])
async def test_a_process_of_another_virtual_machine_lives_as_others_do(
    package: None, house: House, module: object, restored: int
) -> None:
    actor = house.actor()
    spawned = house.spawn(module.id)  # type: ignore[attr-defined]
    process_id = spawned.process_id
    await actor.activate([(process_id, 1)])
    assert await totals(house, actor, process_id, "add 5", "divide 2", "subtract 1") == [
        "5",
        "this calculator can't divide",
        "4",
    ]
    assert (await actor.dry_run(process_id, {"Data": "add 1"}))["Output"] == "5"
    assert (await actor.dry_run(process_id, {"Data": ""}))["Output"] == "4"
    with pytest.raises(NotFound, match="has no memory to show"):
        await actor.memory(process_id)
    await sleeps(actor, process_id)
    assert await totals(house, actor, process_id, "add 2") == ["6"]
    stats = await actor.stats()
    assert stats["restored"] == stats["checkpoints"] == restored
    assert stats["replayed"] == (0 if restored else 4)  # the spawn's message, and three


async def test_who_has_no_checkpoints_does_not_keep_others_from_theirs(
    package: None, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = house.actor()
    ids = [house.spawn(module.id).process_id for module in (MODULE, REMEMBERED)]
    for process_id in ids:
        await actor.activate([(process_id, 1)])
        assert await totals(house, actor, process_id, "add 5") == ["5"]
        await until(lambda: actor._planner.is_idle(process_id))  # noqa: B023 - it is awaited here
    monkeypatch.setattr(limits, "CHECKPOINT_COSTS", 0)  # so it is due for all of them
    actor._evaluation._checkpoint_if_due([EvaluationBatch(each, 1, 1, -1, []) for each in ids], Slice())
    assert actor._evaluation.checkpoints_written == 1


async def test_where_a_virtual_machine_is_missing_its_processes_wait_and_go_on_once_it_is_there(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = house.actor()
    process_id = house.spawn(MODULE.id).process_id
    await actor.activate([(process_id, 1)])
    await until(lambda: process_id in actor._standing.waits or bool(house.stored(process_id)))
    assert house.stored(process_id) == []
    said = (await actor.standing([process_id]))[process_id]
    assert "no virtual machine here runs the Module-Format 'calculator-1'" in str(said)
    monkeypatch.syspath_prepend(install(tmp_path / "site"))
    forget()
    assert await totals(house, actor, process_id, "add 5") == ["5"]
