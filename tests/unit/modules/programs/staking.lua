-- Staking and voting on the token's balances: heights, a "continue" handler before the others, fields of Handlers.

local bint = require(".bint")(256)
local json = require("json")

Balances = Balances or {}
Stakers = Stakers or {}
Votes = Votes or {}
UnstakeDelay = 670

Handlers.stake = function(msg)
  local quantity = bint(msg.Quantity)
  local balance = bint(Balances[msg.From] or "0")
  assert(bint.__le(quantity, balance), "Insufficient balance to stake")
  Balances[msg.From] = tostring(balance - quantity)
  local staked = Stakers[msg.From] and Stakers[msg.From].amount or "0"
  Stakers[msg.From] = {amount = tostring(bint(staked) + quantity),
                       unstake_at = tonumber(msg["Block-Height"]) + UnstakeDelay}
  msg.reply({Data = "Successfully Staked " .. msg.Quantity})
end

local function release(msg)
  local height = tonumber(msg["Block-Height"])
  for address, stake in pairs(Stakers) do
    if stake.unstaking and height >= stake.unstake_at then
      Balances[address] = tostring(bint(Balances[address] or "0") + bint(stake.amount))
      Stakers[address] = nil
    end
  end
end

Handlers.prepend("release", function() return "continue" end, release)
Handlers.add("Stake", {Action = "Stake", Quantity = "%d+"}, Handlers.stake)
Handlers.add("Unstake", "Unstake", function(msg)
  assert(Stakers[msg.From], "Nothing is staked")
  Stakers[msg.From].unstaking = true
  msg.reply({Data = "Successfully unstaked " .. Stakers[msg.From].amount})
end)
Handlers.add("Stakers", "Stakers", function(msg) msg.reply({Data = json.encode(Stakers)}) end)

Handlers.add("Vote", "Vote", function(msg)
  assert(msg.Side == "yay" or msg.Side == "nay", "Side is yay or nay")
  local on = msg.Tags.Target
  local vote = Votes[on] or {yay = "0", nay = "0", deadline = tonumber(msg.Deadline)}
  vote[msg.Side] = tostring(bint(vote[msg.Side]) + bint(Stakers[msg.From].amount))
  Votes[on] = vote
  print("Voted " .. msg.Side .. " on " .. on)
end)

Handlers.after("Vote").add("Finalize", function(msg)
  for on, vote in pairs(Votes) do
    if tonumber(msg["Block-Height"]) >= vote.deadline then return "continue" end
  end
  return "skip"
end, function(msg)
  for on, vote in pairs(Votes) do
    if tonumber(msg["Block-Height"]) >= vote.deadline then
      print(on .. ": " .. (bint.__lt(bint(vote.nay), bint(vote.yay)) and "passed" or "failed"))
      Votes[on] = nil
    end
  end
end)
