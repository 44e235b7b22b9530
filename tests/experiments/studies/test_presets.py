"""Named studies and studies from files."""

import dataclasses

import pytest

from envs import make
from expedition import UserError
from experiments.settings import agent_preset, training_preset
from experiments.studies.conditions import Cell, Condition, Question
from experiments.studies.overlaying import overlaid
from experiments.studies.presets import BUDGETS, find_study, presets
from experiments.studies.runs import planned_runs

QUICK = presets()["quickstart"].budgets["laptop"]
WALKER = [name for name in presets() if name.startswith("walker2023-")]


def names(study):
    return [condition.name for condition in study.conditions]


def test_the_quickstart_is_what_it_promises():
    assert QUICK.env == "mazes-goal,size=7,limit=100,num_levels=1,start_level=3,observe=symbols"
    assert (QUICK.intrinsic, QUICK.size, QUICK.seeds >= 3) == ("disagreement", "tiny", True)
    assert QUICK.question == Question("model", "scratch", "auc")
    assert names(QUICK) == ["scratch", "policy", "model", "model+policy"]
    runs = planned_runs(dataclasses.replace(QUICK, seeds=1))
    assert [run.config.phase for run in runs] == ["pretrain"] + ["finetune"] * 5
    assert runs[-1].condition == "random policy"
    assert {run.config.steps for run in runs[1:-1]} == {QUICK.finetune_steps}  # an equal budget


def test_every_domain_of_the_paper_has_a_study_at_every_budget():
    assert [f"walker2023-{domain}" for domain in ("mazes", "crafter", "robodesk", "metaworld")] == WALKER
    for name in WALKER:
        budgets = presets()[name].budgets
        assert tuple(budgets) == BUDGETS
        replayed = [b.pretrain_steps * b.seeds * b.pretrain.train_ratio for b in budgets.values()]
        assert replayed == sorted(replayed)
        for study in budgets.values():
            assert {"scratch", "policy", "model", "model+policy"} <= set(names(study))
            assert "model from random data" in names(study)
            assert study.name == name


def test_contrasts_compare_conditions_that_there_are():
    for preset in presets().values():
        for study in preset.budgets.values():
            for contrast in study.contrasts:
                assert set(contrast.conditions) <= set(names(study))
                assert len(set(contrast.conditions)) == 2


def named_levels(study):
    """Environments of a study that are a set of numbered levels, cheap to make."""
    judged = [training.unseen for training in (study.pretrain, study.finetune) if training.unseen]
    explored = [condition.explores for condition in study.conditions if condition.explores]
    ids = {study.env, *study.tasks, *judged, *explored}
    return {env for env in ids if "level" in env and not env.startswith("construction")}


def test_every_set_of_levels_that_a_study_names_can_be_played():
    pytest.importorskip("procgen")
    studies = [study for preset in presets().values() for study in preset.budgets.values()]
    ids = set().union(*map(named_levels, studies))
    assert any(env.startswith("procgen") for env in ids)
    assert any(env.startswith("mazes") for env in ids)
    for env in sorted(ids):
        make(env).close()


def test_the_mazes_cross_agents_on_a_laptop():
    study = find_study("walker2023-mazes", None, {})
    assert study.seeds >= 5
    explorers = {(c.explorer, c.learner) for c in study.conditions if c.plan == "model+policy"}
    assert explorers == {(a, b) for a in ("model-based", "model-free") for b in ("model-based", "model-free")}
    (ppo,) = (c for c in study.conditions if c.learner == "ppo")
    assert ppo.steps == 10 * study.finetune_steps
    assert f"{ppo.steps:,}" in ppo.name
    assert len(study.contrasts) == 12
    fades = study.contrasts[-1]
    assert {fades.task, fades.less_on} == set(study.tasks)  # finding 4 is an interaction


def test_a_study_from_a_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "base: quickstart\nenv: catch-pixels\nfinetune-steps: 500\nseeds: 3\n"
        "conditions:\n- scratch\n- encoder=freeze\n- {name: control, plan: model, intrinsic: none}\n"
        "finetune:\n  evaluation-episodes: 4\nagent:\n  optimizer:\n    lr: 3e-4\n"
    )
    study = find_study(str(path), None, {"finetune_steps": 600, "env": None})
    assert study.name == "mine"
    assert (study.env, study.finetune_steps, study.seeds) == ("catch-pixels", 600, 3)  # flags win
    assert study.conditions == (
        Condition("scratch", "scratch"),
        Condition("encoder=freeze", "encoder=freeze"),
        Condition("control", "model", intrinsic="none"),
    )
    assert study.finetune.evaluation_episodes == 4
    assert study.agent.optimizer.lr == 3e-4
    assert study.pretrain == QUICK.pretrain
    assert study.pretrain_steps == QUICK.pretrain_steps


def test_other_conditions_leave_the_contrasts_that_still_make_sense(tmp_path):
    path = tmp_path / "few.yaml"
    path.write_text("base: walker2023-mazes\nbudget: gpu\nconditions: [scratch, model, encoder]\n")
    study = find_study(str(path), None, {})
    assert study.size == "1m"
    assert [(c.better, c.baseline) for c in study.contrasts] == [("model", "encoder")]
    assert find_study(str(path), "laptop", {}).size == "tiny"
    path.write_text(
        "base: walker2023-mazes\nconditions:\n- model+policy\n"
        "- {name: MF -> MF, plan: model+policy, explorer: model-free, learner: model-free}\n"
    )
    sides = [(c.better, c.baseline) for c in find_study(str(path), None, {}).contrasts]
    assert sides == [("pretrain:model+policy", "pretrain:MF -> MF"), ("model+policy", "MF -> MF")]


def test_a_file_may_name_a_factorial_and_other_conditions_leave_what_fits(tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text(
        "conditions: [scratch, model, replay, {name: both, plan: 'model+policy+relabel'}]\n"
        "factorial:\n- {condition: scratch}\n- {carries: model, condition: model}\n"
        "- {carries: data, condition: replay}\n- {carries: model+data, condition: both}\n"
    )
    study = find_study(str(path), None, {})
    cells = (Cell("scratch"), Cell("model", "model"), Cell("replay", "data"), Cell("both", "model+data"))
    assert study.factorial == cells
    assert overlaid(study, {"conditions": ["scratch", "model"]}).factorial == cells[:2]
    assert overlaid(study, {"conditions": ["scratch", "policy"]}).factorial == ()  # nothing is crossed
    assert overlaid(study, {"seeds": 3}).factorial == cells


def test_a_named_study_with_nothing_changed_is_itself():
    assert find_study("quickstart", None, {"env": None, "size": None}) == QUICK


def test_a_study_made_from_another_says_in_what_it_differs(tmp_path):
    """The base's own line tells of its environment and its minutes, which are no longer true."""
    path = tmp_path / "mine.yaml"
    path.write_text("base: quickstart\nenv: catch-vector\nconditions: [scratch, model]\n")
    told = find_study(str(path), None, {"pretrain_steps": 9000}).description
    assert told == "Like quickstart, but with env catch-vector, pretrain_steps 9,000, other conditions."
    path.write_text("base: quickstart\nenv: catch-vector\ndescription: Mine.\n")
    assert find_study(str(path), None, {"seeds": 4}).description == "Mine."
    path.write_text(f"base: quickstart\nseeds: {QUICK.seeds}\n")  # nothing differs
    assert find_study(str(path), None, {}).description == QUICK.description
    named = find_study("quickstart", None, {"env": "catch-vector"})
    assert named.description == "Like quickstart, but with env catch-vector."


def test_an_environment_that_no_run_would_use_is_refused(tmp_path):
    with pytest.raises(UserError, match="Nothing explores 'catch-vector'.*`tasks: \\[catch-vector\\]`"):
        find_study("hamrick2021", None, {"env": "catch-vector"})
    assert find_study("walker2023-metaworld", None, {"env": "catch-vector"}).env == "catch-vector"
    path = tmp_path / "mine.yaml"
    path.write_text("base: hamrick2021\nenv: catch-vector\ntasks: [catch-vector]\n")
    assert find_study(str(path), None, {}).finetune_envs == ("catch-vector",)


def test_another_size_brings_its_own_settings():
    study = find_study("quickstart", None, {"size": "1m"})
    assert study.agent == agent_preset("1m")
    assert study.pretrain == study.finetune == training_preset("1m")
    assert find_study("quickstart", None, {"size": "tiny"}) == QUICK


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"env": "craftr"}, "Unknown environment 'craftr': did you mean crafter"),
        ({"intrinsic": "rdn"}, "Unknown intrinsic reward 'rdn': did you mean rnd"),
        ({"size": "huge"}, "Unknown size 'huge'"),
        ({"conditions": []}, "at least one plan"),
        ({"conditions": ["model", "model"]}, "each only once"),
        ({"conditions": ["modle"]}, "Unknown plan 'modle'"),
        ({"conditions": "model"}, "'conditions' must be a list"),
        ({"conditions": ["actor=copy"]}, "carries the actor without"),
        (
            {"conditions": [{"name": "x", "plan": "model", "explorer": "nobody"}]},
            "'explorer' must be model-based or",
        ),
        (
            {"contrasts": [{"label": "x", "better": "model", "baseline": "none"}]},
            "Unknown condition in a contrast 'none'",
        ),
        ({"factorial": [{"carries": "model"}]}, "Cell cannot be read: .* 'condition'"),
        ({"factorial": {"": "scratch"}}, "'factorial' must be a list"),
        ({"tasks": ["nowhere-v9"]}, "Unknown environment 'nowhere-v9'"),
        ({"finetune_stps": 3}, "Unknown setting 'finetune_stps': did you mean finetune_steps"),
        ({"name": "../other"}, "The name of a study is letters"),
    ],
)
def test_bad_studies_get_one_sentence(overrides, sentence):
    with pytest.raises(UserError, match=sentence):
        find_study("quickstart", None, overrides)


def test_names_and_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match="Unknown study 'quikstart': did you mean quickstart"):
        find_study("quikstart", None, {})
    with pytest.raises(UserError, match="Unknown budget of quickstart 'gpu'"):
        find_study("quickstart", "gpu", {})
    with pytest.raises(UserError, match="Cannot read .*none.yaml"):
        find_study(str(tmp_path / "none.yaml"), None, {})
    path = tmp_path / "mine.yaml"
    path.write_text("base: quikstart\n")
    with pytest.raises(UserError, match="Unknown study 'quikstart'"):
        find_study(str(path), None, {})
