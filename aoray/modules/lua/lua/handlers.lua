-- `.handlers`, the global `Handlers`: the list of what a process does with a message, and the waiting for answers.
--
-- A message is offered to the handlers in order. A pattern says run and stop (true, a negative number, "break"), run and go
-- on (a positive number, "continue"), or pass (false, 0, any other string). If none stopped it, `_default` gets it.

local utils = require(".utils")
local describe = require(".fault").describe
local assert, error, ipairs, pairs, select, tostring, type, xpcall =
  assert, error, ipairs, pairs, select, tostring, type, xpcall
local insert, remove = table.insert, table.remove
local running, resume, yield = coroutine.running, coroutine.resume, coroutine.yield
local matches_spec = utils.matchesSpec

local Handlers = {
  _version = "0.0.5",
  list = {},
  coroutines = {}, -- those that wait in `receive`
  onceNonce = 0,
  utils = require(".handlers-utils"),
}

-- ---- the list ----

local function list_of()
  if type(Handlers.list) ~= "table" then Handlers.list = {} end
  return Handlers.list
end

local function index_of(name)
  for i, entry in ipairs(list_of()) do
    if entry.name == name then return i end
  end
end

local function check_name(name, text)
  if type(name) ~= "string" then error(text, 3) end
end

-- Both (name, pattern, handle, maxRuns) and (name, handle): then the name is the Action.
local function entry_of(name, pattern, handle, max_runs)
  if handle == nil and pattern ~= nil and type(pattern) ~= "string" then pattern, handle = name, pattern end
  if type(name) ~= "string" then error("the name of a handler must be a string, not " .. type(name), 3) end
  local kind = type(pattern)
  if kind ~= "string" and kind ~= "function" and kind ~= "table" then
    error("the pattern of a handler must be a string, a function or a table, not " .. kind, 3)
  end
  return {name = name, pattern = pattern, handle = Handlers.generateResolver(handle), maxRuns = max_runs}
end

-- A handler of the same name is changed where it stands.
local function put(entry, position)
  local at = index_of(entry.name)
  if not at then
    insert(Handlers.list, position or #Handlers.list + 1, entry)
    return
  end
  local old = Handlers.list[at]
  old.pattern, old.handle, old.maxRuns = entry.pattern, entry.handle, entry.maxRuns
end

function Handlers.add(name, pattern, handle, max_runs)
  put(entry_of(name, pattern, handle, max_runs))
  return #Handlers.list
end

function Handlers.append(name, pattern, handle, max_runs)
  put(entry_of(name, pattern, handle, max_runs))
end

function Handlers.prepend(name, pattern, handle, max_runs)
  put(entry_of(name, pattern, handle, max_runs), 1)
end

-- (name, pattern, handle) or (pattern, handle): runs once, before all others.
function Handlers.once(...)
  local name, pattern, handle = ...
  if select("#", ...) < 3 then
    if pattern == nil then error("a handler that runs once needs a pattern and a function", 2) end
    name, pattern, handle = "_once_" .. Handlers.onceNonce, name, pattern
    Handlers.onceNonce = Handlers.onceNonce + 1
  end
  put(entry_of(name, pattern, handle, 1), 1)
end

local function next_to(name, offset)
  return {
    add = function(new_name, pattern, handle, max_runs)
      local entry = entry_of(new_name, pattern, handle, max_runs)
      local at = index_of(name)
      if at then insert(Handlers.list, at + offset, entry) end
    end,
  }
end

function Handlers.before(name)
  check_name(name, "Handler name MUST be a string")
  return next_to(name, 0)
end

function Handlers.after(name)
  check_name(name, "Handler name MUST be a string")
  return next_to(name, 1)
end

function Handlers.remove(name)
  check_name(name, "name MUST be string")
  local at = index_of(name)
  if at then remove(Handlers.list, at) end
end

-- A table of patterns and functions as one handler: the first that matches is called.
function Handlers.generateResolver(spec)
  if type(spec) ~= "table" then return spec end
  return function(msg, env)
    for pattern, handle in pairs(spec) do
      local result = matches_spec(msg, pattern)
      if result and result ~= 0 and result ~= "skip" then return handle(msg, env) end
    end
  end
end

-- ---- a message ----

-- What a pattern's answer means: whether to run, whether to stop.
local function verdict(name, answer)
  local kind = type(answer)
  if kind == "boolean" then return answer, answer end
  if kind == "number" then return answer ~= 0, answer < 0 end
  if kind == "string" then return answer == "continue" or answer == "break", answer == "break" end
  error("the pattern of handler '" .. tostring(name) .. "' must give a boolean, number or string, not " .. kind, 0)
end

-- Counted before the run, so that a handler that waits in the middle cannot start again too often.
local function count_run(entry, list)
  local runs = entry.maxRuns
  if runs == nil or runs == "inf" then return end
  entry.maxRuns = runs - 1
  if entry.maxRuns > 0 then return end
  for i, other in ipairs(list) do
    if other == entry then return remove(list, i) end
  end
end

local function run(entry, list, msg, env)
  count_run(entry, list)
  local ok, err = xpcall(entry.handle, describe, msg, env)
  if not ok then error(err) end
end

-- The place of the entry that came after the one just run: handlers may have come or gone meanwhile.
local function place_after(list, at, following)
  if list[at + 1] == following or following == nil then return at + 1 end
  for i, entry in ipairs(list) do
    if entry == following then return i end
  end
  return at
end

local function scan(msg, env)
  local list, at = list_of(), 1
  while list[at] do
    local entry, following = list[at], list[at + 1]
    if entry.name == "_default" then
      at = at + 1
    else
      local should_run, stop = verdict(entry.name, matches_spec(msg, entry.pattern))
      if should_run then run(entry, list, msg, env) end
      if stop then return true end
      at = should_run and place_after(list, at, following) or at + 1
    end
  end
end

function Handlers.evaluate(msg, env)
  assert(type(msg) == "table", "the message must be a table")
  if scan(msg, env) then return end
  local at = index_of("_default")
  if at then run(list_of()[at], Handlers.list, msg, env) end
end

-- ---- waiting ----

local function forget(waiting)
  for i, co in ipairs(Handlers.coroutines) do
    if co == waiting then return remove(Handlers.coroutines, i) end
  end
end

-- Stops here until a message matches, and returns it. What follows belongs to the result of that message.
function Handlers.receive(pattern)
  local waiting = running()
  insert(Handlers.coroutines, waiting)
  Handlers.once(pattern, function(msg)
    forget(waiting)
    local ok, err = resume(waiting, msg)
    if not ok then error(describe(err), 0) end
  end)
  return yield({pattern = pattern})
end

return Handlers
