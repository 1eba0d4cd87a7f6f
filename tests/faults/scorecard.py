"""The faults that are injected, what is promised under each, and the tests that prove it.

Each row names tests, here or in the room that the fault belongs to. Their figures are what they noted with pytest's
``record_property``: counts are added up; the name of a greatest or middle one says so. ``shown`` are figures that the
tests assert one by one, and that are true when all of them passed.
"""

from __future__ import annotations

from typing import NamedTuple

RELIABILITY = "tests/reliability/"
FAULTS = "tests/faults/"


class Row(NamedTuple):
    """``proofs`` are files, or tests by their node ids without parameters."""

    number: int
    fault: str
    promise: str
    proofs: tuple[str, ...]
    shown: tuple[str, ...] = ()


class Block(NamedTuple):
    title: str
    rows: tuple[Row, ...]


def of(file: str, *tests: str) -> tuple[str, ...]:
    return tuple(f"{file}::{test}" for test in tests) if tests else (file,)


BLOCKS = (
    Block(
        "The driver, the power and the disk",
        (
            Row(
                1,
                "kill -9 of the driver, or of everything",
                "every report that returned is there, once",
                of(
                    RELIABILITY + "test_kill_driver.py",
                    "test_C2_1_every_acknowledged_report_survives_kill_of_the_driver",
                    "test_C2_1_every_acknowledged_report_survives_200_kills",
                    "test_C2_1_killed_before_it_began",
                )
                + of(RELIABILITY + "test_between_stores.py"),
                ("acks lost 0", "duplicates 0"),
            ),
            Row(
                2,
                "killed while resuming, again and again",
                "it converges; finished trials are not run again",
                of(RELIABILITY + "test_kill_driver.py", "test_C2_2_nested_kills_while_resuming_converge")
                + of(RELIABILITY + "test_resume.py"),
                ("finished trials run again 0",),
            ),
            Row(
                3,
                "the power goes: every prefix of the writes, torn tails, writes that never came",
                "it opens and goes on; no wrong value, no hole; full durability loses nothing",
                of(FAULTS + "test_power_cuts.py"),
            ),
            Row(
                4,
                "a file that is cut",
                "it opens with what lies before the cut",
                of(FAULTS + "test_damaged_files.py", "test_C2_4_files_that_were_cut"),
            ),
            Row(
                5,
                "bytes that are flipped or zeroed",
                "no crash and no wrong value; damage is told",
                of(FAULTS + "test_damaged_files.py", "test_C2_5_bytes_that_were_flipped_or_zeroed")
                + of("tests/storage/test_recovery.py")
                + of("tests/storage/test_storage_contract.py")
                + of("tests/storage/test_database.py"),
            ),
            Row(
                6,
                "a full disk",
                "the run ends with the reason; what was reported is there",
                of(
                    RELIABILITY + "test_limits.py",
                    "test_C2_4_a_full_disk_is_an_error_and_the_journal_opens",
                    "test_C2_4_no_room_for_even_a_ring_is_an_error_before_any_trial",
                )
                + of("tests/storage/test_recovery.py", "test_a_full_disk_leaves_the_rings")
                + of(
                    RELIABILITY + "test_disk.py",
                    "test_an_error_of_the_disk_ends_the_run_by_name",
                    "test_a_run_on_a_disk_that_is_full_goes_on_on_a_larger_one",
                    "test_what_breaks_in_the_loop_within_a_trial_does_not_end_it",
                ),
                ("acks lost 0",),
            ),
            Row(
                7,
                "a flush to the disk that fails",
                "the end of the run, by name; full durability acknowledges nothing more",
                of(
                    RELIABILITY + "test_disk.py",
                    "test_after_a_failed_flush_nothing_is_taken_and_the_log_is_left",
                    "test_full_durability_acknowledges_nothing_that_the_disk_refused",
                ),
                ("acks after the failure 0",),
            ),
            Row(
                8,
                "the folder is removed, replaced or made read-only",
                "told within two seconds; the results are in memory",
                of(
                    RELIABILITY + "test_disk.py",
                    "test_a_folder_that_goes_is_noticed_and_the_results_are_there",
                    "test_an_interrupt_in_a_read_only_folder_returns_the_results",
                    "test_a_folder_that_goes_while_the_run_ends",
                    "test_told_by_hand_in_a_folder_that_goes",
                ),
                ("results lost 0",),
            ),
            Row(
                9,
                "two drivers, one experiment",
                "the second is refused at once, by the number of the first",
                of(
                    RELIABILITY + "test_limits.py",
                    "test_C2_9_a_second_driver_is_refused_naming_the_first",
                    "test_C2_9_reading_beside_the_driver_disturbs_nobody",
                    "test_C2_9_two_drivers_that_start_at_once",
                )
                + of(RELIABILITY + "test_at_the_same_moment.py"),
            ),
            Row(
                10,
                "a lock that was left behind",
                "there is none: the kernel frees it",
                of(RELIABILITY + "test_kill_driver.py", "test_C2_10_a_killed_driver_leaves_no_lock")
                + of(RELIABILITY + "test_limits.py", "test_C2_9_the_name_of_a_killed_owner_is_never_told")
                + of("tests/storage/test_recovery.py", "test_kill_9_frees_the_lock"),
            ),
        ),
    ),
    Block(
        "Workers and trials",
        (
            Row(
                11,
                "a worker dies of a segfault",
                "its trial fails, by signal and stack; the others end well",
                of(
                    RELIABILITY + "test_kill_worker.py",
                    "test_C2_11_13_a_dead_worker_costs_its_trial_only",
                    "test_C2_11_the_stack_of_a_segfault_is_in_the_error",
                    "test_C2_11_max_failures_tries_again",
                    "test_C2_11_a_death_in_a_long_span_loses_none_of_it",
                )
                + of(FAULTS + "test_worker_faults.py", "test_C2_11_a_dead_worker_is_replaced_at_once"),
            ),
            Row(
                12,
                "a worker is killed, as for want of memory",
                "as 11, and the cause is told",
                of(FAULTS + "test_worker_faults.py", "test_C2_12_13_every_cause_is_told_apart")
                + of(
                    RELIABILITY + "test_kill_worker.py",
                    "test_C2_12_killed_while_asha_decides_does_not_hang_the_others",
                    "test_C2_12_the_lock_of_a_process_that_died_inside_is_put_right",
                )
                + of(RELIABILITY + "test_server.py", "test_C2_12_a_worker_that_the_kernel_kills_for_lack_of_memory")
                + of("tests/resources/test_cgroups.py"),
            ),
            Row(
                13,
                "os._exit, sys.exit, threads and forks that live on",
                "never a success; reports of threads belong to their trial",
                of(RELIABILITY + "test_threads.py") + of(RELIABILITY + "test_forks.py"),
                ("reports lost 0", "reports in another trial 0"),
            ),
            Row(
                14,
                "a trial that never returns",
                "it is killed a second after it was told to stop",
                of(FAULTS + "test_worker_faults.py", "test_C2_14_15_what_does_not_listen_is_ended_soon")
                + of(
                    RELIABILITY + "test_kill_worker.py",
                    "test_C2_14_the_budget_ends_a_trial_that_holds_the_interpreter",
                    "test_C2_14_the_budget_holds_for_every_trial_that_reports",
                ),
            ),
            Row(
                15,
                "a trial that ignores SIGTERM, or swallows every exception",
                "as 14",
                of(RELIABILITY + "test_kill_worker.py", "test_C2_14_15_16_a_trial_that_does_not_listen_ends_with_the_run"),
                ("left running 0", "others that failed 0"),
            ),
            Row(
                16,
                "a worker is stopped (SIGSTOP) and sent on",
                "the others go on; nothing is there twice",
                of(
                    FAULTS + "test_worker_faults.py",
                    "test_C2_16_a_stopped_worker_keeps_nobody_up_and_reports_nothing_twice",
                ),
            ),
            Row(
                17,
                "Ctrl-C once and twice, SIGTERM, SIGHUP",
                "the results come back; the journal is whole; nobody is left",
                of(RELIABILITY + "test_interrupt.py") + of(FAULTS + "test_driver_faults.py", "test_C2_17_signals_at_random_points"),
            ),
            Row(
                18,
                "orphans, grandchildren included",
                "none two seconds later",
                of(
                    RELIABILITY + "test_leftovers.py",
                    "test_C2_18_nobody_outlives_a_killed_driver",
                    "test_C2_18_nobody_outlives_the_end_of_a_run",
                )
                + of(
                    RELIABILITY + "test_server.py",
                    "test_C2_18_a_trial_that_kills_the_server",
                    "test_C2_18_a_killed_server_costs_its_trials_and_the_run_goes_on",
                    "test_C2_18_a_killed_server_takes_all_grandchildren_along",
                    "test_C2_18_a_server_killed_while_the_run_ends",
                    "test_C2_18_a_killed_driver_whose_child_keeps_the_socket_open",
                ),
                ("orphans 0",),
            ),
            Row(
                19,
                "many experiments in one process",
                "no file, mapping, thread or process is left",
                of(FAULTS + "test_driver_faults.py", "test_C2_19_many_experiments_in_one_process")
                + of(
                    RELIABILITY + "test_leftovers.py",
                    "test_C2_19_a_run_leaves_its_journal_and_nothing_else",
                    "test_C2_19_many_runs_open_no_more_files_than_one",
                    "test_C2_19_a_raising_callback_leaves_nothing",
                ),
            ),
        ),
    ),
    Block(
        "The machine",
        (
            Row(
                20,
                "a device whose process was killed",
                "it is given out when that process is gone (memory that the driver still holds is not looked at)",
                of(
                    FAULTS + "test_machine_faults.py",
                    "test_C2_20_a_device_is_given_out_when_the_process_that_had_it_is_gone",
                ),
            ),
            Row(
                21,
                "a request that cannot be met",
                "refused before any trial, with request and supply",
                of(FAULTS + "test_machine_faults.py", "test_C2_21_impossible_requests_are_refused_before_any_trial")
                + of("tests/tuner/test_argument_numbers.py"),
            ),
            Row(
                22,
                "no NVML, a driver error, a device that is lost",
                "CPU trials run; why there is no device is told",
                of("tests/resources/test_gpu_detection.py"),
                ("crashes 0",),
            ),
            Row(
                23,
                "the clock jumps a day, forth and back",
                "budgets, order and decisions are as ever",
                of(FAULTS + "test_machine_faults.py", "test_C2_23_a_clock_that_jumps_changes_nothing"),
            ),
            Row(
                24,
                "the driver, or everything, stands still for a while",
                "no trial fails for it",
                of(FAULTS + "test_driver_faults.py", "test_C2_24_a_driver_that_stands_still_fails_no_trial"),
            ),
            Row(
                25,
                "few open files, few processes",
                "fewer workers, or a refusal that names the limit",
                of(
                    RELIABILITY + "test_limits.py",
                    "test_C2_25_few_open_files_mean_few_workers",
                    "test_C2_25_too_few_open_files_are_named",
                )
                + of(
                    RELIABILITY + "test_server.py",
                    "test_C2_25_a_failed_fork_leaves_the_workers_that_there_are",
                    "test_C2_25_forks_work_again_later",
                    "test_C2_25_not_one_worker_is_an_error_with_the_limits",
                    "test_C2_25_a_server_that_cannot_be_started_is_an_error_with_the_limits",
                    "test_C2_25_workers_that_die_before_they_begin_leave_those_that_work",
                ),
                ("hangs 0",),
            ),
            Row(
                26,
                "shared memory that is full",
                "it is not needed; no room for a ring leaves the workers that there are",
                of(FAULTS + "test_machine_faults.py", "test_C2_26_shared_memory_that_is_full")
                + of(RELIABILITY + "test_server.py", "test_C2_26_a_ring_that_cannot_be_made_leaves_the_workers_that_there_are"),
            ),
            Row(
                27,
                "no network, /tmp and home read-only",
                "nothing listens, nothing is written elsewhere",
                of(
                    FAULTS + "test_machine_faults.py",
                    "test_C2_27_no_network_at_all_and_a_tmp_that_is_read_only",
                    "test_C2_27_nothing_listens",
                )
                + of(RELIABILITY + "test_leftovers.py", "test_C2_27_nothing_is_written_outside_of_the_experiment"),
            ),
            Row(
                28,
                "busy threads beside forks; modules that tune when they are loaded; a CUDA that must not be touched",
                "none hangs, none multiplies; the driver never calls cuInit",
                of(
                    FAULTS + "test_machine_faults.py",
                    "test_C2_28_workers_start_beside_busy_threads",
                    "test_C2_28_the_driver_never_initialises_cuda",
                )
                + of(RELIABILITY + "test_loading.py"),
            ),
        ),
    ),
    Block(
        "What users and strangers hand in",
        (
            Row(
                29,
                "closures, configs and exceptions that cannot be sent, or are huge",
                "the culprit is named before any worker starts",
                of(RELIABILITY + "test_errors.py"),
                ("culprits not named 0", "hangs 0"),
            ),
            Row(
                30,
                "hostile results",
                "stored, or refused by the key's name; never the best",
                of(
                    FAULTS + "test_user_faults.py",
                    "test_C2_30_hostile_values_are_stored_or_refused_by_name",
                    "test_C2_30_a_metric_that_is_no_number_is_never_the_best",
                    "test_C2_30_keys_that_go_missing",
                ),
            ),
            Row(
                31,
                "eight workers report as fast as they can",
                "none is lost; memory is bounded",
                of(FAULTS + "test_user_faults.py", "test_C2_31_a_storm_of_reports"),
            ),
            Row(
                32,
                "a stranger's folder",
                "nothing in it is executed by looking, nothing outside is touched, little memory is taken",
                of(
                    RELIABILITY + "test_errors.py",
                    "test_C2_32_opening_a_folder_executes_nothing_that_lies_in_it",
                    "test_C2_32_a_journal_that_is_no_journal_says_so",
                )
                + of(RELIABILITY + "test_strangers_folder.py")
                + of(RELIABILITY + "test_hostile_records.py")
                + of(RELIABILITY + "test_readers_write_nothing.py"),
                ("code executions 0", "files outside that were touched 0"),
            ),
            Row(
                33,
                "hooks that raise or are slow",
                "as documented: dropped or raised; named with their time",
                of("tests/callback/test_slow_hooks.py") + of("tests/callback/test_callback.py"),
                ("slow hooks not named 0", "runs lost 0"),
            ),
            Row(
                34,
                "killed, or a full disk, while a checkpoint is saved; kept ones beside copies",
                "a checkpoint is whole or absent; what is in use stays",
                of("tests/checkpoint/test_checkpoint_kills.py") + of("tests/retention/test_retention.py"),
                ("dangling references 0",),
            ),
        ),
    ),
)

ROWS = tuple(row for block in BLOCKS for row in block.rows)
