/* Whole numbers of n words of 32 bits, least significant first; arithmetic wraps. Knows nothing of Lua. */
#ifndef AORAY_WIDE_H
#define AORAY_WIDE_H

#include <stdint.h>

#define WORDS_MAX 1024 /* 32768 bits */

typedef uint32_t Word;

int wide_is_zero(const Word *a, int n);
int wide_compare(const Word *a, const Word *b, int n); /* unsigned: <0, 0, >0 */
void wide_add(Word *out, const Word *a, const Word *b, int n);
void wide_subtract(Word *out, const Word *a, const Word *b, int n);
void wide_negate(Word *out, const Word *a, int n);
void wide_multiply(Word *out, const Word *a, const Word *b, int n);       /* out: n words, not a or b */
void wide_multiply_full(Word *out, const Word *a, const Word *b, int n);  /* out: 2n words */
void wide_shift_left(Word *out, const Word *a, int n, int bits);
void wide_shift_right(Word *out, const Word *a, int n, int bits);
/* a has m words and b n, not zero; q gets m words, r gets n. m >= n, m <= 2 * WORDS_MAX. */
void wide_divide(Word *q, Word *r, const Word *a, int m, const Word *b, int n);
void wide_multiply_small(Word *a, int n, Word factor, Word add); /* a = a * factor + add */
Word wide_divide_small(Word *a, int n, Word divisor);            /* a = a / divisor; the remainder */

#endif
