"""A log checked from Arweave alone."""
