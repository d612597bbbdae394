-- `.dump`, the global `Dump`: any value as a Lua literal, indented, with its keys in order.

local format, rep, match, concat, sort = string.format, string.rep, string.match, table.concat, table.sort
local ipairs, pairs, tostring, type = ipairs, pairs, tostring, type

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
               while]]):gmatch("%a+") do
  keywords[word] = true
end

local function quoted(value)
  return format("%q", tostring(value))
end

local function key_text(key)
  if type(key) == "string" and match(key, "^[%a_][%w_]*$") and not keywords[key] then return key end
  if type(key) == "string" then return "[" .. quoted(key) .. "]" end
  return "[" .. tostring(key) .. "]"
end

local function scalar_text(value)
  local kind = type(value)
  if kind == "number" or kind == "boolean" then return tostring(value) end
  return quoted(value)
end

-- Numbers first, then the rest by their text.
local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  sort(keys, function(a, b)
    local x, y = type(a) == "number", type(b) == "number"
    if x and y then return a < b end
    if x ~= y then return x end
    return tostring(a) < tostring(b)
  end)
  return keys
end

local function table_text(t, indent, level, open)
  if open[t] then return quoted("<Circular " .. tostring(t) .. ">") end
  open[t] = true
  local lines, margin = {}, rep(" ", indent * (level + 1))
  for i, key in ipairs(sorted_keys(t)) do
    local value = t[key]
    local text = type(value) == "table" and table_text(value, indent, level + 1, open) or scalar_text(value)
    lines[i] = margin .. key_text(key) .. " = " .. text
  end
  open[t] = nil
  if #lines == 0 then return "{}" end
  return "{\n" .. concat(lines, ",\n") .. "\n" .. rep(" ", indent * level) .. "}"
end

return function(value, indent)
  if type(value) ~= "table" then return quoted(value) end
  return table_text(value, indent or 4, 0, {})
end
