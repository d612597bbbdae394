"""One process evaluated, without actors: its program, what it is given, what it gives back."""
