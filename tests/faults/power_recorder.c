/* A recording shim (LD_PRELOAD): what a run does to the files of its experiment, in order, for power_laboratory.py.
 *
 *   RECORD_FOLDER=/path   files below it are recorded
 *   RECORD_TRUTH=/path    this file too: what trials note about their reports
 *   RECORD_LOG=/path      where to; beside it lies a file to lock on
 *
 * A write is recorded when it has been done, a sync when it begins and when it has ended: whatever stands in the log
 * before the beginning of a sync was there to be synced. Rings are mapped memory, which no call tells of: at each event
 * their files are looked at, and pages that this process has not seen so before are recorded first. Their order in the log
 * is one in which they can have been.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
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
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, TRUNCATE, SYNC_BEGINS, SYNC_ENDED, RENAME, UNLINK, CREATE, MKDIR, RMDIR, PAGE, SIZE };
enum { PAGE_BYTES = 4096, MOST_FILES = 64, MAGIC = 0x57504f57 };

typedef struct { uint32_t magic, op, pid, path_bytes; uint64_t offset, bytes; double seconds; } head_t;
typedef struct { char *path; ino_t inode; size_t bytes; char *seen; } shadow_t;

static char folder[PATH_MAX], truth[PATH_MAX], log_path[PATH_MAX];
static int log_fd = -1, lock_fd = -1;
static pid_t owner;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static shadow_t shadows[MOST_FILES];
static int n_shadows;
static char *scratch;
static size_t scratch_bytes;

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static ssize_t real_pwrite(int fd, const void *data, size_t n, off_t at)
{
    REAL(pwrite64);
    return real(fd, data, n, at);
}

static int real_open(const char *path, int flags, int mode)
{
    REAL(open64);
    return real(path, flags, mode);
}

static void unlock_in_child(void) { pthread_mutex_init(&mutex, NULL); }

__attribute__((constructor)) static void begin(void)
{
    const char *a = getenv("RECORD_FOLDER"), *b = getenv("RECORD_TRUTH"), *c = getenv("RECORD_LOG");
    if (!a || !b || !c)
        return;
    snprintf(folder, sizeof folder, "%s", a);
    snprintf(truth, sizeof truth, "%s", b);
    snprintf(log_path, sizeof log_path, "%s", c);
    pthread_atfork(NULL, NULL, unlock_in_child);
}

/* Whether a path is recorded. */
static int wanted(const char *path)
{
    size_t n = strlen(folder);
    if (!n)
        return 0;
    return (!strncmp(path, folder, n) && (path[n] == '/' || !path[n])) || !strcmp(path, truth);
}

static int wanted_fd(int fd, char *path)
{
    char link[64];
    int saved = errno;
    if (!*folder)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    errno = saved;
    if (n < 0)
        return 0;
    path[n] = 0;
    return wanted(path);
}

static int wanted_at(int directory, const char *name, char *path)
{
    int saved = errno;
    if (!*folder)
        return 0;
    if (*name == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        char link[64];
        ssize_t n;
        if (directory == AT_FDCWD)
            snprintf(link, sizeof link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        n = readlink(link, path, PATH_MAX - 1);
        errno = saved;
        if (n < 0)
            return 0;
        snprintf(path + n, PATH_MAX - n, "/%s", name);
    }
    return wanted(path);
}

/* -- the log: one lock for all processes, one append for each event --------------------------------------------------- */

static void emit(int op, const char *path, uint64_t offset, const void *data, uint64_t n)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    head_t head = {MAGIC, (uint32_t)op, (uint32_t)getpid(), (uint32_t)strlen(path), offset, n, seconds};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)path, head.path_bytes}, {(void *)data, n}};
    REAL(writev);
    if (real(log_fd, parts, 3) != (ssize_t)(sizeof head + head.path_bytes + n))
        abort();
}

static void lock(void)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    pthread_mutex_lock(&mutex);
    if (owner != getpid()) {  /* a lock of one's own: that of the parent would be shared */
        char path[PATH_MAX + 8];
        snprintf(path, sizeof path, "%s.lock", log_path);
        lock_fd = real_open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        log_fd = real_open(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        owner = getpid();
    }
    while (fcntl(lock_fd, F_OFD_SETLKW, &whole) < 0 && errno == EINTR)
        ;
}

static void unlock(void)
{
    struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    fcntl(lock_fd, F_OFD_SETLK, &whole);
    pthread_mutex_unlock(&mutex);
}

/* -- mapped files: pages that have changed since this process looked last --------------------------------------------- */

static shadow_t *shadow_of(const char *path, ino_t inode)
{
    for (int i = 0; i < n_shadows; i++)
        if (shadows[i].inode == inode && !strcmp(shadows[i].path, path))
            return &shadows[i];
    if (n_shadows == MOST_FILES)
        abort();
    shadows[n_shadows] = (shadow_t){strdup(path), inode, 0, NULL};
    return &shadows[n_shadows++];
}

static void look_at(const char *path)
{
    static const char zeros[PAGE_BYTES];
    struct stat file;
    int fd = real_open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (!fstat(fd, &file) && S_ISREG(file.st_mode)) {
        size_t n = (size_t)file.st_size;
        shadow_t *shadow = shadow_of(path, file.st_ino);
        if (shadow->bytes != n) {
            shadow->seen = realloc(shadow->seen, n + PAGE_BYTES);
            if (n > shadow->bytes)
                memset(shadow->seen + shadow->bytes, 0, n - shadow->bytes);
            shadow->bytes = n;
            emit(SIZE, path, n, zeros, 0);
        }
        if (scratch_bytes < n) {
            scratch = realloc(scratch, n + PAGE_BYTES);
            scratch_bytes = n;
        }
        ssize_t got = pread(fd, scratch, n, 0);
        for (ssize_t at = 0; at < got; at += PAGE_BYTES) {
            size_t size = got - at < PAGE_BYTES ? (size_t)(got - at) : PAGE_BYTES;
            if (memcmp(scratch + at, shadow->seen + at, size)) {
                memcpy(shadow->seen + at, scratch + at, size);
                emit(PAGE, path, (uint64_t)at, scratch + at, size);
            }
        }
    }
    close(fd);
}

static void look_at_mapped(void)
{
    char path[PATH_MAX + 300], name[PATH_MAX + 8];
    struct dirent *entry;
    snprintf(name, sizeof name, "%s/rings", folder);
    DIR *rings = opendir(name);
    while (rings && (entry = readdir(rings))) {
        if (*entry->d_name == '.' || strstr(entry->d_name, ".err"))
            continue;
        snprintf(path, sizeof path, "%s/%s", name, entry->d_name);
        look_at(path);
    }
    if (rings)
        closedir(rings);
    snprintf(path, sizeof path, "%s/experiment.db-shm", folder);
    look_at(path);
}

static void record(int op, const char *path, uint64_t offset, const void *data, uint64_t n)
{
    int saved = errno;
    lock();
    look_at_mapped();
    emit(op, path, offset, data, n);
    unlock();
    errno = saved;
}

static int is_mapped(const char *path) { return strstr(path, "/rings/") || strstr(path, "-shm"); }

/* -- what is called ---------------------------------------------------------------------------------------------------- */

static void wrote(int fd, const void *data, ssize_t n, off_t at)
{
    char path[PATH_MAX];
    if (n > 0 && wanted_fd(fd, path) && !is_mapped(path)) {
        if (at < 0)
            at = lseek(fd, 0, SEEK_CUR) - n;
        record(WRITE, path, (uint64_t)at, data, (uint64_t)n);
    }
}

ssize_t write(int fd, const void *data, size_t n)
{
    REAL(write);
    ssize_t done = real(fd, data, n);
    wrote(fd, data, done, -1);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t n, off_t at)
{
    ssize_t done = real_pwrite(fd, data, n, at);
    wrote(fd, data, done, at);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return pwrite64(fd, data, n, at); }

int ftruncate64(int fd, off_t size)
{
    char path[PATH_MAX];
    REAL(ftruncate64);
    int done = real(fd, size);
    if (!done && wanted_fd(fd, path) && !is_mapped(path))
        record(TRUNCATE, path, (uint64_t)size, "", 0);
    return done;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int synced(int fd, int (*real)(int))
{
    char path[PATH_MAX];
    int watched = wanted_fd(fd, path);
    if (watched)
        record(SYNC_BEGINS, path, 0, "", 0);
    int done = real(fd);
    if (watched)
        record(SYNC_ENDED, path, done ? 1 : 0, "", 0);
    return done;
}

int fsync(int fd) { REAL(fsync); return synced(fd, real); }
int fdatasync(int fd) { REAL(fdatasync); return synced(fd, real); }

/* Of all files whose mapping lies there; the range is taken for the whole file: the laboratory knows no smaller one. */
int msync(void *memory, size_t n, int flags)
{
    char line[PATH_MAX + 256], path[PATH_MAX] = "";
    uintptr_t first, last;
    REAL(msync);
    if (*folder && flags & MS_SYNC) {
        FILE *maps = fopen("/proc/self/maps", "re");
        while (maps && fgets(line, sizeof line, maps)) {
            char *name = strchr(line, '/');
            if (name && sscanf(line, "%lx-%lx", &first, &last) == 2 && first <= (uintptr_t)memory && (uintptr_t)memory < last) {
                name[strcspn(name, "\n")] = 0;
                snprintf(path, sizeof path, "%s", name);
            }
        }
        if (maps)
            fclose(maps);
    }
    int watched = *path && wanted(path);
    if (watched)
        record(SYNC_BEGINS, path, (uint64_t)n, "", 0);
    int done = real(memory, n, flags);
    if (watched)
        record(SYNC_ENDED, path, done ? 1 : 0, "", 0);
    return done;
}

static int opened(int fd, int directory, const char *name, int flags)
{
    char path[PATH_MAX];
    if (fd >= 0 && flags & (O_CREAT | O_TRUNC) && wanted_at(directory, name, path) && !is_mapped(path))
        record(CREATE, path, flags & O_TRUNC ? 1 : 0, "", 0);
    return fd;
}

#define MODE int mode = 0; if (flags & O_CREAT) { va_list more; va_start(more, flags); mode = va_arg(more, int); va_end(more); }

int open64(const char *name, int flags, ...) { MODE return opened(real_open(name, flags, mode), AT_FDCWD, name, flags); }
int open(const char *name, int flags, ...) { MODE return opened(real_open(name, flags, mode), AT_FDCWD, name, flags); }

int openat64(int directory, const char *name, int flags, ...)
{
    MODE
    REAL(openat64);
    return opened(real(directory, name, flags, mode), directory, name, flags);
}

int openat(int directory, const char *name, int flags, ...)
{
    MODE
    return openat64(directory, name, flags, mode);
}

int renameat(int from, const char *old, int to, const char *new)
{
    char a[PATH_MAX], b[PATH_MAX];
    REAL(renameat);
    int done = real(from, old, to, new);
    int left = wanted_at(from, old, a), came = wanted_at(to, new, b);
    if (!done && (left || came))
        record(RENAME, a, 0, b, strlen(b));
    return done;
}

int rename(const char *old, const char *new) { return renameat(AT_FDCWD, old, AT_FDCWD, new); }

int unlinkat(int directory, const char *name, int flags)
{
    char path[PATH_MAX];
    int watched = wanted_at(directory, name, path);
    REAL(unlinkat);
    int done = real(directory, name, flags);
    if (!done && watched)
        record(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, 0, "", 0);
    return done;
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int directory, const char *name, mode_t mode)
{
    char path[PATH_MAX];
    REAL(mkdirat);
    int done = real(directory, name, mode);
    if (!done && wanted_at(directory, name, path))
        record(MKDIR, path, 0, "", 0);
    return done;
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
