-- `.eval`: a message whose Data is Lua, from the owner. An expression shows its value; a second value is an error.

local stringify = require(".stringify")
local concat, insert = table.concat, table.insert
local load, tostring, type = load, tostring, type

local function compile(source)
  local chunk = load("return " .. source, "aos", "t", _G)
  if chunk then return chunk end
  return load(source, "aos", "t", _G)
end

-- `print_line` puts a text among what the message prints. Runs source, and gives what is wrong with it.
local function evaluate(source, print_line)
  if type(source) ~= "string" then return "Eval: Data must be Lua source text, not a " .. type(source) end
  local chunk, problem = compile(source)
  if not chunk then return problem end
  local value, err = chunk()
  if err then return err end
  if type(value) == "table" then print_line(stringify.format(value))
  elseif value then print_line(tostring(value)) end
end

return function(ao, print_line)
  print_line = print_line or function(text) insert(HANDLER_PRINT_LOGS, text) end
  return function(msg)
    local err = evaluate(msg.Data, print_line)
    if err then ao.outbox.Error = err end
  end
end
