"""Runs of a kind are compiled where that pays for all of them together."""

import dataclasses

import pytest

from agents.programs.program import PAYS_FROM
from experiments.launchers.compiling import PAYS_WARM, compile_wishes
from experiments.studies.presets import find_study
from experiments.studies.runs import planned_runs
from training.budget import planned_updates


def runs(seeds, steps=6_000):
    changes = {"seeds": seeds, "pretrain_steps": steps, "finetune_steps": steps}
    return planned_runs(find_study("quickstart", None, changes))


def test_few_updates_are_compiled_where_enough_runs_share_the_program():
    many = runs(4)
    learners = [run for run in many if run.config.agent.kind != "random"]
    assert all(PAYS_WARM < planned_updates(run.config) < PAYS_FROM / 2 for run in learners)
    assert set(compile_wishes(learners[:1], "auto").values()) == {"auto"}
    wishes = compile_wishes(many, "auto")
    assert {wishes[run.id] for run in learners} == {"on"}
    assert {wishes[run.id] for run in many if run not in learners} == {"auto"}


def test_runs_of_other_networks_do_not_count():
    others = [
        dataclasses.replace(run, config=dataclasses.replace(run.config, env=f"other-{index}"))
        for index, run in enumerate(runs(4))
    ]
    assert set(compile_wishes(others, "auto").values()) == {"auto"}


def test_a_run_that_hardly_learns_reads_nothing_from_the_cache():
    short = runs(20, steps=2_000)
    assert sum(planned_updates(run.config) for run in short) > 2 * PAYS_FROM
    assert set(compile_wishes(short, "auto").values()) == {"auto"}


@pytest.mark.parametrize("wish", ["on", "off"])
def test_who_decides_is_obeyed(wish):
    assert set(compile_wishes(runs(1), wish).values()) == {wish}
