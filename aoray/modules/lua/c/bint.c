/* The core of `.bint`: the functions and operators of one class of whole numbers of fixed width (lua/bint.lua adds the rest).
 *
 * Nothing here calls Lua code while it holds words, so the working space is static. */
#include "bint.h"

static Word A[2 * WORDS_MAX], B[WORDS_MAX], C[2 * WORDS_MAX], D[2 * WORDS_MAX];

/* The value at index as a Lua number, for arithmetic that leaves the whole numbers. */
static void push_as_number(lua_State *L, int index) {
  if (bint_is(L, index)) {
    bint_read_words(L, index, A);
    bint_push_number(L, A);
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

static int read_both(lua_State *L) { return bint_read(L, 1, A) && bint_read(L, 2, B); }

static void check_both(lua_State *L) {
  bint_check(L, 1, A);
  bint_check(L, 2, B);
}

static int op_add(lua_State *L) {
  if (!read_both(L)) return by_numbers(L, LUA_OPADD);
  wide_add(C, A, B, bint_words_of(L));
  bint_trim(L, C);
  return bint_push(L, C);
}

static int op_sub(lua_State *L) {
  if (!read_both(L)) return by_numbers(L, LUA_OPSUB);
  wide_subtract(C, A, B, bint_words_of(L));
  bint_trim(L, C);
  return bint_push(L, C);
}

static int op_mul(lua_State *L) {
  if (!read_both(L)) return by_numbers(L, LUA_OPMUL);
  wide_multiply(C, A, B, bint_words_of(L));
  bint_trim(L, C);
  return bint_push(L, C);
}

static int op_unm(lua_State *L) {
  bint_check(L, 1, A);
  bint_negate(L, C, A);
  return bint_push(L, C);
}

static int op_div(lua_State *L) { return by_numbers(L, LUA_OPDIV); }
static int op_pow(lua_State *L) { return by_numbers(L, LUA_OPPOW); }

/* C, D = A / B, A % B without signs. */
static void divide(lua_State *L) {
  int n = bint_words_of(L);
  if (wide_is_zero(B, n)) luaL_error(L, "attempt to divide by zero");
  wide_divide(C, D, A, n, B, n);
}

/* Rounded towards zero. */
static void divide_truncated(lua_State *L) {
  int a = bint_take_sign(L, A), b = bint_take_sign(L, B);
  divide(L);
  if (a != b) bint_negate(L, C, C);
  if (a) bint_negate(L, D, D);
}

/* Rounded down: the remainder has the sign of the divisor. */
static void divide_floored(lua_State *L) {
  static Word divisor[WORDS_MAX];
  static const Word one[WORDS_MAX] = {1};
  int n = bint_words_of(L), differ = bint_is_negative(L, A) != bint_is_negative(L, B);
  memcpy(divisor, B, (size_t)n * sizeof *B);
  divide_truncated(L);
  if (!differ || wide_is_zero(D, n)) return;
  wide_subtract(C, C, one, n);
  wide_add(D, D, divisor, n);
  bint_trim(L, C);
  bint_trim(L, D);
}

static int op_idiv(lua_State *L) {
  if (!read_both(L)) return by_numbers(L, LUA_OPIDIV);
  divide_floored(L);
  return bint_push(L, C);
}

static int op_mod(lua_State *L) {
  if (!read_both(L)) return by_numbers(L, LUA_OPMOD);
  divide_floored(L);
  return bint_push(L, D);
}

static int divmod(lua_State *L, void (*divider)(lua_State *)) {
  check_both(L);
  divider(L);
  bint_push(L, C);
  return 1 + bint_push(L, D);
}

static int lib_udivmod(lua_State *L) { return divmod(L, divide); }
static int lib_idivmod(lua_State *L) { return divmod(L, divide_floored); }

static int lib_tdivmod(lua_State *L) {
  int overflow;
  check_both(L);
  bint_negate(L, C, A);
  overflow = bint_is_negative(L, A) && !wide_compare(A, C, bint_words_of(L));
  bint_read_integer(L, -1, D);
  if (overflow && !wide_compare(B, D, bint_words_of(L))) luaL_error(L, "division overflow");
  return divmod(L, divide_truncated);
}

static int op_band(lua_State *L) {
  int i;
  check_both(L);
  for (i = 0; i < bint_words_of(L); i++) C[i] = A[i] & B[i];
  return bint_push(L, C);
}

static int op_bor(lua_State *L) {
  int i;
  check_both(L);
  for (i = 0; i < bint_words_of(L); i++) C[i] = A[i] | B[i];
  return bint_push(L, C);
}

static int op_bxor(lua_State *L) {
  int i;
  check_both(L);
  for (i = 0; i < bint_words_of(L); i++) C[i] = A[i] ^ B[i];
  return bint_push(L, C);
}

static int op_bnot(lua_State *L) {
  int i;
  bint_check(L, 1, A);
  for (i = 0; i < bint_words_of(L); i++) C[i] = ~A[i];
  bint_trim(L, C);
  return bint_push(L, C);
}

/* A shift by the second operand, to the left; below zero, to the right (zeros come in). */
static int shift(lua_State *L, int direction) {
  lua_Integer by;
  int n = bint_words_of(L);
  check_both(L);
  bint_push_number(L, B);
  if (!lua_isinteger(L, -1)) return luaL_error(L, "number has no integer representation");
  by = lua_tointeger(L, -1);
  if (by <= -bint_bits_of(L) || by >= bint_bits_of(L)) memset(C, 0, (size_t)n * sizeof *C);
  else if (by * direction >= 0) wide_shift_left(C, A, n, (int)(by * direction));
  else wide_shift_right(C, A, n, (int)(-by * direction));
  bint_trim(L, C);
  return bint_push(L, C);
}

static int op_shl(lua_State *L) { return shift(L, 1); }
static int op_shr(lua_State *L) { return shift(L, -1); }

/* Signed: flipping the sign bits makes it an unsigned comparison. */
static int compare(lua_State *L, int with_sign) {
  int top = (bint_bits_of(L) - 1) / 32;
  Word flip = with_sign ? 1u << (bint_bits_of(L) - 1) % 32 : 0;
  A[top] ^= flip;
  B[top] ^= flip;
  return wide_compare(A, B, bint_words_of(L));
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
  int n = bint_words_of(L), i;
  check_both(L);
  bint_read_integer(L, 1, D);
  for (i = 0; i < bint_bits_of(L); i++) {
    if (B[i / 32] >> i % 32 & 1) {
      wide_multiply(C, D, A, n);
      memcpy(D, C, (size_t)n * sizeof *C);
    }
    wide_multiply(C, A, A, n);
    memcpy(A, C, (size_t)n * sizeof *C);
  }
  bint_trim(L, D);
  return bint_push(L, D);
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
  int n = bint_words_of(L), i;
  check_both(L);
  bint_check(L, 3, modulus);
  if (wide_is_zero(modulus, n)) return luaL_error(L, "attempt to divide by zero");
  wide_divide(C, power, A, n, modulus, n);
  bint_read_integer(L, 1, A);
  wide_divide(C, D, A, n, modulus, n);
  for (i = 0; i < bint_bits_of(L); i++) {
    if (B[i / 32] >> i % 32 & 1) multiply_modulo(D, power, modulus, n);
    multiply_modulo(power, power, modulus, n);
  }
  return bint_push(L, D);
}

/* ---- to and from other things ---- */

static int lib_tobint(lua_State *L) {
  luaL_checkany(L, 1);
  if (!bint_read(L, 1, A)) lua_pushnil(L);
  else if (bint_is(L, 1) && !lua_toboolean(L, 2)) lua_pushvalue(L, 1);
  else bint_push(L, A);
  return 1;
}

static int lib_new(lua_State *L) {
  if (!bint_read(L, 1, A)) return luaL_error(L, "value cannot be represented by a bint");
  return bint_push(L, A);
}

/* frombase(text, base = 10): nil when it is no such number */
static int lib_frombase(lua_State *L) {
  size_t size;
  int negative;
  const char *p = lua_tolstring(L, 1, &size), *start;
  lua_Integer base = luaL_optinteger(L, 2, 10);
  if (lua_type(L, 1) != LUA_TSTRING || base < 2 || base > 36) return 0;
  start = bint_skip_sign(p, p + size, &negative);
  if (!bint_read_digits(L, start, p + size, (int)base, negative, A)) return 0;
  return bint_push(L, A);
}

/* tobase(x, base = 10, unsigned = base ~= 10) */
static int lib_tobase(lua_State *L) {
  lua_Integer base = luaL_optinteger(L, 2, 10);
  int n = bint_words_of(L), without_sign = lua_isnoneornil(L, 3) ? base != 10 : lua_toboolean(L, 3), negative;
  size_t room = (size_t)bint_bits_of(L) + 2, at = room;
  char *text;
  if (base < 2 || base > 36 || !bint_read(L, 1, A)) return 0;
  text = lua_newuserdata(L, room);
  negative = !without_sign && bint_take_sign(L, A);
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
  if (bint_is(L, 1)) {
    bint_read_words(L, 1, A);
    bint_push_number(L, A);
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
  int n = bint_words_of(L), bits = bint_bits_of(L), whole;
  lua_Integer value;
  luaL_checkany(L, 1);
  if (bint_is(L, 1)) {
    bint_read_words(L, 1, A);
    low = A[0] | (n > 1 ? (uint64_t)A[1] << 32 : 0);
    if (bits < 64 && bint_is_negative(L, A)) low |= ~0ull << bits;
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
  int size = (bint_bits_of(L) + 7) / 8, i;
  luaL_Buffer b;
  char *out;
  bint_check(L, 1, A);
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
  memset(A, 0, (size_t)bint_words_of(L) * sizeof *A);
  for (i = 0; i < size && i < (size_t)bint_words_of(L) * 4; i++) A[i / 4] |= (Word)p[i] << 8 * (i % 4);
  bint_trim(L, A);
  return bint_push(L, A);
}

static int lib_isneg(lua_State *L) {
  if (bint_is(L, 1)) {
    bint_read_words(L, 1, A);
    lua_pushboolean(L, bint_is_negative(L, A));
  } else {
    lua_pushboolean(L, luaL_checknumber(L, 1) < 0);
  }
  return 1;
}

static int lib_isbint(lua_State *L) {
  lua_pushboolean(L, bint_is(L, 1));
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
