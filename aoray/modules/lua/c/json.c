/* JSON as AO programs know it (lua-api.md §5): `{}` is `[]`, null is nil, functions in objects are left out, floats have
 * 14 digits; errors say what is wrong, and where. Integers keep all their digits. */
#include "aoray.h"

#include <math.h>
#include <stdio.h>

#define DEPTH_MAX 1000 /* nested tables; C calls itself for each level */

/* ---- decode ---- */

typedef struct {
  lua_State *L;
  const char *start, *at, *end;
  int depth;
} Reader;

static void decode_value(Reader *r);

static int decode_error(Reader *r, const char *where, const char *format, const char *detail) {
  int line = 1, column = 1;
  const char *p;
  for (p = r->start; p < where; p++) {
    column++;
    if (*p == '\n') line++, column = 1;
  }
  lua_pushfstring(r->L, format, detail);
  return luaL_error(r->L, "%s at line %d col %d", lua_tostring(r->L, -1), line, column);
}

static void skip_space(Reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')) r->at++;
}

static int peek(Reader *r) { return r->at < r->end ? (unsigned char)*r->at : -1; }

static int hex_digit(int c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four hexadecimal digits at p, or -1. */
static int hex4(const Reader *r, const char *p) {
  int i, value = 0;
  if (r->end - p < 4) return -1;
  for (i = 0; i < 4; i++) {
    int digit = hex_digit((unsigned char)p[i]);
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

static char *put_utf8(char *out, unsigned code) {
  if (code < 0x80) {
    *out++ = (char)code;
    return out;
  }
  if (code < 0x800) {
    *out++ = (char)(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      *out++ = (char)(0xE0 | code >> 12);
    } else {
      *out++ = (char)(0xF0 | code >> 18);
      *out++ = (char)(0x80 | (code >> 12 & 63));
    }
    *out++ = (char)(0x80 | (code >> 6 & 63));
  }
  *out++ = (char)(0x80 | (code & 63));
  return out;
}

/* r->at is at the `u`; leaves it after the last digit. */
static char *decode_unicode(Reader *r, char *out) {
  int high = hex4(r, r->at + 1), low;
  if (high < 0) decode_error(r, r->at - 1, "%s", "invalid unicode escape in string");
  r->at += 5;
  if (high >= 0xD800 && high < 0xDC00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
    low = hex4(r, r->at + 2);
    if (low >= 0xDC00 && low < 0xE000) {
      r->at += 6;
      return put_utf8(out, 0x10000u + ((unsigned)(high - 0xD800) << 10) + (unsigned)(low - 0xDC00));
    }
  }
  return put_utf8(out, (unsigned)high);
}

static char *decode_escape(Reader *r, char *out) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  int c = peek(r);
  const char *found = c > 0 ? strchr(from, c) : NULL;
  char shown[2] = {(char)(c < 0 ? 0 : c), 0};
  if (c == 'u') return decode_unicode(r, out);
  if (!found) decode_error(r, r->at - 1, "invalid escape char '%s' in string", shown);
  *out++ = to[found - from];
  r->at++;
  return out;
}

/* The bytes up to the closing quote, escapes and all: what the decoded text can at most need. */
static size_t string_extent(Reader *r, const char *open, int *escapes) {
  const char *p = r->at;
  for (; p < r->end && *p != '"'; p++) {
    if ((unsigned char)*p < 32) decode_error(r, p, "%s", "control character in string");
    if (*p == '\\') *escapes = 1, p++;
  }
  if (p >= r->end) decode_error(r, open, "%s", "expected closing quote for string");
  return (size_t)(p - r->at);
}

static void decode_string(Reader *r) {
  const char *open = r->at++, *close;
  int escapes = 0;
  size_t size = string_extent(r, open, &escapes);
  luaL_Buffer b;
  char *out, *start;
  close = r->at + size;
  if (!escapes) {
    lua_pushlstring(r->L, r->at, size);
    r->at = close + 1;
    return;
  }
  start = out = luaL_buffinitsize(r->L, &b, size);
  while (r->at < close) {
    if (*r->at != '\\') *out++ = *r->at++;
    else r->at++, out = decode_escape(r, out);
  }
  luaL_pushresultsize(&b, (size_t)(out - start));
  r->at = close + 1;
}

static const char *token_end(const Reader *r) {
  const char *p = r->at;
  while (p < r->end && !strchr(" \t\r\n]},", *p)) p++;
  return p;
}

static void decode_number(Reader *r) {
  const char *end = token_end(r);
  size_t size = (size_t)(end - r->at);
  char text[200];
  if (size < sizeof text) {
    memcpy(text, r->at, size);
    text[size] = 0;
    if (lua_stringtonumber(r->L, text) == size + 1) {
      r->at = end;
      return;
    }
  }
  lua_pushlstring(r->L, r->at, size);
  decode_error(r, r->at, "invalid number '%s'", lua_tostring(r->L, -1));
}

static void decode_literal(Reader *r) {
  const char *end = token_end(r);
  size_t size = (size_t)(end - r->at);
  if (size == 4 && !memcmp(r->at, "true", 4)) lua_pushboolean(r->L, 1);
  else if (size == 5 && !memcmp(r->at, "false", 5)) lua_pushboolean(r->L, 0);
  else if (size == 4 && !memcmp(r->at, "null", 4)) lua_pushnil(r->L);
  else {
    lua_pushlstring(r->L, r->at, size);
    decode_error(r, r->at, "invalid literal '%s'", lua_tostring(r->L, -1));
  }
  r->at = end;
}

/* After an element: 1 when the closing bracket was read. */
static int decode_end(Reader *r, int close, const char *wanted) {
  int c;
  skip_space(r);
  c = peek(r);
  r->at++;
  if (c != close && c != ',') decode_error(r, r->at, "%s", wanted);
  return c == close;
}

static void decode_array(Reader *r) {
  lua_Integer count = 0;
  lua_newtable(r->L);
  r->at++;
  for (;;) {
    skip_space(r);
    if (peek(r) == ']') {
      r->at++;
      return;
    }
    decode_value(r);
    lua_rawseti(r->L, -2, ++count);
    if (decode_end(r, ']', "expected ']' or ','")) return;
  }
}

static void decode_object(Reader *r) {
  lua_newtable(r->L);
  r->at++;
  for (;;) {
    skip_space(r);
    if (peek(r) == '}') {
      r->at++;
      return;
    }
    if (peek(r) != '"') decode_error(r, r->at, "%s", "expected string for key");
    decode_string(r);
    skip_space(r);
    if (peek(r) != ':') decode_error(r, r->at, "%s", "expected ':' after key");
    r->at++;
    decode_value(r);
    lua_rawset(r->L, -3);
    if (decode_end(r, '}', "expected '}' or ','")) return;
  }
}

static void decode_nested(Reader *r, int c) {
  if (++r->depth > DEPTH_MAX) decode_error(r, r->at, "%s", "too deeply nested");
  luaL_checkstack(r->L, 4, "JSON is too deeply nested");
  if (c == '{') decode_object(r);
  else decode_array(r);
  r->depth--;
}

static void decode_value(Reader *r) {
  int c;
  char shown[2] = {0, 0};
  skip_space(r);
  c = peek(r);
  if (c == '"') decode_string(r);
  else if (c == '{' || c == '[') decode_nested(r, c);
  else if (c == '-' || (c >= '0' && c <= '9')) decode_number(r);
  else if (c == 't' || c == 'f' || c == 'n') decode_literal(r);
  else {
    shown[0] = (char)(c < 0 ? 0 : c);
    decode_error(r, r->at, "unexpected character '%s'", shown);
  }
}

void json_decode(lua_State *L, const char *text, size_t size) {
  Reader r = {L, text, text, text + size, 0};
  decode_value(&r);
  skip_space(&r);
  if (r.at < r.end) decode_error(&r, r.at, "%s", "trailing garbage");
}

/* ---- encode ---- */

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

static void encode_string(Writer *w, const char *text, size_t size) {
  const unsigned char *p = (const unsigned char *)text, *end = p + size;
  size_t taken;
  char *out;
  buffer_reserve(w->L, w->out, size * 6 + 2);
  out = w->out->bytes + w->out->used;
  *out++ = '"';
  while (p < end) {
    if (*p < 32 || *p == '"' || *p == '\\') out = put_escape(out, *p++);
    else if (*p < 128) *out++ = (char)*p++;
    else {
      out = put_foreign(out, p, (size_t)(end - p), w->clean, &taken);
      p += taken;
    }
  }
  *out++ = '"';
  w->out->used = (size_t)(out - w->out->bytes);
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
