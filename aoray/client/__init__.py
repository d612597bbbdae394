"""The Python client of a computer.

`connection` has `aoray.connect_async`, and `blocking` `aoray.connect`: typed calls, with retries, and many at
once. Below them, `unit_client` makes one request for each call, by the legacy contract, so it works with
other units too. `transports` sends requests over HTTP, and `ray_transport` over Ray, from a driver on the
cluster. `arrow` returns logs as Arrow tables.
"""

from aoray.client.unit_client import OCTET_STREAM, Client, unique_anchor
from aoray.protocol.modules import module_tags

__all__ = ["OCTET_STREAM", "Client", "module_tags", "unique_anchor"]
