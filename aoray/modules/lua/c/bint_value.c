/* Bints as Lua values: reading one from a table, a number or a string; making one; making it a number again. */
#include "bint.h"

#include <math.h>

int bint_bits_of(lua_State *L) { return (int)lua_tointeger(L, lua_upvalueindex(2)); }
int bint_words_of(lua_State *L) { return (bint_bits_of(L) + 31) / 32; }

void bint_trim(lua_State *L, Word *a) {
  int rest = bint_bits_of(L) % 32;
  if (rest) a[bint_words_of(L) - 1] &= (1u << rest) - 1;
}

int bint_is_negative(lua_State *L, const Word *a) {
  int bits = bint_bits_of(L) - 1;
  return a[bits / 32] >> bits % 32 & 1;
}

void bint_negate(lua_State *L, Word *out, const Word *a) {
  wide_negate(out, a, bint_words_of(L));
  bint_trim(L, out);
}

/* Makes *a its absolute value; 1 when it was negative. */
int bint_take_sign(lua_State *L, Word *a) {
  int negative = bint_is_negative(L, a);
  if (negative) bint_negate(L, a, a);
  return negative;
}

int bint_push(lua_State *L, const Word *a) {
  int n = bint_words_of(L), i;
  lua_createtable(L, n, 0);
  for (i = 0; i < n; i++) {
    lua_pushinteger(L, a[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushvalue(L, CLASS);
  lua_setmetatable(L, -2);
  return 1;
}

int bint_is(lua_State *L, int index) {
  int same;
  if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index)) return 0;
  same = lua_rawequal(L, -1, CLASS);
  lua_pop(L, 1);
  return same;
}

void bint_read_words(lua_State *L, int index, Word *out) {
  int n = bint_words_of(L), i;
  for (i = 0; i < n; i++) {
    lua_rawgeti(L, index, i + 1);
    out[i] = (Word)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  bint_trim(L, out);
}

void bint_read_integer(lua_State *L, lua_Integer value, Word *out) {
  int n = bint_words_of(L), i;
  for (i = 0; i < n; i++) {
    out[i] = (Word)(lua_Unsigned)value;
    value >>= 31, value >>= 1;
  }
  bint_trim(L, out);
}

static int digit_of(int c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

/* An optional sign, then at least one digit; wraps. */
int bint_read_digits(lua_State *L, const char *p, const char *end, int base, int negative, Word *out) {
  memset(out, 0, (size_t)bint_words_of(L) * sizeof *out);
  if (p == end) return 0;
  for (; p < end; p++) {
    int digit = digit_of((unsigned char)*p);
    if (digit >= base) return 0;
    wide_multiply_small(out, bint_words_of(L), (Word)base, (Word)digit);
  }
  bint_trim(L, out);
  if (negative) bint_negate(L, out, out);
  return 1;
}

const char *bint_skip_sign(const char *p, const char *end, int *negative) {
  *negative = p < end && *p == '-';
  return p < end && (*p == '-' || *p == '+') ? p + 1 : p;
}

/* Decimal, or hexadecimal after 0x, or binary after 0b. */
static int read_string(lua_State *L, int index, Word *out) {
  size_t size;
  int negative, base = 10;
  const char *p = lua_tolstring(L, index, &size), *end = p + size;
  p = bint_skip_sign(p, end, &negative);
  if (end - p > 2 && p[0] == '0' && (p[1] | 32) == 'x') base = 16, p += 2;
  else if (end - p > 2 && p[0] == '0' && (p[1] | 32) == 'b') base = 2, p += 2;
  return bint_read_digits(L, p, end, base, negative, out);
}

/* What can be one exactly: a bint, an integer, a whole float, a string of digits. */
int bint_read(lua_State *L, int index, Word *out) {
  int whole;
  if (bint_is(L, index)) {
    bint_read_words(L, index, out);
    return 1;
  }
  if (lua_type(L, index) == LUA_TNUMBER) { /* also a float, when it is a whole number of 64 bits */
    lua_Integer value = lua_tointegerx(L, index, &whole);
    if (whole) bint_read_integer(L, value, out);
    return whole;
  }
  if (lua_type(L, index) == LUA_TSTRING) return read_string(L, index, out);
  return 0;
}

void bint_check(lua_State *L, int index, Word *out) {
  if (!bint_read(L, index, out)) luaL_error(L, "value has not integer representation");
}

/* As an integer when it fits in 64 bits, else as the nearest float. Changes a. */
void bint_push_number(lua_State *L, Word *a) {
  int n = bint_words_of(L), negative = bint_take_sign(L, a), top = n, i;
  uint64_t low = a[0] | (n > 1 ? (uint64_t)a[1] << 32 : 0);
  double value = 0;
  while (top > 0 && !a[top - 1]) top--;
  if (top <= 2 && low <= (uint64_t)INT64_MAX + (uint64_t)negative) {
    lua_pushinteger(L, (lua_Integer)(negative ? 0 - low : low));
    return;
  }
  if (top > 3) { /* bits that cannot count but for being there */
    for (i = 0; i < top - 3; i++)
      if (a[i]) a[top - 3] |= 1;
  }
  /* 96 bits with a sticky end: the two upper words are exact in 64 bits, and are rounded once, with the third. */
  {
    uint64_t high = (uint64_t)a[top - 1] << 32 | (top > 1 ? a[top - 2] : 0);
    int shift = __builtin_clzll(high), base = 32 * (top - 2);
    Word third = top > 2 ? a[top - 3] : 0;
    if (shift) {
      high = high << shift | (shift < 32 ? third >> (32 - shift) : (uint64_t)third << (shift - 32));
      third = shift < 32 ? third << shift : 0;
    }
    if (third) high |= 1;
    value = ldexp((double)high, base - shift);
  }
  lua_pushnumber(L, negative ? -value : value);
}
