"""The graph of a study's runs, and studies from files."""

import dataclasses

import pytest

from expedition import UserError
from experiments.settings import agent_preset, training_preset
from experiments.study import STUDIES, find_study, planned_runs

QUICK = STUDIES["quickstart"]


def ids(study=QUICK, seeds=1):
    return [run.id for run in planned_runs(study, seeds)]


def test_the_quickstart_is_what_it_promises():
    assert (QUICK.env, QUICK.intrinsic, QUICK.size) == ("crafter", "disagreement", "tiny")
    assert QUICK.plans == ("scratch", "policy", "model", "model+policy")
    runs = planned_runs(QUICK, 1)
    assert [run.config.phase for run in runs] == ["pretrain"] + ["finetune"] * 4
    assert {run.config.steps for run in runs[1:]} == {QUICK.finetune_steps}  # an equal budget


def test_pretraining_is_shared_by_the_runs_that_need_it():
    runs = planned_runs(QUICK, 3)
    assert len(runs) == 3 * 5
    assert [run.config.phase for run in runs] == ["pretrain"] * 3 + ["finetune"] * 12
    by_seed = {run.seed: run.id for run in runs[:3]}
    for run in runs[3:]:
        assert run.needs == (None if run.plan == "scratch" else by_seed[run.seed])
        assert run.config.seed == run.seed
        assert run.config.intrinsic is None
    assert {run.seed for run in runs} == {0, 1, 2}
    assert len(set(ids(seeds=3))) == 15


def test_more_seeds_keep_the_runs_that_there_are():
    assert set(ids(seeds=1)) < set(ids(seeds=2))


def test_ids_follow_the_settings():
    assert ids() == ids()
    base = ids()
    other_phase_1 = ids(dataclasses.replace(QUICK, pretrain_steps=9_000))
    # Everything that stands on phase 1 has another name; scratch doesn't.
    assert [a == b for a, b in zip(base, other_phase_1, strict=True)] == [False, True, False, False, False]
    other_phase_2 = ids(dataclasses.replace(QUICK, finetune_steps=9_000))
    assert [a == b for a, b in zip(base, other_phase_2, strict=True)] == [True, False, False, False, False]
    deeper = dataclasses.replace(QUICK.agent, model=dataclasses.replace(QUICK.agent.model, units=64))
    assert not set(base) & set(ids(dataclasses.replace(QUICK, agent=deeper)))
    # Name and description are no settings.
    assert ids(dataclasses.replace(QUICK, name="other", description="x")) == base


def test_plans_spelled_out_have_ids_that_are_folders():
    one, two = "encoder=copy", "encoder=freeze"
    runs = planned_runs(dataclasses.replace(QUICK, plans=(one, two)), 1)[1:]
    assert all(run.id.startswith("custom-s0-") for run in runs)
    assert runs[0].id != runs[1].id
    assert [run.plan for run in runs] == [one, two]


def test_only_plans_that_relabel_learn_offline():
    plans = ("scratch", "replay", "relabel", "model+relabel")
    offline = dataclasses.replace(QUICK.finetune, offline_updates=7)
    with_and_without = [
        planned_runs(dataclasses.replace(QUICK, plans=plans, finetune=training), 1)[1:]
        for training in (offline, QUICK.finetune)
    ]
    assert [run.config.training.offline_updates for run in with_and_without[0]] == [0, 0, 7, 7]
    # The others are the same runs as without it.
    assert [one.id == two.id for one, two in zip(*with_and_without, strict=True)] == [
        True,
        True,
        False,
        False,
    ]


def test_phase_2_may_be_elsewhere():
    runs = planned_runs(dataclasses.replace(QUICK, env="maze-pixels", finetune_env="catch-pixels"), 1)
    assert [run.config.env for run in runs] == ["maze-pixels"] + ["catch-pixels"] * 4


def test_a_study_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "base: quickstart\nenv: catch-pixels\nfinetune-steps: 500\nplans: [scratch, 'encoder=freeze']\n"
        "finetune:\n  evaluation-episodes: 4\nagent:\n  optimizer:\n    lr: 3e-4\n"
    )
    study = find_study(str(path), {"finetune_steps": 600, "env": None})
    assert study.name == "mine"
    assert (study.env, study.finetune_steps) == ("catch-pixels", 600)  # flags win over the file
    assert study.plans == ("scratch", "encoder=freeze")
    assert study.finetune.evaluation_episodes == 4
    assert study.agent.optimizer.lr == 3e-4
    assert study.pretrain == QUICK.pretrain
    assert study.pretrain_steps == QUICK.pretrain_steps


def test_a_named_study_with_nothing_changed_is_itself():
    assert find_study("quickstart", {"env": None, "size": None}) == QUICK


def test_another_size_brings_its_own_settings():
    study = find_study("quickstart", {"size": "1m"})
    assert study.agent == agent_preset("1m")
    assert study.pretrain == study.finetune == training_preset("1m")
    assert find_study("quickstart", {"size": "tiny"}) == QUICK


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"env": "craftr"}, "Unknown environment 'craftr': did you mean crafter"),
        ({"intrinsic": "rdn"}, "Unknown intrinsic reward 'rdn': did you mean rnd"),
        ({"size": "huge"}, "Unknown size 'huge'"),
        ({"plans": []}, "at least one plan"),
        ({"plans": ["model", "model"]}, "each only once"),
        ({"plans": ["modle"]}, "Unknown plan 'modle'"),
        ({"plans": "model"}, "'plans' must be a list"),
        ({"plans": ["actor=copy"]}, "carries the actor without"),
        ({"finetune_env": "nowhere-v9"}, "Unknown environment 'nowhere-v9'"),
        ({"finetune_stps": 3}, "Unknown setting 'finetune_stps': did you mean finetune_steps"),
        ({"name": "../other"}, "The name of a study is letters"),
    ],
)
def test_bad_studies_get_one_sentence(overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        find_study("quickstart", overrides)


@pytest.mark.parametrize(("changes", "seeds"), [({}, 0), ({}, -1)])
def test_a_study_needs_seeds(changes, seeds):
    with pytest.raises(UserError, match="at least one seed"):
        planned_runs(dataclasses.replace(QUICK, **changes), seeds)


@pytest.mark.parametrize("name", ["pretrain_steps", "finetune_steps"])
def test_budgets_are_positive(name):
    with pytest.raises(UserError, match="steps is -3"):
        planned_runs(dataclasses.replace(QUICK, **{name: -3}), 1)


def test_names_and_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="Unknown study 'quikstart': did you mean quickstart"):
        find_study("quikstart", {})
    with pytest.raises(UserError, match="Cannot read .*none.yaml"):
        find_study(str(tmp_path / "none.yaml"), {})
    path = tmp_path / "mine.yaml"
    path.write_text("base: quikstart\n")
    with pytest.raises(UserError, match="Unknown study 'quikstart'"):
        find_study(str(path), {})
