-- `.chance`: random numbers (MT19937) whose seed is the process's first message; `math.random` is the same stream.

local core = require(".random")
local chance = {seed = core.seed}

-- In [0, 1).
function chance.random()
  return core.random()
end

-- A whole number from min to max.
function chance.integer(min, max)
  if type(min) ~= "number" or type(max) ~= "number" then error("chance.integer takes two numbers", 2) end
  return core.random(min, max)
end

return chance
