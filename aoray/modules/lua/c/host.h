/* Forced into every file of Lua itself (-include): a process has no host, so what Lua asks of one is answered here.
 *
 * No file, no environment, no clock and no terminal: the finished module imports nothing at all. `stdin` and its kin
 * become null, and the calls on them functions that fail as on a machine with an empty disk. */
#if !defined(AORAY_HOST_H) && !defined(__ASSEMBLER__)
#define AORAY_HOST_H

#define _WASI_EMULATED_SIGNAL /* the type alone; there are no signals */
#define _WASI_EMULATED_PROCESS_CLOCKS

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#undef stdin
#undef stdout
#undef stderr
#define stdin ((FILE *)0)
#define stdout ((FILE *)0)
#define stderr ((FILE *)0)

static inline FILE *no_file(void) {
  errno = ENOENT;
  return 0;
}
static inline int no_byte(void) { return EOF; }

#define fopen(path, mode) ((void)(path), no_file())
#define freopen(path, mode, file) ((void)(path), (void)(file), no_file())
#define fclose(file) ((void)(file), 0)
#define getc(file) ((void)(file), no_byte())
#define ungetc(byte, file) ((void)(byte), (void)(file))
#define fread(buffer, size, count, file) ((void)(file), (size_t)0)
#define ferror(file) ((void)(file), 0)
#define fgets(buffer, size, file) ((void)(buffer), (char *)0)
#define fflush(file) ((void)(file), 0)
#define getenv(name) ((void)(name), (char *)0)

/* What Lua prints by itself (its C print, warnings) goes nowhere; `print` is ours (lua/process.lua). */
#define lua_writestring(s, l) ((void)(s), (void)(l))
#define lua_writeline() ((void)0)
#define lua_writestringerror(s, p) ((void)(s), (void)(p))

/* The clock is the message's (aoray.c); a day is a day in UTC. */
time_t aoray_time(time_t *out);
#define time(out) aoray_time(out)
#define clock() ((clock_t)0)
#define localtime gmtime
#define mktime timegm

#define system(command) ((void)(command), 0)
#define remove(path) ((void)(path), no_byte())
#define rename(from, to) ((void)(from), (void)(to), no_byte())
#define exit(status) __builtin_trap()
#define setlocale(category, locale) ((void)(category), (char *)(locale))
#define L_tmpnam 32
#define tmpnam(buffer) ((void)(buffer), (char *)0)

/* The same tables in the same order on every machine. */
#define luai_makeseed() 0x616f7261u
#define lua_getlocaledecpoint() '.'

#define LUA_COMPAT_5_2 /* bit32, math.pow and their like, as aos has them */

#endif
