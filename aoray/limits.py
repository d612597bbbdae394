"""Every bound of aoray, in one place: what is refused, and where a queue, a page, a batch or a loop ends.

A bound's name ends in its unit. The assertions at the foot tie those together that must agree.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# What travels (ANS-104 allows 128 tags of 1 KiB names and 3 KiB values; bundlers hold people to it).
ITEM_BYTES_MAX = 10 * MIB  # the messenger's body limit in the legacy contract
TAGS_MAX = 128
TAG_NAME_BYTES_MAX = 1 * KIB
TAG_VALUE_BYTES_MAX = 8 * KIB
TAG_BYTES_MAX = 64 * KIB  # all the tags of an item, as Avro
BUNDLE_ITEMS_MAX = 20_000
BUNDLE_BYTES_MAX = 64 * MIB

# HTTP.
REQUEST_BYTES_MAX = ITEM_BYTES_MAX
UPLOAD_BYTES_MAX = 100 * MIB  # `POST /tx`: modules and bundles
REQUESTS_IN_FLIGHT_MAX = 10_000
RESULT_WAIT_MS_MAX = 60_000  # a `GET /result` blocks this long, then answers 202
PAGE_ENTRIES_MAX = 1_000
GRAPHQL_PAGE_MAX = 1_000
GRAPHQL_DEPTH_MAX = 12

# Batches and queues between actors.
BATCH_MESSAGES_MAX = 1_000
GATEWAY_QUEUE_MESSAGES_MAX = 20_000
SHARD_QUEUE_MESSAGES_MAX = 50_000
ACTOR_QUEUE_MESSAGES_MAX = 50_000  # beyond it the actor drops payloads, and reads them again from the log
REPLAY_PAGE_ENTRIES = 500
FLUSH_BUNDLE_ENTRIES_MAX = 1_000
FLUSH_BUNDLE_BYTES_MAX = 8 * MIB

# Guest code.
MODULE_BYTES_MAX = 64 * MIB
MODULE_COMPILE_SECONDS_MAX = 120
MEMORY_BYTES_DEFAULT = 512 * MIB  # without a Memory-Limit tag
MEMORY_BYTES_MAX = 4 * GIB
FUEL_DEFAULT = 10_000_000_000  # WASM instructions for one message, without a Compute-Limit tag
FUEL_MAX = 9_000_000_000_000
RESULT_BYTES_MAX = 8 * MIB  # the JSON that a message's evaluation gives back
OUTBOX_MESSAGES_MAX = 1_000  # messages, spawns and assignments of one result together

assert ITEM_BYTES_MAX <= UPLOAD_BYTES_MAX
assert TAG_VALUE_BYTES_MAX <= TAG_BYTES_MAX
assert FLUSH_BUNDLE_BYTES_MAX + ITEM_BYTES_MAX <= BUNDLE_BYTES_MAX <= UPLOAD_BYTES_MAX
assert MODULE_BYTES_MAX <= UPLOAD_BYTES_MAX
assert MEMORY_BYTES_DEFAULT <= MEMORY_BYTES_MAX
assert FUEL_DEFAULT <= FUEL_MAX
