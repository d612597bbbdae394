/* A byte buffer that grows, outside of Lua's own memory: texts of any size are written without garbage. */
#include "aoray.h"

#define KEEP_BYTES (1u << 20) /* a block larger than this is given back after the message that needed it */

void buffer_clear(Buffer *b) {
  b->used = 0;
  if (b->room <= KEEP_BYTES) return;
  free(b->bytes);
  b->bytes = NULL;
  b->room = 0;
}

void buffer_reserve(lua_State *L, Buffer *b, size_t more) {
  size_t room = b->room ? b->room : 4096;
  char *bytes;
  if (b->used + more <= b->room) return;
  while (room < b->used + more) room *= 2;
  bytes = realloc(b->bytes, room);
  if (!bytes) luaL_error(L, "not enough memory");
  b->bytes = bytes;
  b->room = room;
}

void buffer_add(lua_State *L, Buffer *b, const void *bytes, size_t size) {
  buffer_reserve(L, b, size);
  memcpy(b->bytes + b->used, bytes, size);
  b->used += size;
}
