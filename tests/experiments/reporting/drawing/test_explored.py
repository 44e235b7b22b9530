"""Where explorers went: shares worked by hand."""

import json

import pytest
from matplotlib.figure import Figure

from experiments.reporting.drawing.explored import (
    counted,
    draw_map,
    draw_reached,
    explored_charts,
    reach,
    reached_table,
)
from experiments.reporting.records import read_study

ENV = "mazes-collect,size=9,num_levels=2,observe=symbols"


@pytest.fixture
def explored(write_study, tmp_path):
    """Two explorers' runs: of 4 episodes one reached cell 0:10 in all and 1:10 in one; of 2 the other."""

    def make(with_counts=True, env=ENV):
        folder = write_study(tmp_path, seeds=(0, 1), films=False)
        head = json.loads((folder / "study.json").read_text())
        for run in head["runs"]:
            run["env"] = env
        (folder / "study.json").write_text(json.dumps(head))
        for seed, episodes in ((0, {"0:10": 4, "1:10": 1}), (1, {"0:10": 1})):
            path = folder / f"pretrain-s{seed}" / "result.json"
            result = json.loads(path.read_text())
            result["coverage"] = {"reached": sorted(episodes), "reachable": 62}
            if with_counts:
                result["coverage"]["episodes"] = episodes
            path.write_text(json.dumps(result))
            lines = [json.dumps({"env_step": 9 * n, "return": 0.0}) for n in range(1, 5 - 2 * seed)]
            (path.parent / "episodes.jsonl").write_text("\n".join(lines) + "\n")
        return read_study(folder)

    return make


def test_shares_of_episodes(explored):
    study = explored()
    assert counted(study)
    # (4/4 + 1/2) / 2 and (1/4 + 0) / 2
    assert reach(study) == {"pretrain": {"0:10": pytest.approx(75), "1:10": pytest.approx(12.5)}}


def test_of_runs_that_did_not_count_shares_of_runs(explored):
    study = explored(with_counts=False)
    assert not counted(study)
    assert reach(study) == {"pretrain": {"0:10": 100, "1:10": 50}}


def test_the_map_has_a_box_for_each_cell_that_was_reached(explored):
    study = explored()
    assert [chart.name for chart in explored_charts(study)] == ["level 0", "level 1"]
    part = Figure().subfigures(1, 1)
    draw_map(part, study)
    boxes = [len(axes.collections[0].get_paths()) for axes in part.axes[:2]]
    assert boxes == [1, 1]
    assert part.axes[0].collections[0].get_array().tolist() == pytest.approx([75])


def test_where_nothing_is_charted_names_are_listed(explored):
    study = explored(env="crafter")
    assert explored_charts(study) == []
    names, columns, rates = reached_table(study)
    assert (names, columns) == (["0:10", "1:10"], ["pretrain"])
    assert rates.ravel().tolist() == pytest.approx([75, 12.5])
    part = Figure().subfigures(1, 1)
    draw_reached(part, study)
    assert {text.get_text() for text in part.axes[0].texts} >= {"75", "12"}


def test_an_environment_that_is_not_there_any_more_has_no_charts(explored):
    assert explored_charts(explored(env="mazes-gone,size=9")) == []
