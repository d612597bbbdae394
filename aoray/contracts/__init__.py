"""What the services say to each other: typed values, and no code of either side."""
