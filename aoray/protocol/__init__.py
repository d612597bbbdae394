"""What travels between people, units and Arweave: ids, tags, data items, keys, bundles, assignments.

Pure: no I/O, no clock, no Ray: every function here gives the same answer for the same arguments (making
a key and RSA signatures draw randomness, nothing else does). Bytes and JSON that come from outside are
judged here and nowhere else; what is wrong with them is said with a `ClientError` that names the field.
"""
