"""Returns over simulations and depth: which panels, and the mean over conditions by seed."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.reporting.drawing.planning import draw_searches, has_searches, lines
from experiments.reporting.records import read_study

JUDGED = ("return_search4", "return_search16", "return_search16_depth2", "return_unseen_simulator4")


@pytest.fixture
def searched(tmp_path, write_study, add_metrics):
    """A study of three seeds: what was judged is the seed, in `model` 10 more, and with search 100 more."""

    def metrics(condition, seed):
        value = float(seed) + 10 * (condition == "model")
        return {"return": value} | dict.fromkeys(JUDGED, value + 100)

    return read_study(add_metrics(write_study(tmp_path, seeds=(0, 1, 2)), metrics))


def test_a_line_is_the_mean_over_conditions_by_seed(searched):
    more = 10 / len(searched.conditions)
    wanted = np.array([[seed + more, seed + more + 100] for seed in range(3)])
    np.testing.assert_allclose(lines(searched, ["return", "return_search4"]), wanted)
    assert not lines(searched, ["return_unseen"]).size


def test_conditions_that_never_search_are_in_no_line(tmp_path, write_study, add_metrics):
    def metrics(condition, seed):
        return {"return": -100.0} if condition == "scratch" else {"return": 7.0, "return_search4": 9.0}

    study = read_study(add_metrics(write_study(tmp_path, seeds=(0, 1)), metrics))
    np.testing.assert_allclose(lines(study, ["return"]), [[7.0], [7.0]])


def test_a_panel_for_each_place_and_axis(searched):
    assert has_searches(searched)
    figure = Figure()
    draw_searches(figure.subfigures(1, 1), searched)
    panels = figure.axes
    heads = [(axes.get_title(), axes.get_xlabel()) for axes in panels]
    seen, unseen = "levels of training", "unseen levels"  # those were judged in the simulator alone
    assert heads == [(seen, "simulations"), (seen, "depth"), (unseen, "simulations")]
    ticks = [[tick.get_text() for tick in axes.get_xticklabels()] for axes in panels]
    assert ticks == [["4", "16"], ["2"], ["4"]]


def test_no_search_no_panel(tmp_path, write_study):
    assert not has_searches(read_study(write_study(tmp_path)))
