"""Signature types, one file each; `registry` finds them by number, `jwk` by a key's form."""
