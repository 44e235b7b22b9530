"""Random network distillation against its equations."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from exploration import RND, RNDConfig
from exploration.rewards.rnd import RunningMoments
from world_model import for_size

VECTOR = spaces.Dict({"vector": spaces.Box(-np.inf, np.inf, (4,), np.float32)})
BOTH = spaces.Dict({"image": spaces.Box(0, 255, (16, 16, 3), np.uint8), **VECTOR.spaces})
ALL = spaces.Dict({"cells": spaces.MultiDiscrete([4, 2], dtype=np.uint8), **BOTH.spaces})
MODEL = for_size("tiny", units=16, depth=2, vector_layers=1)


def make(space=VECTOR, seed=0):
    torch.manual_seed(seed)
    return RND(space, MODEL, RNDConfig(outputs=8))


def observations(space, batch=3, time=5, seed=0, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    made = {}
    for key, box in space.spaces.items():
        shape = (batch, time, *box.shape)
        if isinstance(box, spaces.MultiDiscrete):
            values = rng.integers(box.nvec, size=shape)
        elif box.dtype == np.uint8:
            values = rng.integers(256, size=shape)
        else:
            values = scale * rng.normal(size=shape) + shift
        made[key] = torch.tensor(values.astype(box.dtype))
    is_first = torch.zeros(batch, time, dtype=torch.bool)
    return made | {"action": torch.zeros(batch, time, 2), "is_first": is_first}


ACTIONS = torch.zeros(3, 5, 2)


class TestRunningMoments:
    def test_against_numpy_over_several_batches(self):
        rng = np.random.default_rng(0)
        moments, seen = RunningMoments((3,)), []
        for size in (4, 1, 17, 40):
            rows = (rng.normal(5, [0.1, 1, 30], size=(size, 3)) * size).astype(np.float32)
            moments.update(torch.tensor(rows))
            seen.append(rows)
            everything = np.concatenate(seen).astype(np.float64)
            np.testing.assert_allclose(moments.mean.numpy(), everything.mean(0), rtol=1e-4, atol=1e-4)
            assert moments.count.item() == len(everything)
            x = rng.normal(size=(2, 5, 3)).astype(np.float32)
            expected = (x - everything.mean(0)) / np.maximum(everything.std(0), 1e-4)
            np.testing.assert_allclose(moments(torch.tensor(x)).numpy(), expected, rtol=1e-3, atol=1e-3)

    def test_elements_that_never_vary_are_zero(self):
        moments = RunningMoments((2,))
        rows = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
        moments.update(rows)
        assert moments(rows).tolist() == [[-1.0, 0.0], [1.0, 0.0]]


class TestEquations:
    @pytest.mark.parametrize("space", [VECTOR, BOTH, ALL], ids=["vector", "image and vector", "symbols too"])
    def test_reward_is_the_mean_squared_error(self, space):
        module = make(space)
        for seed in range(3):
            module.take_in(observations(space, seed=seed, shift=3.0))
        rows = observations(space, seed=9, scale=20.0)
        normalised = {}
        for key in space:
            value, moments = rows[key], module.moments[key]
            if key == "cells":
                value = torch.nn.functional.one_hot(value.long(), 4).flatten(-2)
            deviation = (moments.square / moments.count).sqrt().clamp(min=1e-4)
            normalised[key] = ((value.float() - moments.mean) / deviation).clip(-5, 5)
        assert normalised["vector"].abs().max() == 5  # the clip is at work
        expected = (module.predictor(normalised) - module.target(normalised)).square().mean(-1)
        torch.testing.assert_close(module.reward(None, ACTIONS, rows), expected.detach())

    def test_take_in_moves_the_moments_and_the_loss_equals_the_reward(self):
        module, rows = make(), observations(VECTOR, shift=7.0)
        module.take_in(rows)
        assert module.moments["vector"].count == 15
        loss = module.loss(None, rows, None)["rnd"]
        assert module.moments["vector"].count == 15
        torch.testing.assert_close(loss.detach(), module.reward(None, ACTIONS, rows))

    def test_reward_has_neither_gradient_nor_effect(self):
        module, rows = make(), observations(VECTOR)
        module.take_in(rows)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        assert not module.reward(None, ACTIONS, rows).requires_grad
        assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())

    def test_imagination_is_refused(self):
        with pytest.raises(ValueError, match="reward head"):
            make().reward(None, ACTIONS)
        assert not RND.in_imagination


@pytest.mark.parametrize("space", [VECTOR, BOTH], ids=["vector", "image and vector"])
def test_falls_on_repeated_data_stays_on_new_and_the_target_never_changes(space):
    module = make(space)
    known, new = observations(space, 8, 6, seed=0), observations(space, 8, 6, seed=1)
    module.take_in(known)
    target = {name: value.clone() for name, value in module.target.state_dict().items()}
    first = module.reward(None, torch.zeros(8, 6, 2), known).mean()
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], 3e-3)
    for _ in range(150):
        loss = module.loss(None, known, None)["rnd"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    old_reward = module.reward(None, torch.zeros(8, 6, 2), known).mean()
    assert old_reward < 0.1 * first
    assert module.reward(None, torch.zeros(8, 6, 2), new).mean() > 3 * old_reward
    assert all(torch.equal(target[name], value) for name, value in module.target.state_dict().items())
    assert not any(p.requires_grad for p in module.target.parameters())


def test_predictor_and_target_differ():
    module = make()
    assert not torch.equal(module.target.linear.weight, module.predictor.linear.weight)
