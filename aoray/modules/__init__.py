"""Process modules that ship with aoray. See `lua`, the one that people get unless they ask for another."""
