-- `.chance`: random numbers (MT19937) whose seed is the process's first message; `math.random` is the same stream.

local core = require(".random")
local chance = {seed = core.seed, random = core.random}

function chance.integer(min, max)
  return core.random(min or 0, max or 2147483647)
end

return chance
