"""Clients of a computer: what a person's program holds of it.

`connection` is the door to all of it: `aoray.connect` and `aoray.connect_async`, typed, patient, many at
once. Below it `unit_client` is one request for each call, in the words of the legacy contract, so it works
against other units too; `transports` is how a request gets there: over HTTP, or (`ray_transport`) over Ray
from a driver on the cluster. `arrow` has logs as Arrow tables.
"""

from aoray.client.unit_client import OCTET_STREAM, Client, unique_anchor
from aoray.protocol.modules import module_tags

__all__ = ["OCTET_STREAM", "Client", "module_tags", "unique_anchor"]
