"""The update as a program: what it reads, what it never waits for, and the same compiled."""

import functools

import gymnasium
import numpy as np
import pytest
import torch
from torch.func import functional_call

from agents import ActorCriticConfig, AgentConfig, DreamerAgent, OptimizerConfig
from agents.fused import FusedAgents
from agents.program import NoisePlan, TotalLoss, rows_on
from expedition import UserError
from world_model import for_size

SPACE = gymnasium.spaces.Dict(
    {
        "image": gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8),
        "vector": gymnasium.spaces.Box(-9, 9, (4,), np.float32),
    }
)
DISCRETE, BOX = gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1, 1, (2,))
CONFIG = AgentConfig(
    model=for_size(
        "tiny", deter=8, hidden=8, units=8, stoch=2, classes=4, depth=1, blocks=2, vector_layers=1
    ),
    behaviour=ActorCriticConfig(imagination=2, layers=1, starts=2, center=True),
    optimizer=OptimizerConfig(lr=1e-3, warmup=2),
)
CPU = torch.device("cpu")


def make(seed=0, actions=DISCRETE, intrinsic=None, space=SPACE, config=CONFIG):
    """An agent whose heads expect small values, whose means no rounding tips."""
    agent = DreamerAgent(space, actions, config, intrinsic, seed, CPU)
    heads = (agent.world_model.reward, agent.behaviour.critic, agent.behaviour.slow_critic)
    with torch.no_grad():
        for head in heads:
            head[-1].bias.copy_(-0.5 * (torch.arange(255) - 127).abs())
    return agent


def rows(seed=0, actions=DISCRETE, intrinsic=None, space=SPACE):
    rng = np.random.default_rng(seed)
    made = {flag: rng.random((2, 4)) < 0.2 for flag in ("is_first", "is_last", "is_terminal")}
    for key, box in space.items():
        values = rng.integers(0, 9, (2, 4, *box.shape))
        made[key] = values.astype(box.dtype)
    made["action"] = rng.random((2, 4, 3 if actions is DISCRETE else 2)).astype(np.float32)
    if intrinsic is None:
        made["reward"] = rng.normal(size=(2, 4)).astype(np.float32)
    return made


def test_a_row_before_a_first_one_is_a_last_one():
    batch = {"is_first": np.array([[0, 0, 1, 0]], bool), "is_last": np.array([[0, 0, 0, 1]], bool)}
    assert rows_on(CPU, batch)["is_last"].tolist() == [[False, True, False, True]]
    stacked = {key: np.stack([value, value]) for key, value in batch.items()}
    assert rows_on(CPU, stacked)["is_last"].tolist() == [[[False, True, False, True]]] * 2


@pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
@pytest.mark.parametrize("intrinsic", [None, "disagreement", "rnd", "none"])
def test_a_loss_reads_no_value_back(actions, intrinsic):
    # tensors without data raise where a value is asked for, as a GPU would be waited for there
    agent = make(0, actions, intrinsic)
    batch = rows_on(CPU, rows(0, actions, intrinsic))
    draws = NoisePlan(agent).draws(batch)
    loss = TotalLoss(agent)

    def bare(tensor):
        return torch.empty_like(tensor, device="meta").requires_grad_(tensor.requires_grad)

    weights = {name: bare(value) for name, value in loss.named_parameters()}
    state = {name: bare(value) for name, value in loss.named_buffers()}
    noise = [torch.empty(draw.shape, device="meta") for draw in draws]
    total, _ = functional_call(loss, (weights, state), ({k: bare(v) for k, v in batch.items()}, noise))
    total.backward()
    assert weights["agent.behaviour.actor.0.weight"].grad is not None
    with pytest.raises(RuntimeError, match="meta"):
        total.item()


VECTOR = gymnasium.spaces.Dict({"vector": SPACE["vector"]})


@pytest.fixture
def graphs(monkeypatch):
    """Compile to the whole graph, forward and backward, without the minutes of a C++ compiler."""
    monkeypatch.setattr("agents.program.shutil.which", lambda _: "g++")
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))


@pytest.mark.usefixtures("graphs")
def test_a_compiled_update_is_the_same_up_to_rounding():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, compiled = (
        make(space=VECTOR, intrinsic="disagreement"),
        make(space=VECTOR, intrinsic="disagreement"),
    )
    compiled.compile_update()
    for seed in range(2):  # the second meets the graph that the first has made
        batch = rows(seed, intrinsic="disagreement", space=VECTOR)
        one, two = plain.update(batch), compiled.update(batch)
        assert one.keys() == two.keys()
        for name in one:
            torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-5, msg=name)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    for (name, one), two in zip(plain.state_dict().items(), compiled.state_dict().values(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-5, msg=name)
    assert torch.equal(plain.generator.get_state(), compiled.generator.get_state())


def test_without_a_compiler_a_sentence_says_so(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"install g\+\+"):
        make().compile_update()
    with pytest.raises(UserError, match=r"install g\+\+"):
        FusedAgents([make(0), make(1)], compile=True)
