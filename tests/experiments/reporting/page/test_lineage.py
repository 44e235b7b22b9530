"""The graph of runs, and in which settings they differ, for a study that is known."""

import json

from experiments.reporting.page.lineage import NOTHING, differences, run_graph
from experiments.reporting.records import read_study


def test_conditions_stand_below_what_explored_for_them(write_study, tmp_path):
    folder = write_study(tmp_path, seeds=(0, 1), conditions=("scratch", "model"), films=False)
    head = json.loads((folder / "study.json").read_text())
    for run in head["runs"]:
        if run["condition"] == "model":
            run["needs"] = f"pretrain-s{run['seed']}"
        if run["phase"] == "pretrain":
            run |= {"intrinsic": "rnd", "kind": "model-based"}
    head["runs"].append({"id": "late", "phase": "finetune", "condition": "model", "seed": 2})
    head["runs"][-1]["needs"] = "pretrain-s1"
    (folder / "study.json").write_text(json.dumps(head))
    graph = run_graph(read_study(folder))
    assert [(node.name, [child.name for child in node.children]) for node in graph] == [
        ("rnd, model-based", ["model"]),
        (NOTHING, ["scratch"]),
    ]
    assert "".join(mark.symbol for mark in graph[0].children[0].marks) == "■■□"
    assert graph[0].marks[0].told == "pretrain-s0: finished, 8,000 steps in 1 min 1 s"
    assert graph[0].children[0].marks[2].told == "late: not started"


def test_only_what_differs_is_told(write_study, tmp_path):
    folder = write_study(tmp_path, seeds=(0, 1), conditions=("scratch", "model"), films=False)
    for run in ("scratch-s0", "scratch-s1", "model-s0", "model-s1"):
        learns = {"lr": 0.001 if run.startswith("model") else 0.01, "clip": 1, "own": True}
        config = {"seed": int(run[-1]), "env": f"maze-{run[-1]}", "steps": 5, "agent": learns}
        if run == "model-s1":
            del config["agent"]["own"]
            config["steps"] = 7
        (folder / run / "config.json").write_text(json.dumps(config))
    study = read_study(folder)
    groups = {name: study.of(name) for name in ("scratch", "model")}
    found = differences(groups, several_tasks=True)
    assert found.groups == ("scratch", "model")
    assert found.rows == {"steps": ("5", "5 or 7"), "agent.lr": ("0.01", "0.001")}
    groups["scratch"] = study.of("scratch")[:1]
    assert differences(groups, False).rows["env"] == ("maze-0", "maze-0 or maze-1")


def test_runs_without_settings_are_left_out(write_study, tmp_path):
    study = read_study(write_study(tmp_path, films=False))
    assert differences({"scratch": study.of("scratch")}, False).groups == ()
