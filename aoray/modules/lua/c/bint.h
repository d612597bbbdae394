/* What the two halves of `.bint`'s core share (bint_value.c and bint.c).
 *
 * A bint is a table of 32-bit words, least significant first, with its class as metatable. Every function of a class has two
 * upvalues, the class and its bits. Bits that the top word has too many are kept zero. */
#ifndef AORAY_BINT_H
#define AORAY_BINT_H

#include "aoray.h"
#include "wide.h"

#define CLASS lua_upvalueindex(1)

int bint_bits_of(lua_State *L);
int bint_words_of(lua_State *L);
void bint_trim(lua_State *L, Word *a);
int bint_is_negative(lua_State *L, const Word *a);
void bint_negate(lua_State *L, Word *out, const Word *a);
int bint_take_sign(lua_State *L, Word *a);
int bint_push(lua_State *L, const Word *a);
int bint_is(lua_State *L, int index);
void bint_read_words(lua_State *L, int index, Word *out);
void bint_read_integer(lua_State *L, lua_Integer value, Word *out);
int bint_read_digits(lua_State *L, const char *p, const char *end, int base, int negative, Word *out);
const char *bint_skip_sign(const char *p, const char *end, int *negative);
int bint_read(lua_State *L, int index, Word *out);
void bint_check(lua_State *L, int index, Word *out);
void bint_push_number(lua_State *L, Word *a);

#endif
