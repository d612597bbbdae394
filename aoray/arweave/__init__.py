"""A client of Arweave, and the embedded Arweave of a computer on one machine."""
