"""How measures are shown: those of a search by place and simulations."""

from experiments.reporting.metrics import metric_of, searches
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
