"""Storage: everything that a computer keeps, in SQLite and files or in PostgreSQL and shared files."""
