-- `.message`: the shape in which handlers see a message and its environment.

local title_case = require(".native").title_case
local error, getmetatable, ipairs, pairs, rawget, setmetatable, type =
  error, getmetatable, ipairs, pairs, rawget, setmetatable, type

local message = {}

local function set_of(names, set)
  set = set or {}
  for _, name in ipairs(names) do set[name] = true end
  return set
end

-- Fields that only the host may set. A sender's tag of such a name is in msg.Tags, and nowhere else.
local HOST_FIELDS = {
  "Id", "From", "Owner", "Target", "Anchor", "Data", "Tags", "Signature", "Timestamp", "Block-Height", "Nonce", "Epoch",
  "Hash-Chain", "Module", "Cron", "Read-Only", "Forwarded-By",
}
local PROTOCOL_TAGS = {"Data-Protocol", "Variant", "Type", "From-Process", "From-Module"}
message.host_fields = set_of(HOST_FIELDS)
local protected = set_of(PROTOCOL_TAGS, set_of(HOST_FIELDS))

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

-- Sets a field, in place of any other spelling of its name.
local function put(fields, name, value)
  local proper = type(name) == "string" and title_case(name)
  for other in pairs(fields) do
    if type(other) == "string" and title_case(other) == proper then fields[other] = nil end
  end
  fields[name] = value
end

-- Sends a message on, with some of it changed; answers go to its sender. Names stay as the sender spelled them.
local function forward(ao, msg, target, changes)
  local copy = ao.sanitize(msg)
  copy.reply, copy.forward = nil, nil
  for name, value in pairs(changes or {}) do put(copy, name, value) end
  copy.Target = target
  put(copy, "Reply-To", msg["Reply-To"] or msg.From)
  put(copy, "X-Reference", msg["X-Reference"] or msg.Reference)
  put(copy, "X-Origin", msg["X-Origin"] or msg.From)
  ao.send(copy)
end

-- Takes these fields out of a message, however they are spelled.
function message.remove(msg, names)
  local removed = set_of(names)
  local function clear(fields)
    for name in pairs(fields) do
      if removed[name] or type(name) == "string" and removed[title_case(name)] then fields[name] = nil end
    end
    return fields
  end
  clear(msg)
  local meta = getmetatable(msg)
  if type(meta) ~= "table" or type(meta.__index) ~= "table" then return end
  local others = {} -- the original has its own
  for name, value in pairs(meta.__index) do others[name] = value end
  setmetatable(msg, {__index = clear(others)})
end

-- The host's names as programs know them. Nearly always they are already, and then nothing is moved.
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

-- Tags by name, and as fields of `msg`. Each name answers as the sender spelled it, and title-cased (`FQDN`, `Fqdn`).
-- Of equal names the first is the tag, the last the field. `pairs` shows what was sent: the title-cased name of a tag
-- that is spelled otherwise answers by __index only.
function message.name_tags(list, msg)
  local tags, other_tags, other_fields = {}, nil, nil
  for _, tag in ipairs(list) do
    local name, value = tag.name, tag.value
    local proper = title_case(name)
    if name == proper then
      if tags[name] == nil then tags[name] = other_tags and other_tags[name] or value end
      if not protected[name] then msg[name] = value end
    else
      other_tags, other_fields = other_tags or {}, other_fields or {}
      if tags[name] == nil then tags[name] = value end
      if tags[proper] == nil and other_tags[proper] == nil then other_tags[proper] = value end
      msg[name] = value
      if not protected[proper] then
        local fields = rawget(msg, proper) == nil and other_fields or msg
        fields[proper] = value
      end
    end
  end
  if other_tags then
    setmetatable(tags, {__index = other_tags})
    setmetatable(msg, {__index = other_fields})
  end
  return tags
end

-- The host's JSON with tags by name and as fields, and functions to answer with.
function message.shape(raw, ao)
  local msg = with_names(raw)
  local list = msg.Tags
  if type(list) ~= "table" then error("the message has no Tags", 0) end
  local tags = message.name_tags(list, msg)
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
