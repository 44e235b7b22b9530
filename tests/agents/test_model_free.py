"""The model-free twin: what it learns from, what it leaves alone, and what it shares with the other agent."""

import copy
import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from scipy import stats

from agents import (
    FINITE,
    ActorCriticConfig,
    AgentConfig,
    DreamerAgent,
    ModelFreeAgent,
    OptimizerConfig,
    PriorConfig,
)
from agents.base import LOG_PROB, rows_on
from agents.config import ModelFreeConfig
from agents.distributions import from_parameters
from agents.prior import PolicyPrior
from world_model import for_size

VECTOR = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
SPACES = {
    "vector": gymnasium.spaces.Dict({"vector": VECTOR}),
    "both": gymnasium.spaces.Dict(
        {"image": gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8), "vector": VECTOR}
    ),
}
DISCRETE, BOX = gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1, 1, (2,))
FACTORED = gymnasium.spaces.MultiDiscrete([3, 2])
ACTIONS = pytest.mark.parametrize("actions", [DISCRETE, FACTORED, BOX], ids=["discrete", "factored", "box"])
CONFIG = AgentConfig(
    kind="model-free",
    model=for_size("tiny", deter=32, hidden=16, units=16, stoch=4, classes=4, depth=2, vector_layers=1),
    behaviour=ActorCriticConfig(layers=2, entropy=1e-3),
    optimizer=OptimizerConfig(lr=1e-3, warmup=0),
)


def make(kind="vector", actions=DISCRETE, intrinsic=None, seed=0, config=CONFIG):
    return ModelFreeAgent(SPACES[kind], actions, config, intrinsic, seed, torch.device("cpu"))


def without_entropy():
    return dataclasses.replace(CONFIG, behaviour=dataclasses.replace(CONFIG.behaviour, entropy=0.0))


def rows(kind="vector", actions=DISCRETE, batch=3, time=8, seed=0, reward=True):
    rng = np.random.default_rng(seed)
    made = {}
    for key, box in SPACES[kind].spaces.items():
        shape = (batch, time, *box.shape)
        values = rng.integers(256, size=shape) if box.dtype == np.uint8 else rng.normal(size=shape)
        made[key] = values.astype(box.dtype)
    if actions is DISCRETE:
        made["action"] = np.eye(3, dtype=np.float32)[rng.integers(3, size=(batch, time))]
        made[LOG_PROB] = np.full((batch, time), np.log(1 / 3), np.float32)
    elif actions is FACTORED:
        made["action"] = np.eye(5, dtype=np.float32)[rng.integers(3, size=(batch, time))]
        made["action"] += np.eye(5, dtype=np.float32)[3 + rng.integers(2, size=(batch, time))]
        made[LOG_PROB] = np.full((batch, time), np.log(1 / 6), np.float32)
    else:
        made["action"] = rng.uniform(-1, 1, size=(batch, time, 2)).astype(np.float32)
        made[LOG_PROB] = np.full((batch, time), np.log(1 / 4), np.float32)
    if reward:
        made["reward"] = rng.normal(size=(batch, time)).astype(np.float32)
    for flag in ("is_first", "is_last", "is_terminal"):
        made[flag] = np.zeros((batch, time), bool)
    made["is_last"][0, 3:4] = made["is_terminal"][0, 3:4] = made["is_first"][0, 4:5] = True
    made["action"][made["is_first"]] = 0
    return made


def weights(agent):
    return {name: value.clone() for name, value in agent.state_dict().items()}


def changed(agent, before):
    return {name for name, value in agent.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("kind", SPACES)
@ACTIONS
@pytest.mark.parametrize("intrinsic", [None, "disagreement", "rnd", "none"])
def test_an_update_changes_every_trained_component(kind, actions, intrinsic):
    agent = make(kind, actions, intrinsic)
    before = weights(agent)
    for seed in range(3):  # heads that start at zero pass no gradient on at first
        metrics = agent.update(rows(kind, actions, seed=seed, reward=intrinsic is None))
    still = {name for name, _ in agent.named_parameters()} - changed(agent, before)
    idle = ("world_model.dynamics.prior_net.", "intrinsic.target.")
    assert still == {name for name, _ in agent.named_parameters() if name.startswith(idle)}
    assert all(value.isfinite() for value in metrics.values())


@ACTIONS
def test_components_fit_the_model_based_agent_both_ways(actions):
    based = dataclasses.replace(CONFIG, kind="model-based")
    twin, other = (
        make("both", actions),
        DreamerAgent(SPACES["both"], actions, based, None, 1, torch.device("cpu")),
    )
    shared = set(twin.components())
    assert shared == set(other.components()) - {"decoder", "reward", "continue"}
    for name in shared:
        other.components()[name].load_state_dict(twin.components()[name].state_dict())
        twin.components()[name].load_state_dict(other.components()[name].state_dict())


def test_components_cover_every_parameter_once():
    for intrinsic in (None, "disagreement", "rnd", "none"):
        agent = make("both", intrinsic=intrinsic)
        held = [p for part in agent.components().values() for p in part.parameters()]
        assert len(held) == len(set(held))
        assert set(held) == set(agent.parameters())


@pytest.mark.parametrize("component", ["encoder", "dynamics", "actor", "critic"])
def test_frozen_components_stay_and_the_others_learn(component):
    agent = make()
    with torch.no_grad():  # a slow critic apart from the critic would otherwise have nowhere to go
        agent.behaviour.slow_critic[-1].bias.add_(1.0)
        agent.behaviour.critic[-1].weight.add_(0.1)
    agent.freeze(component)
    parts = agent.components()
    before = {name: {k: v.clone() for k, v in part.state_dict().items()} for name, part in parts.items()}
    for seed in range(3):
        agent.update(rows(seed=seed))
    for name, part in parts.items():
        same = all(torch.equal(value, before[name][key]) for key, value in part.state_dict().items())
        assert same == (name == component), name


@ACTIONS
@pytest.mark.parametrize("intrinsic", [None, "disagreement", "rnd"])
def test_losses_are_a_function_of_weights_rows_noise_and_step(actions, intrinsic):
    agent = make(actions=actions, intrinsic=intrinsic)
    agent.update(rows(actions=actions, reward=intrinsic is None))  # off the start
    batch = rows_on(torch.device("cpu"), rows(actions=actions, seed=1, reward=intrinsic is None))
    noise, step = agent.draw_noise(batch), torch.tensor(0.0)
    assert noise.posterior.shape == (3, 8, 4)
    assert noise.prior.numel() == noise.policy.numel() == 0
    before, found, state = weights(agent), [], agent.generator.get_state()
    for call in range(2):
        agent.load_state_dict(before)
        torch.manual_seed(call)
        total, metrics = agent.losses(batch, noise, step)
        total.backward()
        found.append({"total": total.detach(), **metrics, **weights(agent)})
        found[-1] |= {f"{n}.grad": p.grad for n, p in agent.named_parameters() if p.grad is not None}
        agent.zero_grad(set_to_none=True)
        assert torch.equal(torch.get_rng_state(), torch.manual_seed(call).get_state())
    assert torch.equal(agent.generator.get_state(), state)
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name
    agent.load_state_dict(before)
    assert agent.losses(batch, agent.draw_noise(batch), step)[0] != found[0]["total"]


@pytest.mark.parametrize("unknown", ["reward", LOG_PROB])
def test_rows_of_unknown_reward_or_probability_teach_nothing(unknown):
    agent, batch = make(config=without_entropy()), rows()
    with torch.no_grad():
        agent.behaviour.critic[-1].weight.add_(0.1)  # a critic that is not what it should be
    batch[unknown][:] = np.nan
    before = weights(agent)
    metrics = agent.update(batch)
    moved = {name for name in changed(agent, before) if not name.startswith("behaviour.")}
    assert moved == set()
    assert not any(
        name.startswith(("behaviour.actor", "behaviour.critic")) for name in changed(agent, before)
    )
    assert metrics["loss/actor"] == metrics["loss/critic"] == 0


def test_a_first_row_ends_the_episode_before_it_unseen():
    agent, twin = make(), make()
    batch = rows()
    batch["is_last"][0, 3] = batch["is_terminal"][0, 3] = False
    told = {key: value.copy() for key, value in batch.items()}
    told["is_last"][0, 3] = True
    one, two = agent.update(batch), twin.update(told)
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in two.items()}


@pytest.mark.parametrize("intrinsic", [None, "disagreement", "rnd"])
def test_a_copy_goes_on_as_the_original(intrinsic):
    agent, twin = make(intrinsic=intrinsic), make(intrinsic=intrinsic, seed=5)
    for seed in range(3):
        agent.update(rows(seed=seed, reward=intrinsic is None))
    for name, part in twin.components().items():
        part.load_state_dict(agent.components()[name].state_dict())
    twin.load_training_state(copy.deepcopy(agent.training_state()))
    for seed in range(3, 6):
        batch = rows(seed=seed, reward=intrinsic is None)
        one, two = agent.update(batch), twin.update(batch)
        assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in two.items()}
    after = weights(twin)
    assert all(torch.equal(value, after[name]) for name, value in agent.state_dict().items())


@ACTIONS
def test_it_learns_a_bandit_from_actions_that_others_chose(actions):
    # two rows an episode, uniform actions, reward for the third action, or for a first value near 0.5
    config = dataclasses.replace(CONFIG, optimizer=OptimizerConfig(lr=1e-2, warmup=0, beta2=0.95))
    agent, rng = make(actions=actions, config=config), np.random.default_rng(0)
    for seed in range(60):
        batch = rows(actions=actions, batch=32, time=2, seed=seed)
        batch["vector"][:] = 0
        batch["is_first"][:], batch["is_last"][:], batch["is_terminal"][:] = (False,) * 3
        batch["is_first"][:, 0] = batch["is_last"][:, 1] = batch["is_terminal"][:, 1] = True
        batch["action"][:, 0] = 0
        taken = batch["action"][:, 1]
        good = taken[:, 2] if actions is not BOX else 1 - np.abs(taken[:, 0] - 0.5)
        batch["reward"][:, 1] = good + 0.1 * rng.normal(size=32)
        agent.update(batch)
    latents, _, _ = agent.world_model.observe(
        {key: torch.as_tensor(value[:, :1]) for key, value in batch.items()},
        agent.world_model.initial(32),
        torch.rand(32, 1, CONFIG.model.stoch, generator=torch.Generator().manual_seed(0)),
    )
    policy = agent.behaviour.policy(latents.features[:, 0])
    if actions is not BOX:
        assert float(policy.parameters()["logits"][:, 2].detach().exp().mean()) > 0.9
    else:
        mean = policy.parameters()["mean"].detach().mean(0)
        assert float(mean[0]) == pytest.approx(0.5, abs=0.25)


class TestRecord:
    """Beside each row stands the log-probability of the action that was chosen there."""

    def policies(self, agent, batch):
        """The policy in every row, from its parameters, under the noise that acting drew."""
        state, found = agent.initial_state(3, 0), []
        for t in range(8):
            row = {key: value[:, t] for key, value in batch.items()}
            action, state, record = agent.act(row, state, "train")
            policy = agent.behaviour.policy(state.latent.features)
            found.append((action, {k: v.detach().numpy() for k, v in policy.parameters().items()}, record))
        return found

    def test_discrete(self):
        agent = make()
        for action, policy, record in self.policies(agent, rows()):
            chosen = policy["logits"][np.arange(3), action.argmax(-1)]
            np.testing.assert_allclose(record[LOG_PROB], chosen, rtol=1e-5)

    def test_box(self):
        clipped = 0
        for action, policy, record in self.policies(make(actions=BOX), rows(actions=BOX)):
            mean, std = policy["mean"], policy["std"]
            expected = stats.norm.logpdf(action, mean, std)
            expected = np.where(action >= 1, stats.norm.logsf(1, mean, std), expected)
            expected = np.where(action <= -1, stats.norm.logcdf(-1, mean, std), expected)
            np.testing.assert_allclose(record[LOG_PROB], expected.sum(-1), rtol=1e-4, atol=1e-5)
            clipped += (np.abs(action) >= 1).sum()
        assert clipped > 0

    @ACTIONS
    def test_where_the_teacher_acts_it_is_the_teachers(self, actions):
        teacher = make(actions=actions, seed=1)
        with torch.no_grad():  # one that is far from uniform
            teacher.behaviour.actor[-1].weight.normal_(generator=torch.Generator().manual_seed(2))
        agent = make(actions=actions)
        settings = PriorConfig(share=0.5, stretch=1)
        agent.attach_prior(PolicyPrior(teacher.world_model, teacher.behaviour, settings, 1000))
        batch = {key: value[:, 0] for key, value in rows(actions=actions, batch=200).items()}
        action, state, record = agent.act(batch, agent.initial_state(200, 0), "train")
        own = agent.behaviour.policy(state.latent.features)
        taught = {name: torch.tensor(record[f"prior/{name}"]) for name in own.parameters()}
        taught = from_parameters(taught, agent.behaviour.factors)
        acting = state.prior.acting.numpy()
        assert 0 < acting.sum() < 200
        for policy, where in ((taught, acting), (own, ~acting)):
            expected = policy.log_prob_clipped(torch.tensor(action)).detach().numpy()
            np.testing.assert_allclose(record[LOG_PROB][where], expected[where], rtol=1e-4, atol=1e-5)

    def test_evaluation_keeps_nothing(self):
        agent, batch = make(), {key: value[:, 0] for key, value in rows().items()}
        assert agent.act(batch, agent.initial_state(3, 0), "evaluate")[2] == {}


@ACTIONS
def test_bf16_stays_near_fp32_and_leaves_weights_in_fp32(actions):
    found = {}
    for precision in ("fp32", "bf16"):
        agent = make("both", actions, config=dataclasses.replace(CONFIG, precision=precision))
        metrics = [agent.update(rows("both", actions)) for _ in range(4)][-1]
        assert {value.dtype for value in agent.state_dict().values()} == {torch.float32}
        told = [value for name, value in metrics.items() if name != FINITE]
        assert {value.dtype for value in told} == {torch.float32}
        found[precision] = {name: value.item() for name, value in metrics.items()}
    assert found["bf16"] != found["fp32"]
    assert found["bf16"]["loss/critic"] == pytest.approx(found["fp32"]["loss/critic"], rel=0.05)


def test_an_actor_that_rests_is_not_taught_through_what_it_reads():
    """While it rests, the critic alone shapes encoder and core; then the actor does so too."""
    critics_alone = dataclasses.replace(CONFIG, model_free=ModelFreeConfig(actor_gradient=False))
    both, critics = make(), make(config=critics_alone)
    before = weights(both)
    for agent in (both, critics):
        agent.freeze("actor", until=3)
    for step in (1, 2, 3):
        for agent in (both, critics):
            agent.update(rows(seed=step), env_step=step)
        moved = changed(both, before)
        assert any(name.startswith("behaviour.critic.") for name in moved)
        assert any(name.startswith("behaviour.actor.") for name in moved) == (step == 3)
        assert bool(changed(both, weights(critics))) == (step == 3)
