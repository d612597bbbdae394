-- `io` for a process: there are no files. What is written goes nowhere, what is opened is not there.

local io = {}

local function missing(path)
  return nil, tostring(path) .. ": No such file or directory", 2
end

local stream = {}
stream.__index, stream.__name = stream, "FILE*"
function stream:write() return self end
function stream.read() return nil end
function stream.lines() return function() end end
function stream.close() return true end
function stream.flush() return true end
function stream.seek() return 0 end
function stream.setvbuf() return true end
function stream.__tostring() return "file (nowhere)" end

io.stdin, io.stdout, io.stderr = setmetatable({}, stream), setmetatable({}, stream), setmetatable({}, stream)

function io.write() return io.stdout end
function io.read() return nil end
function io.flush() return true end
function io.close() return true end
function io.input() return io.stdin end
function io.output() return io.stdout end
function io.open(path) return missing(path) end
function io.tmpfile() return missing("a temporary file") end
function io.popen() error("'popen' not supported", 2) end
function io.type(value) return getmetatable(value) == stream and "file" or nil end

function io.lines(path)
  if path == nil then return function() end end
  error(tostring(path) .. ": No such file or directory", 2)
end

return io
