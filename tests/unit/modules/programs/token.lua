-- A token in the manner of AO's: balances as decimal strings, notices to both sides, X- tags passed on.

local bint = require(".bint")(256)
local json = require("json")
local ao = require("ao")

local utils = {
  add = function(a, b) return tostring(bint(a) + bint(b)) end,
  subtract = function(a, b) return tostring(bint(a) - bint(b)) end,
}

Denomination = Denomination or 12
Balances = Balances or {[ao.id] = tostring(bint(10000 * 10 ^ Denomination))}
TotalSupply = TotalSupply or tostring(bint(10000 * 10 ^ Denomination))
Name = Name or "Points Coin"
Ticker = Ticker or "PNTS"

Handlers.add("info", Handlers.utils.hasMatchingTag("Action", "Info"), function(msg)
  msg.reply({Name = Name, Ticker = Ticker, Denomination = tostring(Denomination), supply = TotalSupply})
end)

Handlers.add("balance", "Balance", function(msg)
  local who = msg.Tags.Recipient or msg.Tags.Target or msg.From
  local balance = Balances[who] or "0"
  msg.reply({Balance = balance, Ticker = Ticker, Account = who, Data = balance})
end)

Handlers.add("balances", "Balances", function(msg)
  msg.reply({Data = json.encode(Balances)})
end)

Handlers.add("transfer", "Transfer", function(msg)
  assert(type(msg.Recipient) == "string", "Recipient is required!")
  assert(type(msg.Quantity) == "string", "Quantity is required!")
  assert(bint.__lt(0, bint(msg.Quantity)), "Quantity must be greater than 0")
  Balances[msg.From] = Balances[msg.From] or "0"
  Balances[msg.Recipient] = Balances[msg.Recipient] or "0"
  if not bint.__le(bint(msg.Quantity), bint(Balances[msg.From])) then
    return msg.reply({Action = "Transfer-Error", ["Message-Id"] = msg.Id, Error = "Insufficient Balance!"})
  end
  Balances[msg.From] = utils.subtract(Balances[msg.From], msg.Quantity)
  Balances[msg.Recipient] = utils.add(Balances[msg.Recipient], msg.Quantity)
  if not msg.Cast then
    local debit = {Action = "Debit-Notice", Recipient = msg.Recipient, Quantity = msg.Quantity,
                   Data = Colors.gray .. "You transferred " .. Colors.blue .. msg.Quantity .. Colors.reset}
    local credit = {Target = msg.Recipient, Action = "Credit-Notice", Sender = msg.From, Quantity = msg.Quantity,
                    Data = Colors.gray .. "You received " .. Colors.blue .. msg.Quantity .. Colors.reset}
    for name, value in pairs(msg) do
      if string.sub(name, 1, 2) == "X-" then debit[name], credit[name] = value, value end
    end
    msg.reply(debit)
    Send(credit)
  end
  Send({device = "patch@1.0", balances = {[msg.Recipient] = Balances[msg.Recipient]}})
end)

Handlers.add("mint", "Mint", function(msg)
  if msg.From ~= ao.id then
    return msg.reply({Action = "Mint-Error", ["Message-Id"] = msg.Id, Error = "Only the Process can mint"})
  end
  Balances[ao.id] = utils.add(Balances[ao.id] or "0", msg.Quantity)
  TotalSupply = utils.add(TotalSupply, msg.Quantity)
end)
