# Fresh trials of one function, one after the other: begin, draw the config, call, end, in one loop.
#
# It goes on for as long as nothing has to be said or waited for; all else is the host's (`executors/host.py`), which calls it
# again. A trial begins at the moment at which the one before has ended: between the two lies nothing but the config.
#
# Interpreted, these steps were a fifth of a trial that does nothing (`benchmarks/bench_run.py -k null`).


def run_trials(Reporter of not None, context not None, function, config_of, draw, int64_t drawn_from, int64_t shift,
               uint32_t ask_from, uint32_t pid, bint each=False, int64_t waiting=-1):
    """Run the trials of the span of the reporter's ring, whose configs are number - shift of ``config_of``; from number
    ``drawn_from`` on ``draw`` gives the same at less cost.

    None: there are no more. A number: that of the next trial, which has not begun because the ring is full; it is to be
    given as ``waiting`` when there is room. A tuple of one: what the function of the trial that runs has come back with, when it is
    not None, when the ring is full, when the context is not ``fresh`` any more, when its last reports were not asked about; or,
    with ``each``, always. That trial is still to be ended. What the function raises is raised, and is that trial's.
    """
    cdef Ring ring = of.ring
    cdef int64_t trial = waiting
    cdef double now = NAN                     # when the last one ended; NaN: the clock is to be read
    while True:
        if trial < 0:
            trial = ring.take_next()
            if trial < 0:
                return None
        if now != now:
            now = ring_now(ring)
        if not of.begin_at(<uint32_t>trial, 0, 0.0, -1, ask_from, pid, 0, 0, NAN, now):
            return trial
        number = trial - shift
        config = draw(number) if number >= drawn_from else config_of(number)
        context.config = config
        value = function(config)
        if value is not None or each or of.unasked or context.fresh is not True:
            return (value,)
        now = ring_now(ring)
        if not of.end_at(0, False, now):
            return (None,)
        trial = -1
