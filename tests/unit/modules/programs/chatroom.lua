-- A room that passes on what its members say.

local ao = require("ao")
Members = Members or {}

local function place_of(address)
  for i, member in ipairs(Members) do
    if member == address then return i end
  end
end

Handlers.add("Register", "Register", function(m)
  if place_of(m.From) then return Handlers.utils.reply("Already registered.")(m) end
  table.insert(Members, m.From)
  Handlers.utils.reply("Registered.")(m)
end)

Handlers.add("Unregister", "Unregister", function(m)
  local at = place_of(m.From)
  if at then table.remove(Members, at) end
  Handlers.utils.reply(at and "Unregistered" or "Not registered")(m)
end)

Handlers.add("Broadcast", "Broadcast", function(m)
  if not place_of(m.From) then return Handlers.utils.reply("Not registered")(m) end
  for _, member in ipairs(Members) do
    ao.send({Target = member, Action = "Broadcast-Notice", Broadcaster = m.From, Data = m.Data})
  end
  Handlers.utils.reply("Broadcasted.")(m)
end)
