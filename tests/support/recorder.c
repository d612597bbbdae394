/* Records what programs do to the files below one directory, in the order in which they were told it was done.
 *
 * Loaded into every process of a computer (LD_PRELOAD). `recorded_disk.py` reads the record, and makes of it what
 * a disk may hold after a power cut at any moment.
 *
 * RECORDER_ROOT is the directory (absolute, no links in it), RECORDER_JOURNAL the record. A call is carried
 * out first, then appended to the record by one write, and only then returns: so what a program did because
 * a call had returned is behind it in the record. A record begins with where the journal ended before the
 * call, since a sync covers only what was done before it began. No state is kept between calls: descriptors
 * are looked up in /proc each time, whatever was dup'ed, inherited or closed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC, TRUNCATE, CREATE, RENAME, LINK, UNLINK, MKDIR, UNKNOWN };

struct record {
    uint64_t start, inode, offset, data_bytes;
    uint32_t op, path_bytes, other_bytes, zero;
};

#define REAL(name) ((__typeof__(&name))real(&real_##name, #name))
#define DECLARE(name) static void *real_##name

static void *real(void **kept, const char *name) {
    if (!*kept) *kept = dlsym(RTLD_NEXT, name);
    return *kept;
}

DECLARE(write); DECLARE(pwrite64); DECLARE(writev); DECLARE(pwritev64); DECLARE(fsync); DECLARE(fdatasync);
DECLARE(ftruncate64); DECLARE(openat64); DECLARE(renameat2); DECLARE(linkat);
DECLARE(unlinkat); DECLARE(mkdirat); DECLARE(fallocate64); DECLARE(copy_file_range); DECLARE(sendfile64);

extern ssize_t sendfile64(int, int, off64_t *, size_t);

/* The journal, opened anew if somebody has closed it over our head. */
static int journal(void) {
    static __thread int busy;
    static int descriptor = -1;
    static ino_t inode;
    struct stat now;
    const char *path = getenv("RECORDER_JOURNAL");
    if (!path || busy) return -1;
    if (descriptor >= 0 && !fstat(descriptor, &now) && now.st_ino == inode) return descriptor;
    busy = 1;
    int low = REAL(openat64)(AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    int high = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, 800);
    if (low >= 0) close(low);
    if (high >= 0 && !fstat(high, &now)) inode = now.st_ino, descriptor = high;
    busy = 0;
    return high;
}

static uint64_t position(void) {
    struct stat now;
    int saved = errno, to = journal();
    uint64_t size = to >= 0 && !fstat(to, &now) ? now.st_size : 0;
    errno = saved;
    return size;
}

static int below(const char *path) {
    const char *root = getenv("RECORDER_ROOT");
    size_t size = root ? strlen(root) : 0;
    return size && !strncmp(path, root, size) && (path[size] == '/' || !path[size]);
}

/* The path of a descriptor, if it is a file or directory of ours. */
static int ours(int fd, char *path, struct stat *found) {
    char link[64];
    if (!getenv("RECORDER_ROOT") || fstat(fd, found)) return 0;
    if (!S_ISREG(found->st_mode) && !S_ISDIR(found->st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return below(path);
}

/* The absolute path of what a call names. */
static int named(int directory, const char *name, char *path) {
    char link[64];
    ssize_t size = 0;
    if (name[0] != '/') {
        if (directory == AT_FDCWD) strcpy(link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        size = readlink(link, path, PATH_MAX - 1);
        if (size < 0) return 0;
        path[size++] = '/';
    }
    if (size + strlen(name) >= PATH_MAX) return 0;
    strcpy(path + size, name);
    return below(path);
}

static void put(uint32_t op, uint64_t start, uint64_t inode, uint64_t offset, const char *path,
                const char *other, const struct iovec *data, int count, uint64_t data_bytes) {
    int saved = errno, to = journal();
    struct record head = {start, inode, offset, data_bytes, op, strlen(path), other ? strlen(other) : 0, 0};
    struct iovec parts[16] = {{&head, sizeof head}, {(void *)path, head.path_bytes},
                              {(void *)other, head.other_bytes}};
    uint64_t left = data_bytes;
    int used = 3;
    for (int i = 0; i < count && left && used < 16; i++, used++) {
        parts[used] = data[i];
        if (parts[used].iov_len > left) parts[used].iov_len = left;
        left -= parts[used].iov_len;
    }
    ssize_t size = sizeof head + head.path_bytes + head.other_bytes + data_bytes;
    if (to < 0 || left || REAL(writev)(to, parts, used) != size) abort(); /* no record is worse than no run */
    errno = saved;
}

static void put_write(int fd, uint64_t start, off64_t offset, const struct iovec *data, int count, ssize_t done) {
    char path[PATH_MAX];
    struct stat found;
    int saved = errno;
    if (done > 0 && ours(fd, path, &found)) {
        if (offset < 0) offset = lseek64(fd, 0, SEEK_CUR) - done;
        put(WRITE, start, found.st_ino, offset, path, 0, data, count, done);
    }
    errno = saved;
}

static void put_fd(uint32_t op, int fd, uint64_t start, uint64_t offset, int failed) {
    char path[PATH_MAX];
    struct stat found;
    int saved = errno;
    if (!failed && ours(fd, path, &found)) put(op, start, found.st_ino, offset, path, 0, 0, 0, 0);
    errno = saved;
}

ssize_t write(int fd, const void *data, size_t size) {
    uint64_t start = position();
    ssize_t done = REAL(write)(fd, data, size);
    struct iovec part = {(void *)data, size};
    put_write(fd, start, -1, &part, 1, done);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    uint64_t start = position();
    ssize_t done = REAL(pwrite64)(fd, data, size, offset);
    struct iovec part = {(void *)data, size};
    put_write(fd, start, offset, &part, 1, done);
    return done;
}

ssize_t writev(int fd, const struct iovec *data, int count) {
    uint64_t start = position();
    ssize_t done = REAL(writev)(fd, data, count);
    put_write(fd, start, -1, data, count, done);
    return done;
}

ssize_t pwritev64(int fd, const struct iovec *data, int count, off64_t offset) {
    uint64_t start = position();
    ssize_t done = REAL(pwritev64)(fd, data, count, offset);
    put_write(fd, start, offset, data, count, done);
    return done;
}

#define SYNCING(name)                                                                                         \
    int name(int fd) {                                                                                        \
        uint64_t start = position();                                                                          \
        int failed = REAL(name)(fd);                                                                          \
        put_fd(SYNC, fd, start, 0, failed);                                                                   \
        return failed;                                                                                        \
    }
SYNCING(fsync)
SYNCING(fdatasync)

int ftruncate64(int fd, off64_t size) {
    uint64_t start = position();
    int failed = REAL(ftruncate64)(fd, size);
    put_fd(TRUNCATE, fd, start, size, failed);
    return failed;
}

int truncate64(const char *path, off64_t size) {
    int fd = REAL(openat64)(AT_FDCWD, path, O_WRONLY | O_CLOEXEC), failed = fd < 0 || ftruncate64(fd, size);
    if (fd >= 0) close(fd);
    return failed ? -1 : 0;
}

int openat64(int directory, const char *name, int flags, ...) {
    char path[PATH_MAX];
    struct stat found;
    va_list rest;
    va_start(rest, flags);
    int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, int) : 0;
    va_end(rest);
    int mine = flags & (O_CREAT | O_TRUNC) && named(directory, name, path);
    uint64_t start = mine ? position() : 0;
    int new = mine && flags & O_CREAT && stat(path, &found);
    int fd = REAL(openat64)(directory, name, flags, mode);
    int saved = errno;
    if (fd >= 0 && mine && !fstat(fd, &found)) {
        if (new) put(CREATE, start, found.st_ino, 0, path, 0, 0, 0, 0);
        else if (flags & O_TRUNC) put(TRUNCATE, start, found.st_ino, 0, path, 0, 0, 0, 0);
    }
    errno = saved;
    return fd;
}

static int two_names(uint32_t op, int failed, uint64_t start, int from_dir, const char *from, int to_dir,
                     const char *to) {
    char path[PATH_MAX], other[PATH_MAX];
    int saved = errno;
    int mine = named(from_dir, from, path), too = named(to_dir, to, other);
    if (!failed && (mine || too)) put(mine && too ? op : UNKNOWN, start, 0, 0, path, other, 0, 0, 0);
    errno = saved;
    return failed;
}

static int one_name(uint32_t op, int failed, uint64_t start, int directory, const char *name) {
    char path[PATH_MAX];
    int saved = errno;
    if (!failed && named(directory, name, path)) put(op, start, 0, 0, path, 0, 0, 0, 0);
    errno = saved;
    return failed;
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    uint64_t start = position();
    return two_names(RENAME, REAL(renameat2)(from_dir, from, to_dir, to, flags), start, from_dir, from, to_dir, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    uint64_t start = position();
    return two_names(LINK, REAL(linkat)(from_dir, from, to_dir, to, flags), start, from_dir, from, to_dir, to);
}

int unlinkat(int directory, const char *name, int flags) {
    uint64_t start = position();
    return one_name(UNLINK, REAL(unlinkat)(directory, name, flags), start, directory, name);
}

int mkdirat(int directory, const char *name, mode_t mode) {
    uint64_t start = position();
    return one_name(MKDIR, REAL(mkdirat)(directory, name, mode), start, directory, name);
}

/* Ways to write that nobody here uses; who begins to is told. */
int fallocate64(int fd, int mode, off64_t offset, off64_t size) {
    put_fd(UNKNOWN, fd, position(), offset, 0);
    return REAL(fallocate64)(fd, mode, offset, size);
}

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t size, unsigned flags) {
    put_fd(UNKNOWN, to, position(), 0, 0);
    return REAL(copy_file_range)(from, at, to, there, size, flags);
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t size) {
    put_fd(UNKNOWN, to, position(), 0, 0);
    return REAL(sendfile64)(to, from, offset, size);
}

/* The other names of the same calls. */
ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) { return pwrite64(fd, data, size, offset); }
ssize_t pwritev(int fd, const struct iovec *data, int count, off_t offset) {
    return pwritev64(fd, data, count, offset);
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
int truncate(const char *path, off_t size) { return truncate64(path, size); }
int openat(int directory, const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, int) : 0;
    va_end(rest);
    return openat64(directory, name, flags, mode);
}
#define OPENING(name)                                                                                         \
    int name(const char *path, int flags, ...) {                                                              \
        va_list rest;                                                                                         \
        va_start(rest, flags);                                                                                \
        int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, int) : 0;                                   \
        va_end(rest);                                                                                         \
        return openat64(AT_FDCWD, path, flags, mode);                                                         \
    }
OPENING(open)
OPENING(open64)
int creat(const char *path, mode_t mode) { return openat64(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renameat2(from_dir, from, to_dir, to, 0);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
