"""Order: every message gets its place in its process's log here, durably, before anybody is told of it.

`rules` decides (pure), `log` keeps, `reader` reads, `committer` ties these together for one batch, `shard` is
the Ray actor, `lanes` tells the process actors, `flusher` brings the log to Arweave.
"""
