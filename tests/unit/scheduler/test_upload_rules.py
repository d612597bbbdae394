"""What is done next about an upload: and that of all that is signed for it, at most one can be mined."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aoray import limits
from aoray.scheduler.upload_rules import Policy, Step, UploadStatus, next_step
from aoray.storage.uploads import Upload

POLICY = Policy("transaction:me", confirmations_min=10, repost_seconds=600)
NEW = Upload(1, 0, 5, 0, 0)
SIGNED = NEW._replace(carrier=POLICY.carrier, id="id", anchor_height=100)
POSTED = SIGNED._replace(posted_ms=1_000_000, posts=1)
EVENTS = st.sampled_from(["mine", "drop", "crash", "fine"])
SOON, LATER = 1_000_001, 1_600_000


def step(
    upload: Upload, depth: int | None, mineable: bool = True, now_ms: int = SOON, **changed: Any
) -> Step:
    return next_step(upload, UploadStatus(depth, mineable), POLICY._replace(**changed), now_ms)


def test_it_is_signed_then_posted_then_waited_for_then_settled() -> None:
    assert step(NEW, None) is Step.SIGN
    assert step(SIGNED, None) is Step.POST
    assert step(POSTED, None) is Step.WAIT
    assert step(POSTED, 0, now_ms=LATER) is Step.WAIT
    assert step(POSTED, 9, now_ms=LATER) is Step.WAIT
    assert step(POSTED, 10) is Step.SETTLE


def test_what_was_perhaps_posted_before_a_crash_is_posted_again_even_if_it_is_seen() -> None:
    assert step(SIGNED, 0) is Step.POST  # some of its chunks may be missing


def test_where_acceptance_is_enough_nothing_is_waited_for() -> None:
    assert step(POSTED, None, confirmations_min=0) is Step.SETTLE
    assert step(SIGNED, None, confirmations_min=0) is Step.POST


def test_what_arweave_lost_is_posted_again_after_a_time_that_grows_to_a_day() -> None:
    waits = []
    for posts in range(1, 12):
        upload = POSTED._replace(posts=posts)
        waits.append(
            next(
                s
                for s in itertools.count(600, 600)
                if step(upload, None, now_ms=1_000_000 + 1000 * s) is Step.POST
            )
        )
    assert waits[:3] == [600, 1200, 2400] and waits[-1] == limits.REPOST_SECONDS_MAX


def test_an_upload_is_signed_again_only_when_it_is_gone_and_cannot_be_mined() -> None:
    for upload in (SIGNED, POSTED):
        assert step(upload, None) is not Step.SIGN
        assert step(upload, None, mineable=False) is Step.SIGN
        assert step(upload, 0, mineable=False) is not Step.SIGN


def test_what_another_uploader_signed_is_signed_again() -> None:
    assert step(POSTED, 3, carrier="item:me") is Step.SIGN


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 80), st.sampled_from(["mine", "drop", "crash", "fine"])), max_size=60)
)
def test_whatever_the_network_does_at_most_one_of_its_transactions_is_ever_mined(
    story: list[tuple[int, str]],
) -> None:
    """A chain that grows by some blocks, mines or drops what is posted, and a flusher that crashes."""
    anchor_blocks = 50
    upload, height, now_ms = NEW, 0, 0
    posted: dict[str, int] = {}  # id -> the last height at which it may be mined
    mined: dict[str, int] = {}
    for number, (blocks, event) in enumerate(story):
        height, now_ms = height + blocks, now_ms + blocks * 120_000 + 1
        if event == "mine":
            mined |= {each: height for each, last in posted.items() if height <= last and each not in mined}
        posted = {} if event == "drop" else posted
        depth = height - mined[upload.id] + 1 if upload.id in mined else 0 if upload.id in posted else None
        mineable = height <= upload.anchor_height + anchor_blocks
        match next_step(upload, UploadStatus(depth, mineable), POLICY, now_ms):
            case Step.SIGN:
                upload = upload._replace(carrier=POLICY.carrier, id=f"id-{number}", anchor_height=height)
            case Step.POST:
                posted[upload.id] = upload.anchor_height + anchor_blocks
                if event != "crash":
                    upload = upload._replace(posted_ms=now_ms, posts=upload.posts + 1)
            case Step.SETTLE:
                assert upload.id in mined
        assert len(mined) <= 1
