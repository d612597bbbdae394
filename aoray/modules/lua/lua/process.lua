-- `.process`: what a process is made of, and what happens to each message. `handle(msg, env)` gives the result.
--
-- Order: shape the message, fix time and randomness, decide who is the owner, check trust, run the handlers in a coroutine.
-- A program may spoil any global; what is needed here to go on is held in locals.

local native = require(".native")
local json = require("json")
local ao = require("ao")
local assignment = require(".assignment")
local message = require(".message")
local Handlers = require(".handlers")
local utils = require(".utils")
local stringify = require(".stringify")
local fault = require(".fault")
local chance = require(".chance")
local random = require(".random").random
local dump = require(".dump")
local create, resume = coroutine.create, coroutine.resume
local concat, insert, remove = table.concat, table.insert, table.remove
local error, ipairs, pcall, select, tonumber, tostring, type =
  error, ipairs, pcall, select, tonumber, tostring, type
local os, math, traceback = os, math, debug.traceback
local set_time = native.set_time

-- The version of aos whose interface this is: tools compare it with their own, and find `aos-` in the prompt.
local process = {_version = "2.0.4"}
assignment.init(ao)
local INBOX_MAX = 10000

local RED, GREEN, BLUE, GRAY, RESET = "\27[31m", "\27[32m", "\27[34m", "\27[90m", "\27[0m"

-- ---- globals, and what `require` finds ----

io = require("io")
package.path, package.cpath = "", ""
package.loaded[".ao"] = ao
package.searchers[#package.searchers + 1] = function(name)
  local part = name:match("^%.crypto%.(.+)$")
  local found = part and require(".crypto").part(part)
  return found and function() return found end or nil
end

-- What AO programs find as globals.
_G.ao, _G.Handlers = ao, Handlers

Colors = {red = RED, green = GREEN, blue = BLUE, gray = GRAY, reset = RESET}
Bell = "\7"
Inbox, Errors, HANDLER_PRINT_LOGS = {}, {}, {}
Dump, Utils = dump, utils
Seeded = false

function Tab(msg)
  return message.name_tags(msg.TagArray or msg.Tags, {})
end

local function inbox_size()
  return type(Inbox) == "table" and #Inbox or 0
end

local function default_prompt()
  return GREEN .. tostring(Name) .. GRAY .. "@" .. BLUE .. "aos-" .. process._version .. GRAY .. "[Inbox:" .. RED ..
    inbox_size() .. GRAY .. "]" .. RESET .. "> "
end
Prompt = default_prompt

-- ---- printing ----

local function lines()
  if type(HANDLER_PRINT_LOGS) ~= "table" then HANDLER_PRINT_LOGS = {} end
  return HANDLER_PRINT_LOGS
end

local function print_line(text)
  insert(lines(), text)
end

local function shown(value)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "table" then return stringify.format(value) end
  local text = tostring(value)
  if kind == "nil" then return RED .. text .. RESET end
  if kind == "boolean" then return BLUE .. text .. RESET end
  if kind == "number" then return GREEN .. text .. RESET end
  return text
end

function print(...)
  local out = {}
  for i = 1, select("#", ...) do out[i] = shown((select(i, ...))) end
  print_line(concat(out, "\t"))
end

function Version()
  print("version: " .. process._version)
end

local function printed()
  local out = {}
  for i, line in ipairs(lines()) do out[i] = tostring(line) end
  return out
end

-- ---- sending ----

local NO_TARGET = "WARN: No target specified for message. Data will be stored, but no process will receive it."

function Send(given)
  if type(given) ~= "table" then error("msg should be a table", 2) end
  if not given.Target then print(NO_TARGET) end
  local sent = ao.send(given)
  return {output = "Message added to outbox", receive = sent.receive, onReply = sent.onReply}
end

-- Spawn(module, process), or Spawn(process) of the same module.
function Spawn(...)
  local module, given = ...
  if select("#", ...) == 1 then module, given = ao._module, module end
  local spawned = ao.spawn(module, given)
  return {output = "Spawn process request added to outbox", receive = spawned.receive}
end

function Assign(assignment)
  ao.assign(assignment)
  print("Assignment added to outbox.")
  return "Assignment added to outbox."
end

function Receive(pattern)
  return Handlers.receive(pattern)
end

-- ---- the parts of a message's journey ----

local function insert_inbox(msg)
  if type(Inbox) ~= "table" then Inbox = {} end
  insert(Inbox, msg)
  while #Inbox > INBOX_MAX do remove(Inbox, 1) end
end

local now = 0

-- The message's own time, in milliseconds, whatever is asked.
local function message_time()
  return now
end

local function fix_time(msg)
  now = msg.Timestamp
  set_time(tonumber(now))
  os.time = message_time
end

local seeded = false

local function fix_randomness(msg)
  if seeded then return end
  seeded, Seeded = true, true
  local module = msg.Module or msg.Tags.Module or ao._module
  local sum = native.byte_sum(tostring(msg.Owner) .. tostring(module) .. tostring(msg.Id))
  chance.seed(tonumber(tostring(msg["Block-Height"]) .. sum) or sum)
  math.random = random
  math.randomseed = function() end
end

local function decode_data(msg)
  if msg.Tags["Content-Type"] ~= "application/json" then return end
  if msg.Data == nil then
    msg.Data = {}
    return
  end
  local ok, data = pcall(json.decode, msg.Data)
  if ok then msg.Data = data end
end

local function is_authority(address)
  for _, authority in ipairs(ao.authorities) do
    if authority == address then return true end
  end
  return false
end

-- Once, from what the host says of the process: its signer, or the process for which an authority signed it.
local owned = false

local function decide_owner(msg)
  Name = Name or ao.env.Process.Tags.Name or "aos"
  if owned then return end
  owned = true
  local tags, signer = ao.env.Process.Tags, ao.env.Process.Owner
  if msg.Id == ao.id then tags, signer = msg.Tags, msg.Owner end
  local parent = tags["From-Process"]
  Owner = parent and is_authority(signer) and parent or signer
end

-- An Eval must be the owner's own word: signed by the owner, or vouched for by an authority that signed it.
local function is_owners_eval(msg)
  if msg.Action ~= "Eval" or Owner == nil or msg.From ~= Owner then return false end
  return msg.From == msg.Owner or is_authority(msg.Owner)
end

local run_eval = require(".eval")(ao, print_line)
local run_default = require(".default")(insert_inbox, print_line)
local run_boot = require(".boot")(ao, insert_inbox, run_eval)

local function is_boot(msg)
  return msg.Id == ao.id and msg.Tags.Type == "Process" and msg.From == Owner
end

local function always() return true end

-- Each time, so that a process that lost them has them again.
local function install_handlers(msg)
  Handlers.add("_eval", is_owners_eval, run_eval)
  Handlers.append("_default", always, run_default)
  if is_boot(msg) then Handlers.once("_boot", is_boot, run_boot) end
end

-- What stands against a message, before any handler sees it.
local function refusal(msg)
  local who = tostring(msg.From) .. " - Owner: " .. tostring(msg.Owner)
  if msg.From ~= msg.Owner and not ao.isTrusted(msg) then return "Message is not trusted! From: " .. who end
  if msg.Id == ao.id or not ao.isAssignment(msg) or ao.isAssignable(msg) then return nil end
  if msg.From ~= ao.id then ao.send({Target = msg.From, Data = "Assignment is not trusted by this process!"}) end
  return "Assignment is not trusted! From: " .. who
end

-- ---- the result ----

local function prompt()
  local ok, text = pcall(Prompt)
  return ok and type(text) == "string" and text or default_prompt()
end

local function success(is_eval)
  local out = printed()
  local output = {data = concat(out, "\n"), prompt = prompt()}
  if is_eval then output.test = dump(out) else output.print = true end
  return ao.result({Output = output})
end

local function failure(msg, err, stack)
  if type(Errors) ~= "table" then Errors = {} end
  insert(Errors, err)
  if msg.Action ~= "Eval" then
    local what = msg.Action and "Action = " .. tostring(msg.Action) or ""
    print_line(RED .. "Error" .. GRAY .. " handling message with " .. what .. RESET)
    print_line(GREEN .. err .. RESET)
    print_line("\n" .. GRAY .. stack .. RESET)
  end
  return {Error = concat(printed(), "\n") .. "\n\n" .. RED .. "error:\n" .. RESET .. err}
end

function process.handle(raw, env)
  ao.init(message.shape_env(env))
  ao.clearOutbox()
  HANDLER_PRINT_LOGS = {}
  local msg = message.shape(raw, ao)
  ao.Nonce = msg.Nonce
  fix_time(msg)
  fix_randomness(msg)
  decide_owner(msg)
  local refused = refusal(msg)
  if refused then
    print_line(refused)
    return success(false)
  end
  decode_data(msg)
  install_handlers(msg)
  fault.traceback = nil
  local running = create(Handlers.evaluate)
  local ok, err = resume(running, msg, ao.env)
  if ok then return success(msg.Action == "Eval") end
  local stack = fault.traceback or traceback(running)
  return failure(msg, fault.describe(err), stack)
end

-- The same from JSON to JSON, as older programs know it.
function handle(msg_json, env_json)
  local ok, result = pcall(process.handle, json.decode(msg_json), json.decode(env_json))
  return json.encode({ok = ok, response = ok and result or tostring(result)})
end

return process
