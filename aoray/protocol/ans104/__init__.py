"""Data items of ANS-104: alone, in bundles, and the hash that is signed."""
