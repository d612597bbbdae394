"""A token market: traders, each a process, trade with one another, and not a token is lost or made.

Every trader begins with as many tokens. A message tells it to pay another one; it sends a `Credit` to that
process itself, which the computer delivers once, whatever crashes meanwhile. Traders believe a `Credit` only
of a process (`msg.From`) that the market named to them. In the end the balances are added up.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator

import aoray

TRADER = """
local json = require("json")
Balance, Paid, Received, Known = 1000, 0, 0, {}
Handlers.add("meet", "Meet", function(msg)
  assert(msg.From == Owner, "only the market introduces traders")
  for _, trader in ipairs(json.decode(msg.Data)) do Known[trader] = true end
end)
Handlers.add("pay", "Pay", function(msg)
  local quantity = math.tointeger(tonumber(msg.Quantity))
  assert(msg.From == Owner and Known[msg.To], "a stranger")
  assert(quantity and quantity > 0 and quantity <= Balance, "not so many tokens")
  Balance, Paid = Balance - quantity, Paid + 1
  Send({Target = msg.To, Action = "Credit", Quantity = tostring(quantity)})
end)
Handlers.add("credit", "Credit", function(msg)
  assert(Known[msg.From], "a stranger")
  Balance, Received = Balance + math.tointeger(tonumber(msg.Quantity)), Received + 1
end)
Handlers.add("state", "State", function() print(Balance .. " " .. Paid .. " " .. Received) end)
"""


class Market:
    """Traders on one computer, and what they have."""

    def __init__(self, ao: aoray.Connection, traders: int) -> None:
        self._ao = ao
        spawned = ao.spawn_many([aoray.Spawn(TRADER)] * traders, progress="traders")
        self.traders = [each.process for each in spawned]
        names = "[" + ",".join(f'"{trader}"' for trader in self.traders) + "]"
        for met in ao.send_many([aoray.Message(trader, "Meet", names) for trader in self.traders]):
            assert met.ok, met.error

    def trade(self, trades: int, seed: int = 0) -> int:
        """Make so many random payments; how many of them were made (others had not enough)."""
        results = self._ao.send_many(self._payments(trades, random.Random(seed)), progress="trades")
        return sum(result.ok for result in results)

    def _payments(self, trades: int, chance: random.Random) -> Iterator[aoray.Message]:
        for _ in range(trades):
            payer, payee = chance.sample(self.traders, 2)
            yield aoray.Message(payer, "Pay", tags={"To": payee, "Quantity": str(chance.randint(1, 300))})

    def balances(self, seconds_max: float = 60) -> dict[str, int]:
        """What each trader has, once every payment has arrived."""
        deadline = time.monotonic() + seconds_max
        while time.monotonic() < deadline:
            states = self._ao.send_many([aoray.Message(trader, "State") for trader in self.traders])
            rows = {state.process: [int(n) for n in state.output.split()] for state in states}
            if sum(paid for _, paid, _ in rows.values()) == sum(got for _, _, got in rows.values()):
                return {trader: balance for trader, (balance, _, _) in rows.items()}
        raise TimeoutError("payments are still on their way")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url")
    options.add_argument("--traders", type=int, default=100)
    options.add_argument("--trades", type=int, default=2000)
    given = options.parse_args()
    with aoray.connect(given.url) as ao:
        market = Market(ao, given.traders)
        made = market.trade(given.trades)
        balances = market.balances()
    richest = max(balances, key=lambda trader: balances[trader])
    print(f"{made} of {given.trades} payments; {sum(balances.values())} tokens of {1000 * given.traders}")
    print(f"the richest is {richest} with {balances[richest]}")
