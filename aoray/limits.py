"""Every bound of aoray, in one place: what is refused, and where a queue, a page, a batch or a loop ends.

A bound's name ends in its unit. The assertions at the foot tie those together that must agree.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# Data items and bundles (ANS-104 allows 128 tags with names of 1 KiB and values of 3 KiB; bundlers check it).
ITEM_BYTES_MAX = 10 * MIB  # the messenger's body limit in the legacy contract
TAGS_MAX = 128
TAG_NAME_BYTES_MAX = 1 * KIB
TAG_VALUE_BYTES_MAX = 8 * KIB
TAG_BYTES_MAX = 64 * KIB  # all tags of an item together, encoded as Avro
BUNDLE_ITEMS_MAX = 20_000
BUNDLE_BYTES_MAX = 64 * MIB
PUBLIC_KEYS_CACHED_MAX = 4_096  # for each of three caches: loaded keys, addresses, hash prefixes of owners

# HTTP.
REQUEST_BYTES_MAX = ITEM_BYTES_MAX
UPLOAD_BYTES_MAX = 100 * MIB  # `POST /tx`: modules and bundles
REQUESTS_IN_FLIGHT_MAX = 10_000
RESULT_WAIT_MS_MAX = 60_000  # how long `GET /result` waits for a result before it answers 202
REQUEST_BODY_SECONDS_MAX = 60  # a body that takes longer to arrive is refused
REQUEST_HEAD_BYTES_MAX = 64 * KIB  # request line and headers together
REQUEST_HEAD_SECONDS_MAX = 20  # time in which request line and headers must arrive
CONNECTIONS_MAX = 20_000  # of one gateway; one address has at most half of them
# Connections beyond CONNECTIONS_MAX that get an answer: /health, and 503 for all else
CONNECTIONS_SPARE = 256
DESCRIPTORS_SPARE = 256  # file descriptors that connections leave free for everything else
# Requests of one gateway that wait for results; one address has at most half of them
RESULT_WAITS_MAX = 5_000
ANSWER_PLAIN_BYTES = 64 * KIB  # answers up to this size are written to the connection at once
ANSWER_MEMORY_BYTES = 1 * MIB  # answers larger than this are kept in a file until the client reads them
ANSWERS_BYTES_MAX = 256 * MIB  # answers in memory that clients have not read; one address has at most half
ANSWERS_DISK_BYTES_MAX = 4 * GIB  # such answers in files
ANSWER_STALL_SECONDS = 20  # time in which a client must read ANSWER_PROGRESS_BYTES of its answer
ANSWER_PROGRESS_BYTES = 32 * KIB  # or all that is left, if that is less
BODIES_BYTES_MAX = 512 * MIB  # request bodies in one gateway's memory at once
SLOT_WAITS_MAX = 1_000  # requests of one gateway that wait for slots which do not exist yet
# Beyond RESULT_WAITS_MAX or SLOT_WAITS_MAX, a request waits this long and gets 202
WAIT_CROWDED_SECONDS = 1.0
SLOTS_AHEAD_MAX = 1_000  # how far a requested slot may be ahead of the last evaluated one
# While a `GET /result` waits, the gateway reads the store and asks the actor again this often
RESULT_REWATCH_S = 2.0
FRESH_RESULTS_MAX = 20_000  # delivered results that a gateway keeps in memory
FRESH_RESULTS_BYTES_MAX = 64 * MIB  # the bytes of these results
RECEIPTS_MAX = 50_000  # receipts a gateway remembers, so that it knows a message's actor without asking
MODULES_KNOWN_MAX = 10_000  # modules whose tags a gateway remembers
MESSAGES_FETCHED_AT_ONCE_MAX = 32  # messages that one gateway fetches from Arweave at once, to assign them
MODULE_WORD_SECONDS_MAX = 60.0  # how long an Arweave gateway is trusted about a module without data
MODULE_CHECKS_AT_ONCE_MAX = 2  # modules that one gateway fetches and checks at once, before spawns
PROCESSES_KNOWN_MAX = 20_000  # processes that a gateway (items, actors) or a shard (heads) remembers
PROCESSES_KNOWN_BYTES_MAX = 64 * MIB  # the bytes of these items, and of what a shard remembers for crons
RATE_KEYS_MAX = 100_000  # addresses and wallets whose use a gateway remembers
DISK_FREE_BYTES_MIN = 4 * MIB  # with less free space a computer does not start, and is not healthy
RAY_CONNECT_SECONDS_MAX = 5  # to reach a cluster (`--ray-address`)
RAY_JOIN_SECONDS_MAX = 12  # to join a cluster once it is reached
HEALTH_SECONDS_MAX = 10  # an actor that does not answer in this time is not healthy
STATS_SECONDS_MAX = 1.0  # how long a request for figures waits for a shard
# The greatest age of the block height that a gateway reports, and the wait for a new one
BLOCK_HEIGHT_SECONDS_MAX = 2.0
START_SECONDS_MAX = 120  # until all actors of a computer are ready
STOP_SECONDS_MAX = 60  # until everything that a `LocalComputer` started has ended
DRY_RUNS_IN_FLIGHT_MAX = 256  # of one gateway
PRESENT_SECONDS_MAX = 60  # for a dry run, or for a request to read a memory, at its actor
MEMORIES_IN_FLIGHT_MAX = 2  # whole memories (`GET /state`) that one gateway sends at once
RESULTS_PAGE_BYTES_MAX = 32 * MIB  # a page of results ends here, and says that there are more
EXCHANGE_SECONDS_MAX = 10.0  # how long a driver's call waits while no answer is ready
EXCHANGE_BYTES_MAX = 128 * MIB  # one answer for a driver
DRIVER_SECONDS_MAX = 120.0  # a driver that is silent for this long is forgotten, with its answers
PAGE_ENTRIES_MAX = 1_000
# Pages that one gateway reads at once from a store on its own disk; addresses take turns
PAGES_AT_ONCE_MAX = 4
PAGES_WAITING_MAX = 2_000  # requests that wait for their turn to read such a page
GRAPHQL_PAGE_MAX = 1_000
GRAPHQL_DEPTH_MAX = 16  # an introspection query needs this much

# Arweave, read and posted to.
# For one request, plus a second for each ARWEAVE_BYTES_PER_SECOND_MIN bytes sent or received
ARWEAVE_SECONDS_MAX = 30
ARWEAVE_BYTES_PER_SECOND_MIN = 128 * KIB  # the slowest transfer for which a request waits
BLOCK_SECONDS_MIN = 20  # a gateway that reports faster growth is not believed (Arweave aims at 120 s)
BLOCKS_AHEAD_MAX = 500  # blocks that a gateway may once report beyond BLOCK_SECONDS_MIN

# The embedded Arweave.
TERMS_CACHED_MAX = 16_384  # numbers of frequent tags and ids in the index, which need not be hashed again
INDEX_SLICE_TERMS = 4_000  # index rows that a bundle writes at a time, so that others can write between
WAL_BYTES = 64 * MIB  # the size at which the index's write-ahead log is emptied
WAL_CHECKPOINT_SECONDS_MAX = 2.0  # how long writers wait for readers while the write-ahead log is emptied
WAITING_BYTES_MAX = 16 * MIB  # the flusher's bundles whose items are not indexed yet: about a second's work
RECENT_SECONDS_MAX = 5.0  # how long a search waits for what is acknowledged and not posted yet
# A layer-1 transaction as JSON, with 12 MiB of data, as Arweave's nodes accept it
TRANSACTION_BODY_BYTES_MAX = 16 * MIB
CHUNK_BODY_BYTES_MAX = 1 * MIB  # a chunk with its proof, as JSON
CHUNK_PATH_BYTES_MAX = 64 * KIB
PIECES_BYTES_MAX = 512 * MIB  # chunks and parts of all uploads that are not complete yet
PIECES_SENDER_BYTES_MAX = 128 * MIB  # chunks and parts of one address
PIECES_UPLOADS_MAX = 1_000  # uploads in chunks or parts
PIECES_SENDER_UPLOADS_MAX = 100  # uploads in chunks or parts of one address
PIECES_OF_UPLOAD_MAX = 1_000  # chunks or parts of one upload
PART_BYTES_MAX = 25 * MIB  # a part of a data item (a bundler's `/chunks`); Irys sends 25 MB
PART_BYTES_MIN = 256 * KIB  # the smallest part size that clients are told; 100 MiB are 400 such parts
PIECES_IDLE_SECONDS_MAX = 600  # an upload in chunks or parts that makes no progress for so long is dropped
PIECES_SECONDS_MAX = 3_600  # an upload in chunks or parts that takes longer is dropped
UPLOAD_TREES_MAX = 8  # Merkle trees of the uploads whose chunks were requested last
SAME_DATA_MAX = 4  # layer-1 transactions that wait for the same data, and get it together
MINE_BLOCKS_MAX = 100  # of one request
MINE_BLOCKS_PER_SECOND = 1  # of all requests together
MINE_BLOCKS_BURST = 1_000  # of all requests at once
BALANCES_BYTES_MAX = 16 * MIB  # a genesis file (`--balances`)
BUNDLE_DEPTH_MAX = 4  # levels of nested bundles that are unfolded; deeper ones are kept whole
UPLOAD_BODY_SECONDS_MAX = 600  # enough for 100 MiB at 1.4 Mbit/s
UPLOADS_AT_ONCE_MAX = 4  # uploads that are verified at once, and as many more from the computer itself
UPLOADS_IN_FLIGHT_BYTES_MAX = 4 * UPLOAD_BYTES_MAX  # the bodies of all `POST /tx` together
DATA_CHUNK_BYTES = 256 * KIB  # longer data is streamed in pieces of this size
# Tags sent as response headers: with the rest under 90 lines (Python's client takes 100)
HEADER_TAGS_MAX = 75
MANIFEST_BYTES_MAX = 8 * MIB  # a path manifest
MANIFEST_PATHS_MAX = 100_000
MANIFESTS_KNOWN_MAX = 100  # path manifests that are kept parsed
MANIFESTS_KNOWN_BYTES_MAX = 16 * MIB  # the bytes of these manifests
HEADER_TAG_BYTES_MAX = 8 * KIB  # the bytes of these headers (Node's client takes 16 KiB of headers)
GRAPHQL_REQUEST_BYTES_MAX = 256 * KIB
GRAPHQL_TOKENS_MAX = 4_000  # of one query's text
GRAPHQL_KEPT_MAX = 64  # queries that are kept parsed
# Of a query that is kept: parsed, it takes 150 to 300 times as much memory
GRAPHQL_KEPT_CHARACTERS_MAX = 2_000
GRAPHQL_FIELDS_MAX = 300  # that one query selects, with its fragments expanded
GRAPHQL_SEARCHES_MAX = 20  # root fields and counts of one query (each alias is one); each is a search
GRAPHQL_SPREADS_MAX = 200  # fragment spreads of one query
GRAPHQL_ERRORS_MAX = 10  # errors that one answer lists
GRAPHQL_VALUES_MAX = 2_000  # ids, owners, tag values, … in the filter of one search
GRAPHQL_PAIRS_MAX = 100  # (owner, process) pairs looked up together; beyond it each is looked up alone
GRAPHQL_COST_MAX = 100_000  # values that one answer can have, computed from its fields and pages
GRAPHQL_STEPS_MAX = 50_000_000  # SQLite instructions of all searches of one query: some seconds
GRAPHQL_SECONDS_MAX = 10  # for one query, once it has a thread
GRAPHQL_SCANNED_MAX = 20_000  # items whose tags are read to answer one query
GRAPHQL_COUNTED_MAX = 200_000  # how far sets of items are counted to find the smallest
GRAPHQL_AT_ONCE_MAX = 2  # queries that one gateway answers at once; addresses take turns
GRAPHQL_WAITING_MAX = 200  # queries that wait for a thread
GRAPHQL_WAIT_SECONDS_MAX = 20  # how long a query waits for a thread

# The Python client (`aoray.connect`), and the command line.
CLIENT_CONNECTIONS_MAX = 256
CLIENT_REQUEST_SECONDS_MAX = 90  # longer than a computer holds a request
CLIENT_SLOT_WAITS_MAX = 64  # waits of one client for slots, each on a connection of its own
CLIENT_CALLS_MAX = 2  # calls of one driver to a gateway at once
DEMO_ROUNDS_MAX = 1_000  # how often `aoray demo` asks whether its messages have arrived

# Batches and queues between actors.
BATCH_MESSAGES_MAX = 1_000
GATEWAY_QUEUE_MESSAGES_MAX = 20_000
GATEWAY_QUEUE_BYTES_MAX = 256 * MIB
# Overload: a message is refused while those before it are late, if more than these numbers wait.
QUEUE_MESSAGES_FREE = 500  # messages that may wait to be ordered, however late
RESULTS_AWAITED_FREE = 1_000  # messages that may wait to be evaluated, however late
ORDER_LAG_SECONDS_MAX = 1.0  # from the arrival in a gateway to the slot
SUBMIT_MESSAGES_MAX = 128  # messages of one call to a shard; with more, overload is noticed too late
RESULT_LAG_SECONDS_MAX = 2.0  # from the slot to the result
RESULT_LAG_TRY_SECONDS = 0.1  # while an actor is late, one message is accepted for it in each such interval
# Without any result from an actor or process with more than RESULTS_AWAITED_FREE waiting
RESULT_SILENCE_SECONDS_MAX = 5.0
RESULT_SILENCE_TRY_SECONDS = 1.0  # meanwhile one message is accepted for it in each such interval
LAG_KNOWN_SECONDS = 1.0  # how long a measured lag counts
RETRY_SECONDS_MAX = 30.0  # how long a batch is sent again while an actor is being restarted
BATCH_CALLS_MAX = 2  # calls to one shard at once: while one is in progress, the next batch gathers
ACTOR_READY_SECONDS_MAX = 30.0  # for an actor's first answer to its shard; Ray needs a while to start one
ACTOR_NAME_SECONDS_MAX = 30.0  # until the name of an ended actor is free
ACTOR_LOOK_SECONDS_MAX = 1.0  # for an actor to report its address
# Results whose outboxes a gateway will push; others are found by the next scan
PUSH_QUEUE_RESULTS_MAX = 20_000
PUSHES_IN_FLIGHT_MAX = 128  # results whose outboxes one gateway is pushing
# Results that wait for their next attempt; others are found by the next scan
PUSH_RESTING_RESULTS_MAX = 10_000
# Processes from a spawned process up to the wallet at the start of its chain of spawns
SPAWN_CHAIN_MAX = 1_000
PUSH_HELD_PROCESSES_MAX = 10_000  # processes over their quota that an actor or a gateway remembers
HELD_SHOWN_MAX = 100  # of these processes, how many `GET /status` shows
PUSH_UPLOADS_MAX = 1_000  # outbox messages that are being posted to Arweave
PUSH_SLICE_MESSAGES = 50  # of one outbox, signed and sent at once, so that a long one does not delay others
PUSH_HANDED_BYTES_MAX = 16 * KIB  # a result sent with its announcement; larger ones are read from the store
PUSH_HELD_BYTES_MAX = 64 * MIB  # such results in the memory of one gateway
# Results of one actor whose outboxes it pushes itself; gateways push the others
DIRECT_PUSH_RESULTS_MAX = 512
NO_PROCESS_SECONDS = 60.0  # how long a target that is not a process (a wallet) is remembered as such
SENDERS_KNOWN_MAX = 10_000  # processes whose signers an actor remembers, and targets that are not processes
PUSH_SETTLE_S = 0.02  # how long the outcomes of pushes gather before they are written
# How often an actor shortens the WAL of its results, so that commits need not
RESULTS_WAL_CHECKPOINT_SECONDS = 0.5
PUSH_SCAN_S = 10.0  # how often the store is scanned for outboxes that no announcement named
PUSH_BACKOFF_MAX_S = 10.0
PUSH_FOREIGN_ATTEMPTS_MAX = 360  # at another network: about an hour; on this computer attempts never end
PUSH_ERROR_CHARACTERS_MAX = 500  # of the reason stored with an outbox message
TRACE_NODES_MAX = 1_000  # slots and messages of one trace; also how many causes it goes back
WIRE_FRAME_BYTES_MAX = 256 * MIB  # one call or answer between two actors
WIRE_CONNECT_SECONDS_MAX = 5
WIRE_SILENCE_SECONDS_MAX = 10  # of an actor that owes an answer; then the connection counts as broken
BATCH_BYTES_MAX = 16 * MIB  # items of one commit or one call; a single larger item goes alone
GATHER_MS = 2  # how long a busy shard gathers messages, unless GATHER_MESSAGES_MAX wait already
GATHER_MESSAGES_MAX = 64
SHARD_QUEUE_MESSAGES_MAX = 50_000
SHARD_QUEUE_BYTES_MAX = 256 * MIB
DISPATCH_QUEUE_BYTES_MAX = 64 * MIB  # in a shard for one process actor; the actor reads the rest from the log
LOG_PAGE_BYTES_MAX = 64 * MIB  # a page of the log ends here, and says that there is more
ASSIGNMENT_EXCLUDES_MAX = 100
# Thresholds of gc.set_threshold: messages leave no cycles, and a full collection is slow
COLLECT_AFTER = 20_000, 20, 100
ACTOR_QUEUE_MESSAGES_MAX = 50_000  # beyond it the actor drops payloads, and reads them again from the log
REPLAY_PAGE_ENTRIES = 500
SLICE_ENTRIES_MAX = 512  # messages that a process actor evaluates before it writes their results
SLICE_ENTRIES_PER_PROCESS_MAX = 8  # then the next process has its turn
ROUND_ENTRIES = 64  # messages evaluated in one round over all ready processes; each gets at least one
SLICE_SECONDS = 0.015  # after this time a slice starts no further message
# A slice of a message that takes long, while others wait: they have the larger part of the time
LONG_SLICE_SECONDS = 0.004
SLICE_RESULT_BYTES_MAX = 32 * MIB  # with this many bytes of results a slice starts no further message
ACTIVATIONS_IN_FLIGHT_MAX = 16  # processes whose modules one actor loads at the same time
ACTIVATIONS_AT_ONCE_MAX = 64  # processes that one actor activates together
ACTIVATION_BACKOFF_SECONDS_MAX = 10.0
# Processes of one actor that can not start and are tried again, each after a wait of its own
ACTIVATIONS_RETRIED_MAX = 200
# Processes of one actor that wait because of a machine fault and are named in `/status`
WAITING_SHOWN_MAX = 100
WAITING_REASON_CHARACTERS_MAX = 500
HALTED_WATCH_SECONDS = 2.0  # how often a gateway asks which processes are stopped
MODULES_LOADED_MAX = 64  # compiled modules that a process actor keeps besides those in use
WATCHES_MAX = 100_000  # results that gateways wait for at one process actor; the oldest are dropped
# Announcements of one kind (results, outboxes) that wait for one gateway; its scans find those dropped
NOTIFIER_QUEUE_MAX = 50_000
NOTIFIER_QUEUE_BYTES_MAX = 64 * MIB
RESIDENT_PROCESSES_MAX = 1_000  # processes that one actor keeps in memory; beyond it idle ones hibernate
RESIDENT_MEMORY_SHARE = 0.4  # of the machine's memory, for the processes of all its actors
WEIGH_SECONDS = 0.005  # of evaluation, after which the memory of a process is measured again
MODULES_LOADED_BYTES_MAX = 1 * GIB  # these modules, with their memories after boot
IDLE_SECONDS_MAX = 600  # a process that is idle for so long hibernates
FLUSH_BUNDLE_ENTRIES_MAX = 1_000
FLUSH_BUNDLE_BYTES_MAX = 8 * MIB
FLUSH_BACKOFF_SECONDS_MAX = 30.0
QUERY_IDS_MAX = 100  # bundles that one query for confirmations names
HIBERNATION_SCAN_SECONDS = 2.0  # how often a process actor looks for processes to hibernate
REST_SECONDS = 2.0  # the changed pages of a process that is idle for so long are compressed
OVERLAY_BYTES_MAX = 1 * MIB  # changed pages of a process that are kept compressed after each change
REST_BYTES_MAX = 8 * MIB  # changed pages of a process that are compressed while it is idle
BOOTS_MAX = 8  # memories after the boot of one module, one for each memory limit
RESTS_AT_ONCE_MAX = 8  # processes that are compressed before messages have their turn again
UPLOADS_WATCHED_AT_ONCE = 100  # uploads whose confirmations are asked for in one round
NODE_REQUESTS_IN_FLIGHT_MAX = 8
WATCH_SECONDS_MAX = 30.0  # between two such rounds
REPOST_SECONDS_MAX = 86_400  # between two posts of a bundle that Arweave does not show
# Entries waiting for Arweave whose bytes are counted; the rest is estimated
BACKLOG_ROWS_WEIGHED_MAX = 10_000

# A store in SQLite's files.
SQLITE_BUSY_SECONDS_MAX = 30  # how long a writer waits for other writers
SQLITE_LOOK_MS_MAX = 10  # between two checks whether they are done
INDEXER_BUSY_SECONDS_MAX = 10  # how long the indexer of the embedded Arweave waits for other writers

# A store on PostgreSQL.
STORE_CONNECT_SECONDS_MAX = 10
STORE_HOLD_SECONDS_MAX = 5.0  # how long a start waits for a store that another computer holds
STORE_STATEMENT_SECONDS_MAX = 60  # a statement; for a lock half of it, for an idle transaction a quarter
STORE_LOOKS_MAX = 16  # threads in which one gateway reads the store
FILES_REST_SECONDS = 30  # how long shared files are left alone after a failure
STORE_READERS_MAX = 4  # connections with which one OS process reads the log of one shard

STOPPED_PROCESSES_MAX = 1_000  # processes of one shard that the operator has stopped
STOPPED_RETRY_AFTER_S = 60  # the Retry-After of the answer to a message for a stopped process
STOPPED_WATCH_S = 2.0  # how often a gateway asks the shards for their stopped processes

# Cron.
CRONS_MAX = 16  # of one process
CRON_TAGS_MAX = 64  # of one cron
CRON_DAYS_MAX = 36_525  # the longest interval of a cron, in days
CRON_BLOCKS_MAX = 1_000_000_000  # the longest interval of a cron, in blocks
CRON_CATCH_UP_MAX = 100  # missed ticks of one cron that are made up for at once, with `Cron-Missed: all`
CRON_ORDERS_MAX = 10_000  # remembered items that started or stopped one process's crons; each works once
CRON_BATCH = 500  # due crons that are served at a time
CRON_SLEEP_SECONDS_MAX = 10  # a clock that is set forward is noticed after at most this time
CRON_LAGS_KEPT = 10_000  # lags of ticks that a shard or an actor remembers

# Checkpoints.
# A checkpoint is due when evaluation since the last took so many times as long as a checkpoint
CHECKPOINT_COSTS = 50
CHECKPOINT_SECONDS_GUESS = 0.02  # how long a checkpoint takes, until it is measured
CHECKPOINT_BYTES_MAX = 1 * GIB  # changed memory; a process that has changed more is always replayed
CHECKPOINTS_KEPT = 2  # of each process, besides the parents of these
CHECKPOINT_WHOLE_BYTES = 1 * MIB  # with up to so much changed memory, each checkpoint contains all of it
CHECKPOINT_CHAIN_FILES_MAX = 16  # a checkpoint and its parents
CHECKPOINTS_SWEPT_AT_ONCE = 500  # files checked in one transaction
# After its start an actor waits so long before it removes files that crashes left behind
SWEEP_AFTER_SECONDS = 30
CHECKPOINT_TRIES_MAX = 3  # attempts to write a checkpoint whose parent is removed meanwhile

# Checking a log (`aoray verify`).
VERIFY_PAGE_ENTRIES = 200  # slots that are fetched, checked and evaluated at a time
VERIFY_LIST_ENTRIES = 1_000  # requested in one query; a gateway may return fewer (arweave.net: 100)
HAND_OVERS_MAX = 100  # successive hand-overs of one unit's key that `aoray verify` follows
VERIFY_UNITS_MAX = 100  # compute units that a scheduler names on Arweave
VERIFY_OTHERS_MAX = 5_000  # the newest items in the form of assignments, among which others' are counted
VERIFY_BUNDLES_MAX = 4  # bundles kept in memory
VERIFY_REQUESTS_IN_FLIGHT_MAX = 16
VERIFY_APART_SLOTS_MIN = 2_000  # with at least so many slots, OS processes are started to check them
VERIFY_WORKERS_MAX = 4  # such OS processes; more than two check faster than one evaluates

# Attestations.
ATTESTATION_SLOTS_MAX = 1_000  # of one item, about 200 KB
ATTEST_PROCESSES_MAX = 100  # processes whose attestations are signed and written together

# Guest code.
OWN_ACTORS_MAX = 64  # of one shard: each is an OS process of 60 MB; further processes use the pool
MODULE_BYTES_MAX = 64 * MIB
FUNCTION_WEIGHT_MAX = 4_000  # the cost of compiling a function (vm/wasm/weight.py): about milliseconds
MODULE_WEIGHT_MAX = 20_000  # the cost of compiling all functions of a module
MODULE_COMPILE_SECONDS_MAX = 120
MODULE_GLOBALS_MAX = 500  # mutable globals of a module
COMPILERS_MAX = 2  # on one machine at once
COMPILER_THREADS_MAX = 2  # of one compiler, so that many cores do not mean much memory
COMPILER_NICE = 5
LOADS_MAX = 16  # owners of modules for whom a process actor loads at once
MODULES_REFUSED_MAX = 10_000  # refused modules that a process actor remembers, with the reason
COMPILE_BYTES_MAX = 16 * GIB  # address space of the OS process that compiles
MEMORY_BYTES_DEFAULT = 512 * MIB  # without a Memory-Limit tag
MEMORY_BYTES_MAX = 1 * GIB
# Units of fuel for one message, without a Compute-Limit tag: at worst 10 s (docs/fuel.md). A load or a store
# takes 16, most other instructions one.
FUEL_DEFAULT = 300_000_000
FUEL_PUBLISHED = 200_000_000_000  # that our tools write into a module: aos can read any message with it
FUEL_MAX = 9_000_000_000_000
FUEL_AT_ONCE = 100_000_000  # a message that takes more continues in slices, so that others can be evaluated
FUEL_SLICE = 10_000_000  # after which such a message can be suspended
FUEL_DRY_RUN_MAX = 10_000_000_000  # anybody may ask for a dry run
LONG_MESSAGES_MAX = 32  # messages in slices that one process actor has in progress; others wait
LONG_MESSAGES_OWNER_MAX = 8  # such messages of one owner, who also has the same share of the memory for them
LONG_MESSAGE_SECONDS_FIRST = 2.0  # evaluation time of one while owners without any wait; doubled each time
LONG_DRY_RUNS_MAX = 4  # dry runs in slices that one process actor has in progress
RESULT_BYTES_MAX = 8 * MIB  # the JSON that the evaluation of a message returns
OUTBOX_MESSAGES_MAX = 20_000  # messages, spawns and assignments of one result together
ASSIGNEES_MAX = 100  # processes to which one entry of an outbox assigns a message
KEPT_MESSAGES_MAX = 10_000  # messages evaluated since the last snapshot, and replayed after a failure
KEPT_BYTES_MAX = 64 * MIB  # the bytes of these messages

assert ITEM_BYTES_MAX <= UPLOAD_BYTES_MAX
assert TAG_VALUE_BYTES_MAX <= TAG_BYTES_MAX
assert CRON_TAGS_MAX + 6 <= TAGS_MAX  # a tick has six of its own
# A bundle holds entries (an item and its assignment each), and publications.
assert 2 * (FLUSH_BUNDLE_BYTES_MAX + ITEM_BYTES_MAX) <= BUNDLE_BYTES_MAX <= UPLOAD_BYTES_MAX
assert ITEM_BYTES_MAX <= BATCH_BYTES_MAX <= DISPATCH_QUEUE_BYTES_MAX <= SHARD_QUEUE_BYTES_MAX
assert 2 * max(BATCH_BYTES_MAX + ITEM_BYTES_MAX, UPLOAD_BYTES_MAX) <= WIRE_FRAME_BYTES_MAX
assert RESULTS_PAGE_BYTES_MAX <= EXCHANGE_BYTES_MAX <= WIRE_FRAME_BYTES_MAX // 2
assert BATCH_MESSAGES_MAX <= SHARD_QUEUE_MESSAGES_MAX
assert max(RESULT_BYTES_MAX, BATCH_BYTES_MAX) <= NOTIFIER_QUEUE_BYTES_MAX
assert MODULE_BYTES_MAX <= UPLOAD_BYTES_MAX <= PIECES_SENDER_BYTES_MAX <= PIECES_BYTES_MAX
assert PUSH_RESTING_RESULTS_MAX + PUSH_UPLOADS_MAX + PUSHES_IN_FLIGHT_MAX < PUSH_QUEUE_RESULTS_MAX
assert MEMORY_BYTES_DEFAULT <= MEMORY_BYTES_MAX
assert FUEL_SLICE <= FUEL_AT_ONCE <= FUEL_DEFAULT <= FUEL_PUBLISHED <= FUEL_MAX
assert FUEL_DRY_RUN_MAX <= FUEL_MAX
assert LONG_MESSAGES_OWNER_MAX <= LONG_MESSAGES_MAX
