"""A study crossed with search: its cells, their names, what each run is told."""

import pytest

from agents.search import SearchConfig, as_variant
from expedition import UserError
from experiments.studies.crossing import with_search
from experiments.studies.presets import find_study
from experiments.studies.runs import planned_runs

CELLS = ("scratch", "policy", "model", "model+policy")


def quick(**changes):
    return find_study("quickstart", None, {"seeds": 1, **changes})


def test_each_cell_of_model_and_policy_has_a_twin_that_searches():
    study = with_search(quick(), "eval")
    names = [condition.name for condition in study.conditions]
    assert sorted(names) == sorted([*CELLS, *(f"{name}, eval" for name in CELLS)])
    factorial = study.crossed()
    assert set(factorial.components) == {"model", "policy", "search"}
    assert factorial.cells[frozenset()] == "scratch"
    assert factorial.cells[frozenset({"search"})] == "scratch, eval"
    assert factorial.cells[frozenset({"model", "policy", "search"})] == "model+policy, eval"


def test_twins_plan_in_phase_2_alone_and_share_what_was_explored():
    study = with_search(quick(), "learn+data")
    runs = planned_runs(study)
    explored = [run for run in runs if run.config.phase == "pretrain"]
    assert len(explored) == 1
    assert not explored[0].config.agent.search.used
    told = {run.condition: run.config.agent.search for run in runs if run.config.phase == "finetune"}
    for name in CELLS:
        assert not told[name].used
        assert told[f"{name}, learn+data"] == as_variant(SearchConfig(), "learn+data")


def test_what_cannot_be_crossed_is_refused():
    with pytest.raises(UserError, match="did you mean eval"):
        with_search(quick(), "evl")
    with pytest.raises(UserError, match="lacks the condition"):
        with_search(quick(conditions=["scratch", "model"]), "eval")


def test_a_condition_of_another_learner_cannot_search():
    twin = {"name": "MF", "plan": "scratch", "learner": "model-free", "search": "eval"}
    with pytest.raises(UserError, match="search needs a model"):
        quick(conditions=["scratch", twin])
    with pytest.raises(UserError, match="must be dreamer or"):
        quick(conditions=["scratch", {"name": "x", "plan": "scratch", "search": "evl"}])
