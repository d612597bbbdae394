/* Wide whole numbers: school arithmetic, and Knuth's algorithm D for division. */
#include "wide.h"

#include <string.h>

int wide_is_zero(const Word *a, int n) {
  while (n--)
    if (a[n]) return 0;
  return 1;
}

int wide_compare(const Word *a, const Word *b, int n) {
  while (n--)
    if (a[n] != b[n]) return a[n] < b[n] ? -1 : 1;
  return 0;
}

void wide_add(Word *out, const Word *a, const Word *b, int n) {
  uint64_t carry = 0;
  int i;
  for (i = 0; i < n; i++) {
    carry += (uint64_t)a[i] + b[i];
    out[i] = (Word)carry;
    carry >>= 32;
  }
}

void wide_subtract(Word *out, const Word *a, const Word *b, int n) {
  int64_t borrow = 0;
  int i;
  for (i = 0; i < n; i++) {
    borrow += (int64_t)a[i] - b[i];
    out[i] = (Word)borrow;
    borrow >>= 32;
  }
}

void wide_negate(Word *out, const Word *a, int n) {
  uint64_t carry = 1;
  int i;
  for (i = 0; i < n; i++) {
    carry += (Word)~a[i];
    out[i] = (Word)carry;
    carry >>= 32;
  }
}

static void multiply(Word *out, int room, const Word *a, const Word *b, int n) {
  int i, j;
  memset(out, 0, (size_t)room * sizeof *out);
  for (i = 0; i < n; i++) {
    uint64_t carry = 0;
    if (!a[i]) continue;
    for (j = 0; j < n && i + j < room; j++) {
      carry += (uint64_t)a[i] * b[j] + out[i + j];
      out[i + j] = (Word)carry;
      carry >>= 32;
    }
    if (i + n < room) out[i + n] = (Word)carry;
  }
}

void wide_multiply(Word *out, const Word *a, const Word *b, int n) { multiply(out, n, a, b, n); }

void wide_multiply_full(Word *out, const Word *a, const Word *b, int n) { multiply(out, 2 * n, a, b, n); }

void wide_shift_left(Word *out, const Word *a, int n, int bits) {
  int words = bits / 32, rest = bits % 32, i;
  for (i = n - 1; i >= 0; i--) {
    Word high = i >= words ? a[i - words] : 0, low = i > words ? a[i - words - 1] : 0;
    out[i] = rest ? high << rest | low >> (32 - rest) : high;
  }
}

void wide_shift_right(Word *out, const Word *a, int n, int bits) {
  int words = bits / 32, rest = bits % 32, i;
  for (i = 0; i < n; i++) {
    Word low = i + words < n ? a[i + words] : 0, high = i + words + 1 < n ? a[i + words + 1] : 0;
    out[i] = rest ? low >> rest | high << (32 - rest) : low;
  }
}

void wide_multiply_small(Word *a, int n, Word factor, Word add) {
  uint64_t carry = add;
  int i;
  for (i = 0; i < n; i++) {
    carry += (uint64_t)a[i] * factor;
    a[i] = (Word)carry;
    carry >>= 32;
  }
}

Word wide_divide_small(Word *a, int n, Word divisor) {
  uint64_t rest = 0;
  while (n--) {
    rest = rest << 32 | a[n];
    a[n] = (Word)(rest / divisor);
    rest %= divisor;
  }
  return (Word)rest;
}

/* u[0..n] -= digit * v[0..n-1]; 1 when it went below zero. */
static int subtract_product(Word *u, const Word *v, int n, uint64_t digit) {
  uint64_t carry = 0;
  int64_t borrow = 0;
  int i;
  for (i = 0; i < n; i++) {
    carry += digit * v[i];
    borrow += (int64_t)u[i] - (Word)carry;
    u[i] = (Word)borrow;
    carry >>= 32;
    borrow >>= 32;
  }
  borrow += (int64_t)u[n] - (int64_t)carry;
  u[n] = (Word)borrow;
  return borrow < 0;
}

static void add_back(Word *u, const Word *v, int n) {
  uint64_t carry = 0;
  int i;
  for (i = 0; i < n; i++) {
    carry += (uint64_t)u[i] + v[i];
    u[i] = (Word)carry;
    carry >>= 32;
  }
  u[n] += (Word)carry;
}

/* The next digit of the quotient, from the top words of what is left (Knuth, 4.3.1, D3). */
static uint64_t guess_digit(const Word *u, const Word *v, int n) {
  uint64_t top = (uint64_t)u[n] << 32 | u[n - 1], digit = top / v[n - 1], rest = top % v[n - 1];
  while (digit >> 32 || digit * v[n - 2] > (rest << 32 | u[n - 2])) {
    digit--;
    rest += v[n - 1];
    if (rest >> 32) break;
  }
  return digit;
}

/* Normalised division: v has n >= 2 words. u has m + 1 words and ends as the remainder. */
static void divide_long(Word *q, Word *u, int m, const Word *v, int n) {
  int j;
  for (j = m - n; j >= 0; j--) {
    uint64_t digit = guess_digit(u + j, v, n);
    if (subtract_product(u + j, v, n, digit)) {
      digit--;
      add_back(u + j, v, n);
    }
    q[j] = (Word)digit;
  }
}

void wide_divide(Word *q, Word *r, const Word *a, int m, const Word *b, int n) {
  static Word u[2 * WORDS_MAX + 1], v[WORDS_MAX];
  int shift, size = n;
  memset(q, 0, (size_t)m * sizeof *q);
  while (!b[size - 1]) size--;
  memcpy(u, a, (size_t)m * sizeof *a);
  u[m] = 0;
  if (size == 1) {
    Word rest = wide_divide_small(u, m, b[0]);
    memcpy(q, u, (size_t)m * sizeof *q);
    memset(r, 0, (size_t)n * sizeof *r);
    r[0] = rest;
    return;
  }
  shift = __builtin_clz(b[size - 1]);
  wide_shift_left(u, u, m + 1, shift);
  wide_shift_left(v, b, size, shift);
  divide_long(q, u, m, v, size);
  wide_shift_right(u, u, size, shift);
  memset(r, 0, (size_t)n * sizeof *r);
  memcpy(r, u, (size_t)size * sizeof *r);
}
