"""Data items of ANS-104: alone and in bundles, and the deep hash that is signed."""
