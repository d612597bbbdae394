-- `ao`: who this process is, whom it trusts, and its outbox.

local json = require("json")
local message = require(".message")
local Handlers = require(".handlers")
local error, getmetatable, ipairs, pairs, select, setmetatable, tostring, type =
  error, getmetatable, ipairs, pairs, select, setmetatable, tostring, type
local format, gmatch, insert = string.format, string.gmatch, table.insert
local native = require(".native")
local is_list, title_case = native.is_list, native.title_case

local ao = {
  _version = "0.0.6",
  id = "",
  _module = "",
  reference = 0,
  authorities = {},
  assignables = {},
  outbox = {Output = {}, Messages = {}, Spawns = {}, Assignments = {}},
  nonExtractableTags = {
    "Data-Protocol", "Variant", "From-Process", "From-Module", "Type", "From", "Owner", "Anchor", "Target", "Data",
    "Tags", "Read-Only",
  },
  nonForwardableTags = {
    "Data-Protocol", "Variant", "From-Process", "From-Module", "Type", "From", "Owner", "Anchor", "Target", "Tags",
    "TagArray", "Hash-Chain", "Timestamp", "Nonce", "Epoch", "Signature", "Forwarded-By", "Pushed-For", "Read-Only",
    "Cron", "Block-Height", "Reference", "Id", "Reply-To",
  },
}

-- ---- messages in ----

-- Tags become fields: in msg the last of a name counts, in msg.Tags the first.
function ao.normalize(msg)
  message.name_tags(msg.TagArray or msg.Tags, msg)
  return msg
end

local function clone(value, seen)
  if type(value) ~= "table" then return value end
  if seen[value] then return seen[value] end
  local copy = {}
  seen[value] = copy
  for key, inner in pairs(value) do copy[clone(key, seen)] = clone(inner, seen) end
  return setmetatable(copy, getmetatable(value))
end

function ao.clone(value)
  return clone(value, {})
end

function ao.sanitize(msg)
  local copy = ao.clone(msg)
  message.remove(copy, ao.nonForwardableTags)
  return copy
end

-- ---- trust ----

local function contains(list, value)
  for _, entry in ipairs(list) do
    if entry == value then return true end
  end
  return false
end

-- Signed by an authority. (What is signed by whom it is from needs no voucher; and whom a message claims to
-- be from proves nothing, even if that is an authority.)
function ao.isTrusted(msg)
  return contains(ao.authorities, msg.Owner)
end

function ao.init(env)
  local process = env.Process
  ao.env = env
  if ao.id == process.Id then return end
  ao.id = process.Id
  ao._module = process.Tags.Module or (env.Module and env.Module.Id) or ""
  ao.authorities = {}
  for _, tag in ipairs(process.TagArray) do
    if tag.name == "Authority" then
      for name in gmatch(tostring(tag.value), "[^,%s]+") do
        if not contains(ao.authorities, name) then insert(ao.authorities, name) end
      end
    end
  end
end

-- ---- messages out ----

local function emptied(outbox)
  outbox.Output, outbox.Error = {}, nil
  outbox.Messages, outbox.Spawns, outbox.Assignments = {}, {}, {}
  return outbox
end

function ao.clearOutbox()
  ao.outbox = emptied(type(ao.outbox) == "table" and ao.outbox or {})
end

local not_tags = {Target = true, Data = true, Anchor = true, Tags = true, From = true}

local function add_given_tags(tags, given)
  if type(given) ~= "table" then error("Tags must be a table, not " .. type(given), 4) end
  if is_list(given) then
    for _, tag in ipairs(given) do
      if type(tag) == "table" then tags[#tags + 1] = {name = tag.name or tag[1], value = tag.value or tag[2]} end
    end
  else
    for name, value in pairs(given) do tags[#tags + 1] = {name = name, value = value} end
  end
end

local function is_content_type(name)
  return type(name) == "string" and title_case(name) == "Content-Type"
end

-- The fields of what a program sends become tags, but for a few; a table as Data becomes JSON.
local function fill(out, given, tags)
  local data = given.Data
  for name, value in pairs(given) do
    if not not_tags[name] and not (type(data) == "table" and is_content_type(name)) then
      tags[#tags + 1] = {name = name, value = value}
    end
  end
  if type(data) == "table" then
    data = json.encode(data)
    tags[#tags + 1] = {name = "Content-Type", value = "application/json"}
  end
  if given.Tags ~= nil then add_given_tags(tags, given.Tags) end
  if type(data) ~= "function" then out.Data = data end
  out.Tags = tags
end

local function next_reference()
  ao.reference = ao.reference + 1
  return format("%d", ao.reference), format("%032d", ao.reference)
end

local function header(kind)
  return {{name = "Data-Protocol", value = "ao"}, {name = "Variant", value = "ao.TN.1"}, {name = "Type", value = kind}}
end

-- Gives `out` the functions that wait for its answer: `pattern_for(sender)` is what an answer looks like.
local function await_with(out, pattern_for)
  function out.receive(sender)
    return Handlers.receive(pattern_for(sender))
  end

  -- onReply(handler) or onReply(sender, handler)
  function out.onReply(...)
    local sender, handle = ...
    if select("#", ...) < 2 then sender, handle = nil, sender end
    Handlers.once(pattern_for(sender), handle)
  end
  return out
end

function ao.send(given)
  if type(given) ~= "table" then error("msg should be a table", 2) end
  local reference, anchor = next_reference()
  local tags = header("Message")
  tags[4] = {name = "Reference", value = reference}
  local sent = {Target = given.Target, Anchor = anchor}
  fill(sent, given, tags)
  insert(ao.outbox.Messages, sent)
  return await_with(sent, function(sender)
    return {From = sender or sent.Target, ["X-Reference"] = reference}
  end)
end

function ao.spawn(module, given)
  if type(module) ~= "string" then error("Module source id is required!", 2) end
  if type(given) ~= "table" then error("Message must be a table", 2) end
  local reference, anchor = next_reference()
  local tags = header("Process")
  for _, tag in ipairs({{"From-Process", ao.id}, {"From-Module", ao._module}, {"Module", module}, {"Reference", reference}}) do
    insert(tags, {name = tag[1], value = tag[2]})
  end
  local spawned = {Anchor = anchor}
  fill(spawned, given, tags)
  if spawned.Data == nil then spawned.Data = "NODATA" end
  insert(ao.outbox.Spawns, spawned)
  return await_with(spawned, function(sender)
    return {Action = "Spawned", From = sender or ao.id, Reference = reference}
  end)
end

function ao.assign(assignment)
  if type(assignment) ~= "table" then error("assignment should be a table", 2) end
  if type(assignment.Processes) ~= "table" then error("Processes should be a table", 2) end
  if type(assignment.Message) ~= "string" then error("Message should be a string", 2) end
  insert(ao.outbox.Assignments, assignment)
end

-- Seen by nobody in the end; kept for programs that call it.
function ao.log(text)
  local output = ao.outbox.Output
  if type(output) == "string" then output = {output} end
  ao.outbox.Output = type(output) == "table" and output or {}
  insert(ao.outbox.Output, text)
end

-- ---- the result ----

-- Text and plain values go out as they are; what JSON has no words for, as text.
local function error_value(err)
  local kind = type(err)
  if kind == "function" or kind == "userdata" or kind == "thread" then return tostring(err) end
  return err
end

function ao.result(result)
  result = result or {}
  local outbox = ao.outbox
  local err = result.Error or outbox.Error
  if err then return {Error = error_value(err)} end
  return {
    Output = result.Output or outbox.Output or {},
    Messages = outbox.Messages,
    Spawns = outbox.Spawns,
    Assignments = outbox.Assignments,
  }
end

-- Part of the interface, without a use here.
function ao.registerHint() end

return ao
