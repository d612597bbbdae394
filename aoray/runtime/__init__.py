"""The runtime: starts, supervises and stops a whole computer."""
