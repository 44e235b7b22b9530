"""The graph of a study's runs."""

import dataclasses

import pytest

from agents import PPOConfig
from expedition import UserError
from experiments.settings import Setting, ppo_preset
from experiments.studies.conditions import RANDOM_POLICY, Cell, Condition, Contrast, Question, usual_question
from experiments.studies.overlaying import overlaid
from experiments.studies.presets import presets
from experiments.studies.runs import planned_runs
from experiments.studies.study import Study
from training import from_dict, to_dict

QUICK = dataclasses.replace(presets()["quickstart-crafter"].budgets["laptop"], env="crafter")


def learning(study):
    """Its runs but for the random policy's."""
    return [run for run in planned_runs(study) if run.condition != RANDOM_POLICY]


def ids(study=QUICK, seeds=1):
    return [run.id for run in learning(dataclasses.replace(study, seeds=seeds))]


def with_conditions(*conditions, **changes):
    return dataclasses.replace(QUICK, conditions=conditions, **changes)


def test_pretraining_is_shared_by_the_runs_that_need_it():
    runs = learning(dataclasses.replace(QUICK, seeds=3))
    assert len(runs) == 3 * 5
    assert [run.config.phase for run in runs] == ["pretrain"] * 3 + ["finetune"] * 12
    by_seed = {run.seed: run.id for run in runs[:3]}
    for run in runs[3:]:
        assert run.needs == (None if run.plan == "scratch" else by_seed[run.seed])
        assert run.config.seed == run.seed
        assert run.config.intrinsic is None
    assert {run.seed for run in runs} == {0, 1, 2}
    assert len(set(ids(seeds=3))) == 15


def test_each_way_of_exploring_has_a_run_of_its_own():
    runs = learning(
        with_conditions(
            Condition("scratch", "scratch"),
            Condition("model", "model"),
            Condition("model+policy", "model+policy"),
            Condition("random", "model", intrinsic="none"),
            Condition("MF -> MB", "model+policy", explorer="model-free"),
            Condition("MF -> MF", "model+policy", explorer="model-free", learner="model-free"),
        )
    )
    by_name = {run.condition: run for run in runs if run.condition}
    assert [run.id.rpartition("-")[0] for run in runs[:3]] == [
        "pretrain-s0",
        "pretrain-none-s0",
        "pretrain-model-free-s0",
    ]
    own, control, free = (run.id for run in runs[:3])
    assert [run.config.intrinsic for run in runs[:3]] == ["disagreement", "none", "disagreement"]
    assert [run.config.agent.kind for run in runs[:3]] == ["model-based", "model-based", "model-free"]
    needs = {name: run.needs for name, run in by_name.items()}
    assert needs == {
        "scratch": None,
        "model": own,
        "model+policy": own,
        "random": control,
        "MF -> MB": free,
        "MF -> MF": free,
    }
    kinds = {name: run.config.agent.kind for name, run in by_name.items()}
    assert kinds.pop("MF -> MF") == "model-free"
    assert set(kinds.values()) == {"model-based"}
    assert all("/" not in run.id and " " not in run.id for run in runs)


SPR = Condition("spr", "model", predicts="spr")


def test_conditions_may_differ_in_what_their_models_predict():
    twin = Condition("MF", "model+policy", explorer="model-free", learner="model-free", predicts="spr")
    runs = {run.kind: run for run in learning(with_conditions(Condition("model", "model"), SPR, twin))}
    own, other = runs["pretrain disagreement"], runs["pretrain disagreement, spr"]
    assert other.id.startswith("pretrain-spr-s0-")
    assert (runs["model"].needs, runs["spr"].needs) == (own.id, other.id)
    predicts = {name: run.config.agent.model.predicts for name, run in runs.items()}
    assert predicts.pop("spr") == predicts.pop("pretrain disagreement, spr") == "spr"
    assert set(predicts.values()) == {"reconstruction"}  # a twin predicts nothing, whatever it is told
    assert all(run.config.training.probe_all for run in runs.values())
    assert not any(run.config.training.probe_all for run in learning(QUICK))
    none = dataclasses.replace(QUICK.finetune, probe_updates=0)
    runs = learning(with_conditions(SPR, pretrain=none, finetune=none))
    assert not any(run.config.training.probe_all for run in runs)


def test_a_whole_study_may_predict_something_else():
    study = overlaid(QUICK, {"agent": {"model": {"predicts": "barlow"}}})
    kinds = {run.config.agent.model.predicts for run in learning(study)}
    assert kinds == {"barlow"}
    assert not set(ids(study)) & set(ids())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"finetune_agent": (Setting("model.predicts", "spr"),)},
            "carries the decoder, in whose place the source has 'reconstruction' and the new agent 'spr'",
        ),
        (
            {"conditions": (SPR,), "question": Question("spr", RANDOM_POLICY, "open_loop_error_end")},
            "'spr' predicts 'spr' and has no decoder that could tell open_loop_error_end: ask for probe_err",
        ),
        (
            {"question": Question("model", "scratch", "probe_error_end")},
            "'model' gets no probe that could tell probe_error_end: set probe_all",
        ),
    ],
)
def test_decoders_that_are_not_there(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        dataclasses.replace(QUICK, **changes)


def test_probes_may_be_asked_about_where_all_have_them():
    scratch = Condition("scratch", "scratch", predicts="spr")
    with_conditions(SPR, scratch, question=Question("spr", "scratch", "probe_error_end"))


def test_a_prediction_that_is_unknown_gets_the_nearest():
    with pytest.raises(UserError, match="did you mean spr"):
        Condition("x", "model", predicts="sp")


def test_ppo_is_tuned_for_environment_and_budget_where_nobody_set_it():
    ppo = Condition("PPO", "scratch", learner="ppo")
    (run,) = learning(with_conditions(ppo))
    assert (run.needs, run.config.agent.kind) == (None, "ppo")
    assert run.config.agent.ppo == ppo_preset("crafter", QUICK.finetune_steps) != PPOConfig()
    mine = PPOConfig(lr=1e-5)
    (run,) = learning(with_conditions(ppo, agent=dataclasses.replace(QUICK.agent, ppo=mine)))
    assert run.config.agent.ppo == mine


def test_a_condition_may_have_steps_of_its_own():
    longer = Condition("PPO, longer", "scratch", learner="ppo", steps=60_000)
    runs = {
        run.condition: run.config
        for run in learning(with_conditions(Condition("scratch", "scratch"), longer))
    }
    assert runs["scratch"].steps == QUICK.finetune_steps
    assert runs["PPO, longer"].steps == 60_000
    assert runs["PPO, longer"].agent.ppo == ppo_preset("crafter", 60_000)  # tuned for what it gets


def test_more_seeds_keep_the_runs_that_there_are():
    assert set(ids(seeds=1)) < set(ids(seeds=2))


def test_other_seeds_are_other_runs_of_the_same_kinds():
    pilot = learning(dataclasses.replace(QUICK, seeds=2, first_seed=100))
    assert {run.seed for run in pilot} == {100, 101}
    assert {run.id for run in pilot}.isdisjoint(ids(seeds=5))
    assert {run.id for run in pilot if run.seed == 101} <= set(ids(seeds=200))


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


def own(**groups):
    return overlaid(QUICK, {"finetune_agent": groups})


def test_phase_2_has_settings_of_its_own_over_those_of_both():
    study = own(optimizer={"lr": 1e-4, "warmup": 7}, model={"horizon": 50})
    assert {s.name: s.value for s in study.finetune_agent} == {
        "behaviour.entropy": 3e-3,  # the base's stays
        "model.horizon": 50,
        "optimizer.lr": 1e-4,
        "optimizer.warmup": 7,
    }
    first, *others = learning(study)
    assert first.config.agent == QUICK.agent
    assert {run.config.agent for run in others} == {study.finetuning_agent}
    learner = study.finetuning_agent
    assert (learner.optimizer.lr, learner.optimizer.warmup, learner.model.horizon) == (1e-4, 7, 50)
    # What both have still reaches phase 2, where that says nothing.
    both = overlaid(study, {"agent": {"optimizer": {"lr": 1.0, "clip": 0.7}, "behaviour": {"lam": 0.5}}})
    assert (both.agent.optimizer.lr, both.finetuning_agent.optimizer.lr) == (1.0, 1e-4)
    assert both.finetuning_agent.optimizer.clip == 0.7
    assert both.finetuning_agent.behaviour.lam == 0.5


def test_what_phase_2_sets_for_itself_leaves_phase_1_its_name():
    base, other = ids(), ids(own(behaviour={"entropy": 0.5}))
    assert [a == b for a, b in zip(base, other, strict=True)] == [True, False, False, False, False]
    assert ids(own(behaviour={"entropy": 3e-3})) == base


def test_settings_of_phase_2_are_frozen_and_survive_their_plain_form():
    study = own(ppo={"units": [8, 8], "anneal": True}, precision="bf16")
    assert study.finetuning_agent.ppo.units == (8, 8)
    assert from_dict(Study, to_dict(study)) == study
    assert hash(study) == hash(from_dict(Study, to_dict(study)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.finetune_agent[0].value = 1


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"finetune_agent": {"behavior": {}}}, "Unknown setting 'behavior': did you mean behaviour"),
        ({"finetune_agent": {"behaviour": {"entrpy": 1}}}, "in behaviour 'entrpy': did you mean entropy"),
        ({"finetune_agent": {"behaviour": 3}}, "'behaviour' is a group"),
        ({"finetune_agent": ["behaviour"]}, "'finetune_agent' is a group"),
        ({"finetune_agent": {"behaviour": {"entropy": -1}}}, "entropy is -1"),
        ({"finetune_agent": {"behaviour": {"entropy": None}}}, "'entropy' must be a number"),
        ({"finetune_agent": {"model": {"units": 8}}}, "cannot have another model.units: set that in `agent`"),
        ({"finetune_agent": {"behaviour": {"layers": 1}}}, "cannot have another behaviour.layers"),
        ({"finetune_agent": {"intrinsic": {"clip": True}}}, "Phase 2 has no intrinsic reward: .* in `agent`"),
        ({"finetune_agent": {"kind": "model-free"}}, "name `explorer` and `learner` there"),
        ({"agent": {"kind": "model-free"}}, "name `explorer` and `learner` there"),
        (
            {"conditions": ["model+policy,actor=freeze:512"]},
            "the actor thaws at step 512, and nothing learns",
        ),
    ],
)
def test_settings_of_phase_2_that_mean_nothing(values, sentence):
    with pytest.raises(UserError, match=sentence):
        overlaid(QUICK, values)


def test_plans_spelled_out_have_ids_that_are_folders():
    one, two = "encoder=copy", "encoder=freeze"
    runs = learning(with_conditions(Condition(one, one), Condition(two, two)))[1:]
    assert all(run.id.startswith("custom-s0-") for run in runs)
    assert runs[0].id != runs[1].id
    assert [run.plan for run in runs] == [one, two]


def test_only_plans_that_relabel_learn_offline():
    plans = [Condition(plan, plan) for plan in ("scratch", "replay", "relabel", "model+relabel")]
    offline = dataclasses.replace(QUICK.finetune, offline_updates=7)
    learned, plain = (
        learning(with_conditions(*plans, finetune=training))[1:] for training in (offline, QUICK.finetune)
    )
    assert [run.config.training.offline_updates for run in learned] == [0, 0, 7, 7]
    # The others are the same runs as without it.
    assert [one.id == two.id for one, two in zip(learned, plain, strict=True)] == [True, True, False, False]


def test_phase_2_may_be_elsewhere_and_in_several_places():
    tasks = ("catch-pixels", "maze-pixels")
    runs = learning(dataclasses.replace(QUICK, env="maze-pixels", tasks=tasks))
    assert [run.config.env for run in runs] == ["maze-pixels", *tasks * 4]
    assert [run.condition for run in runs[1:3]] == ["scratch", "scratch"]
    assert len({run.id for run in runs}) == 9


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "a/b", "plan": "model"}, "name of a condition"),
        ({"name": "", "plan": "model"}, "name of a condition"),
        ({"name": "x", "plan": "modle"}, "Unknown plan 'modle'"),
        ({"name": "x", "plan": "model", "intrinsic": "rdn"}, "Unknown intrinsic reward 'rdn'"),
        ({"name": "x", "plan": "model", "explorer": "ppo"}, "PPO explores nothing"),
        ({"name": "x", "plan": "model", "learner": "model"}, "Unknown learner 'model'"),
        ({"name": "x", "plan": "model", "learner": "ppo"}, "PPO can take nothing over"),
        (
            {"name": "x", "plan": "model", "explorer": "random"},
            "explore with the intrinsic reward random-data",
        ),
        ({"name": "x", "plan": "scratch", "learner": "random"}, "every study measures: leave it out"),
        (
            {"name": "random policy", "plan": "model", "learner": "random"},
            "every study measures: leave it out",
        ),
        ({"name": "random policy", "plan": "scratch"}, "every study measures: leave it out"),
        (
            {"name": "random policy", "plan": "scratch", "learner": "random", "steps": 9},
            "every study measures: leave it out",
        ),
        ({"name": "x", "plan": "scratch", "steps": 0}, "steps must be at least 1"),
    ],
)
def test_conditions_that_mean_nothing(settings, sentence):
    with pytest.raises(UserError, match=sentence):
        Condition(**settings)


CUBE = tuple(Cell(name, name) for name in ("model", "policy", "model+policy"))


def test_a_factorial_crosses_what_its_cells_carry():
    assert QUICK.crossed() is None
    study = dataclasses.replace(QUICK, factorial=(Cell("scratch"), *CUBE))
    assert study.crossed().as_dict() == {
        "components": ["model", "policy"],
        "cells": {"": "scratch", "model": "model", "policy": "policy", "model+policy": "model+policy"},
    }
    assert ids(study) == ids()  # it changes no run


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"contrasts": (Contrast("x", "modle", "scratch"),)}, "Unknown condition in a contrast 'modle'"),
        (
            {"contrasts": (Contrast("x", "pretrain:model", "pretrain:MF"),)},
            "Unknown condition in a contrast 'MF'",
        ),
        ({"factorial": (Cell("scratch"), Cell("modle", "a"))}, "in a factorial 'modle': did you mean model"),
        ({"factorial": (Cell("scratch"),)}, "names its components"),
        ({"factorial": (Cell("model", "a+b"), Cell("policy", "b+a"))}, "each set of components once"),
        ({"factorial": (Cell("model", "a"), Cell("policy", "a"))}, "each set of components once"),
        ({"factorial": (Cell("model", "a"), Cell("model", "b"))}, "one set of components only"),
    ],
)
def test_contrasts_and_factorials_that_do_not_fit(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        dataclasses.replace(QUICK, **changes)


@pytest.mark.parametrize("carries", ["a+a", "a+", "a + b", " "])
def test_what_a_cell_carries_is_named_as_plans_are(carries):
    with pytest.raises(UserError, match="name components as in"):
        Cell("model", carries)


def test_a_contrast_stays_in_one_phase():
    with pytest.raises(UserError, match="before both conditions or before neither"):
        Contrast("x", "pretrain:model", "policy")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"task": "crafted"}, "task in the contrast 'x' 'crafted': did you mean crafter"),
        ({"task": "crafter", "less_on": "crafter"}, "name another `task`"),
        ({"less_on": "crafter"}, "name another `task`"),
        ({"task": "crafter", "phase": "pretrain:"}, "phase 1, which has no task"),
    ],
)
def test_contrasts_on_tasks_that_mean_nothing(settings, sentence):
    def study(phase="", **where):
        return dataclasses.replace(
            QUICK, contrasts=(Contrast("x", f"{phase}model", f"{phase}scratch", **where),)
        )

    with pytest.raises(UserError, match=sentence):
        study(**settings)


def test_a_contrast_has_two_sides():
    with pytest.raises(UserError, match="compares 'model' with itself"):
        Contrast("x", "model", "model")


@pytest.mark.parametrize(
    ("better", "baseline", "sentence"),
    [
        ("model", "scratch", "phase 1 of 'scratch', which carries nothing"),
        ("scratch", "model", "phase 1 of 'scratch', which carries nothing"),
        ("model", "policy", "'model' and 'policy' carry from the same pre-training run"),
    ],
)
def test_a_contrast_of_phase_1_needs_two_pretraining_runs(better, baseline, sentence):
    contrast = Contrast("x", f"pretrain:{better}", f"pretrain:{baseline}")
    with pytest.raises(UserError, match=sentence):
        dataclasses.replace(QUICK, contrasts=(contrast,))


def test_a_contrast_of_phase_1_compares_who_explored_otherwise():
    control = Condition("control", "model", intrinsic="random-data")
    contrast = Contrast("x", "pretrain:model", "pretrain:control")
    study = dataclasses.replace(QUICK, conditions=(*QUICK.conditions, control), contrasts=(contrast,))
    assert study.contrasts == (contrast,)


@pytest.mark.parametrize("seeds", [0, -1, 10**9])
def test_a_study_needs_seeds_and_not_without_end(seeds):
    with pytest.raises(UserError, match="at least one seed and at most 1,000"):
        dataclasses.replace(QUICK, seeds=seeds)


@pytest.mark.parametrize("name", ["pretrain_steps", "finetune_steps"])
def test_budgets_are_positive(name):
    with pytest.raises(UserError, match="steps is -3"):
        learning(dataclasses.replace(QUICK, **{name: -3}))


def test_a_study_may_say_what_it_asks():
    asked = overlaid(QUICK, {"question": {"better": "model", "baseline": "policy", "metric": "auc"}})
    assert asked.question == Question("model", "policy", "auc")
    assert overlaid(asked, {"conditions": ["scratch", "model"]}).question is None
    assert overlaid(asked, {"conditions": ["policy", "model"]}).question == asked.question
    assert [run.id for run in learning(asked)] == ids()


def test_without_a_question_the_usual_one_is_asked():
    contrasts = [Contrast("a", "model", "policy"), Contrast("b", "policy", "model")]
    assert usual_question(["scratch", "model+policy"], contrasts) == Question("model+policy", "scratch")
    assert usual_question(["scratch", "model"], contrasts) == Question("model", "policy")
    assert usual_question(["scratch", "model"], []) is None


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (("model", "nobody"), "Unknown condition in a contrast 'nobody'"),
        (("model", "model"), "compares 'model' with itself"),
        (("pretrain:model", "scratch"), "before both"),
        (("pretrain:model", "pretrain:policy"), "same pre-training run"),
        (("model", "scratch", ""), "metric is empty"),
        (("model", "scratch", None, "catch-pixel"), "Unknown task in the contrast"),
    ],
)
def test_questions_that_mean_nothing(question, sentence):
    with pytest.raises(UserError, match=sentence):
        dataclasses.replace(QUICK, question=Question(*question))


def test_the_random_policy_belongs_to_every_study_once():
    tasks = ("catch-pixels", "maze-pixels")
    named = Condition(RANDOM_POLICY, "scratch", learner="random")
    for study in (QUICK, with_conditions(named, *QUICK.conditions)):
        runs = planned_runs(dataclasses.replace(study, seeds=2, tasks=tasks))
        chance = [run for run in runs if run.condition == RANDOM_POLICY]
        assert [(run.seed, run.config.env) for run in chance] == [(s, t) for s in (0, 1) for t in tasks]
        assert {run.config.steps for run in chance} == {0}
        assert {run.config.training.evaluation_episodes for run in chance} == {16}
        assert {run.needs for run in chance} == {None}
    wider = dataclasses.replace(QUICK.agent, precision="bf16")
    names = [planned_runs(dataclasses.replace(QUICK, agent=a))[-1].id for a in (QUICK.agent, wider)]
    assert names[0] == names[1]  # it has none of the settings of learning


def test_the_random_policy_may_be_compared_with():
    contrasts = (Contrast("better than chance", "model", RANDOM_POLICY),)
    study = dataclasses.replace(QUICK, contrasts=contrasts)
    assert overlaid(study, {"conditions": ["model"]}).contrasts == contrasts
