-- `.pretty`: a table as plain lines of `key: value`.

local pretty = {_version = "0.0.1"}

function pretty.tprint(t, indent)
  indent = indent or 0
  local keys, lines = {}, {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == "number" and type(b) == "number" then return a < b end
    return tostring(a) < tostring(b)
  end)
  for i, key in ipairs(keys) do
    local value = t[key]
    local start = string.rep(" ", indent) .. tostring(key) .. ": "
    if type(value) == "table" then
      lines[i] = start .. "\n" .. pretty.tprint(value, indent + 1)
    else
      lines[i] = start .. tostring(value) .. "\n"
    end
  end
  return table.concat(lines)
end

return pretty
