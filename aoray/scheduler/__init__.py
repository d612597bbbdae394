"""Order: every message gets its place in its process's log here, durably, before anybody is told of it.

`ordering` decides (pure), `storage/log` keeps, `storage/log_reader` reads, `committer` ties these together
for one batch, `shard` is the Ray actor, `dispatch` tells the process actors, `flusher` brings the log to
Arweave.
"""
