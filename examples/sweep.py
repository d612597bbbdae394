"""A parameter sweep over 1,000 processes: where does x -> r·x·(1 - x) settle, and where is it chaos?

Each process is made with its own parameter `r` as a tag, iterates the logistic map, and says how many values
it visits in the end: 1, 2, 4, … and then very many. Run `aoray up` first; `--processes` is how many.
"""

from __future__ import annotations

import argparse

import aoray

PROGRAM = """
local r, x, seen, count = tonumber(ao.env.Process.Tags.R), 0.5, {}, 0
Handlers.add("visit", "Visit", function(msg)
  for i = 1, 2000 do x = r * x * (1 - x) end
  for i = 1, tonumber(msg.Steps) do
    x = r * x * (1 - x)
    local place = string.format("%.6f", x)
    if not seen[place] then seen[place], count = true, count + 1 end
  end
  print(count)
end)
"""


def sweep(url: str | None, processes: int, steps: int = 200) -> dict[float, int]:
    """How many values are visited, by parameter."""
    parameters = [2.5 + 1.5 * n / processes for n in range(processes)]
    with aoray.connect(url) as ao:
        spawns = [aoray.Spawn(PROGRAM, tags={"R": str(r)}) for r in parameters]
        made = sorted(ao.spawn_many(spawns, progress="processes"))
        visits = [aoray.Message(each.process, "Visit", tags={"Steps": str(steps)}) for each in made]
        found = {parameters[r.index]: int(r.output) for r in ao.send_many(visits, progress="visits")}
    return dict(sorted(found.items()))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url")
    options.add_argument("--processes", type=int, default=1000)
    given = options.parse_args()
    for r, count in sweep(given.url, given.processes).items():
        print(f"{r:.4f} {count:3} {'#' * min(count, 60)}")
