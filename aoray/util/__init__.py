"""General tools, which know nothing of AO and do no I/O of their own."""
