"""How windows, what was kept, the table and the figure are made from training episodes."""

import pytest

from benchmarks.learning.curves import draw, holding, over_seeds, table, window_means


def episodes(*ended):
    """Episodes from (step, return); a step takes a tenth of a CPU-second."""
    return [{"step": step, "cpu": step / 10, "return": value} for step, value in ended]


def curve(*returns):
    return [{"step": 10.0 * (i + 1), "return": value, "cpu": i} for i, value in enumerate(returns)]


def test_windows_are_tenths_and_those_without_an_end_are_left_out():
    found = window_means(episodes((5, 1.0), (10, 3.0), (11, 7.0), (100, 9.0), (104, 50.0)), 100)
    assert [(line["step"], line["return"], line["episodes"]) for line in found] == [
        (10.0, 2.0, 2.0),
        (20.0, 7.0, 1.0),
        (100.0, 9.0, 1.0),
    ]
    assert [line["cpu"] for line in found] == [1.0, 1.1, 10.0]


@pytest.mark.parametrize(
    ("returns", "learned", "kept", "last"),
    [
        ((1, 5, 2, 4), 5, 2, 4),
        ((1, 2, 3), 3, 3, 3),
        ((4, 1, 4), 4, 1, 4),
        ((0, 1, 5, 4), 5, 4, 4),
        ((2,), 2, 2, 2),
    ],
)
def test_what_was_kept_is_the_worst_window_after_the_best(returns, learned, kept, last):
    assert holding(curve(*returns)) == {"learned": learned, "kept": kept, "last": last}


def test_over_seeds_a_window_counts_the_seeds_that_have_it():
    found = over_seeds([curve(1.0, 4.0), curve(3.0)])
    assert [(line["step"], line["return"], line["low"], line["high"]) for line in found] == [
        (10.0, 2.0, 1.0, 3.0),
        (20.0, 4.0, 4.0, 4.0),
    ]


def test_the_table_has_windows_then_what_was_learned_and_kept():
    ours = [
        {"seed": 0, "episodes": episodes((10, 1.0), (20, 8.0), (30, 2.0), (40, 5.0))},
        {"seed": 1, "episodes": episodes((10, 3.0), (20, 4.0), (30, 6.0))},
    ]
    sides = {"ours": ours, "theirs": [{"seed": 0, "episodes": episodes((20, 0.5))}], "stopped": []}
    assert [line.split() for line in table(sides, 100).splitlines()] == [
        ["steps", "ours", "CPU-s", "theirs", "CPU-s", "stopped", "CPU-s"],
        ["10", "2.00", "[1.00,", "3.00]", "1.0", "-", "-"],
        ["20", "6.00", "[4.00,", "8.00]", "2.0", "0.50", "2.0", "-"],
        ["30", "4.00", "[2.00,", "6.00]", "3.0", "-", "-"],
        ["40", "5.00", "4.0", "-", "-"],
        ["learned", "7.00", "[6.00,", "8.00]", "0.50", "-"],
        ["kept", "4.00", "[2.00,", "6.00]", "0.50", "-"],
        ["last", "5.50", "[5.00,", "6.00]", "0.50", "-"],
    ]


def test_the_figure_has_a_line_for_each_side_and_seed(tmp_path):
    runs = [{"seed": seed, "episodes": episodes((10, seed), (20, 1.0))} for seed in range(2)]
    draw({"ours": runs, "theirs": runs[:1]}, 100, "a task", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
