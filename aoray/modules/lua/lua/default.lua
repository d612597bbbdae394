-- `.default`: what becomes of a message that no handler wanted. It is kept in the Inbox, and announced in one line.

local json = require("json")
local sub, tostring, type, pcall = string.sub, tostring, type, pcall

local GRAY, GREEN, BLUE, RESET = "\27[90m", "\27[32m", "\27[34m", "\27[0m"
local SHOWN = 20 -- characters of an Action or of Data

local function text_of(value)
  if value == nil then return "" end
  if type(value) == "table" then
    local ok, text = pcall(json.encode, value)
    return ok and text or tostring(value)
  end
  return tostring(value)
end

local function line_of(msg)
  local from = text_of(msg.From)
  local what, value = "Data", msg.Data
  if msg.Action then what, value = "Action", msg.Action end
  return GRAY .. "New Message From " .. GREEN .. sub(from, 1, 3) .. "..." .. sub(from, -3) .. GRAY .. ": " .. GRAY ..
    what .. " = " .. BLUE .. sub(text_of(value), 1, SHOWN) .. RESET
end

return function(insert_inbox, print_line)
  print_line = print_line or print
  return function(msg)
    insert_inbox(msg)
    print_line(line_of(msg))
  end
end
