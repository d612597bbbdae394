"""Ray: where actors are, what they are called, and how they are called."""
