"""What a unit signs in somebody else's words is never taken for a statement of the unit.

Whatever a spawn asks its ticks to say, a guest puts into its outbox, or an assignment leaves out: each item
that a key of this computer signs is read by every reader of such items, and only the reader of its own kind
accepts it. All is signed by one key here, which is the worst that an operator could do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aoray.errors import AorayError, ClientError
from aoray.execution import guest_input
from aoray.outbox.attempts import sign_item
from aoray.outbox.entries import Sender, read_outbox, success_tags
from aoray.protocol import assignments, attestations
from aoray.protocol import cron as ticks
from aoray.protocol.ans104.bundles import BUNDLE_TAGS, pack_raw
from aoray.protocol.ans104.items import DataItem, build, parse
from aoray.protocol.assignments import LogEntry, next_slot, plain
from aoray.protocol.attestations import Statement, attest, statements_of
from aoray.protocol.cron import PREFIX, Moment, check_asked, crons_of, tick_item, tick_of
from aoray.protocol.decisions import Decided, decision_item, decision_of
from aoray.protocol.forms import NAMES, STATEMENTS, folded
from aoray.protocol.handovers import hand_over, hand_over_of
from aoray.protocol.ids import b64url_encode
from aoray.protocol.signatures.ed25519 import Ed25519Signer
from aoray.protocol.tags import Tag, as_json
from aoray.storage.modules import _module_of
from aoray.verify import rules
from aoray.verify.rules import claim_of, compute_unit_of, facts_of, fast_check, is_claimed, named_by

KEY, USER = Ed25519Signer(b"k" * 32), Ed25519Signer(b"u" * 32)
OTHER = b64url_encode(b"o" * 32)
AO = [Tag("Data-Protocol", "ao"), Tag("Variant", "ao.TN.1")]
VICTIM = build(
    USER,
    tags=[*AO, Tag("Type", "Process"), Tag("Module", OTHER), Tag("Scheduler", KEY.address)],
    data=b"victim",
)
FACTS = facts_of(VICTIM)
MESSAGE = build(USER, target=VICTIM.id, tags=[*AO, Tag("Type", "Message")], data=b"x")
HEAD, SPAWN_SLOT = next_slot(KEY, VICTIM.id, None, None, now_ms=1_700_000_000_000, block_height=7)
SLOT = parse(next_slot(KEY, VICTIM.id, HEAD, MESSAGE.id, now_ms=1_700_000_000_001, block_height=7)[1])
SAID = [Statement(1, MESSAGE.id, OTHER)]
ATTESTATION = attest(KEY, VICTIM.id, SAID)
_WHERE = (("Type", "Scheduler-Location"), ("Url", "http://x"), ("Time-To-Live", "1"))
LOCATION = build(KEY, tags=[*AO, *(Tag(*pair) for pair in _WHERE), Tag("Compute-Unit", USER.address)])
HANDED = hand_over(KEY, "scheduler", USER.address, 1)
DECISION = decision_item(KEY, Decided(VICTIM.id, stopped=True, timestamp=1_700_000_000_000))
MODULE = build(KEY, tags=[*AO, Tag("Type", "Module"), Tag("Module-Format", "wasm32-wasi")], data=b"wasm")
BUNDLE = build(KEY, tags=BUNDLE_TAGS, data=pack_raw([VICTIM.raw]))
SENDER = Sender(VICTIM.id, OTHER, KEY.address)


# Readers: each says whether an item is what it reads.


def node(item: DataItem) -> dict[str, Any]:
    """The item as a gateway lists it."""
    owner = {"address": item.address}
    return {"id": item.id, "owner": owner, "recipient": item.target_id, "tags": as_json(item.tags)}


def accepts(read: Callable[[], object]) -> bool:
    try:
        return bool(read())
    except AorayError:
        return False


def is_assignment(item: DataItem) -> bool:
    """By any of the ways in which an assignment is read."""
    said = plain(item.raw)
    found = said is not None and fast_check(FACTS, HEAD, said, MESSAGE) is not None
    found |= accepts(lambda: rules.check_slot(FACTS, HEAD, item, MESSAGE))
    found |= accepts(lambda: rules.check_slot(FACTS, None, item, VICTIM))
    entry = LogEntry(VICTIM.id, 1, MESSAGE.id, item.id, HEAD.timestamp + 1, MESSAGE.raw, item.raw)
    found |= accepts(lambda: assignments.check_chain(VICTIM.id, [entry], scheduler=KEY.address, head=HEAD))
    return found or (claim_of(FACTS, node(item)) is not None and is_claimed(FACTS, 1, item))


def is_location(item: DataItem) -> bool:
    return compute_unit_of(node(item)) is not None and named_by(FACTS, item) is not None


def is_attestation(item: DataItem) -> bool:
    return accepts(lambda: statements_of(item, VICTIM.id))


def is_hand_over(item: DataItem) -> bool:
    return hand_over_of(item) is not None


def is_tick(item: DataItem) -> bool:
    return tick_of(item, item.target_id or VICTIM.id, KEY.public_key) is not None


def is_pushed(item: DataItem) -> bool:
    """Whether a process that trusts this key would believe that another process sent it."""
    slot = guest_input.AssignmentFields(0, 1, 1, 1, OTHER, frozenset(), KEY.public_key)
    said = guest_input.message_of(LogEntry(OTHER, 1, item.id, OTHER, 1, item.raw, b""), item, slot)
    return said["From"] != said["Owner"]


def is_module(item: DataItem) -> bool:
    return accepts(lambda: _module_of(item))


def is_process(item: DataItem) -> bool:
    return accepts(lambda: facts_of(item))


def is_decision(item: DataItem) -> bool:
    return accepts(lambda: decision_of(item.raw, KEY.address))


READERS: Mapping[str, Callable[[DataItem], bool]] = {
    "assignment": is_assignment,
    "location": is_location,
    "attestation": is_attestation,
    "hand-over": is_hand_over,
    "decision": is_decision,
    "tick": is_tick,
    "pushed": is_pushed,
    "module": is_module,
    "process": is_process,
}


def check(item: DataItem, *kinds: str) -> None:
    """It is taken for what it is, and for nothing else."""
    assert kinds_of(item) == set(kinds), item


def kinds_of(item: DataItem) -> set[str]:
    return {kind for kind, reader in READERS.items() if reader(item)}


# What is signed.


def spellings(name: str) -> list[str]:
    return [name, name.title(), name.upper(), name.replace("-", "_"), name.title().replace("-", "_")]


KINDS = (
    "Assignment",
    "Attestation",
    "Scheduler-Location",
    "Scheduler-Transfer",
    "Hand-Over",
    "Checkpoint",
    "Module",
    "Process",
)
TEMPLATES = [list(item.tags) for item in (SLOT, parse(SPAWN_SLOT), ATTESTATION, LOCATION, HANDED, DECISION)]
TEMPLATES += [list(MODULE.tags), list(VICTIM.tags)]
ids = (VICTIM.id, MESSAGE.id, KEY.address)
values = st.sampled_from([*KINDS, *ids, "Module", "scheduler", "ao", "ao.TN.1", "0", "1", "true", "http://x"])
names = st.sampled_from([spelt for name in sorted(NAMES) for spelt in spellings(name)])
tags = st.builds(Tag, names | st.text("aT-_ü", min_size=1, max_size=4), values | st.text("a1-", max_size=4))
templates, randoms = st.sampled_from([[], *TEMPLATES]), st.randoms(use_true_random=False)
hostile = st.tuples(templates, st.lists(tags, max_size=6), randoms)
words = hostile.map(lambda drawn: mixed(*drawn))
some_data = st.sampled_from(["", " ", ATTESTATION.data.decode(), "return 1"])


def mixed(template: Sequence[Tag], more: Sequence[Tag], random: Any) -> list[Tag]:
    """A statement's tags with others among them, or some left out or doubled, in some order."""
    found = [*template, *more]
    if random.random() < 0.5:
        random.shuffle(found)
    if found and random.random() < 0.3:
        found.append(random.choice(found))
    if found and random.random() < 0.3:
        found.pop(random.randrange(len(found)))
    return found[:40]


def asking(asked: Iterable[Tag]) -> DataItem:
    """A spawn with a cron of these tags."""
    crons = Tag("Cron-Interval", "1-second"), *(Tag(PREFIX + name, value) for name, value in asked)
    return build(USER, tags=[*AO, *crons])


def ticks_of(asked: Iterable[Tag]) -> DataItem:
    process = asking(asked)
    return tick_item(KEY, process, crons_of(process.tags).crons[0], 1_700_000_001_000)


@settings(max_examples=400, deadline=None)
@given(words)
def test_a_tick_is_a_tick_and_nothing_else_whatever_its_spawn_says(asked: list[Tag]) -> None:
    item = ticks_of(asked)
    check(item, "tick")
    own = [tag for tag in item.tags if not tag.name.startswith(PREFIX)]
    assert len(own) == ticks.HEAD, "a stranger's word stands without its prefix"
    found = tick_of(item, item.target_id, KEY.public_key)
    assert found is not None and list(found.tags) == asked, "the process gets them as they were asked for"


@settings(max_examples=400, deadline=None)
@given(words, some_data, st.sampled_from([VICTIM.id, OTHER]))
def test_what_the_messenger_signs_is_a_message_or_a_spawn_and_nothing_else(
    said: list[Tag], data: str, target: str
) -> None:
    entry = {"Target": target, "Anchor": "a" * 32, "Tags": as_json(said), "Data": data}
    spawn = entry | {"Tags": as_json([*said, Tag("Module", OTHER)])}
    box = read_outbox({"Messages": [entry], "Spawns": [spawn]}, SENDER, 3, MESSAGE.id)
    (message,), (process,) = box.messages, box.spawns
    spawned = sign_item(KEY, process)
    assert spawned is not None
    check(built(sign_item(KEY, message)), "pushed")
    assert "pushed" in kinds_of(spawned) <= {"pushed", "process"}  # it may lack a Scheduler, to be refused
    types = [tag.value for tag in spawned.tags if folded(tag.name) == "type"]
    assert types == ["Process"], "it has no target: nothing else may say what it is"
    news = success_tags(process, SENDER, spawned.id)
    check(build(KEY, target=VICTIM.id, tags=news, data=b" "), "pushed")


def built(item: DataItem | None) -> DataItem:
    assert item is not None
    return item


@settings(max_examples=100, deadline=None)
@given(words)
def test_an_assignment_is_one_whatever_it_leaves_out(said: list[Tag]) -> None:
    excluded = [f"{name}={value}" for name, value in said] + [name for name, _ in said]
    _, raw = next_slot(KEY, VICTIM.id, HEAD, MESSAGE.id, now_ms=1, block_height=7, exclude=excluded)
    check(parse(raw), "assignment")


def test_statements_are_what_they_are_and_nothing_else() -> None:
    check(SLOT, "assignment")
    assert accepts(lambda: rules.check_slot(FACTS, None, parse(SPAWN_SLOT), VICTIM))
    check(ATTESTATION, "attestation")
    check(LOCATION, "location")
    check(HANDED, "hand-over")
    check(DECISION, "decision")
    check(MODULE, "module")
    check(BUNDLE)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        *((SLOT, "assignment"), (LOCATION, "location"), (ATTESTATION, "attestation")),
        *((HANDED, "hand-over"), (DECISION, "decision")),
    ],
)
def test_what_departs_from_the_form_of_a_statement_is_none(statement: DataItem, kind: str) -> None:
    tags, data = statement.tags, statement.data
    check(build(KEY, tags=tags, data=data), kind)
    departing = [
        build(KEY, target=VICTIM.id, tags=tags, data=data),
        build(KEY, anchor=b"a" * 32, tags=tags, data=data),
    ]
    departing += [build(KEY, tags=[*tags, more], data=data) for more in (Tag("X", "y"), tags[0], tags[-1])]
    needed = [at for at, tag in enumerate(tags) if tag.name != "Engine"]
    departing += [build(KEY, tags=tags[:at] + tags[at + 1 :], data=data) for at in needed]
    if kind != "attestation":
        departing.append(build(KEY, tags=tags, data=b"x"))
    for item in departing:
        assert not accepts(lambda item=item: rules.check_slot(FACTS, HEAD, item, MESSAGE))
        assert not is_location(item) and not is_attestation(item) and not is_decision(item)


def test_a_tick_that_was_signed_before_is_a_tick_and_nothing_else() -> None:
    """Those of logs made when crons' tags had no prefix in the signed item."""
    for template in TEMPLATES:
        process = asking(template)
        cron, due = crons_of(process.tags).crons[0], 1_700_000_001_000
        item = build(KEY, target=process.id, tags=ticks._tags_before(process, cron, due))
        assert item.tags[-1] == template[-1]
        check(item, "tick")
        tick = tick_of(item, process.id, KEY.public_key)
        assert tick is not None and list(tick.tags) == template
        moment = Moment(1_700_000_000_000, 1)
        assert ticks.wrong(tick, item, process, moment, Moment(due, 1)) == ""


def test_names_of_a_tick_that_look_like_its_prefix_stay_as_they_were_asked_for() -> None:
    asked = [Tag("Cron-Tag-X", "1"), Tag("X", "2")]
    item = ticks_of(asked)
    found = tick_of(item, item.target_id, KEY.public_key)
    assert found is not None and list(found.tags) == asked


def test_the_readers_find_the_faults_that_there_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ticks in their old form, and readers that look at tags alone, a stranger's tick is a statement."""
    monkeypatch.setattr(ticks, "_tags", ticks._tags_before)
    for module in (assignments, attestations, rules):
        monkeypatch.setattr(module, "departure", lambda item, form: "")
    for template, reader in ((SLOT, is_assignment), (LOCATION, lambda item: named_by(FACTS, item))):
        assert reader(ticks_of(template.tags))


@pytest.mark.parametrize("kind", STATEMENTS)
def test_every_tag_of_a_statement_is_refused_in_a_cron_in_every_spelling(kind: str) -> None:
    form = STATEMENTS[kind]
    for name in {*form.fixed, *form.once, *form.optional, *form.many} - {"Content-Type"}:
        for spelt in spellings(name):
            with pytest.raises(ClientError, match="is a tag of the protocol"):
                check_asked([Tag("Cron-Interval", "1-second"), Tag(PREFIX + spelt, "x")])
    check_asked([Tag("Cron-Interval", "1-second"), Tag("Cron-Tag-Action", "Tick"), Tag("Cron-Tag-Name", "x")])
