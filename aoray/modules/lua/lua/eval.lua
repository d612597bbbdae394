-- `.eval`: a message whose Data is Lua, from the owner. An expression shows its value; a second value is an error.

local stringify = require(".stringify")
local insert = table.insert
local load, tostring, type, globals = load, tostring, type, _G

local function compile(source)
  local chunk = load("return " .. source, "aos", "t", globals)
  if chunk then return chunk end
  return load(source, "aos", "t", globals)
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
