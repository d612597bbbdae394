-- `.boot`: the process's own message, its first. It may carry a program (`On-Boot: Data`).

local tostring = tostring

return function(ao, insert_inbox, evaluate)
  return function(msg)
    if #Inbox == 0 then insert_inbox(msg) end
    local on_boot = ao.env.Process.Tags["On-Boot"]
    if not on_boot then return end
    if on_boot == "Data" then return evaluate(msg) end
    ao.outbox.Error = "On-Boot: " .. tostring(on_boot) .. ": No such file (a process here reads no transactions; use Data)"
  end
end
