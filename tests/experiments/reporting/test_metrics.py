"""How measures are shown: those of a search by place and simulations."""

from experiments.reporting.metrics import elsewhere, metric_of, searches
from experiments.reporting.records import read_study
from experiments.reporting.report import format_table
from experiments.reporting.summary import summarise

JUDGED = [
    "return_search4",
    "return_search16",
    "return_search16_depth2",
    "return_simulator16",
    "return_unseen_search4",
]


def test_searches_stand_in_the_order_of_what_they_did():
    assert searches([*reversed(JUDGED), "return", "return_unseen", "success_search4"]) == JUDGED
    assert metric_of("return_unseen_search4").title == "search 4 ↑"
    assert metric_of("return_unseen_search4").unit == "unseen"
    assert metric_of("return_search16_depth2").title == "search 16, depth 2 ↑"
    assert metric_of("return_simulator16").title == "simulator 16 ↑"


def test_a_report_shows_them_with_their_contrasts(tmp_path, write_study, add_metrics):
    folder = write_study(tmp_path, seeds=(0, 1, 2))
    add_metrics(folder, lambda *_: {name: 1.0 + index for index, name in enumerate(JUDGED)})
    found = summarise(read_study(folder))
    assert found["conditions"]["model"]["return_search16"]["mean"] == 2.0
    assert found["contrasts"]["model over scratch"]["return_simulator16"]["mean"] == 0.0
    told = format_table(found)
    assert "simulator 16" in told
    assert "in the true" in " ".join(told.split())


MOVED = ["return_at_size=1.5", "return_at_size=1.5_search4", "return_at_size=1.5_simulator4"]


def test_other_options_are_called_by_their_name():
    names = [*reversed(MOVED), "return", "success_at_size=1.5", "success_at_size=1.5_search4", "lost"]
    assert elsewhere(names) == ["return_at_size=1.5", "success_at_size=1.5"]
    assert searches(names) == MOVED[1:]
    shown = [metric_of(name) for name in (*MOVED[:2], "lost_at_size=1.5")]
    assert [(m.title, m.unit) for m in shown] == [
        ("return ↑", "size=1.5"),
        ("search 4 ↑", "size=1.5"),
        ("lost ↓", "to size=1.5"),
    ]


def test_what_is_lost_there_is_a_measure_with_contrasts_and_contributions(tmp_path, write_study, add_metrics):
    def metrics(condition, seed):
        there = seed + (2.0 if condition == "model" else 0.5)
        return {"return": 3.0 + seed, "return_at_size=1.5": there, "return_at_size=1.5_search4": there + 1}

    found = summarise(read_study(add_metrics(write_study(tmp_path, seeds=(0, 1, 2)), metrics)))
    assert found["conditions"]["model"]["lost_at_size=1.5"]["mean"] == 1.0
    assert found["contrasts"]["model over scratch"]["lost_at_size=1.5"]["mean"] == -1.5
    assert found["contributions"]["model alone"]["lost_at_size=1.5"]["mean"] == -1.5
    worth = found["planning"]["scratch"]["return_at_size=1.5_search4 - return_at_size=1.5"]
    assert worth["mean"] == 1.0
    told = " ".join(format_table(found).split())
    assert "to size=1.5" in told
    assert "search 4 over usual" in told
