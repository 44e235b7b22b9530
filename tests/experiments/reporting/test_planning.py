"""What planning added when a policy was judged: worked numbers."""

import pytest

from experiments.reporting.metrics import searches
from experiments.reporting.planning import ALL, comparisons, planning_worth
from experiments.reporting.records import read_study
from experiments.reporting.report import format_table
from experiments.reporting.summary import summarise

JUDGED = [
    *(f"return_{kind}{count}" for kind in ("search", "simulator") for count in (4, 50)),
    "return_unseen",
    "return_unseen_search4",
    "return_unseen_simulator4",
]


def test_what_is_compared():
    assert [(c.better, c.baseline) for c in comparisons(["return", *JUDGED])] == [
        ("return_search4", "return"),
        ("return_search50", "return"),
        ("return_search50", "return_search4"),
        ("return_simulator50", "return"),
        ("return_simulator50", "return_simulator4"),
        ("return_simulator50", "return_search50"),
        ("return_unseen_search4", "return_unseen"),
        ("return_unseen_simulator4", "return_unseen"),
        ("return_unseen_simulator4", "return_unseen_search4"),
    ]
    assert list(comparisons(["return", "auc"])) == []


@pytest.fixture
def searched(tmp_path, write_study, add_metrics):
    """A study of three seeds, judged with search; in `model` it is worth the seed, elsewhere 10 more."""

    def metrics(condition, seed):
        return {"return": 1.0, "return_search4": 1.0 + seed + (0 if condition == "model" else 10)}

    return read_study(add_metrics(write_study(tmp_path, seeds=(0, 1, 2)), metrics))


def test_differences_within_a_run_by_condition_and_over_all(searched):
    names = ["return", "return_search4"]
    found = planning_worth(searched, {name: searched.values(name) for name in names})
    assert list(found) == [*searched.conditions, ALL]
    mean = {name: row["return_search4 - return"]["mean"] for name, row in found.items()}
    assert mean["model"] == pytest.approx(1.0)  # seeds 0, 1, 2
    assert mean["scratch"] == pytest.approx(11.0)
    count = len(searched.conditions)
    assert mean[ALL] == pytest.approx((1 + 11 * (count - 1)) / count)
    # seeds differ by 1 in every condition, so the interval is that of 0, 1, 2 around the mean
    over_all = found[ALL]["return_search4 - return"]
    assert over_all["high"] - over_all["mean"] == pytest.approx(4.3027 / 3**0.5, rel=1e-3)


def test_the_report_shows_them(searched):
    told = " ".join(format_table(summarise(searched)).split())
    assert "What planning added" in told
    assert "search 4 over usual" in told


def test_each_comparison_is_one_column_however_often_its_measures_are_named():
    twice = ["return", *JUDGED, "return", *JUDGED]
    assert list(comparisons(twice)) == list(comparisons(["return", *JUDGED]))


def test_nothing_is_shown_where_nothing_was_searched(tmp_path, write_study):
    found = summarise(read_study(write_study(tmp_path, seeds=(0, 1))))
    assert found["planning"] == {}
    assert "What planning added" not in format_table(found)
    assert searches(found["conditions"]["model"]) == []
