"""The scheduler: gives every message its place in its process's log, durably, before anybody is told of it.

`ordering` decides (pure), `storage/log` stores, `storage/log_reader` reads, `committer` combines these for
one batch, `shard` is the Ray actor, `dispatch` tells the process actors, `flusher` brings the log to Arweave.
"""
