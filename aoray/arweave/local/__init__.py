"""The embedded Arweave: its store, its search, and its HTTP API."""
