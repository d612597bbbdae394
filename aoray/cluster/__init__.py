"""How the actors of a computer are named, where Ray places them, and how they call each other."""
