"""Conway's game of life, in which each cell is a process, and cells tell each other how they are.

Nobody keeps the beat: a cell takes its next step when all eight neighbours have told it of theirs, so some
cells are a step ahead of others, and the game is right all the same. What a cell hears too early it keeps.
"""

from __future__ import annotations

import argparse
import time

import aoray

CELL = """
local json = require("json")
Alive, Generation, Last, Cells, Heard = 0, 0, 0, {}, {}
local function tell()
  for _, cell in ipairs(Cells) do
    Send({Target = cell, Action = "Tell", Generation = tostring(Generation), Alive = tostring(Alive)})
  end
end
local function step()
  local heard = Heard[Generation] or {count = 0, alive = 0}
  while heard.count == #Cells and Generation < Last do
    Alive = (heard.alive == 3 or (heard.alive == 2 and Alive == 1)) and 1 or 0
    Heard[Generation], Generation = nil, Generation + 1
    if Generation < Last then tell() end
    heard = Heard[Generation] or {count = 0, alive = 0}
  end
end
Handlers.add("start", "Start", function(msg)
  assert(msg.From == Owner, "only who made the cells starts them")
  local given = json.decode(msg.Data)
  Cells, Alive, Last = given.cells, given.alive, given.generations
  if Last > 0 then tell() end
  step()
end)
Handlers.add("tell", "Tell", function(msg)
  local generation = math.tointeger(tonumber(msg.Generation))
  local heard = Heard[generation] or {count = 0, alive = 0}
  Heard[generation] = {count = heard.count + 1, alive = heard.alive + math.tointeger(tonumber(msg.Alive))}
  if #Cells > 0 then step() end
end)
Handlers.add("state", "State", function() print(Generation .. " " .. Alive) end)
"""
Board = list[list[int]]


def life(ao: aoray.Connection, board: Board, generations: int, seconds_max: float = 120) -> Board:
    """The board (3 × 3 at least; its edges touch) so many generations on."""
    rows, columns = len(board), len(board[0])
    if min(rows, columns) < 3:
        raise ValueError("a board is 3 × 3 at least: in a smaller one a cell meets a neighbour twice")
    places = [(row, column) for row in range(rows) for column in range(columns)]
    made = ao.spawn_many([aoray.Spawn(CELL)] * len(places), progress="cells")
    cells = {places[each.index]: each.process for each in made}
    started = [
        aoray.Message(cells[place], "Start", orders(cells, board, place, generations)) for place in places
    ]
    for result in ao.send_many(started, progress="start"):
        assert result.ok, result.error
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        asked = ao.send_many([aoray.Message(cells[place], "State") for place in places])
        states = {places[state.index]: [int(n) for n in state.output.split()] for state in asked}
        if all(generation == generations for generation, _ in states.values()):
            return [[states[row, column][1] for column in range(columns)] for row in range(rows)]
    raise TimeoutError("the cells have not come so far")


def orders(cells: dict[tuple[int, int], str], board: Board, place: tuple[int, int], generations: int) -> str:
    """What a cell is told at the start, as JSON."""
    rows, columns = len(board), len(board[0])
    around = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]
    near = [cells[(place[0] + down) % rows, (place[1] + right) % columns] for down, right in around]
    names = ",".join(f'"{cell}"' for cell in near)
    return f'{{"cells":[{names}],"alive":{board[place[0]][place[1]]},"generations":{generations}}}'


def glider(size: int) -> Board:
    """A small thing that moves one down and one right in four generations."""
    alive = {(0, 1), (1, 2), (2, 0), (2, 1), (2, 2)}
    return [[int((row, column) in alive) for column in range(size)] for row in range(size)]


def show(board: Board) -> str:
    return "\n".join("".join("█" if alive else "·" for alive in row) for row in board)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--url")
    options.add_argument("--size", type=int, default=10)
    options.add_argument("--generations", type=int, default=4)
    given = options.parse_args()
    with aoray.connect(given.url) as ao:
        before = glider(given.size)
        print(show(before), "", show(life(ao, before, given.generations)), sep="\n")
