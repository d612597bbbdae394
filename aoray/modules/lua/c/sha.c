/* SHA-512 (FIPS 180-4), SHA-3 and Keccak (FIPS 202), BLAKE2b (RFC 7693): the hashes on words of 64 bits. */
#include "digest.h"

#include <string.h>

static uint64_t right(uint64_t x, unsigned n) { return x >> n | x << (64 - n); }
static uint64_t left(uint64_t x, unsigned n) { return n ? x << n | x >> (64 - n) : x; }

static const uint64_t sha512_add[80] = {
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc, 0x3956c25bf348b538,
    0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118, 0xd807aa98a3030242, 0x12835b0145706fbe,
    0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2, 0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235,
    0xc19bf174cf692694, 0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5, 0x983e5152ee66dfab,
    0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4, 0xc6e00bf33da88fc2, 0xd5a79147930aa725,
    0x06ca6351e003826f, 0x142929670a0e6e70, 0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed,
    0x53380d139d95b3df, 0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30, 0xd192e819d6ef5218,
    0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8, 0x19a4c116b8d2d0c8, 0x1e376c085141ab53,
    0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8, 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373,
    0x682e6ff3d6b2b8a3, 0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b, 0xca273eceea26619c,
    0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178, 0x06f067aa72176fba, 0x0a637dc5a2c898a6,
    0x113f9804bef90dae, 0x1b710b35131c471b, 0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc,
    0x431d67c49c100d4c, 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817,
};

static const uint64_t sha512_start[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
                                         0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};

static void sha512_block(uint64_t *h, const uint8_t *p) {
  uint64_t w[80], s[8], t1, t2;
  int i, j;
  for (i = 0; i < 16; i++)
    for (w[i] = 0, j = 0; j < 8; j++) w[i] = w[i] << 8 | p[i * 8 + j];
  for (; i < 80; i++) {
    t1 = right(w[i - 15], 1) ^ right(w[i - 15], 8) ^ w[i - 15] >> 7;
    t2 = right(w[i - 2], 19) ^ right(w[i - 2], 61) ^ w[i - 2] >> 6;
    w[i] = w[i - 16] + t1 + w[i - 7] + t2;
  }
  memcpy(s, h, sizeof s);
  for (i = 0; i < 80; i++) {
    t1 = s[7] + (right(s[4], 14) ^ right(s[4], 18) ^ right(s[4], 41)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
         sha512_add[i] + w[i];
    t2 = (right(s[0], 28) ^ right(s[0], 34) ^ right(s[0], 39)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += t1;
    s[0] = t1 + t2;
  }
  for (i = 0; i < 8; i++) h[i] += s[i];
}

void sha512(const uint8_t *data, size_t size, uint8_t *out) {
  uint64_t h[8], bits = (uint64_t)size * 8;
  uint8_t last[256] = {0};
  size_t whole = size / 128 * 128, rest = size - whole, end = rest < 112 ? 128 : 256, i;
  memcpy(h, sha512_start, sizeof h);
  for (i = 0; i < whole; i += 128) sha512_block(h, data + i);
  memcpy(last, data + whole, rest);
  last[rest] = 0x80;
  for (i = 0; i < 8; i++) last[end - 8 + i] = (uint8_t)(bits >> 8 * (7 - i));
  for (i = 0; i < end; i += 128) sha512_block(h, last + i);
  for (i = 0; i < 64; i++) out[i] = (uint8_t)(h[i / 8] >> 8 * (7 - i % 8));
}

/* The round constants come from their shift register (FIPS 202, 3.2.5) rather than from a table. */
static uint64_t round_constant(uint8_t *lfsr) {
  uint64_t constant = 0;
  int j;
  for (j = 0; j < 7; j++) {
    if (*lfsr & 1) constant |= 1ull << ((1u << j) - 1);
    *lfsr = (uint8_t)(*lfsr << 1 ^ (*lfsr & 0x80 ? 0x71 : 0));
  }
  return constant;
}

static void keccak_rho_pi(uint64_t *a) {
  uint64_t held = a[1], next;
  unsigned x = 1, y = 0, t, moved;
  for (t = 1; t <= 24; t++) {
    moved = (2 * x + 3 * y) % 5;
    x = y, y = moved;
    next = a[x + 5 * y];
    a[x + 5 * y] = left(held, t * (t + 1) / 2 % 64);
    held = next;
  }
}

static void keccak(uint64_t *a) {
  uint8_t lfsr = 1;
  uint64_t c[5];
  int round, x, y;
  for (round = 0; round < 24; round++) {
    for (x = 0; x < 5; x++) c[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
    for (x = 0; x < 25; x++) a[x] ^= c[(x + 4) % 5] ^ left(c[(x + 1) % 5], 1);
    keccak_rho_pi(a);
    for (y = 0; y < 25; y += 5) {
      memcpy(c, a + y, sizeof c);
      for (x = 0; x < 5; x++) a[y + x] = c[x] ^ (~c[(x + 1) % 5] & c[(x + 2) % 5]);
    }
    a[0] ^= round_constant(&lfsr);
  }
}

static void sponge(const uint8_t *data, size_t size, uint8_t suffix, uint8_t *out, size_t out_size) {
  uint64_t a[25] = {0};
  size_t rate = 200 - 2 * out_size, i, at = 0;
  for (i = 0; i < size; i++) {
    a[at / 8] ^= (uint64_t)data[i] << 8 * (at % 8);
    if (++at == rate) keccak(a), at = 0;
  }
  a[at / 8] ^= (uint64_t)suffix << 8 * (at % 8);
  a[(rate - 1) / 8] ^= 0x80ull << 8 * ((rate - 1) % 8);
  keccak(a);
  for (i = 0; i < out_size; i++) out[i] = (uint8_t)(a[i / 8] >> 8 * (i % 8));
}

void sha3_256(const uint8_t *data, size_t size, uint8_t *out) { sponge(data, size, 0x06, out, 32); }
void sha3_512(const uint8_t *data, size_t size, uint8_t *out) { sponge(data, size, 0x06, out, 64); }
void keccak256(const uint8_t *data, size_t size, uint8_t *out) { sponge(data, size, 0x01, out, 32); }
void keccak512(const uint8_t *data, size_t size, uint8_t *out) { sponge(data, size, 0x01, out, 64); }

static void blake2b_mix(uint64_t *v, int a, int b, int c, int d, uint64_t x, uint64_t y) {
  v[a] += v[b] + x, v[d] = right(v[d] ^ v[a], 32);
  v[c] += v[d], v[b] = right(v[b] ^ v[c], 24);
  v[a] += v[b] + y, v[d] = right(v[d] ^ v[a], 16);
  v[c] += v[d], v[b] = right(v[b] ^ v[c], 63);
}

static void blake2b_block(uint64_t *h, const uint8_t *p, uint64_t counted, int final) {
  static const uint8_t order[10][16] = {
      {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
      {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
      {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
      {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
      {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};
  uint64_t v[16], m[16];
  int i, j;
  for (i = 0; i < 16; i++)
    for (m[i] = 0, j = 7; j >= 0; j--) m[i] = m[i] << 8 | p[i * 8 + j];
  memcpy(v, h, 64);
  memcpy(v + 8, sha512_start, 64);
  v[12] ^= counted;
  if (final) v[14] = ~v[14];
  for (i = 0; i < 12; i++) {
    const uint8_t *s = order[i % 10];
    for (j = 0; j < 4; j++) blake2b_mix(v, j, 4 + j, 8 + j, 12 + j, m[s[2 * j]], m[s[2 * j + 1]]);
    for (j = 0; j < 4; j++)
      blake2b_mix(v, j, 4 + (j + 1) % 4, 8 + (j + 2) % 4, 12 + (j + 3) % 4, m[s[8 + 2 * j]], m[s[9 + 2 * j]]);
  }
  for (i = 0; i < 8; i++) h[i] ^= v[i] ^ v[8 + i];
}

void blake2b(const uint8_t *data, size_t size, const uint8_t *key, size_t key_size, uint8_t *out, size_t out_size) {
  uint64_t h[8], counted = 0;
  uint8_t block[128] = {0};
  size_t i;
  memcpy(h, sha512_start, sizeof h);
  h[0] ^= 0x01010000u ^ key_size << 8 ^ out_size;
  if (key_size) {
    memcpy(block, key, key_size);
    counted = 128;
    blake2b_block(h, block, counted, size == 0);
    if (size == 0) goto done;
  }
  for (; size > 128; size -= 128, data += 128) blake2b_block(h, data, counted += 128, 0);
  memset(block, 0, sizeof block);
  memcpy(block, data, size);
  blake2b_block(h, block, counted + size, 1);
done:
  for (i = 0; i < out_size; i++) out[i] = (uint8_t)(h[i / 8] >> 8 * (i % 8));
}
