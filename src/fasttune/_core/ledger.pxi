# Ledger: who has which CPU and which GPU, in whole units of 1/10,000, so that acquire and release add up to
# nothing.
#
# A pool holds the devices of one kind. Devices are sorted into 64 levels by their free units (level 63:
# wholly free), one bitmap per level and one word that says which levels are inhabited. "The fullest device
# that still has room", "the freest device" and "any free device" are then a few bit instructions, however many
# devices there are.
#
# The rules of the two kinds differ in one point. CPU ids only advise (thread counts, affinity masks), so a CPU
# share may lie on several CPUs, and a request is granted exactly when the total suffices. GPU shares are
# where the memory is: 1 or more are wholly free devices, a fraction lies on one device.

from libc.math cimport llround
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #define FT_LOWEST_BIT(word) __builtin_ctzll(word)
    #define FT_HIGHEST_BIT(word) (63 - __builtin_clzll(word))
    #define FT_BITS(word) __builtin_popcountll(word)
    """
    int FT_LOWEST_BIT(uint64_t word) noexcept nogil
    int FT_HIGHEST_BIT(uint64_t word) noexcept nogil
    int FT_BITS(uint64_t word) noexcept nogil

cdef enum:
    DEVICE_UNITS = 10000           # of one device
    DEVICE_LEVELS = 64
    FREE_LEVEL = 63         # the level of wholly free devices

# A double: with the cdivision directive, `/` of two C integers drops the rest.
cdef double WHOLE_DEVICE = DEVICE_UNITS


cdef struct Share:
    int32_t device          # position in its pool
    int32_t units


cdef struct Pool:
    Py_ssize_t size         # devices
    Py_ssize_t words        # 64-bit words of one bitmap
    int64_t free_units      # of all devices together
    uint64_t inhabited      # bit k: some device is on level k; devices with nothing free are on none
    int32_t *free           # [size] free units
    int32_t *count          # [DEVICE_LEVELS] devices on the level
    uint64_t *level         # [DEVICE_LEVELS][words] bitmaps
    uint64_t *joinable      # [words] bitmap: devices that may be one of several of a grant


cdef inline int pool_level(int32_t units) noexcept nogil:
    return units * FREE_LEVEL // DEVICE_UNITS


cdef int pool_open(Pool *pool, Py_ssize_t size) except -1:
    cdef Py_ssize_t i
    pool.size = size
    pool.words = (size + 63) // 64
    pool.free = <int32_t *>ft_calloc(size + 1, sizeof(int32_t))
    pool.count = <int32_t *>ft_calloc(DEVICE_LEVELS, sizeof(int32_t))
    pool.level = <uint64_t *>ft_calloc(DEVICE_LEVELS * pool.words + 1, sizeof(uint64_t))
    pool.joinable = <uint64_t *>ft_calloc(pool.words + 1, sizeof(uint64_t))
    if pool.free == NULL or pool.count == NULL or pool.level == NULL or pool.joinable == NULL:
        raise MemoryError(f"no memory for a ledger of {size} devices")
    for i in range(size):
        pool_change(pool, <int32_t>i, DEVICE_UNITS)
        pool.joinable[i >> 6] |= (<uint64_t>1) << (i & 63)
    return 0


cdef void pool_close(Pool *pool) noexcept nogil:
    ft_free(pool.free)
    ft_free(pool.count)
    ft_free(pool.level)
    ft_free(pool.joinable)


cdef void pool_change(Pool *pool, int32_t device, int32_t by) noexcept nogil:
    """Adds `by` to the free units of a device and puts it on its new level."""
    cdef int32_t old = pool.free[device], new = old + by
    cdef int level
    cdef uint64_t bit = (<uint64_t>1) << (device & 63)
    cdef Py_ssize_t word = device >> 6
    check(0 <= device)
    check(device < pool.size)
    check(0 <= new)
    check(new <= DEVICE_UNITS)
    if old > 0:
        level = pool_level(old)
        pool.level[level * pool.words + word] &= ~bit
        pool.count[level] -= 1
        if pool.count[level] == 0:
            pool.inhabited &= ~((<uint64_t>1) << level)
    if new > 0:
        level = pool_level(new)
        pool.level[level * pool.words + word] |= bit
        pool.count[level] += 1
        pool.inhabited |= (<uint64_t>1) << level
    pool.free[device] = new
    pool.free_units += by


cdef int32_t pool_first(Pool *pool, int level) noexcept nogil:
    """The first device of an inhabited level."""
    cdef uint64_t *bits = &pool.level[level * pool.words]
    cdef Py_ssize_t word = 0
    while bits[word] == 0:
        word += 1
    return <int32_t>(word * 64 + FT_LOWEST_BIT(bits[word]))


cdef int32_t pool_fitting(Pool *pool, int level, int32_t units) noexcept nogil:
    """The first device of a level that has `units` free, or -1."""
    cdef uint64_t *bits = &pool.level[level * pool.words]
    cdef uint64_t rest
    cdef int32_t device
    cdef Py_ssize_t word
    for word in range(pool.words):
        rest = bits[word]
        while rest != 0:
            device = <int32_t>(word * 64 + FT_LOWEST_BIT(rest))
            if pool.free[device] >= units:
                return device
            rest &= rest - 1
    return -1


cdef int32_t pool_pick(Pool *pool, int32_t units, bint spread) noexcept nogil:
    """A device with `units` (1..10,000) free, or -1: pack takes the fullest level, spread the freest."""
    cdef int own = pool_level(units), top
    cdef int32_t device
    cdef uint64_t above
    if pool.inhabited == 0:
        return -1
    if spread:
        top = FT_HIGHEST_BIT(pool.inhabited)
        return pool_first(pool, top) if top > own else pool_fitting(pool, own, units)
    device = pool_fitting(pool, own, units)
    if device >= 0 or own == FREE_LEVEL:
        return device
    above = pool.inhabited >> (own + 1)
    return pool_first(pool, own + 1 + FT_LOWEST_BIT(above)) if above != 0 else -1


cdef inline bint pool_is_joinable(Pool *pool, int32_t device) noexcept nogil:
    return pool.joinable[device >> 6] >> (device & 63) & 1


cdef int32_t pool_pick_joinable(Pool *pool, int32_t units, bint spread) noexcept nogil:
    """As pool_pick, of devices that may be one of several. Few machines have others, so it looks at each."""
    cdef int32_t device, best = -1
    cdef int level, best_level = 0
    for device in range(<int32_t>pool.size):
        if pool.free[device] < units or not pool_is_joinable(pool, device):
            continue
        level = pool_level(pool.free[device])
        if best < 0 or (level > best_level if spread else level < best_level):
            best = device
            best_level = level
    return best


cdef Py_ssize_t pool_free_joinable(Pool *pool) noexcept nogil:
    """How many devices are wholly free and may be one of several."""
    cdef Py_ssize_t word, found = 0
    for word in range(pool.words):
        found += FT_BITS(pool.level[FREE_LEVEL * pool.words + word] & pool.joinable[word])
    return found


cdef Py_ssize_t pool_next_free(Pool *pool, Py_ssize_t start, bint is_free) noexcept nogil:
    """The first position >= start that is wholly free and joinable (or is not); `size` if there is none."""
    cdef uint64_t *bits = &pool.level[FREE_LEVEL * pool.words]
    cdef Py_ssize_t word = start >> 6
    cdef uint64_t rest
    while word < pool.words:
        rest = bits[word] & pool.joinable[word]
        if not is_free:
            rest = ~rest
        if word == start >> 6:
            rest &= (~<uint64_t>0) << (start & 63)
        if rest != 0:
            return min(word * 64 + FT_LOWEST_BIT(rest), pool.size)
        word += 1
    return pool.size


cdef Py_ssize_t pool_run(Pool *pool, Py_ssize_t n) noexcept nogil:
    """Where the shortest run of at least `n` free neighbours starts, or -1 if there is none."""
    cdef Py_ssize_t best = -1, best_length = pool.size + 1, end
    cdef Py_ssize_t start = pool_next_free(pool, 0, True)
    while start < pool.size:
        end = pool_next_free(pool, start, False)
        if n <= end - start < best_length:
            best = start
            best_length = end - start
        start = pool_next_free(pool, end, True)
    return best


cdef Py_ssize_t pool_take(
    Pool *pool, int32_t device, int32_t units, Share *out, Py_ssize_t taken
) noexcept nogil:
    pool_change(pool, device, -units)
    out[taken].device = device
    out[taken].units = units
    return taken + 1


cdef Py_ssize_t pool_take_whole(Pool *pool, Py_ssize_t n, Share *out) noexcept nogil:
    """Takes `n` wholly free devices, neighbours if possible. There must be as many; if n > 1, joinable ones."""
    cdef Py_ssize_t taken = 0, at
    if n == 1:
        return pool_take(pool, pool_first(pool, FREE_LEVEL), DEVICE_UNITS, out, 0)
    at = max(pool_run(pool, n), 0)
    while taken < n:
        at = pool_next_free(pool, at, True)
        taken = pool_take(pool, <int32_t>at, DEVICE_UNITS, out, taken)
    return taken


cdef Py_ssize_t pool_take_cpus(Pool *pool, int64_t units, Share *out) noexcept nogil:
    """Takes `units` (not more than are free): whole CPUs, a shared one for the rest, or pieces of several."""
    cdef Py_ssize_t whole = min(units // DEVICE_UNITS, <int64_t>pool.count[FREE_LEVEL])
    cdef Py_ssize_t taken = 0
    cdef int32_t device, piece
    if whole > 0:
        taken = pool_take_whole(pool, whole, out)
        units -= whole * DEVICE_UNITS
    if 0 < units < DEVICE_UNITS:
        device = pool_pick(pool, <int32_t>units, False)
        if device >= 0:
            return pool_take(pool, device, <int32_t>units, out, taken)
    while units > 0:
        device = pool_first(pool, FT_HIGHEST_BIT(pool.inhabited))
        piece = <int32_t>min(units, <int64_t>pool.free[device])
        taken = pool_take(pool, device, piece, out, taken)
        units -= piece
    return taken


cdef int64_t ledger_units(double amount, object name) except -1:
    """An amount in units of 1/10,000. Refuses what no ledger can hold."""
    cdef int64_t units
    if not (amount >= 0):
        raise ValueError(f"{name} must be a number >= 0, got {amount}")
    if amount > 1e12:
        return <int64_t>DEVICE_UNITS * 1000000000000  # more than any machine has; llround would overflow
    units = llround(amount * DEVICE_UNITS)
    if units == 0 and amount > 0:
        raise ValueError(f"{name} must be 0 or at least 0.0001 (the smallest share), got {amount}")
    return units


cdef int64_t ledger_gpu_units(double amount) except -1:
    cdef int64_t units = ledger_units(amount, "gpu")
    if units > DEVICE_UNITS and units % DEVICE_UNITS != 0:
        raise ValueError(f"gpu must be a whole number when it is more than 1, got {amount}")
    return units


@cython.final
@cython.no_gc  # refers to its ledger only, which refers to no grant
@cython.freelist(64)
cdef class Grant:
    """What one acquire() got. Give it back with release(): dropping it gives nothing back."""
    cdef Ledger ledger
    cdef bint held
    cdef Share few[4]           # most grants need no memory of their own
    cdef Share *shares          # few, or an array of its own: first the CPUs, then the GPUs
    cdef Py_ssize_t cpu_count, gpu_count
    cdef int64_t memory_bytes
    cdef dict custom_units      # name -> units; None for most

    def __cinit__(self):
        self.shares = self.few

    def __init__(self):
        raise TypeError("a Grant comes from Ledger.acquire()")

    def __dealloc__(self):
        if self.shares != self.few:
            ft_free(self.shares)

    @property
    def live(self):
        """True until it is released."""
        return self.held

    @property
    def cpus(self):
        """The CPU ids, ascending."""
        cdef Py_ssize_t i
        if self.cpu_count == 0:
            return ()
        ids = self.ledger.cpu_ids
        return tuple(sorted([ids[self.shares[i].device] for i in range(self.cpu_count)]))

    @property
    def cpu_units(self):
        """How much CPU it is, in units of 1/10,000."""
        cdef Py_ssize_t i
        cdef int64_t units = 0
        for i in range(self.cpu_count):
            units += self.shares[i].units
        return units

    @property
    def gpus(self):
        """(GPU index, units) of each GPU; 10,000 units are the whole device."""
        cdef Py_ssize_t i
        return tuple([
            (self.shares[i].device, self.shares[i].units)
            for i in range(self.cpu_count, self.cpu_count + self.gpu_count)
        ])

    @property
    def memory(self):
        """Bytes of memory that were set aside."""
        return self.memory_bytes

    @property
    def custom(self):
        """Custom resources by name."""
        return {name: units / WHOLE_DEVICE for name, units in (self.custom_units or {}).items()}

    def __repr__(self):
        cdef str state = "" if self.held else " released"
        cdef str other = f"memory={self.memory_bytes} custom={self.custom}"
        return f"<Grant cpus={self.cpus} gpus={self.gpus} {other}{state}>"


@cython.final
cdef class Ledger:
    """The CPUs, GPUs, memory and custom resources of one machine, and who has them.

    Args:
        cpus: the CPU ids; each counts 1.
        gpus: how many GPUs there are.
        memory: bytes.
        custom: amounts by name.
        policy: where a fraction of a GPU goes: "pack" fills a started device, "spread" takes the freest.
        alone: positions of GPUs that are never one of several of a grant, such as slices (MIG).

    Amounts are kept in whole units of 1/10,000 (memory in bytes): what is released is exactly what was taken.
    """
    cdef Pool cpu, gpu
    cdef Share *scratch             # as many shares as there are devices
    cdef tuple cpu_ids
    cdef bint spread
    cdef int64_t memory_total, memory_free
    cdef dict custom_total, custom_free     # name -> units

    def __cinit__(self, cpus, Py_ssize_t gpus=0, int64_t memory=0, custom=None, str policy="pack", alone=()):
        cdef Py_ssize_t at
        self.cpu_ids = tuple(cpus)
        if gpus < 0 or memory < 0:
            raise ValueError(f"gpus and memory must be >= 0, got gpus={gpus} and memory={memory}")
        if len(set(self.cpu_ids)) != len(self.cpu_ids):
            raise ValueError(f"cpus must name each CPU once, got {self.cpu_ids}")
        if policy not in ("pack", "spread"):
            raise ValueError(f"policy must be 'pack' or 'spread', got {policy!r}")
        self.spread = policy == "spread"
        pool_open(&self.cpu, len(self.cpu_ids))
        pool_open(&self.gpu, gpus)
        for at in alone:
            if not 0 <= at < gpus:
                raise ValueError(f"alone must hold positions of the {gpus} GPUs, got {at}")
            self.gpu.joinable[at >> 6] &= ~((<uint64_t>1) << (at & 63))
        self.scratch = <Share *>ft_malloc((self.cpu.size + gpus + 1) * sizeof(Share))
        if self.scratch == NULL:
            raise MemoryError(f"no memory for a ledger of {self.cpu.size} CPUs and {gpus} GPUs")
        self.memory_total = self.memory_free = memory
        self.custom_total = {name: ledger_units(amount, name) for name, amount in (custom or {}).items()}
        self.custom_free = dict(self.custom_total)

    def __dealloc__(self):
        pool_close(&self.cpu)
        pool_close(&self.gpu)
        ft_free(self.scratch)

    cdef bint lacks_gpu(self, int64_t units, bint joined) noexcept nogil:
        """Whether so much of GPUs cannot be had now."""
        if units >= DEVICE_UNITS:
            return units // DEVICE_UNITS > self.whole_gpus(units, joined)
        return units > 0 and self.pick_gpu(units, joined) < 0

    cdef Py_ssize_t whole_gpus(self, int64_t units, bint joined) noexcept nogil:
        """How many devices are wholly free for one who takes so much."""
        return pool_free_joinable(&self.gpu) if joined or units > DEVICE_UNITS else self.gpu.count[FREE_LEVEL]

    cdef int32_t pick_gpu(self, int64_t units, bint joined) noexcept nogil:
        """The device for a share, or for one that is one of several; -1: none has room."""
        if joined:
            return pool_pick_joinable(&self.gpu, <int32_t>units, self.spread)
        return pool_pick(&self.gpu, <int32_t>units, self.spread)

    cdef bint lacks_devices(self, tuple devices) except -1:
        """Whether one of these GPUs has less left than is asked of it."""
        cdef Py_ssize_t device, units
        cdef set seen = set()
        cdef bint lacks = False
        for device, units in devices:
            if not (0 <= device < self.gpu.size and 0 < units <= DEVICE_UNITS) or device in seen:
                raise ValueError(
                    f"devices must hold (position, units) of GPUs, each once: positions below {self.gpu.size}, units from 1 to "
                    f"{DEVICE_UNITS}; got {devices}"
                )
            if len(devices) > 1 and not pool_is_joinable(&self.gpu, <int32_t>device):
                raise ValueError(f"GPU {device} is never one of several, got devices={devices}")
            seen.add(device)
            lacks = lacks or self.gpu.free[device] < units
        return lacks

    def acquire(
        self,
        double cpu=1.0,
        double gpu=0.0,
        int64_t memory=0,
        dict custom=None,
        bint joined=False,
        tuple devices=None,
    ):
        """A Grant for all of it, or None if it does not fit now (`missing` says why); never a part of it.

        ``joined``: its GPU is one of several that the same process uses. ``devices``: whoever asks has chosen its GPUs, (position,
        units) of each; ``gpu`` is 0 then.

        Raises:
            ValueError: an amount is negative, not a number, or a share that no GPU can give; devices that there are not.
        """
        cdef int64_t cpu_units = ledger_units(cpu, "cpu"), gpu_units = ledger_gpu_units(gpu)
        cdef int32_t device = -1
        cdef dict wanted = None
        cdef Grant grant
        cdef Py_ssize_t cpu_count = 0, gpu_count = 0
        if memory < 0:
            raise ValueError(f"memory must be >= 0 bytes, got {memory}")
        if custom:
            wanted = self.custom_request(custom)
            for name, units in wanted.items():
                if units > self.custom_free.get(name, 0):
                    return None
        if cpu_units > self.cpu.free_units or memory > self.memory_free:
            return None
        if self.lacks_gpu(gpu_units, joined):
            return None
        if devices is not None:
            if gpu_units > 0:
                raise ValueError(f"gpu must be 0 beside devices={devices}, got {gpu}")
            if self.lacks_devices(devices):
                return None
        if 0 < gpu_units < DEVICE_UNITS or (joined and gpu_units == DEVICE_UNITS):
            device = self.pick_gpu(gpu_units, joined)

        # Everything fits: from here on nothing is refused.
        if cpu_units > 0:
            cpu_count = pool_take_cpus(&self.cpu, cpu_units, self.scratch)
        if device >= 0:
            gpu_count = pool_take(&self.gpu, device, <int32_t>gpu_units, self.scratch + cpu_count, 0)
        elif gpu_units > 0:
            gpu_count = pool_take_whole(&self.gpu, gpu_units // DEVICE_UNITS, self.scratch + cpu_count)
        elif devices is not None:
            for chosen, units in devices:
                gpu_count = pool_take(&self.gpu, chosen, units, self.scratch + cpu_count, gpu_count)
        try:
            grant = Grant.__new__(Grant)
            if cpu_count + gpu_count > 4:
                grant.shares = <Share *>ft_malloc((cpu_count + gpu_count) * sizeof(Share))
                if grant.shares == NULL:
                    grant.shares = grant.few
                    raise MemoryError(f"no memory for a grant of {cpu_count + gpu_count} devices")
        except MemoryError:
            self.give(self.scratch, cpu_count, gpu_count)
            raise
        memcpy(grant.shares, self.scratch, (cpu_count + gpu_count) * sizeof(Share))
        grant.cpu_count = cpu_count
        grant.gpu_count = gpu_count
        grant.ledger = self
        grant.held = True
        grant.memory_bytes = memory
        self.memory_free -= memory
        if wanted is not None:
            grant.custom_units = wanted
            for name, units in wanted.items():
                self.custom_free[name] -= units
        return grant

    def release(self, Grant grant not None):
        """Gives all of a grant back.

        Raises:
            ValueError: it has been released before, or it is another ledger's.
        """
        if grant.ledger is not self:
            raise ValueError(f"{grant!r} comes from another ledger")
        if not grant.held:
            raise ValueError(f"{grant!r} has been released before; each grant is released once")
        grant.held = False
        self.give(grant.shares, grant.cpu_count, grant.gpu_count)
        self.memory_free += grant.memory_bytes
        if grant.custom_units is not None:
            for name, units in grant.custom_units.items():
                self.custom_free[name] += units

    cdef void give(self, Share *shares, Py_ssize_t cpu_count, Py_ssize_t gpu_count) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(cpu_count):
            pool_change(&self.cpu, shares[i].device, shares[i].units)
        for i in range(cpu_count, cpu_count + gpu_count):
            pool_change(&self.gpu, shares[i].device, shares[i].units)

    cdef dict custom_request(self, dict custom):
        """The asked amounts in units, without zeros."""
        cdef dict units = {name: ledger_units(amount, name) for name, amount in custom.items()}
        return {name: amount for name, amount in units.items() if amount > 0}

    def missing(self, double cpu=1.0, double gpu=0.0, int64_t memory=0, dict custom=None, bint joined=False):
        """What keeps a request from being granted now: name -> (asked, free, total); empty if it fits.

        Asked more than the total: it never fits. For whole GPUs, free counts devices that nobody uses; for a
        fraction it is the largest free share of one device.
        """
        cdef int64_t cpu_units = ledger_units(cpu, "cpu"), gpu_units = ledger_gpu_units(gpu)
        cdef dict lacking = {}
        if cpu_units > self.cpu.free_units:
            lacking["cpu"] = (cpu, self.cpu.free_units / WHOLE_DEVICE, float(self.cpu.size))
        if gpu_units >= DEVICE_UNITS and self.lacks_gpu(gpu_units, joined):
            lacking["gpu"] = (gpu, float(self.whole_gpus(gpu_units, joined)), float(self.gpu.size))
        elif self.lacks_gpu(gpu_units, joined):
            freest = max([share for _, share in self.gpu_shares()], default=0.0)
            lacking["gpu"] = (gpu, freest, float(self.gpu.size))
        if memory > self.memory_free:
            lacking["memory"] = (memory, self.memory_free, self.memory_total)
        for name, units in self.custom_request(custom or {}).items():
            free_units = self.custom_free.get(name, 0)
            total_units = self.custom_total.get(name, 0)
            if units > free_units:
                lacking[name] = (units / WHOLE_DEVICE, free_units / WHOLE_DEVICE, total_units / WHOLE_DEVICE)
        return lacking

    def gpu_shares(self):
        """(GPU index, free share) of every GPU."""
        cdef Py_ssize_t i
        return [(i, self.gpu.free[i] / WHOLE_DEVICE) for i in range(self.gpu.size)]

    def cpu_shares(self):
        """(CPU id, free share) of every CPU."""
        cdef Py_ssize_t i
        return [(self.cpu_ids[i], self.cpu.free[i] / WHOLE_DEVICE) for i in range(self.cpu.size)]

    def available(self):
        """What is free now: cpu, gpu, memory (bytes) and every custom resource."""
        return {
            "cpu": self.cpu.free_units / WHOLE_DEVICE,
            "gpu": self.gpu.free_units / WHOLE_DEVICE,
            "memory": self.memory_free,
            **{name: units / WHOLE_DEVICE for name, units in self.custom_free.items()},
        }

    def total(self):
        """What there is: cpu, gpu, memory (bytes) and every custom resource."""
        return {
            "cpu": float(self.cpu.size),
            "gpu": float(self.gpu.size),
            "memory": self.memory_total,
            **{name: units / WHOLE_DEVICE for name, units in self.custom_total.items()},
        }

    def __repr__(self):
        return f"<Ledger free={self.available()} of {self.total()}>"
