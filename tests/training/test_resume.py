"""The same seed gives the same run, and a run that was stopped equals one that never was."""

import dataclasses
import functools
import json
import signal

import gymnasium
import numpy as np
import pytest
import torch

from agents import ActorCriticConfig, AgentConfig, DreamerAgent, OptimizerConfig
from agents.search import GumbelConfig, MPPIConfig, SearchConfig
from envs import make_vector
from expedition import UserError
from training import Logistics, RunConfig, TrainingConfig, execute, session
from training.collecting.collector import Collector
from training.session import build_agent
from training.storage.checkpoint import open_checkpoint
from world_model import for_size

QUIET = Logistics(device="cpu", wandb="off", progress=False, threads=1)
COMPONENTS = ("encoder", "dynamics", "decoder", "reward", "continue", "actor", "critic", "normalizers")
AGENT = AgentConfig(
    model=for_size(
        "tiny", deter=16, hidden=8, units=8, stoch=2, classes=4, depth=1, blocks=2, vector_layers=1
    ),
    behaviour=ActorCriticConfig(imagination=3, layers=1, starts=4),
    optimizer=OptimizerConfig(lr=1e-3, warmup=4),
)
CASES = [
    ("catch-pixels", "disagreement"),
    ("catch-pixels", "rnd"),
    ("CartPole-v1", "disagreement"),
    ("CartPole-v1", "rnd"),
    ("crafter", "disagreement"),
    ("CartPole-v1", "byol-explore"),  # a slow copy, and a reward head
    ("CartPole-v1", "random-data"),
    ("mazes-goal,observe=symbols,size=7,limit=20", "language"),  # what an episode has reached
    ("FrozenLake-v1", "rnd"),  # symbols
    ("CartPole-v1", None),  # phase 2
    ("tests.factored:Pair-v0", "icm"),  # actions of several factors
]
SELF_SUPERVISED = [("catch-pixels", "disagreement", "spr"), ("CartPole-v1", None, "contrastive")]
"""Models with a slow target, and a probe."""
SHORT_PENDULUM = "ShortPendulum-v0"
"""Its episodes have 40 steps, for each of them is planned."""
if SHORT_PENDULUM not in gymnasium.registry:
    entry_point = gymnasium.spec("Pendulum-v1").entry_point
    gymnasium.register(SHORT_PENDULUM, entry_point=entry_point, max_episode_steps=40)
OVERLAP = [("catch-pixels", "disagreement", 0), ("CartPole-v1", None, 1)]


def config(env, intrinsic, seed=3, steps=150, **changes):
    return RunConfig(
        env=env,
        phase="finetune" if intrinsic is None else "pretrain",
        intrinsic=intrinsic,
        size="tiny",
        steps=steps,
        seed=seed,
        agent=AGENT,
        training=dataclasses.replace(
            TrainingConfig(
                num_envs=3,
                batch=2,
                length=6,
                train_ratio=2.0,
                learning_starts=40,
                replay_gib=0.005,
                log_every=25,
                evaluation_episodes=0 if env == "crafter" else 2,
                heldout=2,
                context=2,
                open_loop=3,
                image_size=32,
            ),
            **changes,
        ),
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Folders of runs that were never stopped, by their settings; nobody writes to them."""

    @functools.cache
    def run(settings):
        folder = tmp_path_factory.mktemp("undisturbed") / "run"
        assert execute(settings, folder, QUIET).result is not None
        return folder

    return run


def stop_at(monkeypatch, *calls):
    """Press Ctrl-C in the given steps of the collector, counted over all sittings."""
    count, send = 0, Collector.send

    def interrupted(self, env_step):
        nonlocal count
        count += 1
        if count in calls:
            signal.raise_signal(signal.SIGINT)
        return send(self, env_step)

    monkeypatch.setattr(Collector, "send", interrupted)


def lines(run_dir, name):
    return [json.loads(line) for line in (run_dir / name).read_text().splitlines()]


def leaves(value, path=""):
    """Every leaf of a nested state, by its path."""
    if isinstance(value, dict) or hasattr(value, "items"):
        for key, item in value.items():
            yield from leaves(item, f"{path}/{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}/{index}")
    elif isinstance(value, torch.Tensor | np.ndarray):
        yield path, (str(value.dtype), np.asarray(value).tobytes())
    else:
        yield path, value


def learned(run_dir, intrinsic):
    """Everything that the next step would depend on, from the last checkpoint."""
    checkpoint = open_checkpoint(run_dir)
    held = [name for name in COMPONENTS if name in checkpoint.sections]
    names = (*held, *(("intrinsic",) if intrinsic else ()), "training", "collector", "replay", "loop")
    state = dict(leaves({name: checkpoint.load(name) for name in names}))
    del state["/loop/seconds"], state["/loop/midway/seconds"]
    assert len(state) > 60
    return state


def assert_same_run(one, two, intrinsic):
    for name in ("metrics.jsonl", "episodes.jsonl"):
        assert lines(one, name) == lines(two, name)
    left, right = learned(one, intrinsic), learned(two, intrinsic)
    assert left.keys() == right.keys()
    assert [name for name in left if left[name] != right[name]] == []
    results = [json.loads((run / "result.json").read_text()) for run in (one, two)]
    for result in results:
        del result["wall_seconds"], result["evaluation_seconds"]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("env", "intrinsic", "kind"),
    [(*case, "model-based") for case in CASES]
    + [
        ("CartPole-v1", "disagreement", "model-free"),
        ("CartPole-v1", None, "model-free"),
        ("tests.factored:Pair-v0", None, "model-free"),
    ],
)
def test_stopped_and_resumed_equals_never_stopped(env, intrinsic, kind, undisturbed, tmp_path, monkeypatch):
    settings = config(env, intrinsic)
    settings = dataclasses.replace(settings, agent=dataclasses.replace(AGENT, kind=kind))
    whole = undisturbed(settings)
    assert json.loads((whole / "result.json").read_text())["updates"] > 10
    # once before learning starts, once amid it, and the last one soon after: 3 steps a call
    stop_at(monkeypatch, 8, 31, 33)
    for _ in range(3):
        outcome = execute(settings, tmp_path / "parts", QUIET)
        assert outcome.result is None
        assert outcome.exit_code == 130
    assert execute(settings, tmp_path / "parts", QUIET).result is not None
    monkeypatch.undo()
    assert_same_run(whole, tmp_path / "parts", intrinsic)
    assert_logged_in_order(whole)


def assert_resumes(settings, tmp_path, monkeypatch):
    """A run that is stopped once equals the whole one, which lies in the folder `whole`."""
    assert execute(settings, tmp_path / "whole", QUIET).result is not None
    stop_at(monkeypatch, 31)
    assert execute(settings, tmp_path / "parts", QUIET).result is None
    assert execute(settings, tmp_path / "parts", QUIET).result is not None
    monkeypatch.undo()
    assert_same_run(tmp_path / "whole", tmp_path / "parts", settings.intrinsic)


@pytest.mark.parametrize(("env", "intrinsic", "predicts"), SELF_SUPERVISED)
def test_a_model_without_a_decoder_resumes_as_exactly(env, intrinsic, predicts, tmp_path, monkeypatch):
    settings = config(env, intrinsic, probe_updates=3)
    model = dataclasses.replace(AGENT.model, predicts=predicts)
    settings = dataclasses.replace(settings, agent=dataclasses.replace(AGENT, model=model))
    assert_resumes(settings, tmp_path, monkeypatch)
    assert any("/decoder/target" in name for name in learned(tmp_path / "whole", intrinsic))


@pytest.mark.parametrize(
    ("env", "intrinsic", "kind"),
    [
        ("CartPole-v1", "disagreement", "gumbel"),
        ("FrozenLake-v1", None, "gumbel"),
        (SHORT_PENDULUM, None, "mppi"),
    ],
)
def test_an_agent_that_plans_resumes_as_exactly(env, intrinsic, kind, tmp_path, monkeypatch):
    small = GumbelConfig(simulations=4, depth=2, considered=2, sampled_actions=3)
    shots = MPPIConfig(iterations=2, samples=6, policy_samples=2, elites=3)
    search = SearchConfig(kind, "search", act=True, evaluate=True, gumbel=small, mppi=shots)
    settings = config(env, intrinsic)
    settings = dataclasses.replace(settings, agent=dataclasses.replace(AGENT, search=search))
    assert_resumes(settings, tmp_path, monkeypatch)
    assert any("plan/value" in line for line in lines(tmp_path / "whole", "metrics.jsonl"))


def no_judgement(run_dir):
    """Metrics without those of evaluations."""
    told = lines(run_dir, "metrics.jsonl")
    return [line for line in told if not any(name.startswith("evaluation/") for name in line)]


@pytest.mark.parametrize("overlap", [False, True])
def test_evaluations_during_training_change_nothing_and_are_made_once(
    overlap, undisturbed, tmp_path, monkeypatch
):
    plain = undisturbed(config("CartPole-v1", None, overlap=overlap))
    settings = config("CartPole-v1", None, overlap=overlap, evaluate_every=40)
    whole = undisturbed(settings)
    for read in (no_judgement, lambda run: lines(run, "episodes.jsonl")):
        assert read(plain) == read(whole)
    left, right = learned(plain, None), learned(whole, None)
    assert [name for name in left if left[name] != right[name]] == ["/loop/midway/step"]

    judged = [line["env_step"] for line in lines(whole, "metrics.jsonl") if "evaluation/return" in line]
    assert [step // 40 for step in judged] == [1, 2, 3, 3]  # the last one is the judgement

    # A stop amid the first of them, one amid the second, a crash after the third: each is logged once.
    evaluate, update, calls = session.evaluate_policy, DreamerAgent.update, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) in (2, 4):  # the first call is the one before the first step
            signal.raise_signal(signal.SIGINT)
        return evaluate(*arguments)

    def crashing(self, batch, env_step):
        if env_step > 130:
            raise OSError("the power went out")
        return update(self, batch, env_step)

    monkeypatch.setattr(session, "evaluate_policy", interrupted)
    for _ in range(2):
        assert execute(settings, tmp_path / "parts", QUIET).result is None
    monkeypatch.setattr(DreamerAgent, "update", crashing)
    with pytest.raises(OSError, match="power"):
        execute(settings, tmp_path / "parts", QUIET)
    monkeypatch.setattr(DreamerAgent, "update", update)
    assert open_checkpoint(tmp_path / "parts").step < judged[2]
    assert lines(tmp_path / "parts", "metrics.jsonl")[-1]["env_step"] >= judged[2]
    assert execute(settings, tmp_path / "parts", QUIET).result is not None
    assert_same_run(whole, tmp_path / "parts", None)


@pytest.mark.parametrize(("env", "intrinsic", "workers"), OVERLAP)
def test_the_same_with_overlap(env, intrinsic, workers, tmp_path, monkeypatch):
    settings = config(env, intrinsic, overlap=True)
    logistics = dataclasses.replace(QUIET, workers=workers, replay_store="disk")
    whole = execute(settings, tmp_path / "whole", logistics)
    assert whole.result is not None
    assert whole.result["updates"] > 10
    stop_at(monkeypatch, 7, 30, 34)  # chunks have two steps: a stop comes within them
    for _ in range(3):
        outcome = execute(settings, tmp_path / "parts", QUIET)
        assert outcome.result is None
        assert outcome.exit_code == 130
    assert execute(settings, tmp_path / "parts", logistics).result is not None
    monkeypatch.undo()
    assert_same_run(tmp_path / "whole", tmp_path / "parts", intrinsic)
    assert_logged_in_order(tmp_path / "whole")


def assert_logged_in_order(run_dir):
    logged = [line["env_step"] for line in lines(run_dir, "metrics.jsonl")]
    assert len([line for line in lines(run_dir, "metrics.jsonl") if "loss/total" in line]) >= 3
    assert logged == sorted(logged)


@pytest.mark.parametrize(("env", "intrinsic"), [("catch-pixels", "disagreement"), ("CartPole-v1", "rnd")])
def test_same_seed_same_run_and_another_seed_another(env, intrinsic, undisturbed, tmp_path):
    one = undisturbed(config(env, intrinsic, 3, steps=90))
    for name, seed in (("two", 3), ("other", 4)):
        torch.manual_seed(len(name))  # nothing may hang on the global generators
        np.random.seed(len(name))
        execute(config(env, intrinsic, seed, steps=90), tmp_path / name, QUIET)
    assert_same_run(one, tmp_path / "two", intrinsic)
    assert lines(one, "metrics.jsonl") != lines(tmp_path / "other", "metrics.jsonl")
    left, right = learned(one, intrinsic), learned(tmp_path / "other", intrinsic)
    assert left["/actor/0.weight"] != right["/actor/0.weight"]


def test_workers_step_beside_the_updates_and_change_nothing(undisturbed, tmp_path):
    settings = config("CartPole-v1", "rnd", steps=90)
    execute(settings, tmp_path / "two", dataclasses.replace(QUIET, workers=2))
    assert_same_run(undisturbed(settings), tmp_path / "two", "rnd")


def test_a_crash_after_the_checkpoint_is_undone(undisturbed, tmp_path, monkeypatch):
    # what happened after the last checkpoint is lived again and logged once
    settings = config("catch-pixels", "disagreement")
    whole = undisturbed(settings)
    stop_at(monkeypatch, 20)
    execute(settings, tmp_path / "parts", QUIET)
    monkeypatch.undo()
    update = DreamerAgent.update

    def crashing(self, batch, env_step):
        if env_step > 120:
            raise OSError("the power went out")
        return update(self, batch, env_step)

    monkeypatch.setattr(DreamerAgent, "update", crashing)
    with pytest.raises(OSError, match="power"):
        execute(settings, tmp_path / "parts", QUIET)
    monkeypatch.undo()
    step = open_checkpoint(tmp_path / "parts").step
    assert step < 70
    for name in ("metrics.jsonl", "episodes.jsonl"):
        assert lines(tmp_path / "parts", name)[-1]["env_step"] > step
    execute(settings, tmp_path / "parts", QUIET)
    assert_same_run(whole, tmp_path / "parts", "disagreement")


def test_a_crash_while_judging_logs_the_judgement_once(tmp_path, monkeypatch):
    settings = config("CartPole-v1", "disagreement", steps=90)
    execute(settings, tmp_path / "whole", QUIET)

    def failing(*_):
        raise OSError("the power went out")

    monkeypatch.setattr("training.session.evaluate_policy", failing)
    with pytest.raises(OSError, match="power"):
        execute(settings, tmp_path / "parts", QUIET)
    monkeypatch.undo()
    execute(settings, tmp_path / "parts", QUIET)
    assert_same_run(tmp_path / "whole", tmp_path / "parts", "disagreement")


def test_a_finished_run_is_left_alone(tmp_path):
    settings = config("catch-pixels", "none", steps=60)
    first = execute(settings, tmp_path, QUIET)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = execute(settings, tmp_path, QUIET)
    assert again.result == first.result
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_checkpoint_holds_every_parameter(tmp_path):
    settings = config("catch-pixels", "rnd", steps=60)
    execute(settings, tmp_path, QUIET)
    envs = make_vector(settings.env, 1, 32)
    agent = build_agent(settings, envs, torch.device("cpu"))
    saved = open_checkpoint(tmp_path)
    held = sum(value.numel() for name in agent.components() for value in saved.load(name).values())
    assert held == sum(value.numel() for value in agent.state_dict().values())


@pytest.mark.usefixtures("compiles")
def test_a_compiled_run_goes_on_compiled_and_as_if_it_had_never_stopped(tmp_path, monkeypatch):
    """The twin, which compiles soonest; that every region computes the same is tested with the programs."""
    settings = config("CartPole-v1", None)
    settings = dataclasses.replace(settings, agent=dataclasses.replace(AGENT, kind="model-free"))
    fast = dataclasses.replace(QUIET, compile="on")
    assert execute(settings, tmp_path / "whole", fast).result["updates"] > 10
    stop_at(monkeypatch, 31)
    assert execute(settings, tmp_path / "parts", fast).result is None
    said = []
    assert execute(settings, tmp_path / "parts", QUIET, say=said.append).result is not None
    assert json.loads((tmp_path / "parts" / "config.json").read_text())["program"] == "compiled"
    assert not any("uncompiled" in line for line in said)
    assert_same_run(tmp_path / "whole", tmp_path / "parts", None)


@pytest.mark.parametrize(
    ("env", "intrinsic", "changes"),
    [
        ("catch-pixels", "disagreement", {}),
        ("CartPole-v1", None, {"evaluate_every": 50}),  # 100 is the first end, and a moment of the second run
        ("CartPole-v1", "rnd", {"replay_gib": 2e-5}),  # the replay is full long before the first end
    ],
)
def test_a_finished_run_that_is_made_longer_equals_one_that_was_asked_for_so(
    env, intrinsic, changes, undisturbed, tmp_path
):
    settings = config(env, intrinsic, **changes)
    said = []
    short = execute(dataclasses.replace(settings, steps=100), tmp_path / "longer", QUIET)
    assert short.result["environment_steps"] < 150
    longer = execute(settings, tmp_path / "longer", QUIET, say=said.append)
    assert longer.result["environment_steps"] >= 150
    assert "It had 100 steps and goes on to 150." in said
    assert json.loads((tmp_path / "longer" / "config.json").read_text())["steps"] == 150
    assert_same_run(undisturbed(settings), tmp_path / "longer", intrinsic)


def test_a_run_is_not_made_shorter_and_other_settings_are_refused_with_more_steps(tmp_path):
    settings = config("CartPole-v1", None)
    execute(settings, tmp_path, QUIET)
    result = (tmp_path / "result.json").read_bytes()
    for changes in ({"steps": 100}, {"steps": 200, "seed": 4}):
        with pytest.raises(UserError, match="holds a run with other settings"):
            execute(dataclasses.replace(settings, **changes), tmp_path, QUIET)
    assert (tmp_path / "result.json").read_bytes() == result
