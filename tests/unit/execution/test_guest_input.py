"""What a guest is given: the contract's keys, nobody's word for who the owner is."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given as forall
from hypothesis import strategies as st
from signed_assignments import next_assignment

from aoray.errors import MalformedInput
from aoray.execution.guest_input import dry_run_message, environment_of, guest_message_of, to_guest_message
from aoray.protocol.ans104.items import DataItem, build, parse
from aoray.protocol.assignments import Head, LogEntry, plain
from aoray.protocol.cron import crons_of, tick_item
from aoray.protocol.ids import b64url_encode
from aoray.protocol.modules import ModuleInfo
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag

USER, SCHEDULER = generate_ed25519(), generate_ed25519()
PROCESS = b64url_encode(b"p" * 32)
OTHER = b64url_encode(b"o" * 32)
HEAD = Head(3, b64url_encode(b"a" * 32), b64url_encode(b"c" * 32), 1_700_000_000_000)


def item(
    *tags: tuple[str, str], target: str = PROCESS, data: bytes = b"hello", anchor: bytes = b""
) -> DataItem:
    return build(USER, target=target, anchor=anchor, tags=[Tag(*tag) for tag in tags], data=data)


def entry_of(item: DataItem, *exclude: str) -> tuple[LogEntry, Head]:
    head, assignment = next_assignment(
        SCHEDULER, PROCESS, HEAD, item.id, now_ms=1_700_000_000_500, block_height=1_500_000, exclude=exclude
    )
    return LogEntry(
        PROCESS, head.nonce, item.id, head.assignment_id, head.timestamp, item.raw, assignment.raw
    ), head


def message_of(item: DataItem, *exclude: str) -> dict[str, object]:
    return dict(orjson.loads(to_guest_message(entry_of(item, *exclude)[0]).message))


def test_a_message_has_the_keys_of_the_contract() -> None:
    sent = item(("Action", "Ping"), ("Action", "again"), anchor=b"0" * 32)
    entry, head = entry_of(sent)
    message, block_height, pushed_for, _ = to_guest_message(entry)
    expected = {
        "Id": sent.id,
        "Signature": b64url_encode(sent.signature),
        "Data": "hello",
        "Owner": USER.address,
        "Anchor": "0" * 32,
        "From": USER.address,
        "Target": PROCESS,
        "Tags": [{"name": "Action", "value": "Ping"}, {"name": "Action", "value": "again"}],
        "Epoch": 0,
        "Nonce": 4,
        "Timestamp": 1_700_000_000_500,
        "Block-Height": 1_500_000,
        "Hash-Chain": head.hash_chain,
        "Cron": False,
        "Read-Only": False,
    }
    assert orjson.loads(message) == expected
    assert list(orjson.loads(message)) == list(expected)
    assert (block_height, pushed_for) == (1_500_000, sent.id)


def test_what_an_assignment_says_is_the_same_whether_it_is_parsed_or_not() -> None:
    for excluded in ((), ("Data",)):
        entry, _ = entry_of(item(("Action", "Ping")), *excluded)
        parsed = guest_message_of(entry, parse(entry.item), parse(entry.assignment))
        assert to_guest_message(entry) == parsed
        assert (plain(entry.assignment) is None) == bool(excluded)
        assert plain(entry.assignment + b"x") is None


def test_the_process_is_its_own_first_message() -> None:
    spawned = build(USER, tags=[Tag("Type", "Process")], data=b"boot")
    head, assignment = next_assignment(SCHEDULER, spawned.id, None, None, now_ms=1, block_height=2)
    entry = LogEntry(spawned.id, 0, spawned.id, head.assignment_id, 1, spawned.raw, assignment.raw)
    message, _, pushed_for, _ = to_guest_message(entry)
    seen = orjson.loads(message)
    assert seen["Id"] == seen["Target"] == pushed_for == spawned.id
    assert (seen["Data"], seen["Nonce"], seen["Anchor"]) == ("boot", 0, None)


def test_the_first_message_too_may_be_another_process_s() -> None:
    sent = item(target=OTHER)
    head, _ = next_assignment(SCHEDULER, PROCESS, None, None, now_ms=1, block_height=2)
    head, slot = next_assignment(SCHEDULER, PROCESS, head, sent.id, now_ms=2, block_height=2)
    entry = LogEntry(PROCESS, 1, sent.id, slot.id, head.timestamp, sent.raw, slot.raw)
    assert to_guest_message(entry).pushed_for == slot.id
    assert orjson.loads(to_guest_message(entry).message)["Target"] == OTHER


def test_who_claims_a_process_is_named_as_who_signed() -> None:
    seen = message_of(item(("From-Process", OTHER), ("Pushed-For", "x")))
    assert seen["From"] == OTHER
    assert seen["Owner"] == seen["Forwarded-By"] == USER.address
    assert "Forwarded-By" not in message_of(item(("From-Process", "")))


def test_tags_cannot_pass_for_host_fields() -> None:
    seen = message_of(item(("Owner", OTHER), ("From", OTHER), ("owner", "kept"), ("From-Module", "kept")))
    assert seen["Owner"] == seen["From"] == USER.address
    assert seen["Tags"] == [{"name": "owner", "value": "kept"}, {"name": "From-Module", "value": "kept"}]


def test_an_assigned_message_keeps_its_target_and_what_is_excluded_is_left_out() -> None:
    sent = item(("A", "b"), ("Pushed-For", OTHER), target=OTHER, anchor=b"x" * 32)
    seen = message_of(sent)
    assert seen["Target"] == OTHER
    bare = message_of(sent, "Data", "Tags", "Signature", "Anchor", "Owner")
    assert bare["Tags"] == []
    assert set(seen) - set(bare) == {"Data", "Signature", "Anchor"}
    entry = entry_of(sent)[0]
    assert to_guest_message(entry).pushed_for == entry.assignment_id
    assert message_of(item(target=""))["Target"] == ""


def test_a_pushed_message_continues_its_chain_and_a_wallets_claim_to_one_begins_its_own() -> None:
    claims = item(("Pushed-For", OTHER))
    entry, _ = entry_of(claims)
    assert to_guest_message(entry, messenger=USER.address).pushed_for == OTHER
    assert guest_message_of(entry, claims, parse(entry.assignment), USER.address).pushed_for == OTHER
    for messenger in ("", SCHEDULER.address):
        assert to_guest_message(entry, messenger).pushed_for == claims.id


@forall(st.binary(max_size=200), st.one_of(st.just(b""), st.binary(min_size=32, max_size=32)))
def test_any_bytes_become_text(data: bytes, anchor: bytes) -> None:
    seen = message_of(item(data=data, anchor=anchor))
    assert seen["Data"] == data.decode("utf-8", "replace")
    assert isinstance(seen["Anchor"], str) == bool(anchor)


def test_the_environment_names_process_and_module() -> None:
    spawned = build(USER, tags=[Tag("Name", "n"), Tag("Owner", OTHER)])
    environment = orjson.loads(
        environment_of(spawned.id, spawned, ModuleInfo(OTHER, "owner", (Tag("A", "b"),)))
    )
    assert environment == {
        "Process": {
            "Id": spawned.id,
            "Owner": USER.address,
            "Tags": [{"name": "Name", "value": "n"}, {"name": "Owner", "value": OTHER}],
        },
        "Module": {"Id": OTHER, "Owner": "owner", "Tags": [{"name": "A", "value": "b"}]},
    }


def test_a_dry_run_is_read_only_and_bound_to_its_process() -> None:
    body = {
        "Owner": "me",
        "Target": OTHER,
        "Data": {"a": 1},
        "Tags": [{"name": "n", "value": 7}],
        "signer": "no",
    }
    assert orjson.loads(dry_run_message(PROCESS, body, 5, 6)) == {
        "Id": "1234",
        "Owner": "me",
        "Target": PROCESS,
        "From": "me",
        "Data": {"a": 1},
        "Tags": [{"name": "n", "value": "7"}],
        "Anchor": "0",
        "Timestamp": 5,
        "Block-Height": 6,
        "Cron": False,
        "Read-Only": True,
    }
    claimed = orjson.loads(
        dry_run_message(PROCESS, {"Tags": [{"name": "From-Process", "value": OTHER}]}, 1, 1)
    )
    assert (claimed["From"], claimed["Owner"]) == (OTHER, "1234")


def test_a_dry_run_says_of_itself_what_it_likes_but_no_host_fields_by_tags() -> None:
    own = {"name": "Action", "value": "Info"}
    forged = [{"name": name, "value": OTHER} for name in ("From", "Owner")]
    body = {"Id": "i", "Anchor": "a", "Data": "d", "Owner": "o", "Tags": [*forged, own]}
    said = orjson.loads(dry_run_message(PROCESS, body, 1, 1))
    assert {name: said[name] for name in body} == body | {"Tags": [own]}
    assert (said["From"], said["Target"]) == ("o", PROCESS)
    bare = orjson.loads(dry_run_message(PROCESS, {}, 1, 1))
    assert (bare["Data"], bare["From"], bare["Tags"]) == ("1234", "1234", [])


@pytest.mark.parametrize(("value", "text"), [(7, "7"), (1.5, "1.5"), ("x", "x")])
def test_a_number_in_a_tag_of_a_dry_run_is_its_text(value: object, text: str) -> None:
    body = {"Tags": [{"name": "n", "value": value}]}
    said = orjson.loads(dry_run_message(PROCESS, body, 1, 1))
    assert said["Tags"] == [{"name": "n", "value": text}]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"Tags": {}}, "Tags"),
        ({"Tags": ["x"]}, "Tags[0]"),
        ({"Tags": [{"name": "a", "value": "b"}, {"name": "a"}]}, "Tags[1]"),
        ({"Tags": [{"name": 1, "value": "b"}]}, "Tags[0]"),
        ({"Tags": [{"name": "a", "value": True}]}, "Tags[0]"),
        ({"Owner": 7}, "Owner"),
        ({"Id": []}, "Id"),
        ({"Anchor": {}}, "Anchor"),
    ],
)
def test_a_malformed_dry_run_names_the_field(body: dict[str, object], field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        dry_run_message(PROCESS, body, 1, 1)
    assert caught.value.field == field


def test_a_dry_run_nested_too_deeply_is_refused() -> None:
    data: object = "x"
    for _ in range(300):
        data = [data]
    with pytest.raises(MalformedInput):
        dry_run_message(PROCESS, {"Data": data}, 1, 1)


def test_a_tick_is_the_owners_with_the_tags_of_its_cron_and_no_data() -> None:
    tags = [Tag("Cron-Interval", "10-seconds"), Tag("Cron-Tag-Action", "Tick"), Tag("Cron-Tag-From", OTHER)]
    process = build(USER, tags=tags, data=b"boot")
    tick = tick_item(SCHEDULER, process, crons_of(process.tags).crons[0], 5000)
    head, _ = next_assignment(SCHEDULER, process.id, None, None, now_ms=1, block_height=2)
    head, slot = next_assignment(SCHEDULER, process.id, head, tick.id, now_ms=6000, block_height=3)
    entry = LogEntry(process.id, 1, tick.id, slot.id, head.timestamp, tick.raw, slot.raw)
    message, block_height, pushed_for, due_ms = to_guest_message(entry)
    assert orjson.loads(message) == {
        "Id": tick.id,
        "Owner": USER.address,
        "From": USER.address,
        "Target": process.id,
        "Tags": [{"name": "Action", "value": "Tick"}],
        "Epoch": 0,
        "Nonce": 1,
        "Timestamp": 6000,
        "Block-Height": 3,
        "Hash-Chain": head.hash_chain,
        "Cron": True,
        "Read-Only": False,
    }
    assert (block_height, pushed_for, due_ms) == (3, "", 5000)
    assert guest_message_of(entry, tick, slot) == to_guest_message(entry)


def test_who_is_not_the_scheduler_cannot_make_a_tick() -> None:
    process = build(USER, tags=[Tag("Cron-Interval", "10-seconds")], data=b"boot")
    forged = tick_item(USER, process, crons_of(process.tags).crons[0], 5000)
    head, slot = next_assignment(SCHEDULER, process.id, HEAD, forged.id, now_ms=6000, block_height=3)
    entry = LogEntry(process.id, 4, forged.id, slot.id, head.timestamp, forged.raw, slot.raw)
    assert orjson.loads(to_guest_message(entry).message)["Cron"] is False
    assigned, _ = entry_of(tick_item(SCHEDULER, process, crons_of(process.tags).crons[0], 5000))
    message = orjson.loads(to_guest_message(assigned).message)
    assert (message["Cron"], message["Owner"]) == (False, SCHEDULER.address), (
        "another process's tick, assigned"
    )
