# Reports that are judged in another process than the one that makes them: on another machine nobody shares memory.
#
# There a Reporter knows the rule's milestones, and nothing of its rungs. A report that reaches one waits for an answer (WAIT, with
# room for a judgement), and a record K_JUDGE follows it: by what its trial is judged, and where the judgement is to stand. Who has
# the rungs judges what comes, in the order in which it comes, puts it into the record and answers. So the journal is what it
# would be if the trial had run here: same records, same numbers, same replay.
#
#   K_JUDGE  payload   float64 value, larger is better;  uint32 offset of the judgement in the record before;
#                      uint32 rung, strikes so far << 8

cdef inline bint is_judge(const Record *r) noexcept nogil:
    return r.kind == K_JUDGE and r.size == RECORD_HEADER + 16


def judge_records(Asha rule not None, data):
    """(records, answers): ``data`` with everything judged in it that has reached a rung, as if it had been where it was made, and
    (trial, decision, judgement) for each report that waits for that; the last is for :meth:`Reporter.judged`.

    ValueError when a record is damaged; OverflowError or OSError when a rung takes no more.
    """
    cdef Numbers bytes_of = Numbers(data)
    cdef const unsigned char *view = bytes_of.at
    cdef Py_ssize_t at = 0, n = bytes_of.n, written = 0, last = -1
    cdef const Record *r
    cdef Record *before
    cdef bytes out = PyBytes_FromStringAndSize(NULL, n)
    cdef char *target = PyBytes_AS_STRING(out)
    cdef Standing of
    cdef uint32_t offset, stands
    cdef double v
    cdef int decision, rung, bracket
    cdef list answers = []
    while at < n:
        r = <const Record *>&view[at]
        check_record(r, at, n)
        if r.kind == K_JUDGE:
            before = <Record *>(target + last)
            if not (is_judge(r) and last >= 0 and before.flags & F_JUDGED and before.trial == r.trial):
                raise ValueError(f"damaged judgement at byte {at} of {n}")
            v = (<const double *>(<const char *>r + RECORD_HEADER))[0]
            offset = (<const uint32_t *>(<const char *>r + RECORD_HEADER))[2]
            stands = (<const uint32_t *>(<const char *>r + RECORD_HEADER))[3]
            rung, bracket = <int>(stands & 0xFF), rule.bracket_of(r.trial)
            if not (offset + 8 <= before.size and bracket <= rung < rule.rungs):
                raise ValueError(f"damaged judgement at byte {at} of {n}")
            stand_fresh(&of)
            of.strikes = <int>(stands >> 8 & 0xFF)
            decision = rule.record_at(bracket, rung, &of, v, before.kind == K_REPORT)
            rule.refuse(decision)
            (<uint64_t *>(<char *>before + offset))[0] = tag_of(&of)
            if before.kind == K_REPORT:
                before.flags = <uint8_t>((before.flags & ~F_DECISION) | decision)
                answers.append((r.trial, decision, tag_of(&of)))
            last = -1
        elif r.kind != K_PAD:
            memcpy(target + written, r, r.size)
            last = written
            written += r.size
        at += r.size
    return (out if written == n else out[:written]), answers
