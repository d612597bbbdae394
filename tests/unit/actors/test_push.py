"""What an outbox becomes, by the rules of wire-contract §1.5."""

from __future__ import annotations

import pytest

from aoray import limits
from aoray.actors.push import ANCHOR_BYTES, Sender, outbox, success_tags, without
from aoray.protocol.ids import b64url_encode
from aoray.protocol.tags import Tag, ao_tag, first
from aoray.protocol.ticks import crons_of

PID, OTHER, MODULE, ROOT = (b64url_encode(bytes([n]) * 32) for n in range(1, 5))
SENDER = Sender(PID, MODULE, "scheduler-address")


def tags(**named: str) -> list[dict[str, str]]:
    return [{"name": name.replace("_", "-"), "value": value} for name, value in named.items()]


def message(**fields: object) -> dict[str, object]:
    return {"Target": OTHER, "Anchor": "0" * 31 + "1", "Tags": tags(Action="Hi"), "Data": "x"} | fields


def test_a_message_carries_its_tags_first_and_then_what_the_messenger_vouches_for() -> None:
    outgoing = message(
        Tags=tags(Data_Protocol="ao", Variant="ao.TN.1", Type="Message", Reference="1", Action="Hi")
    )
    [spec] = outbox({"Messages": [outgoing]}, SENDER, 7, ROOT).messages
    assert spec.target == OTHER
    assert spec.anchor == b"0" * 31 + b"1"
    assert spec.data == b"x"
    assert spec.tags == (
        Tag("Variant", "ao.TN.1"),
        Tag("Reference", "1"),
        Tag("Action", "Hi"),
        Tag("Data-Protocol", "ao"),
        Tag("Type", "Message"),
        Tag("From-Process", PID),
        Tag("From-Module", MODULE),
        Tag("Pushed-For", ROOT),
        Tag("From-Nonce", "7"),
        Tag("From-Index", "0"),
    )


def test_pushed_for_is_left_out_where_no_item_began_the_chain() -> None:
    [spec] = outbox({"Messages": [message()]}, SENDER, 7, "").messages
    assert first(spec.tags, "Pushed-For") is None


@pytest.mark.parametrize("name", ["From-Process", "from-process", "FROM_PROCESS", "Pushed-For", "From-Nonce"])
def test_guest_code_can_not_vouch_for_a_sender_in_any_spelling(name: str) -> None:
    forged = message(Tags=[{"name": name, "value": OTHER}])
    [spec] = outbox({"Messages": [forged]}, SENDER, 7, ROOT).messages
    assert OTHER not in [tag.value for tag in spec.tags]
    spawn = {"Tags": [*tags(Module=MODULE), {"name": name, "value": OTHER}]}
    [spawned] = outbox({"Spawns": [spawn]}, SENDER, 7, ROOT).spawns
    assert OTHER not in [tag.value for tag in spawned.tags]
    assert OTHER not in [tag.value for tag in success_tags(spawned, SENDER, ROOT)]


def test_equal_messages_of_one_outbox_and_of_two_results_stay_apart() -> None:
    twice = {"Messages": [message(), message()]}
    specs = outbox(twice, SENDER, 1, ROOT).messages + outbox(twice, SENDER, 2, ROOT).messages
    assert len({spec.tags for spec in specs}) == 4


def test_the_same_result_always_gives_the_same_outbox() -> None:
    result = {"Messages": [message()], "Spawns": [{"Tags": tags(Module=MODULE)}]}
    assert outbox(result, SENDER, 1, ROOT) == outbox(result, SENDER, 1, ROOT)


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        {},
        message(Target="short"),
        message(Target=None),
        message(Tags=None),
        message(Tags=[{"name": "N", "value": 1}]),
        message(Tags=["text"]),
    ],
)
def test_a_malformed_message_is_reported_and_holds_up_no_other(bad: object) -> None:
    box = outbox({"Messages": [message(), bad, message()]}, SENDER, 1, ROOT)
    assert [first(spec.tags, "From-Index") for spec in box.messages] == ["0", "2"]
    assert len(box.faults) == 1
    assert str(box.faults[0]).startswith("Messages[1]")


def test_no_data_is_a_space_and_other_json_is_its_text() -> None:
    entries = [message(Data=None), message(Data=""), message(Data={"a": 1})]
    assert [spec.data for spec in outbox({"Messages": entries}, SENDER, 1, ROOT).messages] == [
        b" ",
        b" ",
        b'{"a":1}',
    ]


def test_an_anchor_that_an_item_can_not_carry_is_left_out() -> None:
    entries = [message(Anchor="short"), message(Anchor=None), message(Anchor="ü" * 32), message()]
    anchors = [spec.anchor for spec in outbox({"Messages": entries}, SENDER, 1, ROOT).messages]
    assert [len(anchor) for anchor in anchors] == [0, 0, 0, ANCHOR_BYTES]


def test_an_assignments_tag_becomes_assignments_of_the_message() -> None:
    lists = (f"{PID},{OTHER}", f'["{PID}", "{OTHER}"]')
    for text in lists:
        [spec] = outbox({"Messages": [message(Tags=tags(Assignments=text))]}, SENDER, 1, ROOT).messages
        assert spec.assign_to == (PID, OTHER)
        assert first(spec.tags, "Assignments") is None


def test_a_spawn_names_its_parent_and_its_scheduler() -> None:
    own = tags(
        Data_Protocol="ao", Variant="ao.TN.1", Type="Process", From_Process=PID, Module=OTHER, Reference="3"
    )
    [spec] = outbox({"Spawns": [{"Tags": own, "Data": "code", "Anchor": "x"}]}, SENDER, 4, ROOT).spawns
    assert spec.data == b"code"
    assert ao_tag(spec.tags, "Type") == "Process"
    assert ao_tag(spec.tags, "Module") == OTHER
    assert first(spec.tags, "Scheduler") == "scheduler-address"
    assert [tag.value for tag in spec.tags if tag.name == "From-Process"] == [PID]
    assert first(spec.tags, "Pushed-For") == ROOT


def test_a_spawn_keeps_the_scheduler_that_it_names() -> None:
    [spec] = outbox({"Spawns": [{"Tags": tags(Module=MODULE, Scheduler="mine")}]}, SENDER, 4, ROOT).spawns
    assert [tag.value for tag in spec.tags if tag.name == "Scheduler"] == ["mine"]


def test_a_spawn_without_a_module_is_reported() -> None:
    box = outbox({"Spawns": [{"Tags": []}, {"Tags": tags(Module=MODULE)}]}, SENDER, 4, ROOT)
    assert len(box.spawns) == len(box.faults) == 1


def test_the_parent_hears_of_its_spawn_under_the_spawns_reference() -> None:
    own = tags(Data_Protocol="ao", Variant="x", Type="Process", Action="Mine", Module=MODULE, Reference="3")
    [spec] = outbox({"Spawns": [{"Tags": own}]}, SENDER, 4, ROOT).spawns
    assert success_tags(spec, SENDER, OTHER) == (
        Tag("Module", MODULE),
        Tag("Reference", "3"),
        Tag("From-Process", PID),
        Tag("From-Module", MODULE),
        Tag("Data-Protocol", "ao"),
        Tag("Type", "Message"),
        Tag("Process", OTHER),
        Tag("Action", "Spawned"),
        Tag("Variant", "ao.TN.1"),
        Tag("From-Nonce", "4"),
        Tag("From-Index", "0"),
    )


def test_an_assignment_goes_to_each_of_its_processes() -> None:
    entry = {"Processes": [PID, OTHER], "Message": ROOT, "Exclude": ["Data"]}
    box = outbox({"Assignments": [entry]}, SENDER, 1, ROOT)
    assert box.assignments == [(0, PID, ROOT, ("Data",)), (0, OTHER, ROOT, ("Data",))]


@pytest.mark.parametrize(
    "bad",
    [
        {"Processes": [PID]},
        {"Processes": "x", "Message": ROOT},
        {"Processes": ["x"], "Message": ROOT},
        {"Processes": [PID], "Message": ROOT, "Exclude": [1]},
    ],
)
def test_a_malformed_assignment_is_reported(bad: object) -> None:
    box = outbox({"Assignments": [bad]}, SENDER, 1, ROOT)
    assert not box.assignments
    assert len(box.faults) == 1


def test_lists_that_are_no_lists_are_reported_and_missing_ones_are_empty() -> None:
    assert outbox({}, SENDER, 1, ROOT) == ([], [], [], [])
    [fault] = outbox({"Messages": "x", "Spawns": None}, SENDER, 1, ROOT).faults
    assert str(fault) == "Messages: not a list"


def test_without_keeps_order_and_duplicates() -> None:
    found = without([Tag("a", "1"), Tag("b", "2"), Tag("a", "3")], ["b"])
    assert found == (Tag("a", "1"), Tag("a", "3"))


def test_a_result_assigns_to_a_bounded_number_of_processes() -> None:
    ids = [b64url_encode(n.to_bytes(32, "big")) for n in range(limits.ASSIGNEES_MAX + 1)]
    many = {"Message": PID, "Processes": ids}
    most = {"Message": PID, "Processes": ids[1:]}
    crowd = {"Target": OTHER, "Tags": [{"name": "Assignments", "value": ",".join(ids[:60])}] * 2}
    fitting = limits.OUTBOX_MESSAGES_MAX // limits.ASSIGNEES_MAX
    found = outbox({"Messages": [crowd], "Assignments": [many, *[most] * (fitting + 1)]}, SENDER, 1, "")
    assert len(found.assignments) == limits.OUTBOX_MESSAGES_MAX
    assert [(fault.kind, fault.place) for fault in found.faults] == [
        ("Messages", 0),
        ("Assignments", 0),
        ("Assignments", fitting + 1),
    ]


def test_a_spawns_cron_interval_comes_before_its_tags_whatever_order_a_table_had() -> None:
    pairs = (("Cron-Tag-Action", "Tick"), ("Name", "x"), ("Cron-Interval", "1-second"), ("Module", MODULE))
    tags = [{"name": name, "value": value} for name, value in pairs]
    (spec,) = outbox({"Spawns": [{"Tags": tags}]}, SENDER, 1, "").spawns
    (cron,) = crons_of(spec.tags).crons
    assert cron.tags == (Tag("Action", "Tick"),)
    assert [tag.name for tag in spec.tags[:4]] == ["Cron-Interval", "Cron-Tag-Action", "Name", "Module"]
