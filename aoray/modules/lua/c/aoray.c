/* The border of the module: `handle(message, env)` in, JSON out. (contract: the PLAIN ABI, Module-Format wasm32-wasi)
 *
 * One Lua state lives for as long as the instance. A message is decoded here, given to `.process`.handle, and what that
 * returns is encoded here; whatever goes wrong becomes {"ok":false,"response":text}. The text of env is kept, and decoded
 * again only when it differs. The result stays valid until the next call. */
#include "aoray.h"

#include "embedded.h"

#include <time.h>

static lua_State *state;
static Buffer result, env_seen;
static time_t now_s; /* the second of the message that is handled */

time_t aoray_time(time_t *out) {
  if (out) *out = now_s;
  return now_s;
}

/* ---- the native helpers of the Lua side, `.native` ---- */

static int set_time(lua_State *L) {
  now_s = (time_t)(luaL_optnumber(L, 1, 0) / 1000);
  return 0;
}

static int is_lower(int c) { return c >= 'a' && c <= 'z'; }
static int is_upper(int c) { return c >= 'A' && c <= 'Z'; }

/* `foo_bar` and `FOO-BAR` are both `Foo-Bar`. Most names are as they should be, and cost no copy. */
static int title_case(lua_State *L) {
  size_t size, i;
  const char *name = luaL_checklstring(L, 1, &size);
  luaL_Buffer b;
  char *out = luaL_buffinitsize(L, &b, size);
  int start = 1;
  for (i = 0; i < size; i++) {
    int c = name[i] == '_' ? '-' : name[i];
    if (start && is_lower(c)) c -= 32;
    else if (!start && is_upper(c)) c += 32;
    start = c == '-';
    out[i] = (char)c;
  }
  luaL_pushresultsize(&b, size);
  return 1;
}

/* The sum of all bytes of a text: it seeds the random numbers. */
static int byte_sum(lua_State *L) {
  size_t size, i;
  const char *text = luaL_checklstring(L, 1, &size);
  lua_Integer sum = 0;
  for (i = 0; i < size; i++) sum += (unsigned char)text[i];
  lua_pushinteger(L, sum);
  return 1;
}

/* A list is a table whose keys are exactly 1..n. */
static int is_list(lua_State *L) {
  lua_Unsigned count = 0;
  if (lua_type(L, 1) != LUA_TTABLE) return lua_pushboolean(L, 0), 1;
  lua_settop(L, 1);
  lua_pushnil(L);
  while (lua_next(L, 1)) {
    if (lua_type(L, -2) != LUA_TNUMBER) return lua_pushboolean(L, 0), 1;
    lua_pop(L, 1);
    count++;
  }
  lua_pushboolean(L, count == lua_rawlen(L, 1));
  return 1;
}

static const luaL_Reg native[] = {{"set_time", set_time},
                                  {"title_case", title_case},
                                  {"byte_sum", byte_sum},
                                  {"is_list", is_list},
                                  {NULL, NULL}};

static int luaopen_native(lua_State *L) {
  luaL_newlib(L, native);
  return 1;
}

/* ---- boot ---- */

static int load_embedded(lua_State *L) {
  lua_Integer which = lua_tointeger(L, lua_upvalueindex(1));
  const char *name = embedded[which].name;
  if (luaL_loadbufferx(L, (const char *)embedded[which].source, embedded[which].size, name, "t")) lua_error(L);
  lua_pushstring(L, name);
  lua_call(L, 1, 1);
  return 1;
}

static void preload_all(lua_State *L) {
  static const luaL_Reg libraries[] = {{"json", luaopen_json},       {".base64", luaopen_base64},
                                       {".digest", luaopen_digest},  {".aes", luaopen_aes},
                                       {".random", luaopen_random},
                                       {".native", luaopen_native},  {".bintcore", luaopen_bintcore},
                                       {NULL, NULL}};
  int i;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  luaL_setfuncs(L, libraries, 0);
  for (i = 0; embedded[i].name; i++) {
    lua_pushinteger(L, i);
    lua_pushcclosure(L, load_embedded, 1);
    lua_setfield(L, -2, embedded[i].name);
  }
  lua_pop(L, 1);
}

static void open_standard(lua_State *L) {
  static const luaL_Reg standard[] = {
      {"_G", luaopen_base},           {LUA_LOADLIBNAME, luaopen_package}, {LUA_COLIBNAME, luaopen_coroutine},
      {LUA_TABLIBNAME, luaopen_table}, {LUA_OSLIBNAME, luaopen_os},        {LUA_STRLIBNAME, luaopen_string},
      {LUA_MATHLIBNAME, luaopen_math}, {LUA_UTF8LIBNAME, luaopen_utf8},    {LUA_DBLIBNAME, luaopen_debug},
      {LUA_BITLIBNAME, luaopen_bit32}, {NULL, NULL}};
  const luaL_Reg *library;
  for (library = standard; library->func; library++) {
    luaL_requiref(L, library->name, library->func, 1);
    lua_pop(L, 1);
  }
}

static int open_all(lua_State *L) {
  open_standard(L);
  preload_all(L);
  lua_getglobal(L, "require");
  lua_pushstring(L, ".process");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "handle");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state); /* whatever a program does to its globals, this one stays */
  return 0;
}

/* Called by _initialize, so that a booted image can be shared by all processes. */
__attribute__((constructor)) static void boot(void) {
  lua_State *L = luaL_newstate();
  if (!L) __builtin_trap();
  lua_pushcfunction(L, open_all);
  if (lua_pcall(L, 0, 0, 0)) __builtin_trap();
  lua_gc(L, LUA_GCCOLLECT, 0);
  state = L;
}

/* ---- a message ---- */

static void push_env(lua_State *L, const char *text) {
  size_t size = strlen(text);
  int seen = size == env_seen.used && memcmp(text, env_seen.bytes, size) == 0;
  if (seen && lua_rawgetp(L, LUA_REGISTRYINDEX, &env_seen) == LUA_TTABLE) return;
  json_decode(L, text, size);
  env_seen.used = 0;
  buffer_add(L, &env_seen, text, size);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &env_seen);
}

#define LITERAL(L, text) buffer_add(L, &result, text, sizeof(text) - 1)

/* (message, env: light userdata) */
static int evaluate(lua_State *L) {
  const char *message = lua_touserdata(L, 1), *env = lua_touserdata(L, 2);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state);
  json_decode(L, message, strlen(message));
  push_env(L, env);
  lua_call(L, 2, 1);
  LITERAL(L, "{\"ok\":true,\"response\":");
  json_encode(L, -1, &result, 1);
  LITERAL(L, "}");
  buffer_add(L, &result, "", 1);
  return 0;
}

/* (error: any) */
static int report(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  buffer_clear(&result);
  LITERAL(L, "{\"ok\":false,\"response\":");
  json_encode(L, -1, &result, 1);
  LITERAL(L, "}");
  buffer_add(L, &result, "", 1);
  return 0;
}

__attribute__((export_name("handle"))) const char *handle(const char *message, const char *env) {
  lua_State *L = state;
  lua_settop(L, 0);
  buffer_clear(&result);
  lua_pushcfunction(L, evaluate);
  lua_pushlightuserdata(L, (void *)message);
  lua_pushlightuserdata(L, (void *)env);
  if (lua_pcall(L, 2, 0, 0) == LUA_OK) return result.bytes;
  lua_pushcfunction(L, report);
  lua_insert(L, 1);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return result.bytes;
  return "{\"ok\":false,\"response\":\"not enough memory\"}";
}

