/* Lua values into JSON, and the library `json`, as AO programs know it: `{}` is `[]`, functions in objects are
 * left out, floats have 14 digits. Integers keep all their digits. */
#include "aoray.h"

#include <math.h>
#include <stdio.h>

#define PIECE_BYTES 512
#define DEPTH_MAX 1000 /* tables in tables; C calls itself for each level */

typedef struct {
  lua_State *L;
  Buffer *out;
  int depth, clean;
  const void *open[DEPTH_MAX]; /* the tables that are being written, outermost first */
} Writer;

static void encode_value(Writer *w, int index);

/* Bytes of the UTF-8 sequence at p, or 0 when it is none. */
static size_t utf8_extent(const unsigned char *p, size_t left) {
  size_t need = p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0, i;
  if (!need || need > left) return 0;
  for (i = 1; i < need; i++)
    if ((p[i] & 0xC0) != 0x80) return 0;
  if (p[0] == 0xE0 && p[1] < 0xA0) return 0;
  if (p[0] == 0xED && p[1] > 0x9F) return 0;
  if (p[0] == 0xF0 && p[1] < 0x90) return 0;
  if (p[0] == 0xF4 && p[1] > 0x8F) return 0;
  return need;
}

static char *put_escape(char *out, unsigned c) {
  static const char digits[] = "0123456789abcdef", from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
  const char *found = c ? strchr(from, (int)c) : NULL;
  *out++ = '\\';
  if (found) {
    *out++ = to[found - from];
    return out;
  }
  memcpy(out, "u00", 3);
  out[3] = digits[c >> 4];
  out[4] = digits[c & 15];
  return out + 5;
}

static char *put_foreign(char *out, const unsigned char *p, size_t left, int clean, size_t *taken) {
  size_t size = clean ? utf8_extent(p, left) : 1;
  *taken = size ? size : 1;
  if (!size) {
    memcpy(out, "\xEF\xBF\xBD", 3);
    return out + 3;
  }
  memcpy(out, p, size);
  return out + size;
}

/* A piece at a time, so that a long text is not given room for the worst case. */
static void encode_string(Writer *w, const char *text, size_t size) {
  const unsigned char *p = (const unsigned char *)text, *end = p + size, *pause;
  size_t taken;
  char *out;
  buffer_add(w->L, w->out, "\"", 1);
  while (p < end) {
    pause = end - p > PIECE_BYTES ? p + PIECE_BYTES : end;
    buffer_reserve(w->L, w->out, (PIECE_BYTES + 4) * 6);
    out = w->out->bytes + w->out->used;
    while (p < pause) {
      if (*p < 32 || *p == '"' || *p == '\\') out = put_escape(out, *p++);
      else if (*p < 128) *out++ = (char)*p++;
      else {
        out = put_foreign(out, p, (size_t)(end - p), w->clean, &taken);
        p += taken;
      }
    }
    w->out->used = (size_t)(out - w->out->bytes);
  }
  buffer_add(w->L, w->out, "\"", 1);
}

static void encode_number(Writer *w, int index) {
  char text[64];
  int size;
  lua_Number value;
  if (lua_isinteger(w->L, index)) {
    size = snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(w->L, index));
  } else {
    value = lua_tonumber(w->L, index);
    size = snprintf(text, sizeof text, "%.14g", value);
    if (isnan(value) || isinf(value)) luaL_error(w->L, "unexpected number value '%s'", text);
  }
  buffer_add(w->L, w->out, text, (size_t)size);
}

/* Keys must be numbers, as many as the length says. */
static void check_array(lua_State *L, int index) {
  lua_Unsigned count = 0;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_type(L, -2) != LUA_TNUMBER) luaL_error(L, "invalid table: mixed or invalid key types");
    lua_pop(L, 1);
    count++;
  }
  if (count != lua_rawlen(L, index)) luaL_error(L, "invalid table: sparse array");
}

static void encode_array(Writer *w, int index) {
  lua_Integer i, count = (lua_Integer)lua_rawlen(w->L, index);
  check_array(w->L, index);
  buffer_add(w->L, w->out, "[", 1);
  for (i = 1; i <= count; i++) {
    if (i > 1) buffer_add(w->L, w->out, ",", 1);
    lua_rawgeti(w->L, index, i);
    encode_value(w, lua_gettop(w->L));
    lua_pop(w->L, 1);
  }
  buffer_add(w->L, w->out, "]", 1);
}

static void encode_object(Writer *w, int index) {
  int count = 0;
  size_t size;
  const char *key;
  buffer_add(w->L, w->out, "{", 1);
  lua_pushnil(w->L);
  while (lua_next(w->L, index)) {
    if (lua_type(w->L, -2) != LUA_TSTRING) luaL_error(w->L, "invalid table: mixed or invalid key types");
    if (lua_type(w->L, -1) != LUA_TFUNCTION) {
      if (count++) buffer_add(w->L, w->out, ",", 1);
      key = lua_tolstring(w->L, -2, &size);
      encode_string(w, key, size);
      buffer_add(w->L, w->out, ":", 1);
      encode_value(w, lua_gettop(w->L));
    }
    lua_pop(w->L, 1);
  }
  buffer_add(w->L, w->out, "}", 1);
}

static int is_array(lua_State *L, int index) {
  int first = lua_rawgeti(L, index, 1) != LUA_TNIL;
  lua_pop(L, 1);
  if (first) return 1;
  lua_pushnil(L);
  if (!lua_next(L, index)) return 1;
  lua_pop(L, 2);
  return 0;
}

static void encode_table(Writer *w, int index) {
  const void *self = lua_topointer(w->L, index);
  int i;
  for (i = 0; i < w->depth; i++)
    if (w->open[i] == self) luaL_error(w->L, "circular reference");
  if (w->depth == DEPTH_MAX) luaL_error(w->L, "table is too deeply nested");
  luaL_checkstack(w->L, 6, "table is too deeply nested");
  w->open[w->depth++] = self;
  if (is_array(w->L, index)) encode_array(w, index);
  else encode_object(w, index);
  w->depth--;
}

static void encode_value(Writer *w, int index) {
  size_t size;
  const char *text;
  switch (lua_type(w->L, index)) {
    case LUA_TNIL: buffer_add(w->L, w->out, "null", 4); break;
    case LUA_TBOOLEAN:
      text = lua_toboolean(w->L, index) ? "true" : "false";
      buffer_add(w->L, w->out, text, strlen(text));
      break;
    case LUA_TNUMBER: encode_number(w, index); break;
    case LUA_TSTRING:
      text = lua_tolstring(w->L, index, &size);
      encode_string(w, text, size);
      break;
    case LUA_TTABLE: encode_table(w, index); break;
    default: luaL_error(w->L, "unexpected type '%s'", luaL_typename(w->L, index));
  }
}

void json_encode(lua_State *L, int index, Buffer *out, int clean) {
  static Writer w; /* nothing in here calls Lua code, so one is enough */
  w.L = L;
  w.out = out;
  w.clean = clean;
  w.depth = 0;
  encode_value(&w, lua_absindex(L, index));
}

/* ---- the library ---- */

static int lib_decode(lua_State *L) {
  size_t size;
  const char *text;
  if (lua_type(L, 1) != LUA_TSTRING)
    return luaL_error(L, "expected argument of type string, got %s", luaL_typename(L, 1));
  text = lua_tolstring(L, 1, &size);
  json_decode(L, text, size);
  return 1;
}

static int lib_encode(lua_State *L) {
  static Buffer out;
  lua_settop(L, 1);
  buffer_clear(&out);
  json_encode(L, 1, &out, 0);
  lua_pushlstring(L, out.bytes, out.used);
  return 1;
}

int luaopen_json(lua_State *L) {
  static const luaL_Reg functions[] = {{"encode", lib_encode}, {"decode", lib_decode}, {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushliteral(L, "0.2.0");
  lua_setfield(L, -2, "_version");
  return 1;
}
