"""Everything that is kept, on any backend."""
