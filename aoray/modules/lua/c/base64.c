/* Base64 with any alphabet. An encoder is a table from 0..63 (and 64, the padding) to character codes, a decoder the
 * reverse; characters that a decoder does not know are passed over, and missing padding is no fault. */
#include "aoray.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";

/* The alphabet that (s62, s63, padding) name; `size` gets 64 when there is no padding. */
static void alphabet_of(lua_State *L, char out[65], int *size) {
  const char *s62 = luaL_optstring(L, 1, "+"), *s63 = luaL_optstring(L, 2, "/"), *pad = luaL_optstring(L, 3, "=");
  memcpy(out, standard, 65);
  out[62] = s62[0];
  out[63] = s63[0];
  out[64] = pad[0];
  *size = pad[0] ? 65 : 64;
}

static int makeencoder(lua_State *L) {
  char alphabet[65];
  int size, i;
  alphabet_of(L, alphabet, &size);
  lua_createtable(L, 64, 1);
  for (i = 0; i < size; i++) {
    lua_pushinteger(L, (unsigned char)alphabet[i]);
    lua_rawseti(L, -2, i);
  }
  return 1;
}

static int makedecoder(lua_State *L) {
  char alphabet[65];
  int size, i;
  alphabet_of(L, alphabet, &size);
  lua_createtable(L, 0, 65);
  for (i = 0; i < size; i++) {
    lua_pushinteger(L, i);
    lua_rawseti(L, -2, (unsigned char)alphabet[i]);
  }
  return 1;
}

static void read_encoder(lua_State *L, int index, char out[65]) {
  int i;
  memcpy(out, standard, 65);
  if (lua_isnoneornil(L, index)) return;
  luaL_checktype(L, index, LUA_TTABLE);
  for (i = 0; i < 65; i++) {
    lua_rawgeti(L, index, i);
    out[i] = (char)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
}

static char *put_group(char *out, const unsigned char *p, size_t left, const char alphabet[65]) {
  uint32_t v = (uint32_t)p[0] << 16 | (left > 1 ? (uint32_t)p[1] << 8 : 0) | (left > 2 ? p[2] : 0);
  *out++ = alphabet[v >> 18];
  *out++ = alphabet[v >> 12 & 63];
  if (left > 1) *out++ = alphabet[v >> 6 & 63];
  else if (alphabet[64]) *out++ = alphabet[64];
  if (left > 2) *out++ = alphabet[v & 63];
  else if (alphabet[64]) *out++ = alphabet[64];
  return out;
}

static int encode(lua_State *L) {
  size_t size, i;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &size);
  char alphabet[65], *out, *start;
  luaL_Buffer b;
  read_encoder(L, 2, alphabet);
  start = out = luaL_buffinitsize(L, &b, (size + 2) / 3 * 4);
  for (i = 0; i < size; i += 3) out = put_group(out, p + i, size - i, alphabet);
  luaL_pushresultsize(&b, (size_t)(out - start));
  return 1;
}

/* For each byte: its six bits, 64 for padding, or 255. */
static void read_decoder(lua_State *L, int index, unsigned char out[256]) {
  int i;
  memset(out, 255, 256);
  if (lua_isnoneornil(L, index)) {
    for (i = 0; i < 65; i++) out[(unsigned char)standard[i]] = (unsigned char)i;
    return;
  }
  luaL_checktype(L, index, LUA_TTABLE);
  for (i = 0; i < 256; i++) {
    if (lua_rawgeti(L, index, i) == LUA_TNUMBER) out[i] = (unsigned char)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
}

static int decode(lua_State *L) {
  size_t size, i;
  const unsigned char *p = (const unsigned char *)luaL_checklstring(L, 1, &size);
  unsigned char values[256];
  uint32_t bits = 0;
  int count = 0;
  luaL_Buffer b;
  char *out, *start;
  read_decoder(L, 2, values);
  start = out = luaL_buffinitsize(L, &b, size / 4 * 3 + 3);
  for (i = 0; i < size; i++) {
    if (values[p[i]] >= 64) continue;
    bits = bits << 6 | values[p[i]];
    if (++count % 4 == 0) *out++ = (char)(bits >> 16), *out++ = (char)(bits >> 8), *out++ = (char)bits;
  }
  if (count % 4 == 3) *out++ = (char)(bits >> 10), *out++ = (char)(bits >> 2);
  else if (count % 4 == 2) *out++ = (char)(bits >> 4);
  luaL_pushresultsize(&b, (size_t)(out - start));
  return 1;
}

int luaopen_base64(lua_State *L) {
  static const luaL_Reg functions[] = {{"encode", encode},
                                       {"decode", decode},
                                       {"makeencoder", makeencoder},
                                       {"makedecoder", makedecoder},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
