"""Ways to carry out an update: what is equal, and which one is chosen."""

import copy

import gymnasium
import numpy as np
import pytest
import torch

from agents import FINITE, ActorCriticConfig, AgentConfig, make_agent
from agents.programs import program as module
from agents.programs.program import REGIONS, choose_mode, make_program, regions
from agents.search import SearchConfig
from expedition import UserError
from world_model import WorldModelConfig

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
# One layer where the defaults have three: each is traced, and compiled, for seconds.
MODEL = WorldModelConfig(deter=16, hidden=8, stoch=4, classes=4, blocks=2, units=8, vector_layers=1)
SPACE = gymnasium.spaces.Dict(
    {
        "vector": gymnasium.spaces.Box(-10, 10, (3,), np.float32),
        "cells": gymnasium.spaces.MultiDiscrete([4, 2], dtype=np.uint8),
    }
)
NOWHERE = SearchConfig()
DISCRETE, BOX = gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1, 1, (2,))
COMPILES = pytest.mark.usefixtures("compiles")


def agent(kind="model-based", intrinsic=None, seed=0, search=NOWHERE, actions=DISCRETE):
    behaviour = ActorCriticConfig(imagination=3, starts=2, layers=1)
    config = AgentConfig(kind=kind, model=MODEL, behaviour=behaviour, search=search)
    return make_agent(SPACE, actions, config, intrinsic, seed, CPU)


def rows(task=True, batch=2, length=4, seed=0):
    rng = np.random.default_rng(seed)
    found = {
        "vector": rng.normal(size=(batch, length, 3)).astype(np.float32),
        "cells": rng.integers((4, 2), size=(batch, length, 2)).astype(np.uint8),
        "action": np.eye(3, dtype=np.float32)[rng.integers(3, size=(batch, length))],
        "is_first": np.zeros((batch, length), bool),
        "is_last": np.zeros((batch, length), bool),
        "is_terminal": np.zeros((batch, length), bool),
        "behaviour/log_prob": np.full((batch, length), -1.1, np.float32),
    }
    return found | ({"reward": rng.normal(size=(batch, length)).astype(np.float32)} if task else {})


def parameters(one):
    return torch.cat([p.detach().flatten() for p in one.parameters()])


@COMPILES
@pytest.mark.parametrize(("kind", "intrinsic"), [("model-based", "disagreement"), ("model-free", None)])
def test_compiled_updates_equal_eager_ones(kind, intrinsic, monkeypatch):
    """And leave no trace where the loss is not finite; an agent is compiled once, for that takes a minute.

    The model-based agent in phase 2 does so below, before and after its actor thaws: of phase 1 its reward's
    regions are left.
    """
    if intrinsic is not None:
        monkeypatch.setattr(module, "REGIONS", [path for path in REGIONS if path.startswith("intrinsic.")])
        assert [name for _, name in regions(agent(kind, intrinsic))] == ["reward", "loss"]
    plain, fast = agent(kind, intrinsic), agent(kind, intrinsic)
    fast.run_as("compiled")
    for i in range(3):
        update_alike(plain, fast, rows(intrinsic is None, seed=i))
    torch.testing.assert_close(parameters(fast), parameters(plain), rtol=1e-3, atol=1e-5)
    assert not torch.equal(parameters(plain), parameters(agent(kind, intrinsic)))
    leaves_no_trace(fast, intrinsic is None)


def update_alike(plain, fast, batch, env_step=0):
    """Update both from the same rows; their metrics are the same."""
    expected, found = (one.update(batch, env_step=env_step) for one in (plain, fast))
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5, msg=name)


def everything(one):
    state = {
        **one.state_dict(),
        **{f"{n}/{k}": v for n, s in one._optimizer_state().items() for k, v in s.items()},
    }
    return {name: value.clone() for name, value in state.items()}


def leaves_no_trace(one, task):
    """An update whose loss is not finite changes nothing, and nothing that follows but by its noise."""
    before, broken = everything(one), rows(task, seed=3)
    began = copy.deepcopy((dict(one.state_dict()), one.training_state()))
    broken["vector"][0, 1, 0] = np.inf
    metrics = one.update(broken)
    assert not metrics[FINITE]
    assert not metrics["loss/total"].isfinite()
    after = everything(one)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert one.update(rows(task, seed=4))[FINITE]
    with_it = everything(one)
    assert not all(torch.equal(with_it[name], before[name]) for name in before)

    # Once more from where it began, without that update but for its noise.
    one.load_state_dict(began[0])
    one.load_training_state(began[1])
    one.draw_noise({name: torch.as_tensor(value) for name, value in broken.items()})
    assert one.update(rows(task, seed=4))[FINITE]
    without_it = everything(one)
    assert all(torch.equal(value, without_it[name]) for name, value in with_it.items())


@pytest.mark.parametrize(
    ("kind", "intrinsic"),
    [("model-based", None), ("model-based", "disagreement"), ("model-based", "rnd"), ("model-free", "rnd")],
)
def test_an_update_whose_loss_is_not_finite_leaves_no_trace(kind, intrinsic):
    one = agent(kind, intrinsic)
    for seed in range(3):
        assert one.update(rows(intrinsic is None, seed=seed))[FINITE]
    leaves_no_trace(one, intrinsic is None)


@COMPILES
def test_an_actor_that_thaws_learns_in_compiled_updates_too():
    plain, fast = agent(), agent()
    fast.run_as("compiled")
    for one in (plain, fast):
        one.freeze("actor", until=2)
    before = parameters(plain.behaviour.actor)
    for step in range(5):
        update_alike(plain, fast, rows(seed=step), step)
        # The warm-up's first step moves nothing.
        assert torch.equal(parameters(fast.behaviour.actor), before) == (step < 3)
        torch.testing.assert_close(parameters(fast), parameters(plain), rtol=1e-3, atol=1e-5)


@COMPILES
def test_compiled_acting_equals_eager_acting_and_evaluation_is_left_alone(monkeypatch):
    plain, fast = agent(), agent()
    fast.run_as("compiled")
    seen = {"vector": np.ones((2, 3), np.float32), "cells": np.ones((2, 2), np.uint8)}
    seen |= {"is_first": np.array([True, False])}
    states = [one.initial_state(2, 5) for one in (plain, fast)]
    for _ in range(3):
        (a, states[0], kept), (b, states[1], held) = (
            one.act(seen, state, "train") for one, state in zip((plain, fast), states, strict=True)
        )
        np.testing.assert_array_equal(a, b)
        for name in kept:
            np.testing.assert_allclose(held[name], kept[name], rtol=1e-5)
    monkeypatch.setattr(fast.program, "choose", lambda *_: pytest.fail("compiled for evaluation"))
    fast.act(seen, states[1], "evaluate")


def test_what_is_compiled_stands_in_place_during_an_update_alone(monkeypatch):
    monkeypatch.setattr(module, "compiled", lambda function: function)  # where it stands is the same
    one = agent()
    one.run_as("compiled")
    inside = []
    real = one.losses

    def losses(*given):
        inside.extend(name in vars(owner) for owner, name in regions(one))
        return real(*given)

    one.losses = losses
    one.update(rows())
    assert inside
    assert all(inside)
    assert not any(name in vars(owner) for owner, name in regions(one))


def test_every_region_is_a_method_of_some_agent():
    searching, shooting = (SearchConfig(kind=kind, update="search") for kind in ("gumbel", "mppi"))
    agents = [
        agent(intrinsic="disagreement", search=searching),
        agent(search=shooting, actions=BOX),
    ]
    found = [{name for _, name in regions(each)} for each in agents]
    names = {path.rsplit(".", 1)[1] for path in REGIONS}
    assert found[0] | found[1] == names
    assert {name for _, name in regions(agent("model-free"))} < set(names)


def test_a_mode_that_does_not_exist_or_needs_a_gpu_is_refused():
    with pytest.raises(UserError, match="captured"):
        make_program(agent(), "capturd")
    with pytest.raises(UserError, match="CUDA GPU alone"):
        make_program(agent(), "captured")


@pytest.mark.parametrize(
    ("wish", "device", "updates", "mode"),
    [
        ("off", CPU, 10**6, "eager"),
        ("off", CUDA, 10**6, "eager"),
        ("auto", CPU, 10, "eager"),
        ("auto", CPU, 10**6, "compiled"),
        ("on", CPU, 10, "compiled"),
        ("auto", CUDA, 10, "captured"),
        ("on", CUDA, 10, "captured"),
        ("on", CPU, 0, "eager"),
    ],
)
def test_mode_by_wish_device_and_length(monkeypatch, wish, device, updates, mode):
    monkeypatch.setattr(module, "missing", lambda _: None)
    assert choose_mode(wish, device, updates) == (mode, None)


def test_without_a_compiler_a_run_goes_on_and_says_why(monkeypatch):
    monkeypatch.setattr(module, "missing", lambda kind: f"nothing compiles for {kind}")
    assert choose_mode("auto", CPU, 10) == ("eager", None)  # too short to have been compiled anyway
    for wish, device in (("auto", CPU), ("on", CPU), ("auto", CUDA)):
        mode, why = choose_mode(wish, device, 10**6)
        assert mode == "eager"
        assert why == f"Updates run uncompiled, and slower, because nothing compiles for {device.type}."
