"""Process modules that are part of aoray: `lua`, which processes get by default."""
