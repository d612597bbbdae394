-- `.stringify`: tables as people see them at the prompt, in colours.

local stringify = {_version = "0.0.1"}
local ipairs, pairs, rep, sort, tostring, type = ipairs, pairs, string.rep, table.sort, tostring, type
local concat = table.concat
local is_list = require(".native").is_list

local RED, GREEN, BLUE, RESET = "\27[31m", "\27[32m", "\27[34m", "\27[0m"

-- A list of nothing but strings and numbers, which fits on a line.
function stringify.isSimpleArray(t)
  local n = 0
  for key, value in pairs(t) do
    n = n + 1
    if type(key) ~= "number" or (type(value) ~= "number" and type(value) ~= "string") then return false end
  end
  return n == #t
end

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
    return type(a) == "number" or (type(b) ~= "number" and tostring(a) < tostring(b))
  end)
  return keys
end

local format

local function value_text(value, indent, open)
  if type(value) == "table" then return format(value, indent + 2, open) end
  if type(value) == "string" then return GREEN .. '"' .. value .. '"' .. RESET end
  return BLUE .. tostring(value) .. RESET
end

local function on_a_line(t, indent, open)
  local out = {}
  for i, value in ipairs(t) do out[i] = value_text(value, indent, open) end
  return "{ " .. concat(out, ", ") .. " }"
end

local function list_text(t, indent, open)
  local out, margin = {}, rep(" ", indent)
  for i, value in ipairs(t) do out[i] = margin .. "  " .. value_text(value, indent, open) end
  return "{\n" .. concat(out, ",\n") .. "\n" .. margin .. " }"
end

local function map_text(t, indent, open)
  local out, margin = {}, rep(" ", indent)
  for i, key in ipairs(sorted_keys(t)) do
    out[i] = margin .. "   " .. RED .. tostring(key) .. RESET .. " = " .. value_text(t[key], indent, open)
  end
  return "{\n" .. concat(out, ",\n") .. "\n" .. margin .. "}"
end

function format(t, indent, open)
  if open[t] then return "<circular reference>" end
  open[t] = true
  local text
  if stringify.isSimpleArray(t) then text = on_a_line(t, indent, open)
  elseif is_list(t) then text = list_text(t, indent, open)
  else text = map_text(t, indent, open) end
  open[t] = nil
  return text
end

function stringify.format(t, indent)
  if type(t) ~= "table" then return value_text(t, 0, {}) end
  return format(t, indent or 0, {})
end

return stringify
