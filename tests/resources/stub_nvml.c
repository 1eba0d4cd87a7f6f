/* A stand-in for libnvidia-ml.so.1, told by the environment what to pretend:
 *
 *   FAKE_GPUS=3             so many devices (default 0); device k has k+1 GiB and the CPUs 4k..4k+3 next to it
 *   FAKE_GIB=80             ... or so many GiB each
 *   FAKE_NVML_INIT=9        what initialisation answers (9: driver not loaded)
 *   FAKE_LOST_GPU=1         asking for this device answers 15: GPU is lost
 *   FAKE_MISSING=name,name  these calls answer 13: function not found
 *   FAKE_USED=90,50,0       percent of a device's memory that are used, one look after the other; the last one stays
 *   FAKE_MIG=2,0,3          how many slices device k is cut into (-: it is in no such mode); the last devices are in none
 *   FAKE_GPU_PROCS=41,42    process ids that compute on every device
 *   FAKE_LOST_FILE=path     as FAKE_LOST_GPU, from the moment on that the file is there, for every process: it holds the number
 *   FAKE_MEMORY=folder      a file "k-pid" there says how many bytes of device k that process holds, while it lives: stub_cuda.c
 *                           writes them
 *   FAKE_HOST_PIDS=1        processes have numbers that mean nothing here, as in a container
 *   FAKE_NEAR=0,1           device k has this one CPU next to it
 *   FAKE_NVLINK=0-1,2-3     pairs that NVLink connects; else devices 2k and 2k+1 are on one PCIe switch
 *   FAKE_PROC_MIB=300       MiB of each of them (default 0)
 *   FAKE_BUSY=40            percent of the time in which every device is busy, and with each of these processes (default 0)
 *
 * With -DOLD_DRIVER the library lacks the entry point that initialises it, as drivers of old do.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, MISSING = 13, LOST = 15 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned pid; unsigned long long used; unsigned instance, compute; } process_t;
typedef struct { unsigned pid; unsigned long long at; unsigned sm, memory, encoder, decoder; } sample_t;

static int started;

static int number(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

/* The device that is lost, -1: none. */
static int lost(void)
{
    const char *path = getenv("FAKE_LOST_FILE");
    FILE *file = path ? fopen(path, "r") : NULL;
    int found = number("FAKE_LOST_GPU", -1);
    if (file) {
        if (fscanf(file, "%d", &found) != 1)
            found = -1;
        fclose(file);
    }
    return found;
}

/* Whether a process lives: a zombie holds no memory any more. */
static int lives(int pid)
{
    char path[64], text[256] = "";
    FILE *file;
    sprintf(path, "/proc/%d/stat", pid);
    file = fopen(path, "r");
    if (!file)
        return 0;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return strrchr(text, ')') && strrchr(text, ')')[2] != 'Z';
}

/* Bytes that living processes hold of device k; with `pids` also whose they are. */
static unsigned long long held(int k, unsigned room, int *pids, unsigned long long *sizes, unsigned *count)
{
    const char *folder = getenv("FAKE_MEMORY");
    DIR *open = folder ? opendir(folder) : NULL;
    struct dirent *one;
    unsigned long long sum = 0, size;
    while (open && (one = readdir(open))) {
        char path[512];
        int device, pid;
        FILE *file;
        if (sscanf(one->d_name, "%d-%d", &device, &pid) != 2 || device != k || !lives(pid))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, one->d_name);
        file = fopen(path, "r");
        if (!file)
            continue;
        size = 0;
        if (fscanf(file, "%llu", &size) == 1 && pids) {
            if (*count < room) {
                pids[*count] = pid;
                sizes[*count] = size;
            }
            ++*count;
        }
        sum += size;
        fclose(file);
    }
    if (open)
        closedir(open);
    return sum;
}

static int listed(const char *variable, const char *word)
{
    const char *at = getenv(variable);
    size_t length = strlen(word);
    for (; at && (at = strstr(at, word)); at += length)
        if (at[length] == ',' || at[length] == 0)
            return 1;
    return 0;
}

#define CALL(name) do { if (!started) return UNINITIALIZED; if (listed("FAKE_MISSING", name)) return MISSING; } while (0)

/* A handle is the index plus one, so that device 0 is not NULL; that of a slice has its number, plus one, above bit 16. */
static int index_of(void *device) { return (int)((size_t)device & 0xffff) - 1; }

static int slice_of(void *device) { return (int)((size_t)device >> 16) - 1; }

static void uuid_of(int k, char *text) { sprintf(text, "GPU-%08x-fa4e-4000-8000-%012x", k, k + 16); }

/* How many slices device k is cut into; -1: it is in no such mode. */
static int slices(int k)
{
    const char *at = getenv("FAKE_MIG");
    for (; at && k > 0; k--) {
        at = strchr(at, ',');
        at = at ? at + 1 : at;
    }
    return at && *at && *at != '-' && *at != ',' ? atoi(at) : -1;
}

static int put(const char *text, char *out, unsigned size)
{
    if (strlen(text) + 1 > size)
        return TOO_SMALL;
    strcpy(out, text);
    return OK;
}

#ifndef OLD_DRIVER
int nvmlInitWithFlags(unsigned flags)
{
    int code = number("FAKE_NVML_INIT", OK);
    (void)flags;
    started += code == OK;
    return code;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
#endif

int nvmlShutdown(void)
{
    if (!started)
        return UNINITIALIZED;
    started--;
    return OK;
}

const char *nvmlErrorString(int code) { return code == OK ? "Success" : "some NVML error"; }

int nvmlSystemGetDriverVersion(char *out, unsigned size)
{
    CALL("nvmlSystemGetDriverVersion");
    return put("999.99", out, size);
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    CALL("nvmlDeviceGetCount_v2");
    *count = (unsigned)number("FAKE_GPUS", 0);
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned k, void **device)
{
    CALL("nvmlDeviceGetHandleByIndex_v2");
    if ((int)k >= number("FAKE_GPUS", 0))
        return INVALID;
    if ((int)k == lost())
        return LOST;
    *device = (void *)(size_t)(k + 1);
    return OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
    char text[64];
    CALL("nvmlDeviceGetHandleByUUID");
    for (int k = 0; k < number("FAKE_GPUS", 0); k++) {
        uuid_of(k, text);
        if (!strcmp(uuid, text))
            return nvmlDeviceGetHandleByIndex_v2((unsigned)k, device);
        for (int i = 0; i < slices(k); i++) {
            *device = (void *)((size_t)(k + 1) | (size_t)(i + 1) << 16);
            sprintf(text, "MIG-%08x-%04x-4000-8000-000000000000", k, i);
            if (!strcmp(uuid, text))
                return OK;
        }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(void *device, char *out, unsigned size)
{
    char text[64];
    CALL("nvmlDeviceGetUUID");
    uuid_of(index_of(device), text);
    if (slice_of(device) >= 0)
        sprintf(text, "MIG-%08x-%04x-4000-8000-000000000000", index_of(device), slice_of(device));
    return put(text, out, size);
}

int nvmlDeviceGetName(void *device, char *out, unsigned size)
{
    char text[64];
    CALL("nvmlDeviceGetName");
    sprintf(text, slice_of(device) < 0 ? "Fake GPU %d" : "Fake GPU %d MIG 1g", index_of(device));
    return put(text, out, size);
}

int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory)
{
    CALL("nvmlDeviceGetMemoryInfo");
    memory->total = (unsigned long long)number("FAKE_GIB", index_of(device) + 1) << (slice_of(device) < 0 ? 30 : 27);
    memory->used = (1 << 20) + held(index_of(device), 0, NULL, NULL, NULL);
    {
        static int looks;
        const char *at = getenv("FAKE_USED"), *next;
        for (int k = 0; at && k < looks && (next = strchr(at, ',')); k++)
            at = next + 1;
        if (at) {
            memory->used = memory->total / 100 * (unsigned long long)atoi(at);
            looks++;
        }
    }
    memory->free = memory->total - memory->used;
    return OK;
}

int nvmlDeviceGetUtilizationRates(void *device, utilization_t *rates)
{
    CALL("nvmlDeviceGetUtilizationRates");
    (void)device;
    rates->gpu = rates->memory = (unsigned)number("FAKE_BUSY", 0);
    return OK;
}

int nvmlDeviceGetCpuAffinity(void *device, unsigned words, unsigned long *mask)
{
    CALL("nvmlDeviceGetCpuAffinity");
    memset(mask, 0, words * sizeof *mask);
    if (getenv("FAKE_NEAR")) {
        const char *at = getenv("FAKE_NEAR");
        for (int k = index_of(device); k > 0 && at; k--)
            at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL;
        if (at)
            mask[0] = 1ul << atoi(at);
        return OK;
    }
    for (int cpu = 4 * index_of(device); cpu < 4 * index_of(device) + 4; cpu++)
        mask[cpu / 64] |= 1ul << (cpu % 64);
    return OK;
}

int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending)
{
    CALL("nvmlDeviceGetMigMode");
    if (!getenv("FAKE_MIG"))
        return UNSUPPORTED;
    *current = *pending = slices(index_of(device)) >= 0;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count)
{
    CALL("nvmlDeviceGetMaxMigDeviceCount");
    (void)device;
    *count = 7;
    return OK;
}

/* The slices have the odd places, as where some were taken away again. */
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned k, void **slice)
{
    CALL("nvmlDeviceGetMigDeviceHandleByIndex");
    if (k % 2 == 0 || (int)(k / 2) >= slices(index_of(device)))
        return NOT_FOUND;
    *slice = (void *)((size_t)device | (size_t)(k / 2 + 1) << 16);
    return OK;
}

typedef struct { char old_id[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;

int nvmlDeviceGetPciInfo_v3(void *device, pci_t *pci)
{
    CALL("nvmlDeviceGetPciInfo_v3");
    memset(pci, 0, sizeof *pci);
    sprintf(pci->bus_id, "00000000:%02X:00.0", index_of(device) + 1);
    return OK;
}

int nvmlDeviceGetNumaNodeId(void *device, unsigned *node)
{
    CALL("nvmlDeviceGetNumaNodeId");
    *node = (unsigned)index_of(device) / 2;
    return OK;
}

int nvmlDeviceGetTopologyCommonAncestor(void *one, void *other, int *level)
{
    CALL("nvmlDeviceGetTopologyCommonAncestor");
    *level = index_of(one) / 2 == index_of(other) / 2 ? 10 : 50;
    return OK;
}

int nvmlDeviceGetP2PStatus(void *one, void *other, int what, int *status)
{
    char pair[32];
    int a = index_of(one), b = index_of(other);
    CALL("nvmlDeviceGetP2PStatus");
    sprintf(pair, "%d-%d", a < b ? a : b, a < b ? b : a);
    *status = what == 2 && listed("FAKE_NVLINK", pair) ? OK : 1;
    return OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count, process_t *processes)
{
    const char *at = getenv("FAKE_GPU_PROCS");
    unsigned room = *count, found = 0;
    CALL("nvmlDeviceGetComputeRunningProcesses_v3");
    if (getenv("FAKE_MEMORY")) {
        int pids[64];
        unsigned long long sizes[64];
        held(index_of(device), 64, pids, sizes, &found);
        for (unsigned k = 0; k < found && k < room && k < 64; k++) {
            memset(&processes[k], 0, sizeof *processes);
            processes[k].pid = getenv("FAKE_HOST_PIDS") ? 4000000u + pids[k] : (unsigned)pids[k];
            processes[k].used = sizes[k];
        }
        *count = found;
        return found > room ? TOO_SMALL : OK;
    }
    for (; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : "") {
        if (found < room) {
            memset(&processes[found], 0, sizeof *processes);
            processes[found].pid = (unsigned)atoi(at);
            processes[found].used = (unsigned long long)number("FAKE_PROC_MIB", 0) << 20;
        }
        found++;
    }
    *count = found;
    return found > room ? TOO_SMALL : OK;
}

/* As the driver does, it says that nothing was found where there is no sample since then. */
int nvmlDeviceGetProcessUtilization(void *device, sample_t *samples, unsigned *count, unsigned long long since)
{
    static unsigned long long now = 1000;
    const char *at = getenv("FAKE_GPU_PROCS");
    unsigned room = *count, found = 0;
    CALL("nvmlDeviceGetProcessUtilization");
    (void)device;
    if (since >= now)
        now = since + 1;
    for (; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : "") {
        if (samples && found < room) {
            memset(&samples[found], 0, sizeof *samples);
            samples[found].pid = (unsigned)atoi(at);
            samples[found].at = now;
            samples[found].sm = (unsigned)number("FAKE_BUSY", 0);
        }
        found++;
    }
    *count = found;
    if (!found)
        return NOT_FOUND;
    return !samples || found > room ? TOO_SMALL : OK;
}
