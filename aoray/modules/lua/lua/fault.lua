-- `.fault`: what is known of an error: its text, and the stack where it happened.

local pcall, tostring, traceback, type = pcall, tostring, debug.traceback, type

local fault = {}

-- The text of any error. Called where it happened (as a message handler), it keeps the stack in `fault.traceback`.
function fault.describe(err)
  if type(err) ~= "string" then
    local ok, text = pcall(tostring, err)
    err = ok and text or "an error that has no text"
  end
  fault.traceback = traceback(nil, 2)
  return err
end

return fault
