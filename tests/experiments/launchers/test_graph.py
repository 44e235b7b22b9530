"""Runs that fail: what needs them waits, what does not goes on, and what crashed is tried again."""

import dataclasses

import pytest

from experiments.launchers.graph import IN_A_ROW, Graph
from experiments.studies.presets import find_study
from experiments.studies.runs import planned_runs


@pytest.fixture
def groups(study_file):
    study = find_study(str(study_file(conditions=["scratch", "model"])), None, {"seeds": 4})
    return [[run] for run in planned_runs(study) if run.condition != "random policy"]


def names(groups):
    return [run.id.rpartition("-")[0] for group in groups for run in group]


def carried_out(graph, outcomes):
    """Begin what is ready, one at a time; `outcomes` says of some names how they end."""
    begun = []
    while ready := graph.ready():
        graph.begin(ready[0])
        (name,) = names(ready[:1])
        begun.append(name)
        ends = outcomes.get(name, [])
        if ends and (end := ends.pop(0)) != "well":
            graph.fail(ready[0], f"it {end}", crashed=end == "crashed")
        else:
            graph.succeed(ready[0])
    return begun


def test_a_run_waits_for_what_it_needs_and_for_nothing_else(groups):
    graph = Graph(groups, [], 0)
    assert names(graph.ready()) == [
        *(f"pretrain-s{n}" for n in range(4)),
        *(f"scratch-s{n}" for n in range(4)),
    ]
    first = graph.ready()[0]
    graph.begin(first)
    assert first not in graph.ready()
    graph.succeed(first)
    carrying = [name for name in names(graph.ready()) if name.startswith("model")]
    assert carrying == ["model-s0"]


def test_what_is_finished_is_not_begun(groups):
    done = [run.id for group in groups for run in group if run.condition != "model"]
    assert names(Graph(groups, done, 0).ready()) == [f"model-s{n}" for n in range(4)]


def test_one_failure_takes_only_those_that_need_it(groups):
    graph = Graph(groups, [], 1)
    begun = carried_out(graph, {"pretrain-s1": ["told"], "scratch-s2": ["told"]})
    assert "model-s1" not in begun
    assert len(begun) == len(set(begun)) == 11  # what told its reason is not begun again
    assert sorted(graph.failed.values()) == ["it told", "it told"]
    assert graph.not_begun() == 1
    assert len(graph.finished) == 9


@pytest.mark.parametrize(("retries", "tries"), [(0, 1), (2, 3)])
def test_what_crashes_again_and_again_is_given_up(groups, retries, tries):
    graph = Graph(groups, [], retries)
    begun = carried_out(graph, {"scratch-s0": ["crashed"] * 9})
    assert begun.count("scratch-s0") == tries
    assert list(graph.failed.values()) == ["it crashed"]


def test_what_crashed_once_ends_well(groups):
    graph = Graph(groups, [], 1)
    begun = carried_out(graph, {"pretrain-s0": ["crashed", "well"]})
    assert begun[:2] == ["pretrain-s0", "pretrain-s0"]
    assert graph.failed == {}
    assert len(graph.finished) == 12


def test_many_failures_in_a_row_have_one_cause(groups):
    graph = Graph(groups, [], 0)
    begun = carried_out(graph, {name: ["told"] for name in names(groups)})
    assert len(begun) == IN_A_ROW == len(graph.failed)
    assert graph.not_begun() == 12 - IN_A_ROW
    assert graph.ready() == []


def test_seeds_that_learn_as_one_program_fail_together(groups):
    pair = [groups[0][0], dataclasses.replace(groups[1][0], id="other")]
    graph = Graph([pair], [], 0)
    graph.begin(pair)
    assert not graph.fail(pair, "no", crashed=True)
    assert set(graph.failed) == {pair[0].id, "other"}
