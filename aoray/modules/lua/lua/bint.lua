-- `.bint`: whole numbers of a fixed width, 256 bits unless told otherwise. `require(".bint")(256)` is a class; call it, or
-- use its functions and operators. The core is C (c/bint.c); what is built from it is here.

local new_class = require(".bintcore")
local floor, ceil, math_type = math.floor, math.ceil, math.type

local function number_of(x)
  return assert(tonumber(x), "value cannot be represented by a bint or number")
end

local function add_constants(bint, bits)
  local one = bint.new(1)
  bint.bits = bits
  function bint.zero() return bint.new(0) end
  function bint.one() return bint.new(1) end
  function bint.mininteger() return one << (bits - 1) end
  function bint.maxinteger() return ~(one << (bits - 1)) end
end

local function add_conversions(bint)
  function bint.frominteger(x)
    x = math.tointeger(tonumber(x))
    return x and bint.new(x)
  end

  -- The 64 bits as they are, without a sign.
  function bint.fromuinteger(x)
    x = math.tointeger(tonumber(x))
    if not x or x >= 0 then return x and bint.new(x) end
    return bint.frombase(string.format("%x", x), 16)
  end

  function bint.fromstring(s)
    if type(s) ~= "string" then return nil end
    return bint.tobint(s)
  end

  function bint.frombe(buffer) return bint.fromle(buffer:reverse()) end

  function bint.tobe(x, trim) return bint.tole(x, trim):reverse() end

  bint.touinteger = bint.tointeger

  -- A bint when it can be one, else a number, else nil.
  function bint.parse(x, clone)
    return bint.tobint(x, clone) or tonumber(x)
  end

  -- Towards zero; nil when it is no number.
  function bint.trunc(x)
    if bint.isbint(x) then return bint.new(x) end
    x = tonumber(x)
    if not x then return nil end
    return bint.tobint(x < 0 and ceil(x) or floor(x))
  end

  local function rounded(round)
    return function(x)
      if bint.isbint(x) then return bint.new(x) end
      return bint.new(round(number_of(x)))
    end
  end
  bint.floor, bint.ceil = rounded(floor), rounded(ceil)
end

local function add_questions(bint)
  function bint.isintegral(x)
    return bint.isbint(x) or math_type(x) == "integer"
  end
  function bint.isnumeric(x) return bint.isbint(x) or type(x) == "number" end
  function bint.type(x) return bint.isbint(x) and "bint" or math_type(x) end
  function bint.iszero(x) return bint.eq(x, 0) end
  function bint.isone(x) return bint.eq(x, 1) end
  function bint.isminusone(x) return bint.eq(x, -1) end
  function bint.ispos(x) return not bint.isneg(x) and not bint.iszero(x) end
  function bint.isodd(x) return bint.eq(bint.new(x) & 1, 1) end
  function bint.iseven(x) return not bint.isodd(x) end
end

local function add_arithmetic(bint, bits)
  local function either(x) return bint.tobint(x) or number_of(x) end

  function bint.inc(x) return either(x) + 1 end
  function bint.dec(x) return either(x) - 1 end

  function bint.abs(x)
    x = either(x)
    if bint.isneg(x) then return -x end
    return bint.isbint(x) and bint.new(x) or x
  end

  function bint.max(x, y)
    x, y = bint.new(x), bint.new(y)
    return x < y and y or x
  end

  function bint.min(x, y)
    x, y = bint.new(x), bint.new(y)
    return y < x and y or x
  end

  function bint.udiv(x, y) return (bint.udivmod(x, y)) end
  function bint.umod(x, y) return select(2, bint.udivmod(x, y)) end
  function bint.tdiv(x, y) return (bint.tdivmod(x, y)) end
  function bint.tmod(x, y) return select(2, bint.tdivmod(x, y)) end

  -- The low y bits.
  function bint.bwrap(x, y)
    x = bint.new(x)
    if y <= 0 then return bint.zero() end
    if y >= bits then return x end
    return x & ((bint.one() << y) - 1)
  end

  function bint.brol(x, y)
    x, y = bint.new(x), y % bits
    return y == 0 and x or (x << y) | (x >> (bits - y))
  end

  function bint.bror(x, y) return bint.brol(x, -y) end
end

-- The same in place: each changes its first operand, and returns it.
local function add_in_place(bint)
  function bint:_assign(y)
    y = bint.new(y)
    for i = 1, #y do self[i] = y[i] end
    return self
  end
  local operations = {
    _inc = function(x) return x + 1 end, _dec = function(x) return x - 1 end,
    _abs = bint.abs, _unm = function(x) return -x end, _bnot = function(x) return ~x end,
    _add = function(x, y) return x + bint.new(y) end, _sub = function(x, y) return x - bint.new(y) end,
    _band = function(x, y) return x & y end, _bor = function(x, y) return x | y end,
    _bxor = function(x, y) return x ~ y end,
    _shlone = function(x) return x << 1 end, _shrone = function(x) return x >> 1 end,
    _shlwords = function(x, n) return x << (32 * n) end, _shrwords = function(x, n) return x >> (32 * n) end,
  }
  for name, operation in pairs(operations) do
    bint[name] = function(self, y) return self:_assign(operation(self, y)) end
  end
end

local classes = {}

-- One class for each width, so that numbers made in different places can meet.
return function(bits)
  bits = bits or 256
  local bint = classes[bits]
  if bint then return bint end
  bint = new_class(bits)
  classes[bits] = bint
  add_constants(bint, bits)
  add_conversions(bint)
  add_questions(bint)
  add_arithmetic(bint, bits)
  add_in_place(bint)
  return setmetatable(bint, {__call = function(_, x) return bint.new(x) end})
end
