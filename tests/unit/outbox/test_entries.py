"""What an outbox becomes, by the rules of docs/wire-contract.md §1.5."""

from __future__ import annotations

import pytest

from aoray import limits
from aoray.outbox.entries import (
    ANCHOR_BYTES,
    InvalidEntry,
    Sender,
    read_outbox,
    sender_of,
    success_tags,
    without,
)
from aoray.protocol.ans104.items import build
from aoray.protocol.cron import crons_of
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.ed25519 import generate_ed25519
from aoray.protocol.tags import Tag, first

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
    [spec] = read_outbox({"Messages": [outgoing]}, SENDER, 7, ROOT).messages
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
    [spec] = read_outbox({"Messages": [message()]}, SENDER, 7, "").messages
    assert first(spec.tags, "Pushed-For") is None


@pytest.mark.parametrize("name", ["From-Process", "from-process", "FROM_PROCESS", "Pushed-For", "From-Nonce"])
def test_guest_code_can_not_vouch_for_a_sender_in_any_spelling(name: str) -> None:
    forged = message(Tags=[{"name": name, "value": OTHER}])
    [spec] = read_outbox({"Messages": [forged]}, SENDER, 7, ROOT).messages
    assert OTHER not in [tag.value for tag in spec.tags]
    spawn = {"Tags": [*tags(Module=MODULE), {"name": name, "value": OTHER}]}
    [spawned] = read_outbox({"Spawns": [spawn]}, SENDER, 7, ROOT).spawns
    assert OTHER not in [tag.value for tag in spawned.tags]
    assert OTHER not in [tag.value for tag in success_tags(spawned, SENDER, ROOT)]


def test_equal_messages_of_one_outbox_and_of_two_results_stay_apart() -> None:
    twice = {"Messages": [message(), message()]}
    specs = read_outbox(twice, SENDER, 1, ROOT).messages + read_outbox(twice, SENDER, 2, ROOT).messages
    assert len({spec.tags for spec in specs}) == 4


def test_the_same_result_always_gives_the_same_outbox() -> None:
    result = {"Messages": [message()], "Spawns": [{"Tags": tags(Module=MODULE)}]}
    assert read_outbox(result, SENDER, 1, ROOT) == read_outbox(result, SENDER, 1, ROOT)


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        {},
        message(Target="short"),
        message(Target=None),
        message(Tags=None),
        message(Tags=[{"name": "N", "value": 1}]),
        message(Tags=[{"name": 1, "value": "N"}]),
        message(Tags=[{"value": "N"}]),
        message(Tags={"name": "N", "value": "v"}),
        message(Tags=["text"]),
    ],
)
def test_a_malformed_message_is_reported_and_holds_up_no_other(bad: object) -> None:
    box = read_outbox({"Messages": [message(), bad, message()]}, SENDER, 1, ROOT)
    assert [first(spec.tags, "From-Index") for spec in box.messages] == ["0", "2"]
    assert len(box.faults) == 1
    assert str(box.faults[0]).startswith("Messages[1]: ") and len(str(box.faults[0])) > 20


def test_no_data_is_a_space_and_other_json_is_its_text() -> None:
    entries = [message(Data=data) for data in (None, "", {"a": 1}, 0, [])]
    entries.append({"Target": OTHER, "Tags": []})
    assert [spec.data for spec in read_outbox({"Messages": entries}, SENDER, 1, ROOT).messages] == [
        *(b" ", b" ", b'{"a":1}', b"0", b"[]", b" ")
    ]


def test_an_anchor_that_an_item_can_not_carry_is_left_out() -> None:
    entries = [message(Anchor="short"), message(Anchor=None), message(Anchor="ü" * 32), message()]
    anchors = [spec.anchor for spec in read_outbox({"Messages": entries}, SENDER, 1, ROOT).messages]
    assert [len(anchor) for anchor in anchors] == [0, 0, 0, ANCHOR_BYTES]


def test_an_assignments_tag_becomes_assignments_of_the_message() -> None:
    lists = (f"{PID},{OTHER}", f'["{PID}", "{OTHER}"]')
    for text in lists:
        [spec] = read_outbox({"Messages": [message(Tags=tags(Assignments=text))]}, SENDER, 1, ROOT).messages
        assert spec.assign_to == (PID, OTHER)
        assert first(spec.tags, "Assignments") is None


def test_a_spawn_names_its_parent_and_its_scheduler() -> None:
    own = tags(
        Data_Protocol="ao", Variant="ao.TN.1", Type="Process", From_Process=PID, Module=OTHER, Reference="3"
    )
    [spec] = read_outbox({"Spawns": [{"Tags": own, "Data": "code", "Anchor": "x"}]}, SENDER, 4, ROOT).spawns
    assert (spec.nonce, spec.place, spec.data) == (4, 0, b"code")
    own_tags = (Tag("Variant", "ao.TN.1"), Tag("Module", OTHER), Tag("Reference", "3"))
    assert spec.own_tags == own_tags
    assert spec.tags == (
        *own_tags,
        Tag("Scheduler", "scheduler-address"),
        Tag("Variant", "ao.TN.1"),
        Tag("Data-Protocol", "ao"),
        Tag("Type", "Process"),
        Tag("From-Process", PID),
        Tag("From-Module", MODULE),
        Tag("Pushed-For", ROOT),
        Tag("From-Nonce", "4"),
        Tag("From-Index", "0"),
    )


@pytest.mark.parametrize("name", ["type", "TYPE", "Data_Protocol", "data-protocol"])
def test_in_no_spelling_may_a_guest_say_what_kind_of_item_its_spawn_is(name: str) -> None:
    spawn = {"Tags": [*tags(Module=MODULE), {"name": name, "value": "mine"}]}
    [spec] = read_outbox({"Spawns": [spawn]}, SENDER, 4, ROOT).spawns
    assert spec.own_tags == (Tag("Module", MODULE),)


def test_a_spawn_keeps_the_scheduler_that_it_names() -> None:
    [spec] = read_outbox(
        {"Spawns": [{"Tags": tags(Module=MODULE, Scheduler="mine")}]}, SENDER, 4, ROOT
    ).spawns
    assert [tag.value for tag in spec.tags if tag.name == "Scheduler"] == ["mine"]


@pytest.mark.parametrize(
    "own", [[], tags(Module="short"), tags(Other=MODULE), [{"name": "Module"}], {"Module": MODULE}]
)
def test_a_spawn_without_a_module_is_reported_and_holds_up_no_other(own: object) -> None:
    box = read_outbox({"Spawns": [{"Tags": own}, {"Tags": tags(Module=MODULE)}]}, SENDER, 4, ROOT)
    assert [(spec.place, first(spec.tags, "From-Index")) for spec in box.spawns] == [(1, "1")]
    [(kind, place, reason)] = box.faults
    assert (kind, place, bool(reason)) == ("Spawns", 0, True)


def test_the_parent_hears_of_its_spawn_under_the_spawns_reference() -> None:
    own = tags(Data_Protocol="ao", Variant="x", Type="Process", Action="Mine", Module=MODULE, Reference="3")
    own += tags(Process=ROOT)
    [spec] = read_outbox({"Spawns": [{"Tags": own}]}, SENDER, 4, ROOT).spawns
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
    box = read_outbox({"Assignments": [entry]}, SENDER, 1, ROOT)
    assert box.assignments == [(0, PID, ROOT, ("Data",)), (0, OTHER, ROOT, ("Data",))]


@pytest.mark.parametrize(
    ("excluded", "names"), [("Data", ("Data",)), (["Data", "Tags"], ("Data", "Tags")), (None, ()), ([], ())]
)
def test_what_an_assignment_excludes_is_one_name_or_several(excluded: object, names: tuple[str, ...]) -> None:
    entry = {"Processes": [PID], "Message": ROOT, "Exclude": excluded}
    assert read_outbox({"Assignments": [entry]}, SENDER, 1, "").assignments == [(0, PID, ROOT, names)]


@pytest.mark.parametrize(
    "bad",
    [
        {"Processes": [PID]},
        {"Processes": [PID], "Message": "short"},
        {"Processes": [PID], "Message": 7},
        {"Processes": "x", "Message": ROOT},
        {"Processes": {PID: 1}, "Message": ROOT},
        {"Processes": ["x"], "Message": ROOT},
        {"Processes": [PID, 7], "Message": ROOT},
        {"Processes": [PID], "Message": ROOT, "Exclude": [1]},
        {"Processes": [PID], "Message": ROOT, "Exclude": ["Data", 1]},
        {"Processes": [PID], "Message": ROOT, "Exclude": {"Data": 1}},
    ],
)
def test_a_malformed_assignment_is_reported_and_holds_up_no_other(bad: object) -> None:
    good = {"Processes": [PID], "Message": ROOT}
    box = read_outbox({"Assignments": [bad, good]}, SENDER, 1, ROOT)
    assert box.assignments == [(1, PID, ROOT, ())]
    [(kind, place, reason)] = box.faults
    assert (kind, place, bool(reason)) == ("Assignments", 0, True)


def test_values_that_are_not_lists_are_reported_and_missing_ones_are_empty() -> None:
    assert read_outbox({}, SENDER, 1, ROOT) == ([], [], [], [])
    [fault] = read_outbox({"Messages": "x", "Spawns": None}, SENDER, 1, ROOT).faults
    assert str(fault) == "Messages: not a list"
    assert str(InvalidEntry("Messages", 0, "why")) == "Messages[0]: why"


def test_without_keeps_order_and_duplicates() -> None:
    found = without([Tag("a", "1"), Tag("b", "2"), Tag("a", "3")], ["b"])
    assert found == (Tag("a", "1"), Tag("a", "3"))


def test_a_result_assigns_to_a_bounded_number_of_processes() -> None:
    ids = [b64url_encode(n.to_bytes(32, "big")) for n in range(limits.ASSIGNEES_MAX + 1)]
    many = {"Message": PID, "Processes": ids}
    most = {"Message": PID, "Processes": ids[1:]}
    crowd = {"Target": OTHER, "Tags": [{"name": "Assignments", "value": ",".join(ids[:60])}] * 2}
    fitting = limits.OUTBOX_MESSAGES_MAX // limits.ASSIGNEES_MAX
    found = read_outbox({"Messages": [crowd], "Assignments": [many, *[most] * (fitting + 1)]}, SENDER, 1, "")
    assert len(found.assignments) == limits.OUTBOX_MESSAGES_MAX
    assert [(fault.kind, fault.place) for fault in found.faults] == [
        ("Messages", 0),
        ("Assignments", 0),
        ("Assignments", fitting + 1),
    ]


def ids(count: int) -> list[str]:
    return [b64url_encode(n.to_bytes(32, "big")) for n in range(count)]


def test_what_is_over_the_bound_of_a_result_is_reported_and_what_fits_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A message takes one place, and one more for each process that it is assigned to."""
    monkeypatch.setattr(limits, "OUTBOX_MESSAGES_MAX", 7)
    spawn = {"Tags": tags(Module=MODULE)}
    crowd, pair = (message(Tags=tags(Assignments=",".join(ids(count)))) for count in (3, 2))
    two = {"Message": PID, "Processes": ids(2)}
    messages = [pair, crowd, message(), message()]
    box = read_outbox({"Messages": messages, "Spawns": [spawn], "Assignments": [two]}, SENDER, 1, "")
    assert [spec.place for spec in box.messages] == [0, 2, 3]
    assert [spec.process_id for spec in box.assignments] == ids(1)
    assert [fault[:2] for fault in box.faults] == [("Messages", 1), ("Assignments", 0)]
    assert read_outbox({"Messages": [crowd, pair]}, SENDER, 1, "").faults == []
    exact = read_outbox(
        {"Messages": [pair, message()], "Spawns": [spawn], "Assignments": [two]}, SENDER, 1, ""
    )
    assert (exact.faults, len(exact.assignments)) == ([], 2)


def test_an_entry_that_assigns_to_too_many_assigns_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTBOX_MESSAGES_MAX", 10)
    monkeypatch.setattr(limits, "ASSIGNEES_MAX", 4)
    crowd = message(Tags=tags(Assignments=",".join(ids(3))))
    four, five, three = ({"Message": PID, "Processes": ids(count)} for count in (4, 5, 3))
    box = read_outbox({"Assignments": [five, four, three, four, three]}, SENDER, 1, "")
    assert [spec.place for spec in box.assignments] == [1] * 4 + [2] * 3 + [4] * 3
    assert [fault[:2] for fault in box.faults] == [("Assignments", 0), ("Assignments", 3)]
    box = read_outbox({"Messages": [crowd, crowd], "Assignments": [four, three]}, SENDER, 1, "")
    assert [spec.place for spec in box.assignments] == [0, 0]  # of ten places the messages take eight
    box = read_outbox({"Messages": [crowd], "Assignments": [four, four, three]}, SENDER, 1, "")
    assert [spec.place for spec in box.assignments] == [0] * 4 + [2] * 2


def test_of_a_list_that_is_too_long_the_first_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTBOX_MESSAGES_MAX", 2)
    box = read_outbox({"Messages": [message()] * 2}, SENDER, 1, "")
    assert (len(box.messages), box.faults) == (2, [])
    box = read_outbox({"Messages": [message()] * 3}, SENDER, 1, "")
    assert [spec.place for spec in box.messages] == [0, 1]
    [fault] = box.faults
    assert fault[:2] == ("Messages", -1) and "first 2 of 3" in str(fault)


def test_the_sender_is_what_its_spawn_says() -> None:
    signer = generate_ed25519()
    own = [Tag("Data-Protocol", "ao"), Tag("Module", MODULE), Tag("Scheduler", "someone")]
    process = build(signer, tags=own, data=b"")
    assert sender_of(process) == Sender(process.id, MODULE, "someone")
    bare = build(signer, tags=[], data=b"")
    assert sender_of(bare) == Sender(bare.id, "", "")


@pytest.mark.parametrize(
    "names",
    [
        ["Name", "Module"],
        ["Cron-Tag-Action", "Module"],
        ["Module", "Cron-Interval"],
        ["Cron-Interval", "Module", "Cron-Tag-Action"],
        ["Cron-Tag-Action", "Cron-Interval", "Cron-Interval", "Module"],
    ],
)
def test_the_tags_of_a_spawn_stay_where_they_are_otherwise(names: list[str]) -> None:
    own = [{"name": name, "value": MODULE} for name in names]
    [spec] = read_outbox({"Spawns": [{"Tags": own}]}, SENDER, 1, "").spawns
    assert [tag.name for tag in spec.own_tags] == names


def test_a_spawns_cron_interval_comes_before_its_tags_whatever_order_a_table_had() -> None:
    pairs = (("Cron-Tag-Action", "Tick"), ("Name", "x"), ("Cron-Interval", "1-second"), ("Module", MODULE))
    tags = [{"name": name, "value": value} for name, value in pairs]
    (spec,) = read_outbox({"Spawns": [{"Tags": tags}]}, SENDER, 1, "").spawns
    (cron,) = crons_of(spec.tags).crons
    assert cron.tags == (Tag("Action", "Tick"),)
    assert [tag.name for tag in spec.tags[:4]] == ["Cron-Interval", "Cron-Tag-Action", "Name", "Module"]
