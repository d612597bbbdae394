"""What people read of a computer: its health, its messages' ways, its outboxes."""
