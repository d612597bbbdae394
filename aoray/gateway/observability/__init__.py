"""The routes that show the state of a computer: health, metrics, traces of messages, and outboxes."""
