"""Signature types, with one file for each; `registry` finds them by number, `jwk` by the form of a key."""
