"""The embedded Arweave."""
