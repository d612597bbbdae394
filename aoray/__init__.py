"""aoray: the AO computer, on Ray."""

__version__ = "0.1.0"
