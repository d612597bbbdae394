-- `.handlers-utils`, also `Handlers.utils`: ready-made patterns and handlers.

local utils = {_version = "0.0.3"}
local matches_spec = require(".utils").matchesSpec

local function check_string(what, value)
  if type(value) ~= "string" then error(what .. " must be a string, not " .. type(value), 3) end
end

function utils.hasMatchingTag(name, value)
  check_string("the name of a tag", name)
  check_string("the value of a tag", value)
  return function(msg) return msg.Tags[name] == value end
end

-- Any of several values; 0 (pass on) when none fits.
function utils.hasMatchingTagOf(name, values)
  check_string("the name of a tag", name)
  if type(values) ~= "table" then error("the values of a tag must be a list, not " .. type(values), 2) end
  return function(msg)
    for _, value in ipairs(values) do
      if msg.Tags[name] == value then return true end
    end
    return 0
  end
end

function utils.hasMatchingData(value)
  check_string("data", value)
  return function(msg) return msg.Data == value end
end

-- A handler that answers with this text, or this message.
function utils.reply(input)
  if type(input) ~= "string" and type(input) ~= "table" then
    error("a reply must be a string or a table, not " .. type(input), 2)
  end
  return function(msg)
    msg.reply(type(input) == "string" and {Data = input} or input)
  end
end

-- A pattern that matches as `pattern` does, and lets later handlers have the message too.
function utils.continue(pattern)
  return function(msg)
    local result = matches_spec(msg, pattern)
    if not result or result == 0 or result == "skip" then return result end
    return 1
  end
end

return utils
