"""LaProp and adaptive gradient clipping against plain numpy loops."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch

from agents.learning.optimizer import LaProp, clip_to_parameters


def gradients(steps, shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=shape) * 10.0 ** rng.integers(-3, 3) for shape in shapes] for _ in range(steps)]


def plain_laprop(params, grads, lr, mu, nu, eps, clip, min_norm, warmup):
    """Algorithm 1 of Ziyin et al. (2020), after clipping by tensor, with a linear warm-up from zero."""
    params = [p.copy() for p in params]
    n, m = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    for t, step in enumerate(grads, 1):
        rate = lr * min(1.0, (t - 1) / warmup) if warmup else lr
        for k, gradient in enumerate(step):
            g = gradient
            if clip:
                bound = clip * max(min_norm, np.sqrt((params[k] ** 2).sum()))
                norm = np.sqrt((g**2).sum())
                g = g * (bound / norm) if norm > bound else g
            n[k] = nu * n[k] + (1 - nu) * g**2
            m[k] = mu * m[k] + (1 - mu) * g / (np.sqrt(n[k] / (1 - nu**t)) + eps)
            params[k] = params[k] - rate * m[k] / (1 - mu**t)
    return params


SHAPES = [(3, 4), (5,), ()]


def start():
    rng = np.random.default_rng(9)
    return [np.asarray(rng.normal(size=shape)) for shape in SHAPES]


def run(optimizer_settings, grads):
    tensors = [torch.nn.Parameter(torch.tensor(p)) for p in start()]
    optimizer = LaProp(tensors, **optimizer_settings)
    for step in grads:
        for tensor, gradient in zip(tensors, step, strict=True):
            tensor.grad = torch.tensor(gradient)
        optimizer.step()
    return tensors


@pytest.mark.parametrize("clip", [0.0, 0.3])
@pytest.mark.parametrize("warmup", [0, 1, 5])
@pytest.mark.parametrize("eps", [1e-20, 1e-2])
def test_against_the_papers_update(clip, warmup, eps):
    grads = gradients(9, SHAPES)
    found = run({"lr": 0.03, "betas": (0.8, 0.95), "eps": eps, "clip": clip, "warmup": warmup}, grads)
    expected = plain_laprop(start(), grads, 0.03, 0.8, 0.95, eps, clip, 1e-3, warmup)
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.detach().numpy(), two, rtol=1e-9)


def test_first_step_is_the_sign_of_the_gradient():
    grads = gradients(1, SHAPES)
    found = run({"lr": 0.1, "clip": 0.0}, grads)
    for p, before, g in zip(found, start(), grads[0], strict=True):
        np.testing.assert_allclose(p.detach().numpy(), before - 0.1 * np.sign(g), rtol=1e-6)


def test_warm_up_rises_linearly():
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer, moved = LaProp([p], lr=1.0, clip=0.0, warmup=4), []
    for _ in range(6):
        before, p.grad = p.item(), torch.ones(1)
        optimizer.step()
        moved.append(before - p.item())
    assert moved[0] == 0
    # float32: betas and their powers round
    assert moved == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1], rel=1e-4)


def test_the_first_step_of_a_warm_up_moves_nothing_and_is_remembered():
    tensors = run({"lr": 0.1, "warmup": 3}, gradients(1, SHAPES))
    for p, before in zip(tensors, start(), strict=True):
        assert np.array_equal(p.detach().numpy(), before)
    # what the first gradient left in the moments shows in the second step
    found = run({"lr": 0.1, "warmup": 3}, gradients(2, SHAPES))
    alone = run({"lr": 0.1, "warmup": 3}, gradients(2, SHAPES)[1:])
    assert not any(torch.equal(one, two) for one, two in zip(found, alone, strict=True))


def test_a_late_tensor_warms_up_from_its_own_first_step():
    late, other = (torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    optimizer, moved = LaProp([other, late], lr=1.0, clip=0.0, warmup=4), []
    for step in range(8):
        before, other.grad = late.item(), torch.ones_like(other)
        late.grad = torch.ones_like(late) if step >= 5 else None
        optimizer.step()
        moved.append(before - late.item())
    assert moved == pytest.approx([0] * 6 + [0.25, 0.5])
    assert {optimizer.state[p]["step"].dtype for p in (late, other)} == {torch.float64}


def test_a_zero_gradient_moves_nothing():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = LaProp([p])
    p.grad = torch.zeros(3)
    optimizer.step()
    assert p.tolist() == [1.0, 1.0, 1.0]


def test_without_gradient_a_tensor_and_its_state_stay():
    moving, still = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = LaProp([moving, still])
    moving.grad = torch.ones(2)
    optimizer.step()
    assert still.tolist() == [1.0, 1.0]
    assert still not in optimizer.state
    assert moving.tolist() != [1.0, 1.0]


def test_steps_are_counted_by_tensor():
    # a tensor whose first gradient comes late is corrected from its own first step
    late = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    other = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = LaProp([other, late], lr=0.1, clip=0.0)
    for step in range(5):
        other.grad = torch.ones_like(other)
        late.grad = torch.full_like(late, 7.0) if step == 4 else None
        optimizer.step()
    assert late.item() == pytest.approx(-0.1)


class TestClip:
    def test_by_hand(self):
        params = [torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.0]), torch.tensor([30.0, 40.0])]
        grads = [torch.tensor([0.0, 6.0]), torch.tensor([8.0, 6.0]), torch.tensor([6.0, 8.0])]
        # bounds .3 * 5 = 1.5, .3 * .001 and .3 * 50 = 15, which 10 does not reach
        found = clip_to_parameters(params, grads, 0.3, 1e-3)
        torch.testing.assert_close(found[0], torch.tensor([0.0, 1.5]))
        torch.testing.assert_close(found[1], torch.tensor([2.4e-4, 1.8e-4]))
        assert torch.equal(found[2], grads[2])

    def test_zero_gradients_stay_zero(self):
        (found,) = clip_to_parameters([torch.ones(3)], [torch.zeros(3)], 0.3, 1e-3)
        assert found.tolist() == [0.0] * 3

    def test_switched_off(self):
        grads = [torch.tensor([1e9])]
        assert clip_to_parameters([torch.zeros(1)], grads, 0.0, 1e-3) is grads


def test_state_dict_round_trip():
    grads = gradients(8, SHAPES)
    whole = run({"lr": 0.1, "warmup": 6}, grads)
    tensors = [torch.nn.Parameter(torch.tensor(p)) for p in start()]
    optimizer = LaProp(tensors, lr=0.1, warmup=6)
    for k, step in enumerate(grads):
        if k == 4:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = LaProp(tensors, lr=0.1, warmup=6)
            optimizer.load_state_dict(state)
        for tensor, gradient in zip(tensors, step, strict=True):
            tensor.grad = torch.tensor(gradient)
        optimizer.step()
    for one, two in zip(tensors, whole, strict=True):
        assert torch.equal(one, two)


def test_a_process_that_does_not_compile_does_not_import_the_compiler():
    code = (
        "import sys, torch, training; from agents import LaProp; p = torch.ones(2, requires_grad=True); "
        "one = LaProp([p]); p.sum().backward(); one.step(); one.zero_grad(); "
        "one.load_state_dict(one.state_dict()); print('torch._dynamo' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
