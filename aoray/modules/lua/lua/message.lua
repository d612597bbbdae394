-- `.message`: the shape in which handlers see a message and its environment.

local title_case = require(".native").title_case
local error, ipairs, pairs, type = error, ipairs, pairs, type

local message = {}

-- Fields that only the host may set. A sender's tag of such a name is in msg.Tags, and nowhere else.
message.protected = {}
for _, name in ipairs({
  "Id", "From", "Owner", "Target", "Anchor", "Data", "Tags", "Signature", "Timestamp", "Block-Height", "Nonce", "Epoch",
  "Hash-Chain", "Module", "Cron", "Read-Only", "Forwarded-By", -- the host's fields
  "Data-Protocol", "Variant", "Type", "From-Process", "From-Module", -- the protocol's tags
}) do
  message.protected[name] = true
end
local protected = message.protected

-- Answers a message. What was given is left as it was.
local function reply(ao, msg, given)
  if type(given) ~= "table" then error("a reply must be a table, not " .. type(given), 2) end
  local answer = {}
  for name, value in pairs(given) do answer[name] = value end
  answer.Target = msg["Reply-To"] or given.Target or msg.From
  answer["X-Reference"] = msg["X-Reference"] or msg.Reference
  answer["X-Origin"] = msg["X-Origin"]
  return ao.send(answer)
end

-- Sends a message on, with some of it changed; answers go to its sender.
local function forward(ao, msg, target, changes)
  local copy = ao.sanitize(msg)
  copy.reply, copy.forward = nil, nil
  for name, value in pairs(changes or {}) do copy[name] = value end
  copy.Target = target
  copy["Reply-To"] = msg["Reply-To"] or msg.From
  copy["X-Reference"] = msg["X-Reference"] or msg.Reference
  copy["X-Origin"] = msg["X-Origin"] or msg.From
  ao.send(copy)
end

-- Names as programs know them. Nearly always they are already, and then nothing is moved.
local function with_names(raw)
  local renamed
  for name in pairs(raw) do
    if title_case(name) ~= name then
      renamed = renamed or {}
      renamed[#renamed + 1] = name
    end
  end
  for _, name in ipairs(renamed or {}) do
    local proper = title_case(name)
    if raw[proper] == nil then raw[proper] = raw[name] end
    raw[name] = nil
  end
  return raw
end

-- The host's JSON with names title-cased, tags as fields (the last of a name counts), and functions to answer with.
function message.shape(raw, ao)
  local msg, tags = with_names(raw), {}
  local list = msg.Tags
  if type(list) ~= "table" then error("the message has no Tags", 0) end
  for _, tag in ipairs(list) do
    local name, value = title_case(tag.name), tag.value
    tag.name = name
    if tags[name] == nil then tags[name] = value end
    if not protected[name] then msg[name] = value end
  end
  msg.TagArray, msg.Tags = list, tags
  msg.From = msg.From or msg.Owner
  function msg.reply(given) return reply(ao, msg, given) end
  function msg.forward(target, changes) return forward(ao, msg, target, changes) end
  return msg
end

-- env's process tags by name, the list beside them. Once for each text of env.
function message.shape_env(env)
  local process = env.Process
  if process.TagArray then return env end
  local tags = {}
  for _, tag in ipairs(process.Tags or {}) do
    if tags[tag.name] == nil then tags[tag.name] = tag.value end
  end
  process.TagArray, process.Tags = process.Tags or {}, tags
  return env
end

return message
