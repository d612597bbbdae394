"""How this computer's own actors come to its embedded Arweave: as themselves, whatever strangers do there.

What the flusher posts has threads and room of its own, and actors have no rates. The port where they come is
open to everybody, so they say a word that only who has the computer's keys can say: a hash of the messenger's
private key, the same in every actor and after every start; nothing of the key can be told from it.
To another Arweave than the embedded one it is not said.
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
    """Return a client of the settings' Arweave, for one of the computer's actors."""
    word = "" if settings.gateway_url else own_word(settings)
    return ArweaveClient(settings.arweave_url, heights=heights, own_word=word)
