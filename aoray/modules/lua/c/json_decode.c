/* JSON texts into Lua values. null is nil, so its keys are absent; errors say what is wrong, and where. */
#include "aoray.h"

#define DEPTH_MAX 1000 /* arrays in arrays; C calls itself for each level */

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
  lua_createtable(r->L, 0, 2); /* a tag has two fields */
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
