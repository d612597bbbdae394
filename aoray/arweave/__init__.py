"""Where things are kept forever: a client of Arweave, and the embedded local Arweave that answers it."""
