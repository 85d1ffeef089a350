/* A disk that can lose power and fail: loaded in front of the C library (LD_PRELOAD) of a program under test.
 *
 * What it does to files below FAULTDISK_ROOT, and to nothing else:
 * - writes every change, and every call that makes changes durable, to FAULTDISK_LOG, in the order in which they happened; lines that the
 *   program prints to its standard output are put between them, so that it is known what had been promised at each moment;
 * - fails calls as the rules in FAULTDISK_RULES say (a file that is mapped, so that a test changes them while the program runs).
 *
 * Losing un-synced writes is not done here but by whoever rebuilds a disk from the log (tests/src/disk). A call that would change a file
 * in a way that the log cannot express ends the program: better no test than one that tests less than it says.
 *
 * Record: op u32, path bytes u32, data bytes u32, 0 u32, inode u64, offset or length u64, path (relative to the root), data.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, RENAME, UNLINK, MKDIR, RMDIR, SYNC, RANGE, MARK, SYNC_FAILED };

/* What a rule may hit, as bits. */
enum { ON_WRITE = 1, ON_SYNC = 2, ON_READ = 4, ON_META = 8, ON_OPEN = 16, ON_GROW = 32 };

/* A file takes whole blocks: what lies in its last one needs no more. */
enum { BLOCK_BYTES = 4096 };

/* Fails the calls of `kinds` with `error`, after letting `skip` pass, at most `fail` times. Error -1: writes only half. */
struct rule {
    uint32_t kinds;
    int32_t error;
    uint64_t skip, fail, hits;
};
enum { RULES = 4 };

struct header {
    uint32_t op, path_bytes, data_bytes, zero;
    uint64_t inode, at;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_bytes;
static int log_fd = -1;
static struct rule *rules;

static void give_up(const char *what) {
    dprintf(2, "faultdisk: %s\n", what);
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("FAULTDISK_ROOT"), *log = getenv("FAULTDISK_LOG"), *rules_file = getenv("FAULTDISK_RULES");
    if (!folder) return;
    snprintf(root, sizeof root, "%s", folder);
    root_bytes = strlen(root);
    if (log) {
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0) give_up("cannot write the log");
    }
    if (rules_file) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, rules_file, O_RDWR | O_CLOEXEC, 0);
        if (fd < 0) give_up("cannot read the rules");
        rules = (struct rule *)syscall(SYS_mmap, NULL, RULES * sizeof(struct rule), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (rules == MAP_FAILED) give_up("cannot map the rules");
    }
}

/* The path below the root; none if it is elsewhere. */
static const char *below(const char *path) {
    if (!root_bytes || strncmp(path, root, root_bytes) != 0) return NULL;
    if (path[root_bytes] == '/') return path + root_bytes + 1;
    return path[root_bytes] == 0 ? path + root_bytes : NULL;
}

static int path_of_fd(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long bytes = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (bytes < 0) return 0;
    path[bytes] = 0;
    return 1;
}

/* Makes a path absolute in `whole`, and gives the part below the root. */
static const char *tracked(int dir, const char *path, char *whole) {
    if (!root_bytes || !path) return NULL;
    if (path[0] == '/') {
        snprintf(whole, PATH_MAX, "%s", path);
    } else {
        char base[PATH_MAX];
        if (dir == AT_FDCWD ? !getcwd(base, sizeof base) : !path_of_fd(dir, base)) return NULL;
        if ((size_t)snprintf(whole, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) give_up("path too long");
    }
    size_t bytes = strlen(whole);
    while (bytes > 1 && whole[bytes - 1] == '/') whole[--bytes] = 0;
    return below(whole);
}

static int tracked_fd(int fd) {
    char path[PATH_MAX];
    int before = errno, found = root_bytes && path_of_fd(fd, path) && below(path);
    errno = before;
    return found;
}

static uint64_t inode_of(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* Whether a file that is as long as this takes more blocks than it has. */
static int grows(int fd, uint64_t length) {
    struct stat st;
    return fstat(fd, &st) == 0 && (length + BLOCK_BYTES - 1) / BLOCK_BYTES > ((uint64_t)st.st_size + BLOCK_BYTES - 1) / BLOCK_BYTES;
}

static void record(uint32_t op, uint64_t inode, uint64_t at, const char *path, const void *data, size_t data_bytes) {
    if (log_fd < 0) return;
    int before = errno;
    struct header header = {op, path ? strlen(path) : 0, data_bytes, 0, inode, at};
    struct iovec parts[] = {{&header, sizeof header}, {(void *)path, header.path_bytes}, {(void *)data, data_bytes}};
    size_t all = sizeof header + header.path_bytes + data_bytes;
    if (syscall(SYS_writev, log_fd, parts, 3) != (long)all) give_up("cannot write the log");
    errno = before;
}

/* Whether a rule fails this call: 0, or the error. Called with the lock held. */
static int fault(uint32_t kind) {
    if (!rules) return 0;
    for (struct rule *rule = rules; rule < rules + RULES; rule++) {
        if (!(rule->kinds & kind) || !rule->error) continue;
        if (rule->skip > 0) {
            rule->skip--;
        } else if (rule->fail > 0) {
            rule->fail--;
            rule->hits++;
            return rule->error;
        }
    }
    return 0;
}

#define LOCKED(kind, refused)                    \
    pthread_mutex_lock(&lock);                   \
    int error = fault(kind);                     \
    if (error > 0) {                             \
        pthread_mutex_unlock(&lock);             \
        errno = error;                           \
        return refused;                          \
    }

#define UNLOCKED(result)           \
    pthread_mutex_unlock(&lock);   \
    return result

static int do_open(int dir, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    const char *name = tracked(dir, path, whole);
    if (!name) return (int)syscall(SYS_openat, dir, path, flags, mode);
    if ((flags & O_TMPFILE) == O_TMPFILE) give_up("O_TMPFILE is not modelled");
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    LOCKED(ON_OPEN | (writes ? ON_META : 0), -1);
    struct stat before;
    int there = lstat(whole, &before) == 0;
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    if (fd >= 0 && !there) record(CREATE, inode_of(fd), 0, name, NULL, 0);
    if (fd >= 0 && there && (flags & O_TRUNC) && before.st_size > 0) record(TRUNCATE, before.st_ino, 0, NULL, NULL, 0);
    UNLOCKED(fd);
}

#define OPEN(function, dir)                                                     \
    mode_t mode = 0;                                                            \
    if (flags & (O_CREAT | O_TMPFILE)) {                                        \
        va_list more;                                                           \
        va_start(more, flags);                                                  \
        mode = va_arg(more, mode_t);                                            \
        va_end(more);                                                           \
    }                                                                           \
    return do_open(dir, path, flags, mode)

int open(const char *path, int flags, ...) { OPEN(open, AT_FDCWD); }
int open64(const char *path, int flags, ...) { OPEN(open64, AT_FDCWD); }
int openat(int dir, const char *path, int flags, ...) { OPEN(openat, dir); }
int openat64(int dir, const char *path, int flags, ...) { OPEN(openat64, dir); }

static ssize_t do_write(int fd, const void *data, size_t bytes, off_t at, int positioned) {
    if (!tracked_fd(fd)) {
        ssize_t written = positioned ? syscall(SYS_pwrite64, fd, data, bytes, at) : syscall(SYS_write, fd, data, bytes);
        if (fd == 1 && root_bytes && written > 0) {
            pthread_mutex_lock(&lock);
            record(MARK, 0, 0, NULL, data, written);
            pthread_mutex_unlock(&lock);
        }
        return written;
    }
    LOCKED(ON_WRITE | (grows(fd, (positioned ? at : lseek(fd, 0, SEEK_CUR)) + bytes) ? ON_GROW : 0), -1);
    if (error < 0 && bytes > 1) bytes /= 2;
    ssize_t written = positioned ? syscall(SYS_pwrite64, fd, data, bytes, at) : syscall(SYS_write, fd, data, bytes);
    if (written > 0) {
        if (!positioned) at = lseek(fd, 0, SEEK_CUR) - written;
        record(WRITE, inode_of(fd), at, NULL, data, written);
    }
    UNLOCKED(written);
}

ssize_t write(int fd, const void *data, size_t bytes) { return do_write(fd, data, bytes, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at) { return do_write(fd, data, bytes, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t at) { return do_write(fd, data, bytes, at, 1); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (tracked_fd(fd)) give_up("writev is not modelled");
    return syscall(SYS_writev, fd, parts, count);
}

static ssize_t do_read(int fd, void *data, size_t bytes, off_t at, int positioned) {
    if (rules && tracked_fd(fd)) {
        LOCKED(ON_READ, -1);
        pthread_mutex_unlock(&lock);
    }
    return positioned ? syscall(SYS_pread64, fd, data, bytes, at) : syscall(SYS_read, fd, data, bytes);
}

ssize_t read(int fd, void *data, size_t bytes) { return do_read(fd, data, bytes, 0, 0); }
ssize_t pread(int fd, void *data, size_t bytes, off_t at) { return do_read(fd, data, bytes, at, 1); }
ssize_t pread64(int fd, void *data, size_t bytes, off_t at) { return do_read(fd, data, bytes, at, 1); }

static int do_truncate(int fd, off_t length) {
    if (!tracked_fd(fd)) return (int)syscall(SYS_ftruncate, fd, length);
    LOCKED(ON_WRITE, -1);
    int result = (int)syscall(SYS_ftruncate, fd, length);
    if (result == 0) record(TRUNCATE, inode_of(fd), length, NULL, NULL, 0);
    UNLOCKED(result);
}

int ftruncate(int fd, off_t length) { return do_truncate(fd, length); }
int ftruncate64(int fd, off_t length) { return do_truncate(fd, length); }

static int do_sync(int fd, long call) {
    if (!tracked_fd(fd)) return (int)syscall(call, fd);
    pthread_mutex_lock(&lock);
    int error = fault(ON_SYNC);
    if (error > 0) {
        record(SYNC_FAILED, inode_of(fd), 0, NULL, NULL, 0);
        pthread_mutex_unlock(&lock);
        errno = error;
        return -1;
    }
    int result = (int)syscall(call, fd);
    if (result == 0) record(SYNC, inode_of(fd), 0, NULL, NULL, 0);
    UNLOCKED(result);
}

int fsync(int fd) { return do_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync); }

int sync_file_range(int fd, off_t from, off_t bytes, unsigned flags) {
    if (!tracked_fd(fd)) return (int)syscall(SYS_sync_file_range, fd, from, bytes, flags);
    LOCKED(ON_SYNC, -1);
    int result = (int)syscall(SYS_sync_file_range, fd, from, bytes, flags);
    /* Makes nothing durable: neither the size of the file nor the cache of the disk. */
    if (result == 0) record(RANGE, inode_of(fd), 0, NULL, NULL, 0);
    UNLOCKED(result);
}

/* A socket has a name and no content, and is of its process only: what a cut leaves of one means nothing to anybody. */
static int is_socket(const char *whole) {
    struct stat found;
    return lstat(whole, &found) == 0 && S_ISSOCK(found.st_mode);
}

static int do_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char whole_from[PATH_MAX], whole_to[PATH_MAX];
    const char *name_from = tracked(from_dir, from, whole_from), *name_to = tracked(to_dir, to, whole_to);
    if ((!name_from && !name_to) || (name_from && is_socket(whole_from))) return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (!name_from || !name_to || flags) give_up("a rename across the root, or with flags, is not modelled");
    LOCKED(ON_META, -1);
    int result = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
    if (result == 0) record(RENAME, 0, 0, name_from, name_to, strlen(name_to));
    UNLOCKED(result);
}

int rename(const char *from, const char *to) { return do_rename(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return do_rename(from_dir, from, to_dir, to, 0); }
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    return do_rename(from_dir, from, to_dir, to, flags);
}

static int do_unlink(int dir, const char *path, int flags) {
    char whole[PATH_MAX];
    const char *name = tracked(dir, path, whole);
    if (!name || is_socket(whole)) return (int)syscall(SYS_unlinkat, dir, path, flags);
    LOCKED(ON_META, -1);
    int result = (int)syscall(SYS_unlinkat, dir, path, flags);
    if (result == 0) record(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, 0, name, NULL, 0);
    UNLOCKED(result);
}

int unlink(const char *path) { return do_unlink(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return do_unlink(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int dir, const char *path, int flags) { return do_unlink(dir, path, flags); }

static int do_mkdir(int dir, const char *path, mode_t mode) {
    char whole[PATH_MAX];
    const char *name = tracked(dir, path, whole);
    if (!name) return (int)syscall(SYS_mkdirat, dir, path, mode);
    LOCKED(ON_META, -1);
    int result = (int)syscall(SYS_mkdirat, dir, path, mode);
    struct stat made;
    if (result == 0 && lstat(whole, &made) == 0) record(MKDIR, made.st_ino, 0, name, NULL, 0);
    UNLOCKED(result);
}

int mkdir(const char *path, mode_t mode) { return do_mkdir(AT_FDCWD, path, mode); }
int mkdirat(int dir, const char *path, mode_t mode) { return do_mkdir(dir, path, mode); }

/* What nobody under test does today. */
static int linked(int dir, const char *path) {
    char whole[PATH_MAX];
    return tracked(dir, path, whole) != NULL;
}

int link(const char *from, const char *to) {
    /* Only an image would have to know. */
    if (log_fd >= 0 && linked(AT_FDCWD, to)) give_up("link is not modelled");
    return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int symlink(const char *target, const char *path) {
    if (linked(AT_FDCWD, path)) give_up("symlink is not modelled");
    return (int)syscall(SYS_symlinkat, target, AT_FDCWD, path);
}

int truncate64(const char *path, off_t length) {
    if (linked(AT_FDCWD, path)) give_up("truncate is not modelled");
    return (int)syscall(SYS_truncate, path, length);
}

int fallocate64(int fd, int mode, off_t at, off_t bytes) {
    if (tracked_fd(fd)) give_up("fallocate is not modelled");
    return (int)syscall(SYS_fallocate, fd, mode, at, bytes);
}

int posix_fallocate64(int fd, off_t at, off_t bytes) {
    if (tracked_fd(fd)) give_up("posix_fallocate is not modelled");
    return syscall(SYS_fallocate, fd, 0, at, bytes) == 0 ? 0 : errno;
}

ssize_t copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t bytes, unsigned flags) {
    if (tracked_fd(to)) {
        /* Whoever copies goes on by reading and writing. */
        errno = ENOSYS;
        return -1;
    }
    return syscall(SYS_copy_file_range, from, from_at, to, to_at, bytes, flags);
}

ssize_t sendfile64(int to, int from, off_t *at, size_t bytes) {
    if (tracked_fd(to)) {
        errno = ENOSYS;
        return -1;
    }
    return syscall(SYS_sendfile, to, from, at, bytes);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t at) {
    if (tracked_fd(fd)) give_up("pwritev is not modelled");
    return syscall(SYS_pwritev, fd, parts, count, (unsigned long)at, 0);
}

void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, off_t at) {
    if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE) && tracked_fd(fd)) give_up("a writable mapping is not modelled");
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, at);
}
