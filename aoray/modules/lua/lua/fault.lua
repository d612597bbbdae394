-- `.fault`: what is known of an error: its text, and the stack where it happened.

local next, pcall, tostring, traceback, type = next, pcall, tostring, debug.traceback, type
local concat, format, match, sort, sub = table.concat, string.format, string.match, table.sort, string.sub
local getmetatable = debug.getmetatable

local fault = {}
local TEXT_MAX = 10000 -- characters of what was thrown
local DEPTH_MAX = 5

local function key_text(key)
  if type(key) == "string" and match(key, "^[%a_][%w_]*$") then return key end
  return "[" .. (type(key) == "string" and format("%q", key) or tostring(key)) .. "]"
end

local text_of

-- The fields of a table in the order of their names, on one line.
local function fields_text(t, depth)
  local fields, size = {}, 0
  for key, value in next, t do
    local text = key_text(key) .. " = " .. text_of(value, depth + 1)
    fields[#fields + 1], size = text, size + #text
    if size > TEXT_MAX then break end
  end
  sort(fields)
  return "{" .. concat(fields, ", ") .. "}"
end

function text_of(value, depth)
  if type(value) == "string" and depth > 0 then return format("%q", value) end
  local meta = getmetatable(value)
  if type(value) ~= "table" or depth > DEPTH_MAX or (type(meta) == "table" and meta.__tostring) then
    return tostring(value)
  end
  return fields_text(value, depth)
end

-- The text of any error; of a table, its fields. Called where it happened (as a message handler), it keeps the stack in
-- `fault.traceback`.
function fault.describe(err)
  if type(err) ~= "string" then
    local ok, text = pcall(text_of, err, 0)
    err = ok and sub(text, 1, TEXT_MAX) or "an error that has no text"
  end
  fault.traceback = traceback(nil, 2)
  return err
end

return fault
