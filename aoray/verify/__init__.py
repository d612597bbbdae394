"""Verification of a process's log from Arweave alone."""
