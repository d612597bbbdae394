"""Where things are kept for ever: a client of Arweave, and the embedded local Arweave that answers it."""
