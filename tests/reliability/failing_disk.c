/* Loaded before libc: a disk that fails, or is cut off from power, in the folder DISK_ROOT.
 *
 * DISK_RULE names a file. While it exists it holds "<calls> <errno> <ending>", for instance "fsync,fdatasync 5 -wal":
 * these calls fail with this number on files whose path ends so ("*": on all).
 * DISK_IMAGE names a folder. Whenever a file right in DISK_ROOT was brought to the disk, its contents of then are kept
 * there under its name: that is what the disk has for certain when the power goes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef int (*sync_call)(int);
typedef ssize_t (*write_call)(int, const void *, size_t);
typedef ssize_t (*pwrite_call)(int, const void *, size_t, off_t);

/* The path of a regular file below DISK_ROOT, without that; NULL for everything else. */
static const char *watched(int fd, char *path)
{
    const char *root = getenv("DISK_ROOT");
    char link[64];
    struct stat found;
    ssize_t n;
    if (root == NULL || fstat(fd, &found) != 0 || !S_ISREG(found.st_mode))
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, PATH_MAX - 1);
    if (n < 0)
        return NULL;
    path[n] = 0;
    return strncmp(path, root, strlen(root)) == 0 ? path + strlen(root) + 1 : NULL;
}

static int ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return strcmp(ending, "*") == 0 || (n >= m && strcmp(name + n - m, ending) == 0);
}

/* Whether this call fails now; errno is then the number of the rule. */
static int fails(const char *call, int fd)
{
    const char *rule = getenv("DISK_RULE"), *name, *word;
    char path[PATH_MAX], calls[64], ending[64];
    int number = 0, saved = errno;
    FILE *file;
    if (rule != NULL && access(rule, F_OK) == 0 && (name = watched(fd, path)) != NULL && (file = fopen(rule, "r")) != NULL) {
        if (fscanf(file, "%63s %d %63s", calls, &number, ending) == 3 && ends_with(name, ending))
            for (word = strtok(calls, ","); word != NULL; word = strtok(NULL, ","))
                if (strcmp(word, call) == 0) {
                    fclose(file);
                    errno = number;
                    return 1;
                }
        fclose(file);
    }
    errno = saved;
    return 0;
}

/* The file is on the disk: keep its contents under its name, whole or not at all. */
static void keep(int fd)
{
    const char *image = getenv("DISK_IMAGE"), *name;
    char path[PATH_MAX], target[2 * PATH_MAX], part[2 * PATH_MAX + 64], block[65536];
    write_call out = (write_call)dlsym(RTLD_NEXT, "write");
    off_t at = 0;
    ssize_t n;
    int copy;
    if (image == NULL || (name = watched(fd, path)) == NULL || strchr(name, '/') != NULL)
        return;
    snprintf(target, sizeof target, "%s/%s", image, name);
    snprintf(part, sizeof part, "%s.part%d", target, (int)getpid());
    copy = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    for (; (n = pread(fd, block, sizeof block, at)) > 0; at += n)
        if (out(copy, block, n) != n)
            abort();
    close(copy);
    rename(part, target);
}

static int synced(const char *call, int fd)
{
    int answer;
    if (fails(call, fd))
        return -1;
    answer = ((sync_call)dlsym(RTLD_NEXT, call))(fd);
    if (answer == 0)
        keep(fd);
    return answer;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }

ssize_t write(int fd, const void *data, size_t n)
{
    return fails("write", fd) ? -1 : ((write_call)dlsym(RTLD_NEXT, "write"))(fd, data, n);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t at)
{
    return fails("pwrite", fd) ? -1 : ((pwrite_call)dlsym(RTLD_NEXT, "pwrite"))(fd, data, n, at);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off_t at)
{
    return fails("pwrite", fd) ? -1 : ((pwrite_call)dlsym(RTLD_NEXT, "pwrite64"))(fd, data, n, at);
}
