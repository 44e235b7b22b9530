"""The final policy on levels that it never met, and with search: what is told, and what is refused before."""

import dataclasses

import pytest

from agents import AgentConfig
from expedition import UserError
from tests.training.test_resume import QUIET, config
from training import execute, read_result
from training.config import TrainingConfig

MAZE = "mazes-collect,size=7,limit=12,num_levels=1,observe=symbols"
UNSEEN = MAZE + ",start_level=1000"


def run(folder, **changes):
    finetuned = config(MAZE, None, steps=60, probe_updates=0, **changes)
    execute(finetuned, folder, QUIET, None, None, lambda *_: None)
    return read_result(folder)["metrics"]


def test_every_judgement_stands_under_its_name_and_changes_no_other(tmp_path):
    plain = run(tmp_path / "plain")
    beyond = run(tmp_path / "beyond", unseen=UNSEEN, searches=(2, 4), depths=(1,), simulator=True)
    ends = ("_search2", "_search4", "_search4_depth1", "_simulator2", "_simulator4", "_simulator4_depth1")
    ends += ("_unseen", *(f"_unseen{end}" for end in ends))
    added = {name for name in beyond if name.endswith(ends)}
    assert {f"return{end}" for end in ends} <= added
    assert {name: beyond[name] for name in plain} == plain
    assert set(beyond) - added == set(plain)


def test_options_alone_are_laid_over_those_of_the_run(tmp_path):
    named = run(tmp_path / "named", unseen=UNSEEN)
    options = run(tmp_path / "options", unseen="start_level=1000")
    assert options["return_at_start_level=1000"] == named["return_unseen"]
    assert not any(name.endswith("_unseen") for name in options)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"unseen": "sise=9"}, "option of mazes 'sise': did you mean size"),
        ({"unseen": "size=9"}, "cannot be judged on 'size=9', .* the same spaces"),
        ({"unseen": "CartPole-v1"}, "choose training.unseen with the same spaces"),
        ({"unseen": "mazes-colect"}, "did you mean"),
        ({"searches": (4,), "simulator": True, "unseen": "CartPole-v1"}, "has no true simulator"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_anything_runs(tmp_path, changes, told):
    with pytest.raises(UserError, match=told):
        run(tmp_path, **changes)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_searches_need_a_model_and_a_simulator_needs_searches(tmp_path):
    free = config(MAZE, None, searches=(4,))
    for kind in ("model-free", "ppo"):
        free = dataclasses.replace(free, agent=dataclasses.replace(free.agent, kind=kind))
        with pytest.raises(UserError, match="leave training.searches out"):
            execute(free, tmp_path, QUIET, None, None, lambda *_: None)
    with pytest.raises(UserError, match="searches of no simulations"):
        TrainingConfig(simulator=True)
    with pytest.raises(UserError, match="searches of no simulations"):
        TrainingConfig(depths=(2,))
    with pytest.raises(UserError, match=r"training.searches"):
        TrainingConfig(searches=(0,))


@pytest.mark.parametrize(("kind", "steps"), [("random", 0), ("ppo", 64)])
def test_baselines_are_judged_on_unseen_levels_too(tmp_path, kind, steps):
    learner = config(MAZE, None, unseen=UNSEEN, evaluation_episodes=16)
    learner = dataclasses.replace(learner, steps=steps, agent=AgentConfig(kind=kind))
    found = execute(learner, tmp_path, QUIET, None, None, lambda *_: None).result["metrics"]
    assert -3 <= found["return_unseen"] <= 3
    assert found["return_unseen"] != found["return"]
