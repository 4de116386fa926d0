/* A disk that fails when it is told to: put before libc by LD_PRELOAD. It concerns the files below one directory,
 * DISK_FAULTS_BELOW; what is to happen stands in the file DISK_FAULTS, which both sides map (see disks.py). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

enum { FINE, SYNC_FAILS, WRITE_FAILS, SYNC_HANGS, FULL };

struct control {
    int64_t mode;
    int64_t room;     /* bytes that are left where the mode is FULL */
    int64_t failures; /* calls that were made to fail, or to hang */
    int64_t syncs;
    int64_t unsynced; /* whether the store's log has been written to since it was synced last */
    int64_t early;    /* calls that sent something while it had */
    int64_t sent;     /* calls that sent something at all */
};

static struct control *control;
static const char *below;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("DISK_FAULTS");
    below = getenv("DISK_FAULTS_BELOW");
    if (path == NULL || below == NULL)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        abort();
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        abort();
    control = mapped;
}

static int64_t mode(void)
{
    return control == NULL ? FINE : __atomic_load_n(&control->mode, __ATOMIC_SEQ_CST);
}

static void count(int64_t *what)
{
    __atomic_add_fetch(what, 1, __ATOMIC_SEQ_CST);
}

static int fails(int with)
{
    count(&control->failures);
    errno = with;
    return -1;
}

/* Whether a path is one of the files, and ends so. */
static int is_ours(const char *path, const char *end)
{
    size_t length = strlen(path), wanted = strlen(end);
    return control != NULL && strncmp(path, below, strlen(below)) == 0 && length >= wanted
        && strcmp(path + length - wanted, end) == 0;
}

static int is_open_at(int fd, const char *end)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_ours(path, end);
}

static int sync_goes_wrong(int fd)
{
    if (control == NULL || !is_open_at(fd, ""))
        return 0;
    if (mode() == SYNC_FAILS)
        return fails(EIO);
    if (mode() == SYNC_HANGS) {
        count(&control->failures);
        while (mode() == SYNC_HANGS)
            nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    return 0;
}

static void synced(int fd)
{
    if (control != NULL && is_open_at(fd, "-wal")) {
        count(&control->syncs);
        __atomic_store_n(&control->unsynced, 0, __ATOMIC_SEQ_CST);
    }
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    if (sync_goes_wrong(fd))
        return -1;
    int result = real(fd);
    synced(fd);
    return result;
}

int fsync(int fd)
{
    REAL(fsync);
    if (sync_goes_wrong(fd))
        return -1;
    int result = real(fd);
    synced(fd);
    return result;
}

static int write_goes_wrong(int fd, size_t size, int64_t at)
{
    if (control == NULL || !is_open_at(fd, ""))
        return 0;
    if (is_open_at(fd, "-wal"))
        __atomic_store_n(&control->unsynced, 1, __ATOMIC_SEQ_CST);
    if (mode() == WRITE_FAILS)
        return fails(EIO);
    if (mode() == FULL) {
        struct stat found;
        if (fstat(fd, &found) != 0)
            return -1;
        int64_t more = (at < 0 ? lseek(fd, 0, SEEK_CUR) : at) + (int64_t)size - found.st_size;
        if (more > 0 && more > __atomic_load_n(&control->room, __ATOMIC_SEQ_CST))
            return fails(ENOSPC);
        if (more > 0)
            __atomic_sub_fetch(&control->room, more, __ATOMIC_SEQ_CST);
    }
    return 0;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    REAL(pwrite64);
    return write_goes_wrong(fd, size, at) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    REAL(pwrite);
    return write_goes_wrong(fd, size, at) ? -1 : real(fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write);
    return write_goes_wrong(fd, size, -1) ? -1 : real(fd, data, size);
}

int unlink(const char *path)
{
    REAL(unlink);
    struct stat found = {0};
    int spare = is_ours(path, ".spare") && stat(path, &found) == 0;
    int result = real(path);
    if (result == 0 && spare && mode() == FULL)
        __atomic_add_fetch(&control->room, found.st_size, __ATOMIC_SEQ_CST);
    return result;
}

int statvfs64(const char *path, struct statvfs64 *found)
{
    REAL(statvfs64);
    int result = real(path, found);
    if (result == 0 && mode() == FULL && is_ours(path, ""))
        found->f_bavail = (fsblkcnt64_t)(control->room / (int64_t)found->f_frsize);
    return result;
}

int statvfs(const char *path, struct statvfs *found)
{
    REAL(statvfs);
    int result = real(path, found);
    if (result == 0 && mode() == FULL && is_ours(path, ""))
        found->f_bavail = (fsblkcnt_t)(control->room / (int64_t)found->f_frsize);
    return result;
}

ssize_t send(int fd, const void *data, size_t size, int flags)
{
    REAL(send);
    if (control != NULL) {
        count(&control->sent);
        if (__atomic_load_n(&control->unsynced, __ATOMIC_SEQ_CST))
            count(&control->early);
    }
    return real(fd, data, size, flags);
}
