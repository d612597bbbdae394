"""How this computer's actors identify themselves to its embedded Arweave, so that the bounds for strangers do
not apply to them.

The flusher's uploads have threads and memory of their own, and actors have no rate limits. The port is open
to everybody, so actors send a secret that only a holder of the computer's keys can compute: a hash of the
messenger's private key. It is the same in every actor and after every start, and reveals nothing about the
key. It is never sent to another Arweave.
"""

from __future__ import annotations

import hashlib

import orjson

from aoray.arweave.client import ArweaveClient
from aoray.arweave.heights import Heights
from aoray.protocol.signatures.jwk import signer_to_jwk
from aoray.settings import Settings
from aoray.storage.key_files import load_key


def own_word(settings: Settings) -> str:
    """Return the secret that the computer's own actors send."""
    key = orjson.dumps(signer_to_jwk(load_key(settings, "authority")), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(b"aoray: the word at the door of its own Arweave\n" + key).hexdigest()


def own_client(settings: Settings, heights: Heights | None = None) -> ArweaveClient:
    """Return a client of the Arweave in the settings, for one of the computer's actors."""
    word = "" if settings.gateway_url else own_word(settings)
    return ArweaveClient(settings.arweave_url, heights=heights, own_word=word)
