-- `.assignment`: messages of others that were assigned to this process, and which of them it accepts.

local utils = require(".utils")
local assignment = {_version = "0.1.0"}

local function index_of(list, name)
  for i, entry in ipairs(list) do
    if entry.name == name then return i end
  end
end

-- addAssignable(spec), or addAssignable(name, spec), which replaces a spec of that name.
local function add(ao, name, pattern)
  if pattern == nil then name, pattern = nil, name end
  local kind = type(pattern)
  if kind ~= "string" and kind ~= "function" and kind ~= "table" then
    error("an assignable must be a string, a function or a table, not " .. kind, 3)
  end
  if name ~= nil and type(name) ~= "string" then
    error("the name of an assignable must be a string, not " .. type(name), 3)
  end
  local at = name and index_of(ao.assignables, name) or #ao.assignables + 1
  ao.assignables[at] = {name = name, pattern = pattern}
end

local function remove(ao, name)
  local kind = type(name)
  if kind ~= "string" and kind ~= "number" then
    error("an assignable is removed by name or index, not by a " .. kind, 3)
  end
  local at = kind == "number" and name or index_of(ao.assignables, name)
  if at and ao.assignables[at] then table.remove(ao.assignables, at) end
end

local function is_match(answer)
  return answer and answer ~= 0 and answer ~= "skip" and true or false
end

-- Gives `ao` its functions for assignments.
function assignment.init(ao)
  function ao.addAssignable(...)
    add(ao, ...)
  end
  function ao.removeAssignable(name)
    remove(ao, name)
  end
  function ao.isAssignment(msg)
    return msg.Target ~= ao.id
  end
  function ao.isAssignable(msg)
    for _, entry in ipairs(ao.assignables) do
      if is_match(utils.matchesSpec(msg, entry.pattern)) then return true end
    end
    return false
  end
end

return assignment
