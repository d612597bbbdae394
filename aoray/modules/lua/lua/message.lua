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

-- The host's JSON with names title-cased, tags as fields (the last of a name counts), and functions to answer with.
function message.shape(raw, ao)
  local msg, tags, list = {}, {}, {}
  for name, value in pairs(raw) do msg[title_case(name)] = value end
  if type(msg.Tags) ~= "table" then error("the message has no Tags", 0) end
  for i, tag in ipairs(msg.Tags) do
    local name, value = title_case(tag.name), tag.value
    list[i] = {name = name, value = value}
    if tags[name] == nil then tags[name] = value end
    if not protected[name] then msg[name] = value end
  end
  msg.TagArray, msg.Tags = list, tags
  msg.From = msg.From or msg.Owner
  function msg.reply(given) return ao.reply(msg, given) end
  function msg.forward(target, changes) return ao.forward(msg, target, changes) end
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
