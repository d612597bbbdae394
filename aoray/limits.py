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
PUBLIC_KEYS_CACHED_MAX = 4_096  # loaded keys, addresses and hash prefixes of owners, each

# HTTP.
REQUEST_BYTES_MAX = ITEM_BYTES_MAX
UPLOAD_BYTES_MAX = 100 * MIB  # `POST /tx`: modules and bundles
REQUESTS_IN_FLIGHT_MAX = 10_000
RESULT_WAIT_MS_MAX = 60_000  # a `GET /result` blocks this long, then answers 202
REQUEST_BODY_SECONDS_MAX = 60  # a body that takes longer to arrive is refused
REQUEST_HEAD_BYTES_MAX = 64 * KIB  # request line and headers together
REQUEST_HEAD_SECONDS_MAX = 20  # in which they must have arrived, from the connection or their first byte on
CONNECTIONS_MAX = 20_000  # of one gateway; addresses share them
CONNECTIONS_SPARE = 256  # beyond that: they are answered /health, and 503 for all else
DESCRIPTORS_SPARE = 256  # file descriptors that connections leave for everything else
RESULT_WAITS_MAX = 5_000  # of one gateway, for results that are not there yet; addresses share them
ANSWER_PLAIN_BYTES = 64 * KIB  # answers up to here are written as they are
ANSWER_MEMORY_BYTES = 1 * MIB  # larger ones go by a file
ANSWERS_BYTES_MAX = 256 * MIB  # of answers in memory that clients have not read; addresses share them
ANSWERS_DISK_BYTES_MAX = 4 * GIB  # and in files
ANSWER_STALL_SECONDS = 20  # in which a client must read
ANSWER_PROGRESS_BYTES = 32 * KIB  # so much of what waits for it, or all there is
BODIES_BYTES_MAX = 512 * MIB  # request bodies in one gateway's memory at once
SLOT_WAITS_MAX = 1_000  # of one gateway, for slots still to come
WAIT_CROWDED_SECONDS = 1.0  # beyond either a request waits so long, and is answered 202
SLOTS_AHEAD_MAX = 1_000  # how far a slot that is waited for may be ahead of what is evaluated
# While a `GET /result` waits, the store is looked at and the actor asked again this often
RESULT_REWATCH_S = 2.0
FRESH_RESULTS_MAX = 20_000  # delivered results a gateway keeps in memory, and their bytes
FRESH_RESULTS_BYTES_MAX = 64 * MIB
RECEIPTS_MAX = 50_000  # receipts a gateway remembers, to find a message's actor without asking
MODULES_KNOWN_MAX = 10_000
MESSAGES_FETCHED_AT_ONCE_MAX = 32  # from Arweave, by one gateway, to be assigned; addresses share them
MODULE_WORD_SECONDS_MAX = 60.0  # a gateway is believed about a module whose data is not there yet
MODULE_CHECKS_AT_ONCE_MAX = 2  # whose data one gateway fetches and looks at before it takes a spawn
PROCESSES_KNOWN_MAX = 20_000  # processes a gateway remembers: their items, their actors; a shard: their heads
PROCESSES_KNOWN_BYTES_MAX = 64 * MIB  # of those items; and of what a shard remembers, for crons
RATE_KEYS_MAX = 100_000  # addresses, and wallets, of which a gateway knows how much they have used
DISK_FREE_BYTES_MIN = 4 * MIB  # with less a computer does not start, and is not healthy
RAY_CONNECT_SECONDS_MAX = 5  # to reach a cluster (`--ray-address`),
RAY_JOIN_SECONDS_MAX = 12  # and to become a part of it
HEALTH_SECONDS_MAX = 10  # an actor that does not answer in this time is not healthy
STATS_SECONDS_MAX = 1.0  # what a page of figures waits for a shard
BLOCK_HEIGHT_SECONDS_MAX = 2.0  # so old is the height of Arweave that a gateway says, and so long it waits
START_SECONDS_MAX = 120  # of a computer, until all its actors are ready
STOP_SECONDS_MAX = 60  # of one that tests and benchmarks end, until all it started is gone
DRY_RUNS_IN_FLIGHT_MAX = 256  # for one gateway
PRESENT_SECONDS_MAX = 60  # that an actor goes on with a dry run, or waits to hand out a memory
MEMORIES_IN_FLIGHT_MAX = 2  # whole memories that one gateway hands out (`GET /state`) at once
RESULTS_PAGE_BYTES_MAX = 32 * MIB  # a page of results ends early there, and says that there are more
EXCHANGE_SECONDS_MAX = 10.0  # that a driver's call is held while no answer is ready
EXCHANGE_BYTES_MAX = 128 * MIB  # one answer for a driver
DRIVER_SECONDS_MAX = 120.0  # a driver that was not heard of for so long is forgotten, with its answers
PAGE_ENTRIES_MAX = 1_000
PAGES_AT_ONCE_MAX = 4  # that a gateway makes at once, of a store on its own disk; addresses take turns
PAGES_WAITING_MAX = 2_000  # and that wait for it
GRAPHQL_PAGE_MAX = 1_000
GRAPHQL_DEPTH_MAX = 16  # what an introspection query needs

# Arweave, read and posted to.
ARWEAVE_SECONDS_MAX = 30  # that a request may take in all, and for each byte that goes or comes
ARWEAVE_BYTES_PER_SECOND_MIN = 128 * KIB  # so much more
BLOCK_SECONDS_MIN = 20  # a chain that says it grew faster lies (Arweave aims at 120),
BLOCKS_AHEAD_MAX = 500  # but for so many blocks, once

# The embedded Arweave.
TERMS_CACHED_MAX = (
    16_384  # numbers of tags and ids in the index, so that those that come often are not hashed again
)
INDEX_SLICE_TERMS = 4_000  # rows of the index that a bundle writes at a time: others have their turns between
WAL_BYTES = 64 * MIB  # of the index's write-ahead log, at which it is emptied
WAL_FOLD_SECONDS_MAX = 2.0  # that writers wait meanwhile for who reads it; else at as many bytes more
WAITING_BYTES_MAX = 16 * MIB  # of the flusher's bundles whose items are not indexed yet: a second's work
RECENT_SECONDS_MAX = 5.0  # that a search waits for what is acknowledged and not posted yet
TRANSACTION_BODY_BYTES_MAX = 16 * MIB  # of a layer-1 transaction as JSON: 12 MiB of data with it, as nodes
CHUNK_BODY_BYTES_MAX = 1 * MIB  # of a chunk with its proof, as JSON
CHUNK_PATH_BYTES_MAX = 64 * KIB
PIECES_BYTES_MAX = 512 * MIB  # of uploads in pieces that are not whole yet (chunks, parts of items)
PIECES_SENDER_BYTES_MAX = 128 * MIB  # of one address
PIECES_UPLOADS_MAX = 1_000
PIECES_SENDER_UPLOADS_MAX = 100
PIECES_OF_UPLOAD_MAX = 1_000
PART_BYTES_MAX = 25 * MIB  # of a data item that comes in parts (a bundler's `/chunks`); Irys sends 25 MB
PART_BYTES_MIN = 256 * KIB  # as is told to clients; 100 MiB of them are 400
PIECES_IDLE_SECONDS_MAX = 600  # such an upload is dropped that makes no progress
PIECES_SECONDS_MAX = 3_600  # or takes longer in all
UPLOAD_TREES_MAX = 8  # of uploads whose chunks were asked for last
SAME_DATA_MAX = 4  # layer-1 transactions that wait for the same data, and get it together
MINE_BLOCKS_MAX = 100  # by one request
MINE_BLOCKS_PER_SECOND = 1  # of all requests together, for good;
MINE_BLOCKS_BURST = 1_000  # and at once
BALANCES_BYTES_MAX = 16 * MIB  # a genesis file
BUNDLE_DEPTH_MAX = 4  # bundles in bundles that are unfolded; deeper ones are kept, closed
UPLOAD_BODY_SECONDS_MAX = 600  # that is 100 MiB at 1.4 Mbit/s
UPLOADS_AT_ONCE_MAX = (
    4  # whose items are verified; and as many by the Arweave port, the computer's own way in
)
UPLOADS_IN_FLIGHT_BYTES_MAX = 4 * UPLOAD_BYTES_MAX  # of all `POST /tx` together
DATA_CHUNK_BYTES = 256 * KIB  # longer data is streamed in pieces of this size
HEADER_TAGS_MAX = 75  # with what else there is, under 90 lines (Python's client takes 100)
MANIFEST_BYTES_MAX = 8 * MIB  # of a path manifest
MANIFEST_PATHS_MAX = 100_000
MANIFESTS_KNOWN_MAX = 100  # that are parsed already, and their bytes
MANIFESTS_KNOWN_BYTES_MAX = 16 * MIB
HEADER_TAG_BYTES_MAX = 8 * KIB  # tags sent as response headers (node's client takes 16 KiB of headers)
GRAPHQL_REQUEST_BYTES_MAX = 256 * KIB
GRAPHQL_TOKENS_MAX = 4_000  # of one query's text
GRAPHQL_KEPT_MAX = 64  # queries that are kept parsed,
GRAPHQL_KEPT_CHARACTERS_MAX = 2_000  # and how long they may be: a document takes 150 to 300 times as much
GRAPHQL_FIELDS_MAX = 300  # that one query selects, fragments spread out
GRAPHQL_SEARCHES_MAX = 20  # root fields and counts (each alias by itself), each a search of its own
GRAPHQL_SPREADS_MAX = 200
GRAPHQL_ERRORS_MAX = 10  # of one answer
GRAPHQL_VALUES_MAX = 2_000  # ids, owners, tag values, … in the filter of one search
GRAPHQL_PAIRS_MAX = 100  # owners times processes that are looked up together; of more only each by itself
GRAPHQL_COST_MAX = 100_000  # values that one answer can have, by its fields and pages
GRAPHQL_STEPS_MAX = 50_000_000  # SQLite instructions of all searches of one query: seconds, not minutes
GRAPHQL_SECONDS_MAX = 10  # for all of one query, once it has a thread
GRAPHQL_SCANNED_MAX = 20_000  # items whose tags are read to answer one query
GRAPHQL_COUNTED_MAX = 200_000  # how far sets of items are counted to find the rarest
GRAPHQL_AT_ONCE_MAX = 2  # queries that a gateway answers at once; addresses take turns
GRAPHQL_WAITING_MAX = 200  # that wait for one of these threads,
GRAPHQL_WAIT_SECONDS_MAX = 20  # for so long

# The Python client (`aoray.connect`), and the command line.
CLIENT_CONNECTIONS_MAX = 256
CLIENT_REQUEST_SECONDS_MAX = 90  # longer than a computer holds a request
CLIENT_SLOT_WAITS_MAX = 64  # at once, of a client: each has a connection for itself
CLIENT_CALLS_MAX = 2  # of one driver to a gateway at once
DEMO_ROUNDS_MAX = 1_000  # that `aoray demo` asks whether its messages have arrived

# Batches and queues between actors.
BATCH_MESSAGES_MAX = 1_000
GATEWAY_QUEUE_MESSAGES_MAX = 20_000
GATEWAY_QUEUE_BYTES_MAX = 256 * MIB
# Overload: a message is refused while those before it come late, unless no more than so many are waiting.
QUEUE_MESSAGES_FREE = 500  # to be ordered
RESULTS_AWAITED_FREE = 1_000  # to be evaluated
ORDER_LAG_SECONDS_MAX = 1.0  # in a gateway's queue
SUBMIT_MESSAGES_MAX = 128  # of one call: more save little, and what waits in the shard is refused too late
RESULT_LAG_SECONDS_MAX = 2.0  # from there to the result
RESULT_LAG_TRY_SECONDS = 0.1  # so often one message of others is let in at an actor that is late
RESULT_SILENCE_SECONDS_MAX = 5.0  # without any result of an actor or a process that owes more than that
RESULT_SILENCE_TRY_SECONDS = 1.0  # so often one message is let in all the same
LAG_KNOWN_SECONDS = 1.0  # so long a lag counts that was measured
RETRY_SECONDS_MAX = 30.0  # a batch is sent again for this long while an actor is being restarted
BATCH_CALLS_MAX = 2  # to one shard at once: one is under way while the next gathers
ACTOR_READY_SECONDS_MAX = 30.0  # for an actor to answer its shard: one that Ray makes just now takes a while
ACTOR_NAME_SECONDS_MAX = 30.0  # until the name of an actor that was ended is free
ACTOR_LOOK_SECONDS_MAX = 1.0  # for an actor to say where it is
PUSH_QUEUE_RESULTS_MAX = 20_000  # beyond it results wait in the store, and are found by the next scan
PUSHES_IN_FLIGHT_MAX = 128  # results of one gateway whose outboxes are being sent
PUSH_RESTING_RESULTS_MAX = 10_000  # that wait for something; beyond it they are left to the scan
SPAWN_CHAIN_MAX = 1_000  # spawns of spawns: so far up it is looked for the wallet that a process belongs to
PUSH_HELD_PROCESSES_MAX = 10_000  # over their quota, of which an actor or a gateway knows until when
HELD_SHOWN_MAX = 100  # of them in `GET /status`
PUSH_UPLOADS_MAX = 1_000  # outbox messages on their way to Arweave
PUSH_SLICE_MESSAGES = 50  # of one outbox, signed and sent at once: a long one must not hold up the others
PUSH_HANDED_BYTES_MAX = (
    16 * KIB
)  # of a result that is handed over with its announcement, not read from the store
PUSH_HELD_BYTES_MAX = 64 * MIB  # of such results in one gateway
SHORT_WAY_RESULTS_MAX = 512  # of one actor, whose outboxes it is sending; others it hands to the messenger
NO_PROCESS_SECONDS = 60.0  # so long a target that is not a process (a wallet) is taken for none
SENDERS_KNOWN_MAX = 10_000  # processes of which an actor knows how they sign, and targets that are none
PUSH_SETTLE_S = 0.02  # what became of outboxes gathers for so long: nobody waits for it but who looks
FOLD_SECONDS = 0.5  # how often an actor that writes folds the results' WAL, so that commits seldom have to
PUSH_SCAN_S = 10.0  # how often the store is scanned for outboxes that nobody announced
PUSH_BACKOFF_MAX_S = 10.0
PUSH_FOREIGN_ATTEMPTS_MAX = 360  # towards another network, so about an hour; on this computer there is no end
PUSH_ERROR_CHARACTERS_MAX = 500  # of the reason that is kept with an outbox message
TRACE_NODES_MAX = 1_000  # slots and messages of a trace; also how far back its causes go
WIRE_FRAME_BYTES_MAX = 256 * MIB  # one call or answer between two actors
WIRE_CONNECT_SECONDS_MAX = 5
WIRE_SILENCE_SECONDS_MAX = 10  # of an actor from which an answer is due; then the connection is broken
BATCH_BYTES_MAX = 16 * MIB  # of items in one commit or one call; a single larger item still goes, alone
GATHER_MS = 2  # a shard that is not idle gathers for so long, unless so many wait already:
GATHER_MESSAGES_MAX = 64
SHARD_QUEUE_MESSAGES_MAX = 50_000
SHARD_QUEUE_BYTES_MAX = 256 * MIB
LANE_BYTES_MAX = 64 * MIB  # waiting in a shard for one process actor; the rest the actor reads from the log
LOG_PAGE_BYTES_MAX = 64 * MIB  # a page of the log ends early there, and says that there is more
ASSIGNMENT_EXCLUDES_MAX = 100
COLLECT_AFTER = 20_000, 20, 100  # objects, and rounds: messages leave no cycles, and a look at all takes long
ACTOR_QUEUE_MESSAGES_MAX = 50_000  # beyond it the actor drops payloads, and reads them again from the log
REPLAY_PAGE_ENTRIES = 500
SLICE_ENTRIES_MAX = 512  # messages that a process actor evaluates before it writes their results
SLICE_ENTRIES_PER_PROCESS_MAX = 8  # then it is the next process's turn
ROUND_ENTRIES = 64  # so many go round all processes that are ready, but for one of each
SLICE_SECONDS = 0.015  # a slice begins no message after this time
SLICE_RESULT_BYTES_MAX = 32 * MIB  # nor once its results are this large
ACTIVATIONS_IN_FLIGHT_MAX = 16  # whose modules a process actor loads side by side
ACTIVATIONS_AT_ONCE_MAX = 64  # that a process actor prepares together
ACTIVATION_BACKOFF_SECONDS_MAX = 10.0
ACTIVATIONS_RETRIED_MAX = (
    200  # processes of one actor that can't start and are retried, each with its own wait
)
WAITING_SHOWN_MAX = 100  # processes that wait for the machine, of one actor, that `/status` names
WAITING_REASON_CHARACTERS_MAX = 500
STANDING_SECONDS = 2.0  # how often a gateway looks which processes are stopped
MODULES_LOADED_MAX = 64  # compiled modules a process actor holds besides those in use
WATCHES_MAX = 100_000  # results that gateways wait for at one process actor; the oldest are forgotten
# Announcements of one kind that wait for one gateway; the oldest are dropped, and found by its scans
COURIER_QUEUE_MAX = 50_000
COURIER_QUEUE_BYTES_MAX = 64 * MIB
RESIDENT_PROCESSES_MAX = 1_000  # of one process actor, with instances; idle ones beyond it hibernate
RESIDENT_MEMORY_SHARE = 0.4  # of a machine's memory, for the processes of all its actors
WEIGH_SECONDS = 0.005  # of evaluation, after which the memory of a process is looked at again
MODULES_LOADED_BYTES_MAX = 1 * GIB  # and what they and their memories after boot take
IDLE_SECONDS_MAX = 600  # and those that have had nothing to do for so long
FLUSH_BUNDLE_ENTRIES_MAX = 1_000
FLUSH_BUNDLE_BYTES_MAX = 8 * MIB
FLUSH_BACKOFF_SECONDS_MAX = 30.0
QUERY_IDS_MAX = 100  # that one query for the depth of bundles names
HIBERNATION_SCAN_SECONDS = 2.0  # how often a process actor looks for those
REST_SECONDS = 2.0  # a process that was idle for so long holds its own pages compressed
OVERLAY_BYTES_MAX = 1 * MIB  # a process's own pages, as they are kept compressed once it has changed them
REST_BYTES_MAX = 8 * MIB  # and that are compressed while it is idle
BOOTS_MAX = 8  # memories after the boot of one module, for different limits
RESTS_AT_ONCE_MAX = 8  # made to rest before messages have their turn again
UPLOADS_WATCHED_AT_ONCE = 100  # whose confirmations are asked for in one round
NODE_REQUESTS_IN_FLIGHT_MAX = 8
WATCH_SECONDS_MAX = 30.0  # between two such rounds
REPOST_SECONDS_MAX = 86_400  # between two posts of one that Arweave does not show
BACKLOG_ROWS_WEIGHED_MAX = 10_000  # of what waits for Arweave; the bytes of more are estimated

# A store in SQLite's files.
SQLITE_BUSY_SECONDS_MAX = 30  # that one waits for other writers
SQLITE_LOOK_MS_MAX = 10  # between two looks whether they are done
INDEXER_BUSY_SECONDS_MAX = 10  # that the indexer of the embedded Arweave waits for other writers

# A store on PostgreSQL.
STORE_CONNECT_SECONDS_MAX = 10
STORE_HOLD_SECONDS_MAX = 5.0  # that a start waits for a store which another computer holds
STORE_STATEMENT_SECONDS_MAX = 60  # half of it for a lock, a quarter for a transaction that says nothing
STORE_LOOKS_MAX = 16  # threads in which one gateway reads it
FILES_REST_SECONDS = 30  # in which shared files that failed are not asked for again
STORE_READERS_MAX = 4  # connections with which one OS process reads the log of one shard

STOPPED_PROCESSES_MAX = 1_000  # of one shard, by the operator
STOPPED_RETRY_AFTER_S = 60  # what a client is told that sends to one
STOPPED_WATCH_S = 2.0  # how often a gateway asks the shards which are stopped

# Cron.
CRONS_MAX = 16  # of one process
CRON_TAGS_MAX = 64  # of one cron
CRON_DAYS_MAX = 36_525  # the longest interval
CRON_BLOCKS_MAX = 1_000_000_000
CRON_CATCH_UP_MAX = 100  # ticks of one cron that are made up for at once, with `Cron-Missed: all`
CRON_ORDERS_MAX = 10_000  # items that started or stopped one process's crons: each is good once
CRON_BATCH = 500  # crons that one look serves
CRON_SLEEP_SECONDS_MAX = 10  # a clock that is put forward is noticed so late
CRON_LAGS_KEPT = 10_000  # lags of ticks that a shard or an actor remembers

# Checkpoints.
CHECKPOINT_COSTS = 50  # one is due when evaluation since the last has taken this many times as long
CHECKPOINT_SECONDS_GUESS = 0.02  # what one takes, until it is known
CHECKPOINT_BYTES_MAX = 1 * GIB  # of changed memory; a process that has changed more is always replayed
CHECKPOINTS_KEPT = 2  # of each process, and the parents of those
CHECKPOINT_WHOLE_BYTES = 1 * MIB  # of changed memory: up to here, each checkpoint has all of it
CHECKPOINT_CHAIN_FILES_MAX = 16  # of a checkpoint and its parents
CHECKPOINTS_SWEPT_AT_ONCE = 500  # files looked at in one transaction
SWEEP_AFTER_SECONDS = 30  # since an actor began: only then it looks for files that crashes left behind
CHECKPOINT_TRIES_MAX = 3  # to write a file that another's collection takes away meanwhile

# Checking a log (`aoray verify`).
VERIFY_PAGE_ENTRIES = 200  # slots that are fetched, judged and evaluated at a time
VERIFY_LIST_ENTRIES = 1_000  # asked for in one query; a gateway may give fewer (arweave.net gives 100)
HAND_OVERS_MAX = 100  # of one unit's key, one after another, which `aoray verify` follows
VERIFY_UNITS_MAX = 100  # compute units that a scheduler names on Arweave
VERIFY_OTHERS_MAX = (
    5_000  # of what looks like assignments, so many of the newest are looked at, to count others'
)
VERIFY_BUNDLES_MAX = 4  # bundles kept in memory
VERIFY_REQUESTS_IN_FLIGHT_MAX = 16
VERIFY_APART_SLOTS_MIN = 2_000  # from here on, OS processes are started that judge
VERIFY_JUDGES_MAX = 4  # of them; more than two have judged before one has evaluated

# Attestations.
ATTESTATION_SLOTS_MAX = 1_000  # in one item, about 200 KB
ATTEST_PROCESSES_MAX = 100  # whose attestations are signed and written down at once

# Guest code.
OWN_ACTORS_MAX = 64  # of one shard: each is an OS process of 60 MB; beyond it the pool is used
MODULE_BYTES_MAX = 64 * MIB
FUNCTION_WEIGHT_MAX = 4_000  # for the compiler (vm/wasm/weight.py): about milliseconds
MODULE_WEIGHT_MAX = 20_000  # all its functions together
MODULE_COMPILE_SECONDS_MAX = 120
MODULE_GLOBALS_MAX = 500  # mutable ones
COMPILERS_MAX = 2  # at once, on one machine; who wants another waits
COMPILER_THREADS_MAX = 2  # of each, so that a machine with many cores needs no more memory
COMPILER_NICE = 5
LOADS_MAX = 16  # owners of modules for whom a process actor loads at once
MODULES_REFUSED_MAX = 10_000  # that a process actor remembers, with the reason
COMPILE_BYTES_MAX = 16 * GIB  # of address space, for the process that compiles
MEMORY_BYTES_DEFAULT = 512 * MIB  # without a Memory-Limit tag
MEMORY_BYTES_MAX = 1 * GIB
# Units of fuel for one message, without a Compute-Limit tag: at worst 10 s (docs/fuel.md). A load or a store
# takes 16, most other instructions one.
FUEL_DEFAULT = 300_000_000
FUEL_PUBLISHED = 200_000_000_000  # that our own tools state for a module: aos reads any message with it
FUEL_MAX = 9_000_000_000_000
FUEL_AT_ONCE = 100_000_000  # of a message that others wait for; one that takes more goes on in slices
FUEL_SLICE = 10_000_000  # after which such a message can be put by
FUEL_DRY_RUN_MAX = 10_000_000_000  # anybody may ask for one, and it is nobody's result
LONG_MESSAGES_MAX = 32  # that one process actor evaluates side by side; others wait for their turn
LONG_MESSAGES_OWNER_MAX = 8  # and those of one owner; he has the same part of the memory for them
LONG_MESSAGE_SECONDS_FIRST = (
    2.0  # of evaluation that one has, if an owner waits who has no place; then twice that
)
LONG_DRY_RUNS_MAX = 4  # and dry runs
RESULT_BYTES_MAX = 8 * MIB  # the JSON that a message's evaluation gives back
OUTBOX_MESSAGES_MAX = 20_000  # messages, spawns and assignments of one result together
ASSIGNEES_MAX = 100  # processes to which one entry of an outbox assigns a message
KEPT_MESSAGES_MAX = 10_000  # evaluated since the last fold, and replayed after a failure
KEPT_BYTES_MAX = 64 * MIB

assert ITEM_BYTES_MAX <= UPLOAD_BYTES_MAX
assert TAG_VALUE_BYTES_MAX <= TAG_BYTES_MAX
assert CRON_TAGS_MAX + 6 <= TAGS_MAX  # a tick has six of its own
# A bundle holds entries (an item and its assignment each), and publications.
assert 2 * (FLUSH_BUNDLE_BYTES_MAX + ITEM_BYTES_MAX) <= BUNDLE_BYTES_MAX <= UPLOAD_BYTES_MAX
assert ITEM_BYTES_MAX <= BATCH_BYTES_MAX <= LANE_BYTES_MAX <= SHARD_QUEUE_BYTES_MAX
assert 2 * max(BATCH_BYTES_MAX + ITEM_BYTES_MAX, UPLOAD_BYTES_MAX) <= WIRE_FRAME_BYTES_MAX
assert RESULTS_PAGE_BYTES_MAX <= EXCHANGE_BYTES_MAX <= WIRE_FRAME_BYTES_MAX // 2
assert BATCH_MESSAGES_MAX <= SHARD_QUEUE_MESSAGES_MAX
assert max(RESULT_BYTES_MAX, BATCH_BYTES_MAX) <= COURIER_QUEUE_BYTES_MAX
assert MODULE_BYTES_MAX <= UPLOAD_BYTES_MAX <= PIECES_SENDER_BYTES_MAX <= PIECES_BYTES_MAX
assert PUSH_RESTING_RESULTS_MAX + PUSH_UPLOADS_MAX + PUSHES_IN_FLIGHT_MAX < PUSH_QUEUE_RESULTS_MAX
assert MEMORY_BYTES_DEFAULT <= MEMORY_BYTES_MAX
assert FUEL_SLICE <= FUEL_AT_ONCE <= FUEL_DEFAULT <= FUEL_PUBLISHED <= FUEL_MAX
assert FUEL_DRY_RUN_MAX <= FUEL_MAX
assert LONG_MESSAGES_OWNER_MAX <= LONG_MESSAGES_MAX
