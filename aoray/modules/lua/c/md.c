/* MD2 (RFC 1319), MD4 (RFC 1320), MD5 (RFC 1321), SHA-1 and SHA-256 (FIPS 180-4): the hashes on blocks of 64 bytes. */
#include "digest.h"

#include <string.h>

static uint32_t rotate(uint32_t x, unsigned n) { return x << n | x >> (32 - n); }

typedef void (*Block)(uint32_t *h, const uint8_t *p);

static uint32_t read_le(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }
static uint32_t read_be(const uint8_t *p) { return p[3] | (uint32_t)p[2] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[0] << 24; }

/* Merkle and Damgard: whole blocks, then the rest with 0x80, zeros and the length in bits. */
static void merkle(Block block, uint32_t *h, const uint8_t *data, size_t size, int big, uint8_t *out, int words) {
  uint8_t last[128] = {0};
  size_t whole = size / 64 * 64, rest = size - whole, end = rest < 56 ? 64 : 128, i;
  uint64_t bits = (uint64_t)size * 8;
  for (i = 0; i < whole; i += 64) block(h, data + i);
  memcpy(last, data + whole, rest);
  last[rest] = 0x80;
  for (i = 0; i < 8; i++) last[end - 8 + i] = (uint8_t)(bits >> 8 * (big ? 7 - i : i));
  for (i = 0; i < end; i += 64) block(h, last + i);
  for (i = 0; i < (size_t)words * 4; i++) out[i] = (uint8_t)(h[i / 4] >> 8 * (big ? 3 - i % 4 : i % 4));
}

static void md4_block(uint32_t *h, const uint8_t *p) {
  static const uint8_t order[48] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 4, 8, 12, 1, 5, 9, 13,
                                    2, 6, 10, 14, 3, 7, 11, 15, 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15};
  static const uint8_t turn[3][4] = {{3, 7, 11, 19}, {3, 5, 9, 13}, {3, 9, 11, 15}};
  static const uint32_t add[3] = {0, 0x5a827999, 0x6ed9eba1};
  uint32_t a = h[0], b = h[1], c = h[2], d = h[3], f, t;
  int i;
  for (i = 0; i < 48; i++) {
    f = i < 16 ? (b & c) | (~b & d) : i < 32 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
    t = rotate(a + f + read_le(p + order[i] * 4) + add[i / 16], turn[i / 16][i % 4]);
    a = d, d = c, c = b, b = t;
  }
  h[0] += a, h[1] += b, h[2] += c, h[3] += d;
}

static const uint32_t md5_add[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

static void md5_block(uint32_t *h, const uint8_t *p) {
  static const uint8_t turn[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
  uint32_t a = h[0], b = h[1], c = h[2], d = h[3], f, t;
  int i, g;
  for (i = 0; i < 64; i++) {
    if (i < 16) f = (b & c) | (~b & d), g = i;
    else if (i < 32) f = (d & b) | (~d & c), g = (5 * i + 1) % 16;
    else if (i < 48) f = b ^ c ^ d, g = (3 * i + 5) % 16;
    else f = c ^ (b | ~d), g = 7 * i % 16;
    t = b + rotate(a + f + md5_add[i] + read_le(p + g * 4), turn[i / 16][i % 4]);
    a = d, d = c, c = b, b = t;
  }
  h[0] += a, h[1] += b, h[2] += c, h[3] += d;
}

static void sha1_block(uint32_t *h, const uint8_t *p) {
  static const uint32_t add[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
  uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f, t;
  int i;
  for (i = 0; i < 16; i++) w[i] = read_be(p + i * 4);
  for (; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
  for (i = 0; i < 80; i++) {
    f = i < 20 ? (b & c) | (~b & d) : i >= 40 && i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
    t = rotate(a, 5) + f + e + add[i / 20] + w[i];
    e = d, d = c, c = rotate(b, 30), b = a, a = t;
  }
  h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

static const uint32_t sha256_add[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static void sha256_block(uint32_t *h, const uint8_t *p) {
  uint32_t w[64], s[8], t1, t2;
  int i;
  for (i = 0; i < 16; i++) w[i] = read_be(p + i * 4);
  for (; i < 64; i++) {
    t1 = rotate(w[i - 15], 25) ^ rotate(w[i - 15], 14) ^ w[i - 15] >> 3;
    t2 = rotate(w[i - 2], 15) ^ rotate(w[i - 2], 13) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + t1 + w[i - 7] + t2;
  }
  memcpy(s, h, sizeof s);
  for (i = 0; i < 64; i++) {
    t1 = s[7] + (rotate(s[4], 26) ^ rotate(s[4], 21) ^ rotate(s[4], 7)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
         sha256_add[i] + w[i];
    t2 = (rotate(s[0], 30) ^ rotate(s[0], 19) ^ rotate(s[0], 10)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    memmove(s + 1, s, 7 * sizeof *s);
    s[4] += t1;
    s[0] = t1 + t2;
  }
  for (i = 0; i < 8; i++) h[i] += s[i];
}

void md4(const uint8_t *data, size_t size, uint8_t *out) {
  uint32_t h[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
  merkle(md4_block, h, data, size, 0, out, 4);
}

void md5(const uint8_t *data, size_t size, uint8_t *out) {
  uint32_t h[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
  merkle(md5_block, h, data, size, 0, out, 4);
}

void sha1(const uint8_t *data, size_t size, uint8_t *out) {
  uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  merkle(sha1_block, h, data, size, 1, out, 5);
}

void sha256(const uint8_t *data, size_t size, uint8_t *out) {
  uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  merkle(sha256_block, h, data, size, 1, out, 8);
}

static const uint8_t pi_digits[256] = {
    41, 46, 67, 201, 162, 216, 124, 1, 61, 54, 84, 161, 236, 240, 6, 19, 98, 167, 5, 243,
    192, 199, 115, 140, 152, 147, 43, 217, 188, 76, 130, 202, 30, 155, 87, 60, 253, 212, 224, 22,
    103, 66, 111, 24, 138, 23, 229, 18, 190, 78, 196, 214, 218, 158, 222, 73, 160, 251, 245, 142,
    187, 47, 238, 122, 169, 104, 121, 145, 21, 178, 7, 63, 148, 194, 16, 137, 11, 34, 95, 33,
    128, 127, 93, 154, 90, 144, 50, 39, 53, 62, 204, 231, 191, 247, 151, 3, 255, 25, 48, 179,
    72, 165, 181, 209, 215, 94, 146, 42, 172, 86, 170, 198, 79, 184, 56, 210, 150, 164, 125, 182,
    118, 252, 107, 226, 156, 116, 4, 241, 69, 157, 112, 89, 100, 113, 135, 32, 134, 91, 207, 101,
    230, 45, 168, 2, 27, 96, 37, 173, 174, 176, 185, 246, 28, 70, 97, 105, 52, 64, 126, 15,
    85, 71, 163, 35, 221, 81, 175, 58, 195, 92, 249, 206, 186, 197, 234, 38, 44, 83, 13, 110,
    133, 40, 132, 9, 211, 223, 205, 244, 65, 129, 77, 82, 106, 220, 55, 200, 108, 193, 171, 250,
    36, 225, 123, 8, 12, 189, 177, 74, 120, 136, 149, 139, 227, 99, 232, 109, 233, 203, 213, 254,
    59, 0, 29, 57, 242, 239, 183, 14, 102, 88, 208, 228, 166, 119, 114, 248, 235, 117, 75, 10,
    49, 68, 80, 180, 143, 237, 31, 26, 219, 153, 141, 51, 159, 17, 131, 20};

static void md2_block(uint8_t *x, const uint8_t *p) {
  unsigned i, j, t = 0;
  for (i = 0; i < 16; i++) {
    x[16 + i] = p[i];
    x[32 + i] = x[i] ^ p[i];
  }
  for (i = 0; i < 18; i++) {
    for (j = 0; j < 48; j++) t = x[j] ^= pi_digits[t];
    t = (t + i) & 255;
  }
}

void md2(const uint8_t *data, size_t size, uint8_t *out) {
  uint8_t x[48] = {0}, check[16] = {0}, last[16];
  size_t i, j, blocks = size / 16;
  const uint8_t *p;
  for (i = 0; i <= blocks; i++) {
    size_t rest = size - blocks * 16;
    p = data + i * 16;
    if (i == blocks) {
      memset(last, (int)(16 - rest), 16);
      memcpy(last, p, rest);
      p = last;
    }
    md2_block(x, p);
    for (j = 0; j < 16; j++) check[j] ^= pi_digits[p[j] ^ check[(j + 15) % 16]];
  }
  md2_block(x, check);
  memcpy(out, x, 16);
}
