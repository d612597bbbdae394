/* The Lua library `.digest`: hashes, HMAC (RFC 2104) and PBKDF2 (RFC 8018) from strings to strings. `.crypto` is built on it. */
#include "aoray.h"
#include "digest.h"

const Digest digests[] = {{"md2", 16, 16, md2},           {"md4", 16, 64, md4},
                          {"md5", 16, 64, md5},           {"sha1", 20, 64, sha1},
                          {"sha256", 32, 64, sha256},     {"sha512", 64, 128, sha512},
                          {"sha3_256", 32, 136, sha3_256}, {"sha3_512", 64, 72, sha3_512},
                          {"keccak256", 32, 136, keccak256}, {"keccak512", 64, 72, keccak512},
                          {NULL, 0, 0, NULL}};

static const Digest *check_digest(lua_State *L, int index) {
  const char *name = luaL_checkstring(L, index);
  const Digest *d;
  for (d = digests; d->name; d++)
    if (!strcmp(d->name, name)) return d;
  luaL_error(L, "unknown hash function '%s'", name);
  return NULL;
}

/* hash(name, data) */
static int lib_hash(lua_State *L) {
  const Digest *d = check_digest(L, 1);
  uint8_t out[DIGEST_BYTES_MAX];
  size_t size;
  const char *data = luaL_checklstring(L, 2, &size);
  d->hash((const uint8_t *)data, size, out);
  lua_pushlstring(L, (char *)out, d->size);
  return 1;
}

/* blake2b(data, bytes = 64, key = "") */
static int lib_blake2b(lua_State *L) {
  size_t size, key_size;
  const char *data = luaL_checklstring(L, 1, &size);
  lua_Integer out_size = luaL_optinteger(L, 2, 64);
  const char *key = luaL_optlstring(L, 3, "", &key_size);
  uint8_t out[64];
  luaL_argcheck(L, out_size >= 1 && out_size <= 64, 2, "1 to 64 bytes");
  luaL_argcheck(L, key_size <= 64, 3, "at most 64 bytes");
  blake2b((const uint8_t *)data, size, (const uint8_t *)key, key_size, out, (size_t)out_size);
  lua_pushlstring(L, (char *)out, (size_t)out_size);
  return 1;
}

/* A key is hashed when it is longer than a block. `pad` gets the block for 0x36 and then the one for 0x5c. */
static void hmac_pads(const Digest *d, const uint8_t *key, size_t size, uint8_t pad[2][BLOCK_BYTES_MAX]) {
  uint8_t block[BLOCK_BYTES_MAX] = {0};
  size_t i;
  if (size > d->block) d->hash(key, size, block);
  else memcpy(block, key, size);
  for (i = 0; i < d->block; i++) {
    pad[0][i] = block[i] ^ 0x36;
    pad[1][i] = block[i] ^ 0x5c;
  }
}

/* `work` has room for a block and the data. */
static void hmac(const Digest *d, uint8_t pad[2][BLOCK_BYTES_MAX], const uint8_t *data, size_t size, uint8_t *work,
                 uint8_t *out) {
  uint8_t outer[BLOCK_BYTES_MAX + DIGEST_BYTES_MAX];
  memcpy(work, pad[0], d->block);
  memmove(work + d->block, data, size);
  memcpy(outer, pad[1], d->block);
  d->hash(work, d->block + size, outer + d->block);
  d->hash(outer, d->block + d->size, out);
}

/* hmac(name, key, data) */
static int lib_hmac(lua_State *L) {
  const Digest *d = check_digest(L, 1);
  size_t key_size, size;
  const char *key = luaL_checklstring(L, 2, &key_size), *data = luaL_checklstring(L, 3, &size);
  uint8_t pad[2][BLOCK_BYTES_MAX], out[DIGEST_BYTES_MAX], *work = lua_newuserdata(L, d->block + size);
  hmac_pads(d, (const uint8_t *)key, key_size, pad);
  hmac(d, pad, (const uint8_t *)data, size, work, out);
  lua_pushlstring(L, (char *)out, d->size);
  return 1;
}

/* pbkdf2(name, password, salt, iterations, bytes) */
static int lib_pbkdf2(lua_State *L) {
  const Digest *d = check_digest(L, 1);
  size_t key_size, salt_size, i;
  const char *key = luaL_checklstring(L, 2, &key_size), *salt = luaL_checklstring(L, 3, &salt_size);
  lua_Integer rounds = luaL_checkinteger(L, 4), wanted = luaL_checkinteger(L, 5), round;
  uint8_t pad[2][BLOCK_BYTES_MAX], u[DIGEST_BYTES_MAX], sum[DIGEST_BYTES_MAX], *work, *seed;
  uint32_t block;
  luaL_Buffer b;
  luaL_argcheck(L, rounds >= 1, 4, "at least one iteration");
  luaL_argcheck(L, wanted >= 0 && wanted <= 1 << 20, 5, "out of range");
  work = lua_newuserdata(L, d->block + salt_size + 4 + DIGEST_BYTES_MAX);
  seed = lua_newuserdata(L, salt_size + 4);
  memcpy(seed, salt, salt_size);
  hmac_pads(d, (const uint8_t *)key, key_size, pad);
  luaL_buffinit(L, &b);
  for (block = 1; wanted > 0; block++, wanted -= (lua_Integer)d->size) {
    for (i = 0; i < 4; i++) seed[salt_size + i] = (uint8_t)(block >> 8 * (3 - i));
    hmac(d, pad, seed, salt_size + 4, work, u);
    memcpy(sum, u, d->size);
    for (round = 1; round < rounds; round++) {
      hmac(d, pad, u, d->size, work, u);
      for (i = 0; i < d->size; i++) sum[i] ^= u[i];
    }
    luaL_addlstring(&b, (char *)sum, wanted < (lua_Integer)d->size ? (size_t)wanted : d->size);
  }
  luaL_pushresult(&b);
  return 1;
}

int luaopen_digest(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"hash", lib_hash}, {"blake2b", lib_blake2b}, {"hmac", lib_hmac}, {"pbkdf2", lib_pbkdf2}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
