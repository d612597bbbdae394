"""Modules: fetched once, checked whenever they are read; and what processes may use."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from actor_rig import GUEST, module_item
from fake_arweave import FakeArweave
from forged_keys import Nobody
from ordering import SOME_ID, USER

from aoray import limits
from aoray.errors import (
    AorayError,
    BadSignature,
    ClientError,
    MalformedInput,
    NotFound,
    ProcessError,
    TooLarge,
    Unavailable,
    UnsupportedModule,
)
from aoray.execution.asked_limits import check_limits
from aoray.execution.loader import Loader, SpawnedProcess, limits_of
from aoray.protocol.ans104.items import DataItem, build, verify
from aoray.protocol.modules import module_tags
from aoray.protocol.tags import Tag
from aoray.storage.modules import ModuleStore, store_module
from aoray.vm.engines import ENGINES
from aoray.vm.registry import VirtualMachines


async def test_a_module_is_fetched_once_however_many_ask(tmp_path: Path) -> None:
    arweave = FakeArweave(GUEST)
    store = ModuleStore(tmp_path / "modules", arweave.item)
    found = await asyncio.gather(*(store.get(GUEST.id) for _ in range(5)))
    assert {module.data for module in found} == {GUEST.data}
    assert (found[0].info.id, found[0].info.owner) == (GUEST.id, GUEST.address)
    assert await ModuleStore(tmp_path / "modules", arweave.item).get(GUEST.id) == found[0]
    assert arweave.asked == [GUEST.id]
    assert [file.name for file in os.scandir(tmp_path / "modules")] == [GUEST.id]


@pytest.mark.parametrize("damage", [b"", GUEST.raw[:-1], GUEST.raw[:-1] + b"!", module_item(b"other").raw])
async def test_a_damaged_file_is_fetched_again(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / GUEST.id).write_bytes(damage)
    store = ModuleStore(tmp_path, FakeArweave(GUEST).item)
    assert (await store.get(GUEST.id)).data == GUEST.data
    assert (tmp_path / GUEST.id).read_bytes() == GUEST.raw


@pytest.mark.parametrize("module_id", ["", "../modules", "x" * 5000])
async def test_what_is_not_an_id_names_no_module(tmp_path: Path, module_id: str) -> None:
    with pytest.raises(UnsupportedModule, match="not the id of a module"):
        await ModuleStore(tmp_path, FakeArweave().item).get(module_id)
    assert not any(os.scandir(tmp_path))


@pytest.mark.parametrize(
    "fault",
    [
        NotFound("404"),
        BadSignature("forged"),
        TooLarge("too much"),
        MalformedInput("another"),
        ClientError("403"),
    ],
)
async def test_whatever_a_gateway_says_of_a_module_is_not_the_modules_fault(
    tmp_path: Path, fault: AorayError
) -> None:
    arweave = FakeArweave()
    arweave.faults = [fault]
    with pytest.raises(Unavailable, match=SOME_ID):
        await ModuleStore(tmp_path, arweave.item).get(SOME_ID)


async def test_a_failed_fetch_is_tried_again_when_asked_again(tmp_path: Path) -> None:
    arweave = FakeArweave(GUEST)
    arweave.faults = [Unavailable("down")]
    store = ModuleStore(tmp_path, arweave.item)
    with pytest.raises(Unavailable):
        await store.get(GUEST.id)
    assert (await store.get(GUEST.id)).data == GUEST.data


async def test_what_is_not_a_module_or_has_no_json_is_unsupported(tmp_path: Path) -> None:
    strange = module_item(GUEST.data, Tag("Input-Encoding", "ANS-104"))
    store = ModuleStore(tmp_path, FakeArweave(strange).item)
    with pytest.raises(UnsupportedModule):
        await store.get(strange.id)


async def test_a_module_of_a_refused_signature_gives_no_result(tmp_path: Path) -> None:
    """A process of an earlier version may name one: its messages wait, and its state stays."""
    weak = build(Nobody(), tags=module_tags("wasm32"), data=b"")
    store_module(tmp_path, weak)

    async def fetch(_: str) -> DataItem:
        verify(weak)
        return weak

    process = build(USER, tags=[Tag("Module", weak.id)])
    spawned = SpawnedProcess(process.raw, build(USER, tags=[]).raw)
    with pytest.raises(Unavailable, match="small order"):
        await Loader(ModuleStore(tmp_path, fetch), VirtualMachines(tmp_path / "c")).prepared(
            process.id, spawned
        )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500-mb", 500 * limits.MIB),
        ("1-gb", limits.GIB),
        ("1-GB", limits.GIB),
        ("64kb", 65536),
        ("65536", 65536),
    ],
)
def test_a_memory_limit_is_read_as_people_write_it(text: str, size: int) -> None:
    assert limits_of((), (Tag("Memory-Limit", text),)).memory_bytes_max == size


def test_the_process_wins_over_its_module_and_no_tag_is_the_default() -> None:
    process, module = (Tag("Memory-Limit", "1-mb"), Tag("Compute-Limit", "5")), (Tag("Memory-Limit", "2-mb"),)
    assert limits_of(process, module)[:2] == (limits.MIB, 5)
    assert limits_of((), module)[:2] == (2 * limits.MIB, limits.FUEL_DEFAULT)
    assert limits_of((), ()).memory_bytes_max == limits.MEMORY_BYTES_DEFAULT


def test_a_compute_limit_is_granted_as_it_is_stated_but_under_engine_1() -> None:
    stated = (Tag("Compute-Limit", "9000000000000"),)
    assert limits_of((), stated).fuel == 9_000_000_000_000
    assert limits_of((), stated, ENGINES[1]).fuel == ENGINES[1].fuel_max
    with pytest.raises(ProcessError, match="Compute-Limit"):
        limits_of((), (Tag("Compute-Limit", "9000000000001"),))


@pytest.mark.parametrize(
    ("process", "module", "field"),
    [
        ("5-gb", "", "Memory-Limit"),
        ("many", "", "Memory-Limit"),
        ("", "65-mb", "Memory-Limit"),
        ("", "", "Memory-Limit"),  # that of a process that states none is more than this computer allows
    ],
)
def test_a_spawn_over_what_the_operator_allows_is_refused_in_words(
    process: str, module: str, field: str
) -> None:
    tags = [(Tag("Memory-Limit", text),) if text else () for text in (process, module)]
    with pytest.raises(MalformedInput, match=field) as refused:
        check_limits(*tags, compute_max=limits.FUEL_MAX, memory_max=64 * limits.MIB)
    assert str(64 * limits.MIB) in refused.value.hint
    smaller = (Tag("Memory-Limit", "64-mb"),)
    check_limits(smaller, tags[1], compute_max=limits.FUEL_MAX, memory_max=64 * limits.MIB)


@pytest.mark.parametrize("text", ["9000000000001", "0", "-1", "1e9", "x"])
def test_a_compute_limit_that_is_not_a_number_or_too_large_is_refused_at_the_spawn(text: str) -> None:
    with pytest.raises(MalformedInput, match="Compute-Limit"):
        check_limits((Tag("Compute-Limit", text),), (), compute_max=limits.FUEL_MAX, memory_max=limits.GIB)


@pytest.mark.parametrize("text", ["5-gb", "0", "-1", "x", "", "1-tb", "9" * 400, "1.5-gb"])
def test_a_limit_that_cannot_be_granted_is_named(text: str) -> None:
    with pytest.raises(ProcessError, match="Memory-Limit"):
        limits_of((Tag("Memory-Limit", text),), (Tag("Memory-Limit", "1-mb"),))
