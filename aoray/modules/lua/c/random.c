/* MT19937, 32 bits (Matsumoto and Nishimura): the random numbers of a process, part of its state. */
#include "aoray.h"

#include <math.h>

#define SIZE 624
#define SHIFT 397

static uint32_t pool[SIZE];
static int used = SIZE;

static void seed(uint32_t value) {
  int i;
  pool[0] = value;
  for (i = 1; i < SIZE; i++) pool[i] = 1812433253u * (pool[i - 1] ^ pool[i - 1] >> 30) + (uint32_t)i;
  used = SIZE;
}

static void refill(void) {
  int i;
  for (i = 0; i < SIZE; i++) {
    uint32_t y = (pool[i] & 0x80000000u) | (pool[(i + 1) % SIZE] & 0x7fffffffu);
    pool[i] = pool[(i + SHIFT) % SIZE] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
  }
  used = 0;
}

static uint32_t draw(void) {
  uint32_t y;
  if (used == SIZE) refill();
  y = pool[used++];
  y ^= y >> 11;
  y ^= y << 7 & 0x9d2c5680u;
  y ^= y << 15 & 0xefc60000u;
  return y ^ y >> 18;
}

static int lib_seed(lua_State *L) {
  lua_Integer value;
  if (!lua_isinteger(L, 1)) lua_pushinteger(L, (lua_Integer)fmod(luaL_checknumber(L, 1), 4294967296.0)), lua_replace(L, 1);
  value = lua_tointeger(L, 1);
  seed((uint32_t)value);
  return 0;
}

static void push_floor(lua_State *L, lua_Number value) {
  lua_Integer whole;
  value = floor(value);
  if (lua_numbertointeger(value, &whole)) lua_pushinteger(L, whole);
  else lua_pushnumber(L, value);
}

/* random() in [0,1); random(n) in 1..n; random(a, b) in a..b, both whole */
static int lib_random(lua_State *L) {
  lua_Number low, high;
  if (lua_isnoneornil(L, 1)) {
    lua_pushnumber(L, draw() / 4294967296.0);
    return 1;
  }
  low = lua_isnoneornil(L, 2) ? 1 : luaL_checknumber(L, 1);
  high = luaL_checknumber(L, lua_isnoneornil(L, 2) ? 1 : 2);
  if (high < low) return luaL_error(L, "max must not be less than min");
  push_floor(L, draw() / 4294967296.0 * (high - low + 1) + low);
  return 1;
}

int luaopen_random(lua_State *L) {
  static const luaL_Reg functions[] = {{"seed", lib_seed}, {"random", lib_random}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
