"""The data that travels between people, units and Arweave: ids, tags, data items, keys, bundles, assignments.

All of it is pure: no I/O, no clock, no Ray. Every function gives the same answer for the same arguments
(except that making a key and RSA signatures need randomness). Bytes and JSON from outside are checked here
and nowhere else; malformed input raises a `ClientError` that names the field.
"""
