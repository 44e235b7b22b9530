"""The agent: what an update changes, what stays, what a checkpoint must hold."""

import copy
import dataclasses

import gymnasium
import numpy as np
import pytest
import scipy.stats
import torch

from agents import FINITE, ActorCriticConfig, AgentConfig, DreamerAgent, OptimizerConfig
from agents.base import rows_on
from agents.distributions import policy_noise
from expedition import UserError
from exploration import EARNED, INTRINSIC
from world_model import for_size

IMAGE = gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8)
VECTOR = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
KINDS = {
    "image": gymnasium.spaces.Dict({"image": IMAGE}),
    "vector": gymnasium.spaces.Dict({"vector": VECTOR}),
    "both": gymnasium.spaces.Dict({"image": IMAGE, "vector": VECTOR}),
}
DISCRETE, BOX = gymnasium.spaces.Discrete(3), gymnasium.spaces.Box(-1, 1, (2,))
CONFIG = AgentConfig(
    model=for_size(
        "tiny", deter=32, hidden=16, units=16, stoch=4, classes=4, depth=2, vector_layers=1, free_nats=0.0
    ),
    behaviour=ActorCriticConfig(imagination=3, layers=2, starts=4),
    optimizer=OptimizerConfig(lr=1e-3, warmup=0),
)


def make(kind="vector", actions=DISCRETE, intrinsic=None, seed=0, config=CONFIG):
    return DreamerAgent(KINDS[kind], actions, config, intrinsic, seed, torch.device("cpu"))


def rows(kind="vector", actions=DISCRETE, batch=3, time=8, seed=0, reward=True):
    rng = np.random.default_rng(seed)
    made = {}
    for key, box in KINDS[kind].spaces.items():
        shape = (batch, time, *box.shape)
        values = rng.integers(256, size=shape) if box.dtype == np.uint8 else rng.normal(size=shape)
        made[key] = values.astype(box.dtype)
    if isinstance(actions, gymnasium.spaces.Discrete):
        made["action"] = np.eye(3, dtype=np.float32)[rng.integers(3, size=(batch, time))]
    else:
        made["action"] = rng.uniform(-1, 1, size=(batch, time, 2)).astype(np.float32)
    if reward:
        made["reward"] = rng.normal(size=(batch, time)).astype(np.float32)
    for flag in ("is_first", "is_last", "is_terminal"):
        made[flag] = np.zeros((batch, time), bool)
    made["is_last"][0, 3] = made["is_terminal"][0, 3] = made["is_first"][0, 4] = True
    made["action"][made["is_first"]] = 0
    made[EARNED] = rng.random((batch, time)).astype(np.float32)
    return made


def weights(agent):
    return {name: value.clone() for name, value in agent.state_dict().items()}


@pytest.mark.parametrize(
    ("kind", "intrinsic"),
    [("vector", name) for name in (None, *INTRINSIC)]
    + [(kind, name) for kind in ("image", "both") for name in (None, "disagreement", "rnd", "icm")],
)
@pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
def test_an_update_changes_every_trained_component(kind, actions, intrinsic):
    agent = make(kind, actions, intrinsic)
    before = weights(agent)
    for seed in range(3):  # heads that start at zero pass no gradient on at first
        metrics = agent.update(rows(kind, actions, seed=seed, reward=intrinsic is None))
    changed = {name for name, value in agent.state_dict().items() if not torch.equal(value, before[name])}
    still = {name for name, _ in agent.named_parameters()} - changed
    # a reward that is computed in imagination needs no head
    headed = intrinsic is None or not agent.intrinsic.in_imagination
    idle = () if headed else ("world_model.reward.",)
    idle += {"rnd": ("intrinsic.target.",)}.get(intrinsic, ())
    assert still == {name for name, _ in agent.named_parameters() if name.startswith(idle or "-")}
    assert all(value.isfinite() for value in metrics.values())


@pytest.mark.parametrize(
    "component", ["encoder", "dynamics", "decoder", "reward", "continue", "actor", "critic"]
)
def test_frozen_components_stay_and_the_others_learn(component):
    agent = make("both")
    with torch.no_grad():  # a slow critic apart from the critic would otherwise have nowhere to go
        agent.behaviour.slow_critic[-1].bias.add_(1.0)
        agent.behaviour.critic[-1].weight.add_(0.1)
        agent.world_model.reward[-1].weight.add_(0.1)
    agent.freeze(component)
    parts = agent.components()
    before = {name: {k: v.clone() for k, v in part.state_dict().items()} for name, part in parts.items()}
    for seed in range(2):
        agent.update(rows("both", seed=seed))
    for name, part in parts.items():
        same = [torch.equal(value, before[name][key]) for key, value in part.state_dict().items()]
        assert all(same) if name == component else not any(same), name


def test_components_cover_every_parameter_once():
    for intrinsic in (None, *INTRINSIC):
        agent = make("both", intrinsic=intrinsic)
        held = [p for part in agent.components().values() for p in part.parameters()]
        assert len(held) == len(set(held))
        assert set(held) == set(agent.parameters())
        buffers = {id(b) for part in agent.components().values() for b in part.buffers()}
        assert buffers == {id(b) for b in agent.buffers()}


def test_same_seed_same_agent():
    one, two, other = make(), make(), make(seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    make()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("intrinsic", [None, *INTRINSIC])
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


def test_loaded_optimiser_state_is_a_copy():
    agent, twin = make(), make()
    agent.update(rows())
    twin.load_training_state(agent.training_state())
    held = {
        name: value.clone()
        for name, value in twin.training_state()["optimizer"]["behaviour.actor.0.bias"].items()
    }
    agent.update(rows(seed=1))
    now = twin.training_state()["optimizer"]["behaviour.actor.0.bias"]
    assert all(torch.equal(value, now[name]) for name, value in held.items())


def test_a_first_row_ends_the_episode_before_it_unseen():
    # a crash: no row said that it was the last, and its critic target must not look across
    whole = dataclasses.replace(CONFIG, behaviour=dataclasses.replace(CONFIG.behaviour, starts=0))
    agent, twin = make(config=whole), make(config=whole)
    batch = rows()
    batch["is_last"][0, 3] = batch["is_terminal"][0, 3] = False
    told = {key: value.copy() for key, value in batch.items()}
    told["is_last"][0, 3] = True
    one, two = agent.update(batch), twin.update(told)
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in two.items()}


def test_unknown_rewards_are_guessed_for_the_critic():
    agent, batch = make(), rows()
    batch["reward"][0] = np.nan
    for _ in range(3):
        metrics = agent.update(batch)
    assert all(value.isfinite() for value in metrics.values())
    assert all(p.isfinite().all() for p in agent.parameters())


def parts_reached(agent, batch, name):
    """The components into which a loss of the update sends a gradient that is not zero."""
    replayed = rows_on(agent.device, batch)
    losses, _ = agent._losses(replayed, agent.draw_noise(replayed), torch.tensor(0.0))
    agent.zero_grad(set_to_none=True)
    losses[name].mean().backward()
    return {
        part
        for part, module in agent.components().items()
        if any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())
    }


class TestWhatShapesTheModel:
    """The task's returns shape encoder and dynamics; those of an intrinsic reward do not."""

    def agent(self, intrinsic):
        agent = make(intrinsic=intrinsic)
        with torch.no_grad():  # heads that start at zero pass no gradient on
            agent.behaviour.critic[-1].weight.normal_(std=0.1)
            agent.world_model.reward[-1].weight.normal_(std=0.1)
        return agent

    @pytest.mark.parametrize("intrinsic", INTRINSIC)
    def test_not_in_phase_1(self, intrinsic):
        agent, batch = self.agent(intrinsic), rows(reward=False)
        assert parts_reached(agent, batch, "replay_critic") == {"critic"}
        if not agent.intrinsic.in_imagination:
            assert parts_reached(agent, batch, "reward") == {"reward"}

    def test_in_phase_2(self):
        agent = self.agent(None)
        assert parts_reached(agent, rows(), "replay_critic") == {"encoder", "dynamics", "critic"}
        assert parts_reached(agent, rows(), "reward") == {"encoder", "dynamics", "reward"}

    @pytest.mark.parametrize("intrinsic", [None, *INTRINSIC])
    def test_no_other_loss_does(self, intrinsic):
        agent, batch = self.agent(intrinsic), rows(reward=intrinsic is None)
        own = {"reconstruction_vector", "continue", "dynamics_kl", "representation_kl"}
        own |= set() if intrinsic else {"reward", "replay_critic"}
        names = {name.removeprefix("loss/") for name in agent.update(batch) if name.startswith("loss/")}
        parts = {name: parts_reached(agent, batch, name) for name in names - {"total"}}
        for component in ("encoder", "dynamics"):
            assert {name for name, reached in parts.items() if component in reached} == own

    @pytest.mark.parametrize("intrinsic", [None, "disagreement", "rnd"])
    def test_the_models_own_losses_do_in_both(self, intrinsic):
        agent, batch = self.agent(intrinsic), rows(reward=intrinsic is None)
        assert parts_reached(agent, batch, "reconstruction_vector") == {"encoder", "dynamics", "decoder"}
        assert parts_reached(agent, batch, "continue") == {"encoder", "dynamics", "continue"}


@pytest.mark.parametrize("intrinsic", [None, *INTRINSIC])
@pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
def test_a_loss_is_a_function_of_weights_rows_and_noise(actions, intrinsic):
    agent = make(actions=actions, intrinsic=intrinsic)
    agent.update(rows(actions=actions, reward=intrinsic is None))
    twin = copy.deepcopy(agent)
    batch = rows_on(agent.device, rows(actions=actions, seed=1, reward=intrinsic is None))
    noise, other = agent.draw_noise(batch), agent.draw_noise(batch)
    before, step = agent.generator.get_state(), torch.tensor(0.0)
    torch.manual_seed(1)
    one, told = agent.losses(batch, noise, step)
    assert torch.equal(agent.generator.get_state(), before)
    torch.manual_seed(2)  # nothing may hang on the global generator
    two, said = twin.losses({k: v.clone() for k, v in batch.items()}, noise, step)
    assert torch.equal(one, two)
    assert {k: v.item() for k, v in told.items()} == {k: v.item() for k, v in said.items()}
    one.backward()
    two.backward()
    for (name, p), q in zip(agent.named_parameters(), twin.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        assert p.grad is None or torch.equal(p.grad, q.grad), name
    for (name, p), q in zip(agent.named_buffers(), twin.buffers(), strict=True):
        assert torch.equal(p, q), name
    assert not torch.equal(twin.losses(batch, other, step)[0], two)


@pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
def test_noise_has_the_shapes_of_the_update(actions):
    agent = make(actions=actions)
    noise = agent.draw_noise(rows_on(agent.device, rows(actions=actions)))
    # 3 sequences of 8 rows; imagination goes 3 steps from the last 4 rows of each
    assert noise.posterior.shape == (3, 8, 4)
    assert noise.prior.shape == (3, 12, 4)
    assert noise.policy.shape == ((3, 12, 1) if actions is DISCRETE else (3, 12, 2))


class TestAct:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
    def test_shapes_and_range(self, kind, actions):
        agent, batch = make(kind, actions), rows(kind, actions)
        state = agent.initial_state(3, 0)
        for t in range(8):
            chosen, state, record = agent.act({k: v[:, t] for k, v in batch.items()}, state, "train")
            assert chosen.dtype == np.float32
            assert {name: (value.shape, value.dtype) for name, value in record.items()} == {
                name: ((3, *shape), dtype) for name, (shape, dtype) in agent.record_spec.items()
            }
            if actions is DISCRETE:
                assert chosen.shape == (3, 3)
                assert (chosen.sum(-1) == 1).all()
                assert set(np.unique(chosen)) <= {0.0, 1.0}
            else:
                assert chosen.shape == (3, 2)
                assert np.abs(chosen).max() <= 1

    def test_the_state_is_that_of_the_model(self):
        # acting row by row filters as the model does over the whole sequence
        agent, batch = make(), rows()
        state, latents, taken = agent.initial_state(3, 0), [], [np.zeros((3, 3), np.float32)]
        for t in range(8):
            row = {k: v[:, t] for k, v in batch.items()}
            action, state, _ = agent.act(row, state, "train")
            latents.append(state.latent.deter)
            taken.append(action)
        generator = torch.Generator().manual_seed(0)
        model, latent = agent.world_model, agent.world_model.initial(3)
        for t in range(8):
            row = {
                "vector": torch.tensor(batch["vector"][:, t : t + 1]),
                "is_first": torch.tensor(batch["is_first"][:, t : t + 1]),
                "action": torch.tensor(taken[t])[:, None],
            }
            seen, _, _ = model.observe(row, latent, torch.rand(3, 1, 4, generator=generator))
            latent = seen.map(lambda x: x[:, 0])
            choice = policy_noise(DISCRETE, (3,), generator)
            assert torch.equal(agent.behaviour.choose(latent.features, choice), torch.tensor(taken[t + 1]))
            torch.testing.assert_close(latents[t], latent.deter)

    def test_every_action_is_tried(self):
        # a fresh policy is nearly uniform
        agent = make()
        batch = {"vector": np.zeros((600, 4), np.float32), "is_first": np.ones(600, bool)}
        chosen, _, _ = agent.act(batch, agent.initial_state(600, 0), "train")
        np.testing.assert_allclose(chosen.mean(0), 1 / 3, atol=0.08)

    def test_the_seed_decides(self):
        agent, batch = make(actions=BOX), {k: v[:, 0] for k, v in rows(actions=BOX).items()}
        one, two, other = (agent.act(batch, agent.initial_state(3, s), "train")[0] for s in (0, 0, 1))
        assert (one == two).all()
        assert (one != other).any()

    def test_acting_leaves_learning_alone(self):
        agent, batch = make(), {k: v[:, 0] for k, v in rows().items()}
        before = agent.generator.get_state()
        agent.act(batch, agent.initial_state(3, 0), "train")
        assert torch.equal(before, agent.generator.get_state())


class TestIntrinsic:
    def test_imagined_and_replayed_rewards_share_the_scale(self):
        agent = make(intrinsic="disagreement")
        agent.update(rows(reward=False))
        latents, *_ = agent.world_model.observe(
            {k: torch.tensor(v) for k, v in rows(reward=False).items()},
            agent.world_model.initial(3),
            torch.rand(3, 8, 4, generator=torch.Generator().manual_seed(0)),
        )
        actions = torch.tensor(rows()["action"])
        raw = agent.intrinsic.reward(latents.detach(), actions)
        found = agent._imagined_reward(latents.detach(), actions)
        torch.testing.assert_close(found, raw / agent.intrinsic.scale.deviation())
        assert agent.intrinsic.scale.deviation() != 1

    @pytest.mark.parametrize("intrinsic", INTRINSIC)
    def test_what_imagination_lacks_is_learned_by_the_reward_head(self, intrinsic):
        agent = make(intrinsic=intrinsic)
        metrics = agent.update(rows(reward=False))
        assert ("loss/reward" in metrics) is not agent.intrinsic.in_imagination

    @pytest.mark.parametrize("intrinsic", ["rnd", "byol-explore", "icm", "lbs", "e3b"])
    def test_the_reward_head_is_taught_the_scaled_reward(self, intrinsic, monkeypatch):
        agent, batch, taught = make(intrinsic=intrinsic), rows(reward=False), []
        learn = agent.world_model.reward_loss
        monkeypatch.setattr(
            agent.world_model, "reward_loss", lambda x, reward: taught.append(reward) or learn(x, reward)
        )
        agent.update(batch)
        (reward,), first = taught, torch.tensor(batch["is_first"])
        assert (reward[first] == 0).all()
        # the first scale is that of the one batch: what actions led to has deviation 1
        assert reward[:, 1:][~first[:, 1:]].std(unbiased=False).item() == pytest.approx(1, rel=1e-3)

    @pytest.mark.parametrize("mode", ["train", "evaluate"])
    @pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
    def test_random_data_acts_uniformly_whatever_the_policy(self, mode, actions):
        chosen = {}
        for intrinsic in ("random-data", "none"):
            agent = make(actions=actions, intrinsic=intrinsic)
            with torch.no_grad():
                agent.behaviour.actor[-1].bias[0] += 20.0  # a policy that is certain
            batch = {"vector": np.zeros((900, 4), np.float32), "is_first": np.ones(900, bool)}
            chosen[intrinsic], *_ = agent.act(batch, agent.initial_state(900, 0), mode)
        uniform, certain = chosen["random-data"], chosen["none"]
        if actions is DISCRETE:
            assert scipy.stats.chisquare(uniform.sum(0)).pvalue > 0.01
            assert certain[:, 0].mean() > 0.9
        else:
            assert scipy.stats.kstest(uniform.ravel(), "uniform", (-1, 2)).pvalue > 0.01
            assert certain[:, 0].mean() > 0.5


@pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
@pytest.mark.parametrize(
    ("conv", "intrinsic"),
    [("pooled", None), ("pooled", "disagreement"), *[("strided", name) for name in (None, *INTRINSIC)]],
)
def test_bf16_stays_near_fp32_and_leaves_weights_in_fp32(actions, intrinsic, conv):
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, conv=conv))
    found = {}
    for precision in ("fp32", "bf16"):
        # a seed with which both precisions sample the same states: one that differs moves a loss by percents
        agent = make("both", actions, intrinsic, 2, dataclasses.replace(config, precision=precision))
        metrics = [agent.update(rows("both", actions, reward=intrinsic is None)) for _ in range(4)]
        assert {value.dtype for value in agent.state_dict().values()} == {torch.float32}
        told = [value for name, value in metrics[-1].items() if name != FINITE]
        assert {value.dtype for value in told} == {torch.float32}
        # the first update alone: later ones also differ by the states that were sampled
        found[precision] = {name: value.item() for name, value in metrics[0].items()}
    assert found["bf16"] != found["fp32"]
    for name in ("loss/reconstruction_image", "loss/reconstruction_vector", "loss/continue", "loss/total"):
        assert found["bf16"][name] == pytest.approx(found["fp32"][name], rel=0.005)


def test_an_unknown_precision_is_refused():
    with pytest.raises(UserError, match="did you mean fp32"):
        AgentConfig(precision="fp23")
