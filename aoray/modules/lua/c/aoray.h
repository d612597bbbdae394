/* What the C files of the module share: native libraries for the Lua side, and a growing byte buffer. */
#ifndef AORAY_H
#define AORAY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lua.h"
#include "lauxlib.h"
#include "lualib.h"

typedef struct {
  char *bytes;
  size_t used, room;
} Buffer;

void buffer_clear(Buffer *b);                                   /* empties it, and gives back a very large block */
void buffer_reserve(lua_State *L, Buffer *b, size_t more);      /* raises a Lua error when there is no memory */
void buffer_add(lua_State *L, Buffer *b, const void *bytes, size_t size);

/* json.c: the value is pushed; errors are Lua errors. */
void json_decode(lua_State *L, const char *text, size_t size);
void json_encode(lua_State *L, int index, Buffer *out, int clean); /* clean: bytes that are not UTF-8 become U+FFFD */

int luaopen_json(lua_State *L);
int luaopen_base64(lua_State *L);
int luaopen_digest(lua_State *L);
int luaopen_aes(lua_State *L);
int luaopen_random(lua_State *L);
int luaopen_bintcore(lua_State *L);

#endif
