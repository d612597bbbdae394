-- A game of two rounds: who pays is in, the clock is the messages', all are told, one asks another process and waits.

local ao = require("ao")
local json = require("json")

Players = Players or {}
GameMode = GameMode or "Not-Started"
EndsAt = EndsAt or undefined
Fee = 100

local function announce(event)
  for address in pairs(Players) do
    ao.send({Target = address, Action = "Announcement", Event = event})
  end
end

Handlers.add("tick", function(msg) return "continue" end, function(msg)
  if GameMode == "Playing" and msg.Timestamp >= EndsAt then
    GameMode = "Not-Started"
    announce("Game-Ended")
  end
end)

Handlers.add("join", {Action = "Credit-Notice", Quantity = function(q) return tonumber(q) >= Fee end}, function(msg)
  Players[msg.Sender] = {health = 100, joined = msg.Timestamp}
  ao.send({Target = msg.Sender, Action = "Registered"})
end)

Handlers.add("start", "Start", function(msg)
  assert(next(Players), "nobody is here")
  GameMode, EndsAt = "Playing", msg.Timestamp + 3
  announce("Started")
end)

Handlers.add("state", {Action = "GetGameState"}, function(msg)
  local players = {}
  for address, player in pairs(Players) do players[address] = player.health end
  msg.reply({Action = "GameState", Data = json.encode({mode = GameMode, players = players})})
end)

Handlers.add("prize", "Prize", function(msg)
  local price = Send({Target = msg.Oracle, Action = "Price"}).receive()
  msg.reply({Action = "Prize", Data = {price = tonumber(price.Data), lucky = math.random(6) <= 6}})
end)
