-- `.crypto`: digests, HMAC (RFC 2104) and PBKDF2, with streams and arrays of bytes to feed them.
--
-- A stream is a function that gives the next byte, or nil; an array is a list of bytes. Where either is wanted, a string will
-- do, and the other way round. The work is C (`.digest`). Ciphers other than AES are not here yet: their functions say so.

local core = require(".digest")
local core_aes = require(".aes")
local byte, char, concat, format, gsub, lower, upper = string.byte, string.char, table.concat, string.format, string.gsub,
  string.lower, string.upper

local array, stream, hex = {}, {}, {}

-- ---- bytes in their several forms ----

local function string_of(value)
  local kind = type(value)
  if kind == "string" then return value end
  if kind == "table" then return array.toString(value) end
  if kind == "function" then return stream.toString(value) end
  error("expected a string, a stream or an array of bytes, got " .. kind, 3)
end

function hex.stringToHex(text)
  return (gsub(text, ".", function(c) return format("%02x", byte(c)) end))
end

function hex.hexToString(text)
  if #text % 2 ~= 0 or text:find("%X") then error("not a hexadecimal text", 2) end
  return (gsub(text, "..", function(digits) return char(tonumber(digits, 16)) end))
end

function array.fromString(text)
  local out = {}
  for i = 1, #text do out[i] = byte(text, i) end
  return out
end

function array.toString(bytes)
  local out = {}
  for i, value in ipairs(bytes) do out[i] = char(value) end
  return concat(out)
end

function array.fromStream(next_byte) return array.fromString(stream.toString(next_byte)) end
function array.toStream(bytes) return stream.fromArray(bytes) end
function array.fromHex(text) return array.fromString(hex.hexToString(text)) end
function array.toHex(bytes) return upper(hex.stringToHex(array.toString(bytes))) end
function array.size(bytes) return #bytes end
function array.copy(bytes) return table.move(bytes, 1, #bytes, 1, {}) end
function array.truncate(bytes, size) return table.move(bytes, 1, size, 1, {}) end
function array.slice(bytes, first, last) return table.move(bytes, first, last or #bytes, 1, {}) end

function array.concat(a, b)
  return table.move(b, 1, #b, #a + 1, array.copy(a))
end

function array.XOR(a, b)
  local out = {}
  for i, value in ipairs(a) do out[i] = value ~ b[i] end
  return out
end

function array.substitute(bytes, box)
  local out = {}
  for i, value in ipairs(bytes) do out[i] = box[value] end
  return out
end

function array.permute(bytes, order)
  local out = {}
  for i, from in ipairs(order) do out[i] = bytes[from] end
  return out
end

function stream.fromString(text)
  local at = 0
  return function()
    at = at + 1
    return byte(text, at)
  end
end

function stream.toString(next_byte)
  local out = {}
  for value in next_byte do out[#out + 1] = char(value) end
  return concat(out)
end

function stream.fromArray(bytes) return stream.fromString(array.toString(bytes)) end
function stream.toArray(next_byte) return array.fromString(stream.toString(next_byte)) end
function stream.fromHex(text) return stream.fromString(hex.hexToString(text)) end
function stream.toHex(next_byte) return upper(hex.stringToHex(stream.toString(next_byte))) end

-- First in, first out: pushed at the head, taken from the tail.
local function queue()
  local head, tail, items, self = 0, 0, {}, {}
  function self.push(value)
    items[head] = value
    head = head + 1
  end
  function self.pop()
    if head == tail then return nil end
    local value = items[tail]
    items[tail] = nil
    tail = tail + 1
    return value
  end
  function self.size() return head - tail end
  function self.getHead() return head end
  function self.getTail() return tail end
  function self.reset() head, tail, items = 0, 0, {} end
  return self
end

function array.readFromQueue(from, size)
  local out = {}
  for i = 1, size do out[i] = from.pop() end
  return out
end

function array.writeToQueue(to, bytes)
  for _, value in ipairs(bytes) do to.push(value) end
end

-- ---- digests ----

-- What every function here gives: bytes that can be read in three ways.
local function result(raw, as_hex)
  return {
    asString = function() return raw end,
    asBytes = function() return array.fromString(raw) end,
    asHex = function() return as_hex(hex.stringToHex(raw)) end,
  }
end

local function digest_of(name)
  return function(data) return result(core.hash(name, string_of(data)), lower) end
end

local function blake2b(data, size, key)
  return result(core.blake2b(string_of(data), size or 64, key and string_of(key) or ""), lower)
end

local sha3 = {
  sha3_256 = digest_of("sha3_256"), sha3_512 = digest_of("sha3_512"),
  keccak256 = digest_of("keccak256"), keccak512 = digest_of("keccak512"),
}

local digest = {
  md2 = digest_of("md2"), md4 = digest_of("md4"), md5 = digest_of("md5"), sha1 = digest_of("sha1"),
  sha2_256 = digest_of("sha256"), sha2_512 = digest_of("sha512"),
  sha3_256 = sha3.sha3_256, sha3_512 = sha3.sha3_512, keccak256 = sha3.keccak256, keccak512 = sha3.keccak512,
  blake2b = blake2b,
}

-- ---- keyed ----

local hash_names = {
  md5 = "md5", sha1 = "sha1", sha256 = "sha256", sha2_256 = "sha256", sha512 = "sha512", sha2_512 = "sha512",
}

local function hash_name(name, otherwise)
  local known = hash_names[lower(name or otherwise)]
  if not known then error("unknown hash function '" .. tostring(name) .. "'", 3) end
  return known
end

local mac = {}
function mac.createHmac(data, key, name)
  return result(core.hmac(hash_name(name, "sha1"), string_of(key), string_of(data)), lower)
end

local kdf = {}
function kdf.pbkdf2(password, salt, iterations, size, name)
  local key = core.pbkdf2(hash_name(name, "sha1"), string_of(password), string_of(salt), iterations, size)
  return result(key, upper)
end

-- ---- random numbers, ciphers ----

-- A whole number from min to max: the process's own stream, or one that a seed begins.
local function random(min, max, seed)
  min, max = min or 0, max or 2147483647
  if seed == nil then return require(".random").random(min, max) end
  local raw = core.hash("sha256", tostring(seed))
  return min + (string.unpack("<I8", raw) >> 1) % (max - min + 1)
end

local aes = {}

local function sized(text, size)
  return text:sub(1, size) .. ("\0"):rep(size - #text)
end

-- (data, key, initial vector, mode, bits): data is filled up with zeros, key and vector are filled up or cut.
local function aes_crypt(data, key, iv, mode, bits, decrypt)
  bits = bits or 128
  if bits ~= 128 and bits ~= 192 and bits ~= 256 then error("AES has 128, 192 or 256 bits", 3) end
  data = data .. ("\0"):rep(-#data % 16)
  return result(core_aes.crypt(mode or "CBC", data, sized(key, bits // 8), sized(iv or "", 16), decrypt), upper)
end

function aes.encrypt(data, key, iv, mode, bits)
  return aes_crypt(string_of(data), key, iv, mode, bits, false)
end

-- The cipher text is hexadecimal.
function aes.decrypt(cipher, key, iv, mode, bits)
  return aes_crypt(hex.hexToString(cipher), key, iv, mode, bits, true)
end

local function absent(name)
  return setmetatable({}, {__index = function(_, key)
    return function() error("crypto.cipher." .. name .. "." .. tostring(key) .. " is not available in aoray", 2) end
  end})
end

local cipher = {aes = aes, issac = absent("issac"), morus = absent("morus"), norx = absent("norx")}

local util = {array = array, stream = stream, hex = hex, queue = queue, bit = bit32}

local crypto = {
  _version = "0.0.1", digest = digest, mac = mac, kdf = kdf, random = random, cipher = cipher, utils = util,
}

-- What `require(".crypto.digest.sha3")` and its like find.
function crypto.part(path)
  local part = {digest = digest, mac = mac, kdf = kdf, cipher = cipher, util = util, utils = util, random = random,
                init = crypto}
  local special = {["digest.sha3"] = sha3, ["mac.hmac"] = mac, ["digest.init"] = digest, ["mac.init"] = mac,
                   ["kdf.init"] = kdf, ["kdf.pbkdf2"] = kdf, ["util.init"] = util, ["utils.init"] = util, ["cipher.init"] = cipher}
  if special[path] then return special[path] end
  for name in path:gmatch("[^.]+") do part = type(part) == "table" and rawget(part, name) or nil end
  return part
end

return crypto
