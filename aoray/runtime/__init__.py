"""A whole computer, started and stopped."""
