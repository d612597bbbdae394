/* AES (FIPS 197) with 128, 192 and 256 bits, in the modes ECB, CBC, CFB, OFB and CTR (SP 800-38A): the Lua library `.aes`.
 * Bytes come in whole blocks; whoever calls pads. The S-box is computed at first use. */
#include "aoray.h"

#define BLOCK 16

typedef struct {
  uint8_t keys[15][BLOCK];
  int rounds;
} Schedule;

static uint8_t box[256], unbox[256];

static uint8_t twice(uint8_t x) { return (uint8_t)(x << 1 ^ (x & 0x80 ? 0x1b : 0)); }

static uint8_t times(uint8_t x, unsigned by) {
  uint8_t sum = 0;
  for (; by; by >>= 1, x = twice(x))
    if (by & 1) sum ^= x;
  return sum;
}

/* 3 generates the field: p walks through it, q through the inverses (FIPS 197, 5.1.1). */
static void make_boxes(void) {
  uint8_t p = 1, q = 1;
  if (box[0]) return;
  do {
    unsigned turned;
    p = p ^ twice(p);
    q ^= (uint8_t)(q << 1);
    q ^= (uint8_t)(q << 2);
    q ^= (uint8_t)(q << 4);
    if (q & 0x80) q ^= 0x09;
    turned = q * 0x0101u;
    box[p] = (uint8_t)(q ^ turned >> 7 ^ turned >> 6 ^ turned >> 5 ^ turned >> 4 ^ 0x63);
  } while (p != 1);
  box[0] = 0x63;
  for (unsigned i = 0; i < 256; i++) unbox[box[i]] = (uint8_t)i;
}

static void expand(Schedule *s, const uint8_t *key, size_t size) {
  uint8_t *w = s->keys[0], constant = 1, t[4], first;
  size_t words = size / 4, i;
  make_boxes();
  s->rounds = (int)words + 6;
  memcpy(w, key, size);
  for (i = words; i < 4 * (size_t)(s->rounds + 1); i++) {
    memcpy(t, w + 4 * (i - 1), 4);
    if (i % words == 0) {
      first = t[0];
      t[0] = box[t[1]] ^ constant, t[1] = box[t[2]], t[2] = box[t[3]], t[3] = box[first];
      constant = twice(constant);
    } else if (words > 6 && i % words == 4) {
      for (int j = 0; j < 4; j++) t[j] = box[t[j]];
    }
    for (int j = 0; j < 4; j++) w[4 * i + (size_t)j] = w[4 * (i - words) + (size_t)j] ^ t[j];
  }
}

static void add(uint8_t *a, const uint8_t *b) {
  for (int i = 0; i < BLOCK; i++) a[i] ^= b[i];
}

/* Byte i of a column-wise state comes from row i % 4, turned by its number; direction 1 or 3 (back). */
static void substitute_and_turn(uint8_t *a, const uint8_t *with, int direction) {
  uint8_t out[BLOCK];
  for (int i = 0; i < BLOCK; i++) out[i] = with[a[(i + 4 * direction * (i % 4)) % BLOCK]];
  memcpy(a, out, BLOCK);
}

static void mix(uint8_t *a, const uint8_t factors[4]) {
  for (int column = 0; column < BLOCK; column += 4) {
    uint8_t t[4];
    memcpy(t, a + column, 4);
    for (int i = 0; i < 4; i++) {
      a[column + i] = 0;
      for (int j = 0; j < 4; j++) a[column + i] ^= times(t[(i + j) % 4], factors[j]);
    }
  }
}

static void encrypt_block(const Schedule *s, uint8_t *a) {
  static const uint8_t factors[4] = {2, 3, 1, 1};
  add(a, s->keys[0]);
  for (int round = 1; round <= s->rounds; round++) {
    substitute_and_turn(a, box, 1);
    if (round < s->rounds) mix(a, factors);
    add(a, s->keys[round]);
  }
}

static void decrypt_block(const Schedule *s, uint8_t *a) {
  static const uint8_t factors[4] = {14, 11, 13, 9};
  for (int round = s->rounds; round > 0; round--) {
    add(a, s->keys[round]);
    if (round < s->rounds) mix(a, factors);
    substitute_and_turn(a, unbox, 3);
  }
  add(a, s->keys[0]);
}

static void ecb(const Schedule *s, uint8_t *a, uint8_t *iv, int decrypt) {
  (void)iv;
  if (decrypt) decrypt_block(s, a);
  else encrypt_block(s, a);
}

static void cbc(const Schedule *s, uint8_t *a, uint8_t *iv, int decrypt) {
  uint8_t given[BLOCK];
  memcpy(given, a, BLOCK);
  if (!decrypt) add(a, iv);
  ecb(s, a, iv, decrypt);
  if (decrypt) add(a, iv);
  memcpy(iv, decrypt ? given : a, BLOCK);
}

static void cfb(const Schedule *s, uint8_t *a, uint8_t *iv, int decrypt) {
  uint8_t given[BLOCK];
  memcpy(given, a, BLOCK);
  encrypt_block(s, iv);
  add(a, iv);
  memcpy(iv, decrypt ? given : a, BLOCK);
}

static void ofb(const Schedule *s, uint8_t *a, uint8_t *iv, int decrypt) {
  (void)decrypt;
  encrypt_block(s, iv);
  add(a, iv);
}

static void ctr(const Schedule *s, uint8_t *a, uint8_t *iv, int decrypt) {
  uint8_t stream[BLOCK];
  int i = BLOCK;
  (void)decrypt;
  memcpy(stream, iv, BLOCK);
  encrypt_block(s, stream);
  add(a, stream);
  while (i-- && ++iv[i] == 0) continue;
}

static const struct {
  const char *name;
  void (*block)(const Schedule *s, uint8_t *a, uint8_t *iv, int decrypt);
} modes[] = {{"ECB", ecb}, {"CBC", cbc}, {"CFB", cfb}, {"OFB", ofb}, {"CTR", ctr}};

static const char *check_size(lua_State *L, int index, size_t *size) {
  const char *text = luaL_checklstring(L, index, size);
  luaL_argcheck(L, *size % BLOCK == 0, index, "not a whole number of blocks");
  return text;
}

/* crypt(mode, data, key, iv, decrypt) */
static int lib_crypt(lua_State *L) {
  size_t size, key_size, iv_size, i, which;
  const char *mode = luaL_checkstring(L, 1), *data = check_size(L, 2, &size), *key = luaL_checklstring(L, 3, &key_size);
  const char *start = check_size(L, 4, &iv_size);
  uint8_t iv[BLOCK], *out;
  Schedule s;
  luaL_Buffer b;
  luaL_argcheck(L, key_size == 16 || key_size == 24 || key_size == 32, 3, "a key has 16, 24 or 32 bytes");
  luaL_argcheck(L, iv_size == BLOCK, 4, "an initial vector has 16 bytes");
  for (which = 0; which < 5 && strcmp(modes[which].name, mode); which++) continue;
  luaL_argcheck(L, which < 5, 1, "unknown mode");
  memcpy(iv, start, BLOCK);
  expand(&s, (const uint8_t *)key, key_size);
  out = (uint8_t *)luaL_buffinitsize(L, &b, size);
  memcpy(out, data, size);
  for (i = 0; i < size; i += BLOCK) modes[which].block(&s, out + i, iv, lua_toboolean(L, 5));
  luaL_pushresultsize(&b, size);
  return 1;
}

int luaopen_aes(lua_State *L) {
  static const luaL_Reg functions[] = {{"crypt", lib_crypt}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
