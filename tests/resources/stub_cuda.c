/* A stand-in for libcuda.so.1 beside that of NVML (stub_nvml.c): contexts, memory and kernels of the devices that FAKE_GPUS pretends,
 * of which CUDA_VISIBLE_DEVICES leaves some, by UUID.
 *
 * Memory that is taken stands in FAKE_MEMORY, in a file "k-pid", and there is FAKE_GIB of it for all that live; a kernel, once
 * launched, never ends.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, NOT_READY = 600 };

static int seen[64], count, current = -1, launched;
static unsigned long long taken, sizes[64];
static int pieces;

int cuInit(unsigned flags)
{
    const char *mask = getenv("CUDA_VISIBLE_DEVICES"), *gpus = getenv("FAKE_GPUS");
    int most = gpus ? atoi(gpus) : 0;
    (void)flags;
    count = 0;
    if (!mask) {
        for (; count < most && count < 64; count++)
            seen[count] = count;
    } else {
        for (unsigned k; mask && sscanf(mask, "GPU-%8x", &k) == 1 && count < 64; mask = strchr(mask, ','), mask = mask ? mask + 1 : mask)
            if ((int)k < most)
                seen[count++] = (int)k;
    }
    return count ? OK : NO_DEVICE;
}

int cuDeviceGetCount(int *out)
{
    *out = count;
    return OK;
}

int cuDeviceGet(int *out, int k)
{
    *out = k;
    return k < count ? OK : INVALID;
}

int cuDeviceGetUuid(unsigned char *out, int k)
{
    memset(out, 0, 16);
    out[3] = (unsigned char)seen[k];
    memcpy(out + 4, "\xfa\x4e\x40\x00\x80\x00", 6);
    out[15] = (unsigned char)(seen[k] + 16);
    return OK;
}

int cuDevicePrimaryCtxRetain(void **out, int k)
{
    *out = (void *)(size_t)(k + 1);
    return OK;
}

int cuCtxSetCurrent(void *context)
{
    current = (int)(size_t)context - 1;
    return OK;
}

/* What the other processes that live hold of a device. */
static unsigned long long held_by_others(const char *folder, int device)
{
    unsigned long long all = 0, size;
    DIR *listing = opendir(folder);
    struct dirent *one;
    while (listing && (one = readdir(listing))) {
        int k, pid, read = 0;
        char path[800];
        FILE *file;
        if (sscanf(one->d_name, "%d-%d%n", &k, &pid, &read) != 2 || one->d_name[read] || k != device || pid == (int)getpid())
            continue;
        if (kill(pid, 0))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, one->d_name);
        if (!(file = fopen(path, "r")))
            continue;
        if (fscanf(file, "%llu", &size) == 1)
            all += size;
        fclose(file);
    }
    if (listing)
        closedir(listing);
    return all;
}

static int hold(unsigned long long size)
{
    const char *folder = getenv("FAKE_MEMORY"), *gib = getenv("FAKE_GIB");
    char path[512], whole[520];
    FILE *file;
    if (!folder || current < 0) {
        taken = size;
        return OK;
    }
    if (size > taken && gib && size + held_by_others(folder, seen[current]) > strtoull(gib, NULL, 10) << 30)
        return OUT_OF_MEMORY;
    taken = size;
    snprintf(path, sizeof path, "%s/%d-%d", folder, seen[current], (int)getpid());
    snprintf(whole, sizeof whole, "%s.new", path);
    file = fopen(whole, "w");
    if (!file)
        return OUT_OF_MEMORY;
    fprintf(file, "%llu", taken);
    fclose(file);
    return rename(whole, path) ? OUT_OF_MEMORY : OK;
}

int cuMemAlloc_v2(unsigned long long *out, size_t size)
{
    int code = pieces < 64 ? hold(taken + size) : OUT_OF_MEMORY;
    if (code == OK) {
        sizes[pieces++] = size;
        *out = 4096ull * (unsigned)pieces;
    }
    return code;
}

int cuMemFree_v2(unsigned long long at)
{
    unsigned long long k = at / 4096 - 1, size;
    if (at % 4096 || k >= (unsigned)pieces || !sizes[k])
        return INVALID;
    size = sizes[k];
    sizes[k] = 0;
    return hold(taken - size);
}

int cuMemsetD8_v2(unsigned long long at, unsigned char value, size_t size)
{
    (void)at, (void)value, (void)size;
    return OK;
}

int cuModuleLoadData(void **out, const void *text)
{
    *out = (void *)1;
    return strstr(text, ".entry") ? OK : INVALID;
}

int cuModuleGetFunction(void **out, void *module, const char *name)
{
    *out = module;
    return *name ? OK : INVALID;
}

int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *stream, void **arguments, void **extra)
{
    (void)function, (void)shared, (void)stream, (void)arguments, (void)extra;
    launched = 1;
    return gx * gy * gz * bx * by * bz ? OK : INVALID;
}

int cuStreamQuery(void *stream)
{
    (void)stream;
    return launched ? NOT_READY : OK;
}

int cuCtxSynchronize(void)
{
    while (launched)
        pause();
    return OK;
}
