/* The core of `.bint`: the functions and operators of one class of whole numbers of fixed width (lua/bint.lua adds the rest).
 *
 * A bint is a table of 32-bit words, least significant first, with the class as its metatable. Each function here has two
 * upvalues, the class and its bits; bits that the top word has too many are kept zero. Nothing here calls Lua code while
 * it holds words, so the working space is static. */
#include "aoray.h"
#include "wide.h"

#include <math.h>
#include <stdio.h>

#define CLASS lua_upvalueindex(1)

static Word A[2 * WORDS_MAX], B[WORDS_MAX], C[2 * WORDS_MAX], D[2 * WORDS_MAX];

static int bits_of(lua_State *L) { return (int)lua_tointeger(L, lua_upvalueindex(2)); }
static int words_of(lua_State *L) { return (bits_of(L) + 31) / 32; }

static void trim(lua_State *L, Word *a) {
  int rest = bits_of(L) % 32;
  if (rest) a[words_of(L) - 1] &= (1u << rest) - 1;
}

static int is_negative(lua_State *L, const Word *a) {
  int bits = bits_of(L) - 1;
  return a[bits / 32] >> bits % 32 & 1;
}

static void negate(lua_State *L, Word *out, const Word *a) {
  wide_negate(out, a, words_of(L));
  trim(L, out);
}

/* Makes *a its absolute value; 1 when it was negative. */
static int take_sign(lua_State *L, Word *a) {
  int negative = is_negative(L, a);
  if (negative) negate(L, a, a);
  return negative;
}

static int push_bint(lua_State *L, const Word *a) {
  int n = words_of(L), i;
  lua_createtable(L, n, 0);
  for (i = 0; i < n; i++) {
    lua_pushinteger(L, a[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushvalue(L, CLASS);
  lua_setmetatable(L, -2);
  return 1;
}

static int is_bint(lua_State *L, int index) {
  int same;
  if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index)) return 0;
  same = lua_rawequal(L, -1, CLASS);
  lua_pop(L, 1);
  return same;
}

static void read_words(lua_State *L, int index, Word *out) {
  int n = words_of(L), i;
  for (i = 0; i < n; i++) {
    lua_rawgeti(L, index, i + 1);
    out[i] = (Word)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  trim(L, out);
}

static void read_integer(lua_State *L, lua_Integer value, Word *out) {
  int n = words_of(L), i;
  for (i = 0; i < n; i++) {
    out[i] = (Word)(lua_Unsigned)value;
    value >>= 31, value >>= 1;
  }
  trim(L, out);
}

static int digit_of(int c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

/* An optional sign, then at least one digit; wraps. */
static int read_digits(lua_State *L, const char *p, const char *end, int base, int negative, Word *out) {
  memset(out, 0, (size_t)words_of(L) * sizeof *out);
  if (p == end) return 0;
  for (; p < end; p++) {
    int digit = digit_of((unsigned char)*p);
    if (digit >= base) return 0;
    wide_multiply_small(out, words_of(L), (Word)base, (Word)digit);
  }
  trim(L, out);
  if (negative) negate(L, out, out);
  return 1;
}

static const char *skip_sign(const char *p, const char *end, int *negative) {
  *negative = p < end && *p == '-';
  return p < end && (*p == '-' || *p == '+') ? p + 1 : p;
}

/* Decimal, or hexadecimal after 0x, or binary after 0b. */
static int read_string(lua_State *L, int index, Word *out) {
  size_t size;
  int negative, base = 10;
  const char *p = lua_tolstring(L, index, &size), *end = p + size;
  p = skip_sign(p, end, &negative);
  if (end - p > 2 && p[0] == '0' && (p[1] | 32) == 'x') base = 16, p += 2;
  else if (end - p > 2 && p[0] == '0' && (p[1] | 32) == 'b') base = 2, p += 2;
  return read_digits(L, p, end, base, negative, out);
}

/* What can be one exactly: a bint, an integer, a whole float, a string of digits. */
static int read_bint(lua_State *L, int index, Word *out) {
  int whole;
  if (is_bint(L, index)) {
    read_words(L, index, out);
    return 1;
  }
  if (lua_type(L, index) == LUA_TNUMBER) { /* also a float, when it is a whole number of 64 bits */
    lua_Integer value = lua_tointegerx(L, index, &whole);
    if (whole) read_integer(L, value, out);
    return whole;
  }
  if (lua_type(L, index) == LUA_TSTRING) return read_string(L, index, out);
  return 0;
}

static void check_bint(lua_State *L, int index, Word *out) {
  if (!read_bint(L, index, out)) luaL_error(L, "value has not integer representation");
}

/* As an integer when it fits in 64 bits, else as the nearest float. Changes a. */
static void push_number(lua_State *L, Word *a) {
  int n = words_of(L), negative = take_sign(L, a), top = n, i;
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

/* The value at index as a Lua number, for arithmetic that leaves the whole numbers. */
static void push_as_number(lua_State *L, int index) {
  if (is_bint(L, index)) {
    read_words(L, index, A);
    push_number(L, A);
    return;
  }
  if (!lua_isnumber(L, index)) luaL_error(L, "attempt to perform arithmetic on a %s value", luaL_typename(L, index));
  lua_pushvalue(L, index);
  lua_arith(L, LUA_OPUNM); /* a string becomes a number */
  lua_arith(L, LUA_OPUNM);
}

static int by_numbers(lua_State *L, int operator) {
  lua_settop(L, 2);
  push_as_number(L, 1);
  push_as_number(L, 2);
  lua_arith(L, operator);
  return 1;
}

static int read_both(lua_State *L) { return read_bint(L, 1, A) && read_bint(L, 2, B); }

static void check_both(lua_State *L) {
  check_bint(L, 1, A);
  check_bint(L, 2, B);
}

static int op_add(lua_State *L) {
  if (!read_both(L)) return by_numbers(L, LUA_OPADD);
  wide_add(C, A, B, words_of(L));
  trim(L, C);
  return push_bint(L, C);
}

static int op_sub(lua_State *L) {
  if (!read_both(L)) return by_numbers(L, LUA_OPSUB);
  wide_subtract(C, A, B, words_of(L));
  trim(L, C);
  return push_bint(L, C);
}

static int op_mul(lua_State *L) {
  if (!read_both(L)) return by_numbers(L, LUA_OPMUL);
  wide_multiply(C, A, B, words_of(L));
  trim(L, C);
  return push_bint(L, C);
}

static int op_unm(lua_State *L) {
  check_bint(L, 1, A);
  negate(L, C, A);
  return push_bint(L, C);
}

static int op_div(lua_State *L) { return by_numbers(L, LUA_OPDIV); }
static int op_pow(lua_State *L) { return by_numbers(L, LUA_OPPOW); }

/* C, D = A / B, A % B without signs. */
static void divide(lua_State *L) {
  int n = words_of(L);
  if (wide_is_zero(B, n)) luaL_error(L, "attempt to divide by zero");
  wide_divide(C, D, A, n, B, n);
}

/* Rounded towards zero. */
static void divide_truncated(lua_State *L) {
  int a = take_sign(L, A), b = take_sign(L, B);
  divide(L);
  if (a != b) negate(L, C, C);
  if (a) negate(L, D, D);
}

/* Rounded down: the remainder has the sign of the divisor. */
static void divide_floored(lua_State *L) {
  static Word divisor[WORDS_MAX];
  static const Word one[WORDS_MAX] = {1};
  int n = words_of(L), differ = is_negative(L, A) != is_negative(L, B);
  memcpy(divisor, B, (size_t)n * sizeof *B);
  divide_truncated(L);
  if (!differ || wide_is_zero(D, n)) return;
  wide_subtract(C, C, one, n);
  wide_add(D, D, divisor, n);
  trim(L, C);
  trim(L, D);
}

static int op_idiv(lua_State *L) {
  if (!read_both(L)) return by_numbers(L, LUA_OPIDIV);
  divide_floored(L);
  return push_bint(L, C);
}

static int op_mod(lua_State *L) {
  if (!read_both(L)) return by_numbers(L, LUA_OPMOD);
  divide_floored(L);
  return push_bint(L, D);
}

static int divmod(lua_State *L, void (*divider)(lua_State *)) {
  check_both(L);
  divider(L);
  push_bint(L, C);
  return 1 + push_bint(L, D);
}

static int lib_udivmod(lua_State *L) { return divmod(L, divide); }
static int lib_idivmod(lua_State *L) { return divmod(L, divide_floored); }

static int lib_tdivmod(lua_State *L) {
  int overflow;
  check_both(L);
  negate(L, C, A);
  overflow = is_negative(L, A) && !wide_compare(A, C, words_of(L));
  read_integer(L, -1, D);
  if (overflow && !wide_compare(B, D, words_of(L))) luaL_error(L, "division overflow");
  return divmod(L, divide_truncated);
}

static int op_band(lua_State *L) {
  int i;
  check_both(L);
  for (i = 0; i < words_of(L); i++) C[i] = A[i] & B[i];
  return push_bint(L, C);
}

static int op_bor(lua_State *L) {
  int i;
  check_both(L);
  for (i = 0; i < words_of(L); i++) C[i] = A[i] | B[i];
  return push_bint(L, C);
}

static int op_bxor(lua_State *L) {
  int i;
  check_both(L);
  for (i = 0; i < words_of(L); i++) C[i] = A[i] ^ B[i];
  return push_bint(L, C);
}

static int op_bnot(lua_State *L) {
  int i;
  check_bint(L, 1, A);
  for (i = 0; i < words_of(L); i++) C[i] = ~A[i];
  trim(L, C);
  return push_bint(L, C);
}

/* A shift by the second operand, to the left; below zero, to the right (zeros come in). */
static int shift(lua_State *L, int direction) {
  lua_Integer by;
  int n = words_of(L);
  check_both(L);
  push_number(L, B);
  if (!lua_isinteger(L, -1)) return luaL_error(L, "number has no integer representation");
  by = lua_tointeger(L, -1);
  if (by <= -bits_of(L) || by >= bits_of(L)) memset(C, 0, (size_t)n * sizeof *C);
  else if (by * direction >= 0) wide_shift_left(C, A, n, (int)(by * direction));
  else wide_shift_right(C, A, n, (int)(-by * direction));
  trim(L, C);
  return push_bint(L, C);
}

static int op_shl(lua_State *L) { return shift(L, 1); }
static int op_shr(lua_State *L) { return shift(L, -1); }

/* Signed: flipping the sign bits makes it an unsigned comparison. */
static int compare(lua_State *L, int with_sign) {
  int top = (bits_of(L) - 1) / 32;
  Word flip = with_sign ? 1u << (bits_of(L) - 1) % 32 : 0;
  A[top] ^= flip;
  B[top] ^= flip;
  return wide_compare(A, B, words_of(L));
}

static int compare_numbers(lua_State *L, int operator) {
  lua_settop(L, 2);
  push_as_number(L, 1);
  push_as_number(L, 2);
  return lua_compare(L, 3, 4, operator);
}

static int op_lt(lua_State *L) {
  lua_pushboolean(L, read_both(L) ? compare(L, 1) < 0 : compare_numbers(L, LUA_OPLT));
  return 1;
}

static int op_le(lua_State *L) {
  lua_pushboolean(L, read_both(L) ? compare(L, 1) <= 0 : compare_numbers(L, LUA_OPLE));
  return 1;
}

static int lib_eq(lua_State *L) {
  lua_settop(L, 2);
  lua_pushboolean(L, read_both(L) ? compare(L, 0) == 0 : lua_rawequal(L, 1, 2));
  return 1;
}

static int lib_ult(lua_State *L) {
  check_both(L);
  lua_pushboolean(L, compare(L, 0) < 0);
  return 1;
}

static int lib_ule(lua_State *L) {
  check_both(L);
  lua_pushboolean(L, compare(L, 0) <= 0);
  return 1;
}

/* A ^ B by squaring, modulo 2^bits. */
static int lib_ipow(lua_State *L) {
  int n = words_of(L), i;
  check_both(L);
  read_integer(L, 1, D);
  for (i = 0; i < bits_of(L); i++) {
    if (B[i / 32] >> i % 32 & 1) {
      wide_multiply(C, D, A, n);
      memcpy(D, C, (size_t)n * sizeof *C);
    }
    wide_multiply(C, A, A, n);
    memcpy(A, C, (size_t)n * sizeof *C);
  }
  trim(L, D);
  return push_bint(L, D);
}

/* out = out * by % modulus, through a product of double width. */
static void multiply_modulo(Word *out, const Word *by, const Word *modulus, int n) {
  static Word product[2 * WORDS_MAX], quotient[2 * WORDS_MAX];
  wide_multiply_full(product, out, by, n);
  wide_divide(quotient, out, product, 2 * n, modulus, n);
}

/* upowmod(x, y, m): without signs */
static int lib_upowmod(lua_State *L) {
  static Word modulus[WORDS_MAX], power[WORDS_MAX];
  int n = words_of(L), i;
  check_both(L);
  check_bint(L, 3, modulus);
  if (wide_is_zero(modulus, n)) return luaL_error(L, "attempt to divide by zero");
  wide_divide(C, power, A, n, modulus, n);
  read_integer(L, 1, A);
  wide_divide(C, D, A, n, modulus, n);
  for (i = 0; i < bits_of(L); i++) {
    if (B[i / 32] >> i % 32 & 1) multiply_modulo(D, power, modulus, n);
    multiply_modulo(power, power, modulus, n);
  }
  return push_bint(L, D);
}

/* ---- to and from other things ---- */

static int lib_tobint(lua_State *L) {
  luaL_checkany(L, 1);
  if (!read_bint(L, 1, A)) lua_pushnil(L);
  else if (is_bint(L, 1) && !lua_toboolean(L, 2)) lua_pushvalue(L, 1);
  else push_bint(L, A);
  return 1;
}

static int lib_new(lua_State *L) {
  if (!read_bint(L, 1, A)) return luaL_error(L, "value cannot be represented by a bint");
  return push_bint(L, A);
}

/* frombase(text, base = 10): nil when it is no such number */
static int lib_frombase(lua_State *L) {
  size_t size;
  int negative;
  const char *p = lua_tolstring(L, 1, &size), *start;
  lua_Integer base = luaL_optinteger(L, 2, 10);
  if (lua_type(L, 1) != LUA_TSTRING || base < 2 || base > 36) return 0;
  start = skip_sign(p, p + size, &negative);
  if (!read_digits(L, start, p + size, (int)base, negative, A)) return 0;
  return push_bint(L, A);
}

/* tobase(x, base = 10, unsigned = base ~= 10) */
static int lib_tobase(lua_State *L) {
  lua_Integer base = luaL_optinteger(L, 2, 10);
  int n = words_of(L), without_sign = lua_isnoneornil(L, 3) ? base != 10 : lua_toboolean(L, 3), negative;
  size_t room = (size_t)bits_of(L) + 2, at = room;
  char *text;
  if (base < 2 || base > 36 || !read_bint(L, 1, A)) return 0;
  text = lua_newuserdata(L, room);
  negative = !without_sign && take_sign(L, A);
  while (n > 0 && !A[n - 1]) n--;
  do {
    Word chunk = wide_divide_small(A, n, base == 10 ? 1000000000u : (Word)base);
    int digits = base == 10 ? 9 : 1;
    while (n > 0 && !A[n - 1]) n--;
    while (digits-- > 0 && (n > 0 || chunk || at == room)) {
      text[--at] = "0123456789abcdefghijklmnopqrstuvwxyz"[chunk % (Word)base];
      chunk /= (Word)base;
    }
  } while (n > 0);
  if (negative) text[--at] = '-';
  lua_pushlstring(L, text + at, room - at);
  return 1;
}

static int op_tostring(lua_State *L) {
  lua_settop(L, 1);
  return lib_tobase(L);
}

/* nil for what is no number */
static int lib_tonumber(lua_State *L) {
  size_t size;
  const char *text;
  luaL_checkany(L, 1);
  if (is_bint(L, 1)) {
    read_words(L, 1, A);
    push_number(L, A);
    return 1;
  }
  lua_settop(L, 1);
  if (lua_type(L, 1) == LUA_TNUMBER) return 1;
  text = lua_tolstring(L, 1, &size);
  if (!text || lua_stringtonumber(L, text) != size + 1) lua_pushnil(L);
  return 1;
}

/* The low 64 bits, with the sign carried up when there are fewer; nil for what is not whole. */
static int lib_tointeger(lua_State *L) {
  uint64_t low;
  int n = words_of(L), bits = bits_of(L), whole;
  lua_Integer value;
  luaL_checkany(L, 1);
  if (is_bint(L, 1)) {
    read_words(L, 1, A);
    low = A[0] | (n > 1 ? (uint64_t)A[1] << 32 : 0);
    if (bits < 64 && is_negative(L, A)) low |= ~0ull << bits;
    lua_pushinteger(L, (lua_Integer)low);
    return 1;
  }
  value = lua_tointegerx(L, 1, &whole);
  if (whole) lua_pushinteger(L, value);
  else lua_pushnil(L);
  return 1;
}

/* Bytes, least significant first. */
static int lib_tole(lua_State *L) {
  int size = (bits_of(L) + 7) / 8, i;
  luaL_Buffer b;
  char *out;
  check_bint(L, 1, A);
  out = luaL_buffinitsize(L, &b, (size_t)size);
  for (i = 0; i < size; i++) out[i] = (char)(A[i / 4] >> 8 * (i % 4));
  if (lua_toboolean(L, 2))
    while (size > 1 && !out[size - 1]) size--;
  luaL_pushresultsize(&b, (size_t)size);
  return 1;
}

static int lib_fromle(lua_State *L) {
  size_t size, i;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &size);
  memset(A, 0, (size_t)words_of(L) * sizeof *A);
  for (i = 0; i < size && i < (size_t)words_of(L) * 4; i++) A[i / 4] |= (Word)p[i] << 8 * (i % 4);
  trim(L, A);
  return push_bint(L, A);
}

static int lib_isneg(lua_State *L) {
  if (is_bint(L, 1)) {
    read_words(L, 1, A);
    lua_pushboolean(L, is_negative(L, A));
  } else {
    lua_pushboolean(L, luaL_checknumber(L, 1) < 0);
  }
  return 1;
}

static int lib_isbint(lua_State *L) {
  lua_pushboolean(L, is_bint(L, 1));
  return 1;
}

static const luaL_Reg class_functions[] = {
    {"__add", op_add},         {"__sub", op_sub},           {"__mul", op_mul},           {"__unm", op_unm},
    {"__div", op_div},         {"__pow", op_pow},           {"__idiv", op_idiv},         {"__mod", op_mod},
    {"__band", op_band},       {"__bor", op_bor},           {"__bxor", op_bxor},         {"__bnot", op_bnot},
    {"__shl", op_shl},         {"__shr", op_shr},           {"__lt", op_lt},             {"__le", op_le},
    {"__eq", lib_eq},          {"__tostring", op_tostring}, {"eq", lib_eq},              {"ult", lib_ult},
    {"ule", lib_ule},          {"udivmod", lib_udivmod},    {"idivmod", lib_idivmod},    {"tdivmod", lib_tdivmod},
    {"ipow", lib_ipow},        {"upowmod", lib_upowmod},    {"tobint", lib_tobint},      {"new", lib_new},
    {"frombase", lib_frombase}, {"tobase", lib_tobase},     {"tonumber", lib_tonumber},  {"tointeger", lib_tointeger},
    {"tole", lib_tole},        {"fromle", lib_fromle},      {"isneg", lib_isneg},        {"isbint", lib_isbint},
    {NULL, NULL}};

/* (bits): a new class */
static int new_class(lua_State *L) {
  lua_Integer bits = luaL_checkinteger(L, 1);
  luaL_argcheck(L, bits >= 2 && bits <= 32 * WORDS_MAX, 1, "a bint has 2 to 32768 bits");
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pushvalue(L, -1);
  lua_pushinteger(L, bits);
  luaL_setfuncs(L, class_functions, 2);
  return 1;
}

int luaopen_bintcore(lua_State *L) {
  lua_pushcfunction(L, new_class);
  return 1;
}
