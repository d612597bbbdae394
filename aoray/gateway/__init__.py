"""HTTP: the messenger, scheduler and compute unit as AO's tools know them, and the push of outboxes."""
