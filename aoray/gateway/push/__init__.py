"""Outboxes pushed by gateways."""
