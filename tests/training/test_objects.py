"""Sets of objects from end to end: agents learn to point at them, with and without a model and search."""

import dataclasses

import pytest

from agents import ActorCriticConfig, AgentConfig, OptimizerConfig, PPOConfig
from agents.search import GumbelConfig, SearchConfig
from expedition import load
from training import Logistics, RunConfig, TrainingConfig, execute
from world_model import for_size
from world_model.sizes import ObjectsConfig

QUIET = Logistics(device="cpu", wandb="off", progress=False, threads=1, workers=0)
OBJECTS = ObjectsConfig(units=16, messages=1)
MODEL = for_size("tiny", deter=16, hidden=16, units=16, stoch=2, classes=4, blocks=2, vector_layers=1)
AGENT = AgentConfig(
    model=dataclasses.replace(MODEL, objects=OBJECTS),
    behaviour=ActorCriticConfig(imagination=1, layers=1, entropy=3e-3),
    optimizer=OptimizerConfig(lr=1e-2, warmup=20),
)
TRAINING = TrainingConfig(
    num_envs=4,
    batch=8,
    length=5,
    train_ratio=4.0,
    learning_starts=64,
    replay_gib=0.005,
    evaluation_episodes=2,
    heldout=2,
    context=2,
    open_loop=3,
)


def config(steps=120, intrinsic=None, training=TRAINING, kind="graph", **changes):
    model = dataclasses.replace(MODEL, objects=dataclasses.replace(OBJECTS, kind=kind))
    agent = dataclasses.replace(AGENT, model=model, **changes)
    phase = "finetune" if intrinsic is None else "pretrain"
    return RunConfig("tests.blocks:Blocks-v0", phase, intrinsic, "tiny", steps, 0, agent, training)


PLANS = SearchConfig(
    update="search", act=True, gumbel=GumbelConfig(simulations=4, considered=2, sampled_actions=4)
)
PPO = {"kind": "ppo", "ppo": PPOConfig(rollout=60, batch=20, epochs=1)}


@pytest.mark.parametrize("kind", ["graph", "plain"])
@pytest.mark.parametrize("changes", [{}, {"kind": "model-free"}, {"search": PLANS}, PPO], ids=str)
def test_every_agent_runs(kind, changes, tmp_path):
    if changes is PPO:
        pytest.importorskip("stable_baselines3")
    made = config(kind=kind)
    made = dataclasses.replace(made, agent=dataclasses.replace(made.agent, **changes))
    result = execute(made, tmp_path / "run", QUIET).result
    assert result["observed"] == ["objects"]
    assert 0 <= result["metrics"]["return"] <= 4


@pytest.mark.parametrize("intrinsic", ["rnd", "disagreement"])
def test_it_explores(intrinsic, tmp_path):
    assert execute(config(intrinsic=intrinsic), tmp_path / "run", QUIET).exit_code == 0


def test_a_program_sees_them(tmp_path):
    execute(config(), tmp_path / "run", QUIET)
    explorer = load(tmp_path / "run", "cpu")
    env = explorer.env()
    observation, _ = env.reset(seed=0)
    action = explorer.act(observation)
    assert env.action_space.contains(action)
    explorer.see(observation)
    dream = explorer.dream(3)
    assert dream.observations["objects"].shape == (4, 4, 2)
    assert set(dream.observations["objects_mask"].flatten().tolist()) <= {0, 1}


@pytest.mark.parametrize("kind", ["graph", "plain"])
@pytest.mark.parametrize("actions", ["relative", "absolute"])
def test_it_builds_and_searches_in_its_model_and_in_the_true_scene(actions, kind, tmp_path):
    pytest.importorskip("pymunk")
    few = dataclasses.replace(
        TRAINING,
        learning_starts=16,
        train_ratio=40.0,
        evaluation_episodes=1,
        unseen="size=1.5",
        searches=(2,),
        simulator=True,
        open_loop=2,
    )
    plans = dataclasses.replace(PLANS, gumbel=GumbelConfig(simulations=3, sampled_actions=2))
    made = config(20, training=few, kind=kind, search=plans)
    made = dataclasses.replace(made, env=f"construction-silhouette,actions={actions}")
    ended = execute(made, tmp_path / "run", QUIET)
    found = ended.result["metrics"]
    assert ended.result["updates"] > 0
    ends = ["", "_search2", "_simulator2"]
    assert {f"return{place}{end}" for place in ("", "_at_size=1.5") for end in ends} <= set(found)
