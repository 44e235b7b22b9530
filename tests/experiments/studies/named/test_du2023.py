"""Who suggests goals as a factor: conditions, their runs of phase 1, and what they are called."""

import dataclasses

import pytest

from expedition import UserError
from experiments.studies.conditions import Condition
from experiments.studies.named.du2023 import DISAGREEMENT, EXPLORERS, LANGUAGE, ORACLE
from experiments.studies.named.forms import RANDOM_MODEL
from experiments.studies.presets import BUDGETS, find_study
from experiments.studies.runs import planned_runs


@pytest.mark.parametrize("budget", BUDGETS)
def test_explorers_differ_in_reward_and_goals_and_nothing_else(budget):
    runs = planned_runs(find_study("du2023", budget, {"seeds": 1}))
    first = {run.kind: run for run in runs if run.config.phase == "pretrain"}
    assert {f"pretrain {name}" for name in ("language (ranked)", "language (oracle)", DISAGREEMENT)} < set(
        first
    )
    plain = [
        dataclasses.replace(
            run.config,
            intrinsic=None,
            agent=dataclasses.replace(run.config.agent, intrinsic=runs[0].config.agent.intrinsic),
        )
        for run in first.values()
    ]
    assert all(config == plain[0] for config in plain)
    second = {run.condition: run for run in runs if run.config.phase == "finetune"}
    for name, source in ((LANGUAGE, "language (ranked)"), (ORACLE, "language (oracle)")):
        assert second[name].needs == first[f"pretrain {source}"].id
        assert second[name].plan == "model+policy"
    assert second[RANDOM_MODEL.name].needs == first["pretrain random-data"].id
    # what suggested the explorer's goals is nothing to phase 2
    assert len({dataclasses.replace(second[c.name].config) for c in EXPLORERS}) == 1


def test_the_oracle_is_told_apart_by_its_run_s_name():
    runs = planned_runs(find_study("du2023", None, {"seeds": 1}))
    assert [run.id.rpartition("-s0-")[0] for run in runs if run.config.phase == "pretrain"] == [
        "pretrain-ranked",
        "pretrain-oracle",
        "pretrain-disagreement",
        "pretrain-random-data",
    ]


def test_goals_are_suggested_to_those_who_are_rewarded_for_them():
    odd = Condition("odd", "model", intrinsic="rnd", suggest="oracle")
    with pytest.raises(UserError, match="phase 1 is rewarded for 'rnd': leave suggest out"):
        dataclasses.replace(find_study("du2023", None, {}), conditions=(odd,), contrasts=(), question=None)


def test_nobody_else_suggests():
    with pytest.raises(UserError, match="^Unknown source of goals 'orcale': did you mean oracle"):
        Condition("language", "model+policy", intrinsic="language", suggest="orcale")
