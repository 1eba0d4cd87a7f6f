from __future__ import annotations

import pytest

from fasttune.reporter.table import cut_cell, draw_table, wrap_title


def test_P1_numbers_align_at_the_point_and_words_to_the_left() -> None:
    drawn = draw_table(["Trial name", "status", "loss"], [["f_1", "RUNNING", 0.5], ["f_2", "PENDING", 12]])
    assert drawn == (
        "+--------------+----------+--------+\n"
        "| Trial name   | status   |   loss |\n"
        "|--------------+----------+--------|\n"
        "| f_1          | RUNNING  |    0.5 |\n"
        "| f_2          | PENDING  |   12   |\n"
        "+--------------+----------+--------+"
    )


def test_P1_ids_of_digits_count_as_numbers() -> None:
    drawn = draw_table(["Trial name"], [["00001"], ["00012"]])
    assert drawn.splitlines()[3] == "|        00001 |"


def test_P1_empty_cells_bools_and_texts() -> None:
    drawn = draw_table(["a", "done"], [[None, True], [3, None]])
    assert drawn.splitlines()[3:5] == ["|     | True   |", "|   3 |        |"]


def test_P1_floats_show_six_digits_and_align_at_point_or_exponent() -> None:
    lines = draw_table(["x"], [[1e-9], [0.1234567], [12], [float("nan")]]).splitlines()
    assert lines[3:7] == ["|   1e-09    |", "|   0.123457 |", "|  12        |", "| nan        |"]


def test_P1_a_table_without_rows_has_its_titles() -> None:
    assert draw_table(["a", "bc"], []).splitlines()[1] == "| a   | bc   |"


def test_P2_long_texts_are_cut_and_stay_different() -> None:
    first, second = cut_cell("x" * 30 + "1", 20), cut_cell("x" * 30 + "2", 20)
    assert isinstance(first, str)
    assert len(first) == 20
    assert first.startswith("x" * 15 + "_")
    assert first != second
    assert cut_cell("x" * 30 + "1", 20) == first


@pytest.mark.parametrize("value", [None, True, 3, 0.123456789012345678])
def test_P2_numbers_are_never_cut(value: object) -> None:
    assert cut_cell(value, 6) is value


def test_P2_long_titles_are_wrapped_into_two_lines_from_their_end() -> None:
    assert wrap_title("short", 20) == "short"
    wrapped = wrap_title("19_character_string/19_character_string/too_long", 20)
    assert wrapped == "...r_string/19_chara\ncter_string/too_long"
    head = draw_table([wrapped, "b"], [[1.5, 2]]).splitlines()[1:3]
    assert head == ["|   ...r_string/19_chara |   b |", "|   cter_string/too_long |     |"]
