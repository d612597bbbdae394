"""Tools of every room: they know nothing of AO, and have no I/O of their own."""
