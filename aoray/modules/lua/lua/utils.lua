-- `.utils`, the global `Utils`: lists and tables the functional way (most functions are curried), and the matching of messages.

local native = require(".native")
local is_list = native.is_list
local host_fields = require(".message").host_fields
local getmetatable, ipairs, pairs, select, tostring, type =
  getmetatable, ipairs, pairs, select, tostring, type
local lower, find, match, gsub = string.lower, string.find, string.match, string.gsub
local getinfo, pack, unpack = debug.getinfo, table.pack, table.unpack

local utils = {_version = "0.0.5"}

-- ---- lists ----

-- The texts are those that programs know.
local function check_list(t, text)
  if not is_list(t) then error(text, 3) end
end

local function check_function(fn, text)
  local meta = getmetatable(fn)
  if type(fn) ~= "function" and not (type(meta) == "table" and meta.__call) then
    error(text or "first argument should be a unary function", 3)
  end
end

local function check_table(t)
  if type(t) ~= "table" then error("argument needs to be a table", 3) end
end

-- A function of `arity` arguments that may be given a few at a time.
local function curry(fn, arity)
  check_function(fn, "first argument should be a function")
  arity = arity or getinfo(fn, "u").nparams
  if arity < 2 then return fn end
  local function collect(given)
    return function(...)
      local all = pack(unpack(given, 1, given.n))
      for i = 1, select("#", ...) do all[given.n + i] = (select(i, ...)) end
      all.n = given.n + select("#", ...)
      if all.n >= arity then return fn(unpack(all, 1, all.n)) end
      return collect(all)
    end
  end
  return collect({n = 0})
end
utils.curry = curry

utils.concat = curry(function(a, b)
  check_list(a, "first argument should be a table that is an array")
  check_list(b, "second argument should be a table that is an array")
  local out = {}
  for i, v in ipairs(a) do out[i] = v end
  for _, v in ipairs(b) do out[#out + 1] = v end
  return out
end, 2)

-- fn(accumulated, value, index). Without an initial value the first element is it.
utils.reduce = curry(function(fn, initial, t)
  check_function(fn, "first argument should be a function that accepts (result, value, key)")
  check_list(t, "third argument should be a table that is an array")
  local out = initial
  for i, v in ipairs(t) do
    if i == 1 and initial == nil then out = v else out = fn(out, v, i) end
  end
  return out
end, 3)

utils.map = curry(function(fn, t)
  check_function(fn)
  check_list(t, "second argument should be an Array")
  local out = {}
  for i, v in ipairs(t) do out[i] = fn(v, i) end
  return out
end, 2)

utils.filter = curry(function(fn, t)
  check_function(fn)
  check_list(t, "second argument should be an Array")
  local out = {}
  for _, v in ipairs(t) do
    if fn(v) then out[#out + 1] = v end
  end
  return out
end, 2)

utils.find = curry(function(fn, t)
  check_function(fn)
  check_list(t, "second argument should be an Array")
  for _, v in ipairs(t) do
    if fn(v) then return v end
  end
end, 2)

utils.includes = curry(function(value, t)
  check_list(t, "argument needs to be a table")
  for _, v in ipairs(t) do
    if v == value then return true end
  end
  return false
end, 2)

function utils.reverse(t)
  check_list(t, "argument needs to be a table that is an array")
  local out, n = {}, #t
  for i = 1, n do out[i] = t[n + 1 - i] end
  return out
end

-- The last function is applied first.
function utils.compose(...)
  local functions = pack(...)
  for i = 1, functions.n do check_function(functions[i], "compose takes functions") end
  return function(...)
    local out = pack(...)
    for i = functions.n, 1, -1 do out = pack(functions[i](unpack(out, 1, out.n))) end
    return unpack(out, 1, out.n)
  end
end

-- ---- tables ----

utils.prop = curry(function(name, t)
  return t[name]
end, 2)

utils.propEq = curry(function(name, value, t)
  if type(name) ~= "string" then error("first argument should be a string", 2) end
  if type(value) ~= "string" then error("second argument should be a string", 2) end
  if type(t) ~= "table" then error("third argument should be a table<object>", 2) end
  return t[name] == value
end, 3)

function utils.keys(t)
  check_table(t)
  local out = {}
  for key in pairs(t) do out[#out + 1] = key end
  return out
end

function utils.values(t)
  check_table(t)
  local out = {}
  for _, value in pairs(t) do out[#out + 1] = value end
  return out
end

-- ---- names ----

function utils.capitalize(text)
  return (gsub(lower(text), "^%l", string.upper))
end

-- `foo_bar` and `FOO-BAR` are `Foo-Bar`.
utils.normalize = native.title_case

-- ---- matching ----

local prepared, prepared_count = {}, 0

-- Patterns ignore case; the letter of a class such as %D stays as it is.
local function prepare(pattern)
  local entry = {plain = not find(pattern, "[%^%$%(%)%%%.%[%]%*%+%?]")}
  entry.text = entry.plain and lower(pattern) or gsub(pattern, "%%?.", function(piece)
    return #piece == 1 and lower(piece) or piece
  end)
  if prepared_count >= 1000 then prepared, prepared_count = {}, 0 end
  prepared[pattern], prepared_count = entry, prepared_count + 1
  return entry
end

local function matches_string(pattern, value)
  if pattern == "_" then return true end
  if type(value) == "number" or type(value) == "boolean" then value = tostring(value) end
  if type(value) ~= "string" then return false end
  if pattern == value then return true end
  local entry = prepared[pattern] or prepare(pattern)
  value = lower(value)
  if entry.plain then return value == entry.text end
  return match(value, entry.text) ~= nil
end

local matches_pattern

-- A list matches when any of its patterns does; a table of fields when all of them do (a field such as Tags).
local function matches_table(pattern, value, msg)
  if type(value) == "table" and not is_list(pattern) then
    for key, inner in pairs(pattern) do
      if not value[key] or not matches_pattern(inner, value[key], msg) then return false end
    end
    return true
  end
  for _, inner in pairs(pattern) do
    if matches_pattern(inner, value, msg) then return true end
  end
  return false
end

function matches_pattern(pattern, value, msg)
  local kind = type(pattern)
  if kind == "string" then return matches_string(pattern, value) end
  if kind == "function" then return pattern(value, msg) and true or false end
  if kind == "table" then return matches_table(pattern, value, msg) end
  return kind == "boolean" and pattern == value
end
utils.matchesPattern = matches_pattern

-- Whether a message is what a spec asks for. A key is a field or a tag: some tags are no fields (From-Process, Type), and of
-- two tags of one name the other may match. What only the host sets (From, Owner) is never a tag. A function answers for itself (Handlers knows more answers than yes and no).
function utils.matchesSpec(msg, spec)
  local kind = type(spec)
  if kind == "function" then return spec(msg) end
  if kind == "string" then return msg.Action == spec end
  if kind ~= "table" then return false end
  local tags = type(msg.Tags) == "table" and msg.Tags or {}
  for key, pattern in pairs(spec) do
    local value = msg[key]
    if not value or not matches_pattern(pattern, value, msg) then
      local tag = not host_fields[key] and tags[key]
      if not tag or tag == value or not matches_pattern(pattern, tag, msg) then return false end
    end
  end
  return true
end

return utils
