"""Runs of a kind are compiled where that pays for all of them together."""

import dataclasses

import pytest

from experiments.launchers.compiling import PAYS_WARM, compile_wishes
from experiments.studies.presets import find_study
from experiments.studies.runs import planned_runs
from training.budget import planned_updates


def runs(seeds, **settings):
    return planned_runs(find_study("quickstart", None, {"seeds": seeds, **settings}))


def test_few_updates_are_compiled_where_enough_runs_share_the_program():
    one, many = runs(1), runs(8)
    assert all(0 < planned_updates(run.config) < 600 for run in one if run.config.agent.kind != "random")
    assert set(compile_wishes(one, "auto").values()) == {"auto"}
    wishes = compile_wishes(many, "auto")
    assert {wishes[run.id] for run in many if run.config.agent.kind != "random"} == {"on"}
    assert {wishes[run.id] for run in many if run.config.agent.kind == "random"} == {"auto"}


def test_runs_of_other_networks_do_not_count():
    many = runs(8)
    half = [
        dataclasses.replace(run, config=dataclasses.replace(run.config, env=f"other-{index}"))
        for index, run in enumerate(many)
    ]
    assert set(compile_wishes(half, "auto").values()) == {"auto"}


def test_a_run_that_hardly_learns_reads_nothing_from_the_cache():
    short = [run for run in runs(600, pretrain_steps=600, finetune_steps=600) if run.plan != "random"]
    assert all(planned_updates(run.config) < PAYS_WARM for run in short)
    assert set(compile_wishes(short, "auto").values()) == {"auto"}


@pytest.mark.parametrize("wish", ["on", "off"])
def test_who_decides_is_obeyed(wish):
    assert set(compile_wishes(runs(8), wish).values()) == {wish}
