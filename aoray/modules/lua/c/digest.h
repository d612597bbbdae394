/* A hash function as data: what HMAC, PBKDF2 and the Lua library need to know of one. */
#ifndef AORAY_DIGEST_H
#define AORAY_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define DIGEST_BYTES_MAX 64
#define BLOCK_BYTES_MAX 144

typedef struct {
  const char *name;
  size_t size, block; /* bytes */
  void (*hash)(const uint8_t *data, size_t size, uint8_t *out);
} Digest;

extern const Digest digests[]; /* ends with a null name */

void md2(const uint8_t *data, size_t size, uint8_t *out);
void md4(const uint8_t *data, size_t size, uint8_t *out);
void md5(const uint8_t *data, size_t size, uint8_t *out);
void sha1(const uint8_t *data, size_t size, uint8_t *out);
void sha256(const uint8_t *data, size_t size, uint8_t *out);
void sha512(const uint8_t *data, size_t size, uint8_t *out);
void sha3_256(const uint8_t *data, size_t size, uint8_t *out);
void sha3_512(const uint8_t *data, size_t size, uint8_t *out);
void keccak256(const uint8_t *data, size_t size, uint8_t *out);
void keccak512(const uint8_t *data, size_t size, uint8_t *out);
void blake2b(const uint8_t *data, size_t size, const uint8_t *key, size_t key_size, uint8_t *out, size_t out_size);

#endif
