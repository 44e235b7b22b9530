"""The whole model: behaviour of its verbs, and the rule of time on a scripted environment."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces

from agents.learning.optimizer import LaProp
from envs import SerialVectorEnv
from tests.scripted import Scripted
from world_model import Latent, WorldModel, for_size
from world_model.distributions import categorical_kl, sample_one_hot, symlog, twohot_loss

IMAGE = spaces.Box(0, 255, (32, 32, 3), np.uint8)
VECTOR = spaces.Box(-np.inf, np.inf, (4,), np.float32)
SMALL = for_size("tiny", deter=32, hidden=16, units=16, stoch=4, classes=4, depth=2, vector_layers=1)
KINDS = {
    "image": spaces.Dict({"image": IMAGE}),
    "vector": spaces.Dict({"vector": VECTOR}),
    "both": spaces.Dict({"image": IMAGE, "vector": VECTOR}),
}


def rows(space, batch=2, time=6, actions=3, seed=0):
    rng = np.random.default_rng(seed)
    made = {}
    for key, box in space.spaces.items():
        shape = (batch, time, *box.shape)
        values = rng.integers(256, size=shape) if box.dtype == np.uint8 else rng.normal(size=shape)
        made[key] = torch.tensor(values.astype(box.dtype))
    made["action"] = F.one_hot(torch.tensor(rng.integers(actions, size=(batch, time))), actions).float()
    made["reward"] = torch.tensor(rng.normal(size=(batch, time)).astype(np.float32))
    for flag in ("is_first", "is_last", "is_terminal"):
        made[flag] = torch.zeros(batch, time, dtype=torch.bool)
    made["is_first"][:, 0] = True
    made["is_terminal"][0, 3] = True
    return made


def make(kind="vector", action_space=None, **overrides):
    torch.manual_seed(0)
    model = WorldModel(
        KINDS[kind], action_space or spaces.Discrete(3), dataclasses.replace(SMALL, **overrides)
    )
    with torch.no_grad():
        model.reward[-1].weight.normal_(std=0.1)
    return model


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0, stoch=SMALL.stoch):
    """Uniform noise (*shape, S), of two sequences of six rows unless told otherwise."""
    return torch.rand(*(shape or (2, 6)), stoch, generator=generator(seed))


class TestLoss:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("style", ["pooled", "strided"])
    def test_every_part_learns(self, kind, style):
        model, batch = make(kind, conv=style, free_nats=0.0), rows(KINDS[kind])
        losses, latents, embeddings, metrics = model.loss(batch, noise())
        assert {name for name in losses if name.startswith("reconstruction")} == {
            f"reconstruction_{key}" for key in KINDS[kind].spaces
        }
        assert all(loss.shape == (2, 6) and loss.isfinite().all() for loss in losses.values())
        assert latents.features.shape == (2, 6, model.config.features)
        assert embeddings.shape == (2, 6, model.encoder.width)
        assert all(value.ndim == 0 and not value.requires_grad for value in metrics.values())
        sum(loss.mean() for loss in losses.values()).backward()
        lazy = [name for name, p in model.named_parameters() if p.grad is None or (p.grad == 0).all()]
        assert lazy == []

    def test_terms_by_hand(self):
        model, batch = (
            make(scale_dynamics=0.7, scale_representation=0.2, scale_reward=3.0, free_nats=0.05),
            rows(KINDS["vector"]),
        )
        losses, latents, _, _ = model.loss(batch, noise())
        _, posterior, _ = model.observe(batch, model.initial(2), noise())
        kl = categorical_kl(posterior, model.dynamics.prior(latents.deter)).clamp_min(0.05)
        torch.testing.assert_close(losses["dynamics_kl"], 0.7 * kl)
        torch.testing.assert_close(losses["representation_kl"], 0.2 * kl)
        features = latents.features
        reward = twohot_loss(model.reward(features), batch["reward"])
        torch.testing.assert_close(losses["reward"], 3 * reward)
        going = model.predict_continue(features)
        target = torch.full((2, 6), 1 - 1 / 333)
        target[0, 3] = 0
        torch.testing.assert_close(
            losses["continue"],
            -(target * going.log() + (1 - target) * (1 - going).log()),
            rtol=1e-4,
            atol=1e-5,
        )
        squared = (model.decoder(features)["vector"] - symlog(batch["vector"])).square().sum(-1)
        torch.testing.assert_close(losses["reconstruction_vector"], squared)

    def test_without_rewards_their_head_is_left_alone(self):
        model, batch = make(), rows(KINDS["vector"])
        del batch["reward"]
        losses, *_ = model.loss(batch, noise())
        assert "reward" not in losses
        sum(loss.mean() for loss in losses.values()).backward()
        assert all(p.grad is None for p in model.reward.parameters())

    def test_unknown_rewards_cost_nothing(self):
        model, batch = make(), rows(KINDS["vector"])
        whole, *_ = model.loss(batch, noise())
        batch["reward"][0] = torch.nan
        losses, *_ = model.loss(batch, noise())
        assert (losses["reward"][0] == 0).all()
        assert torch.equal(losses["reward"][1], whole["reward"][1])
        losses["reward"].sum().backward()
        assert all(p.grad.isfinite().all() for p in model.reward.parameters())

    def test_the_kl_terms_train_what_they_should(self):
        model, batch = make(free_nats=0.0), rows(KINDS["vector"])
        losses, *_ = model.loss(batch, noise())
        losses["dynamics_kl"].sum().backward(retain_graph=True)
        assert all(p.grad is not None for p in model.dynamics.prior_net.parameters())
        model.zero_grad()
        losses["representation_kl"].sum().backward()
        assert all(p.grad is None for p in model.dynamics.prior_net.parameters())
        assert model.dynamics.posterior_out.weight.grad.abs().sum() > 0


class TestImagine:
    def test_rows(self):
        model = make()
        start = Latent(torch.randn(5, 32, generator=generator()), model.initial(5).stoch)
        seen, choices = [], torch.rand(4, 5, generator=generator(2))

        def policy(features, choice):
            assert torch.equal(choice, choices[len(seen)])
            seen.append(features)
            return F.one_hot(torch.full((5,), len(seen) % 3), 3).float()

        latents, actions = model.imagine(start, policy, choices, noise(4, 5, seed=1))
        assert latents.deter.shape == (5, 5, 32)
        assert torch.equal(latents.deter[:, 0], start.deter)
        assert actions.shape == (5, 5, 3)
        assert (actions[:, 0] == 0).all()
        assert actions[0].argmax(-1).tolist() == [0, 1, 2, 0, 1]
        for h in range(4):
            # row h + 1 follows from row h and from the action that stands in row h + 1
            assert torch.equal(seen[h], latents.features[:, h])
            before, chance = latents.map(lambda x, h=h: x[:, h]), noise(4, 5, seed=1)[h]
            deter = model.dynamics.core(before.deter, before.stoch.flatten(1), actions[:, h + 1])
            torch.testing.assert_close(latents.deter[:, h + 1], deter)
            stoch = sample_one_hot(model.dynamics.prior(deter).exp(), chance)
            assert torch.equal(latents.stoch[:, h + 1], stoch)
        assert not latents.features.requires_grad


@pytest.mark.parametrize("kind", KINDS)
class TestOpenLoop:
    def test_no_observation_after_the_context_is_read(self, kind):
        model, batch = make(kind), rows(KINDS[kind])
        before = model.decoder(model.open_loop(batch, 3, generator()))
        other = rows(KINDS[kind], seed=1)
        for key in KINDS[kind].spaces:
            later = batch | {key: torch.cat([batch[key][:, :3], other[key][:, 3:]], 1)}
            after = model.decoder(model.open_loop(later, 3, generator()))
            assert all(torch.equal(after[name], value) for name, value in before.items())
        key = next(iter(KINDS[kind].spaces))
        earlier = batch | {key: torch.cat([other[key][:, :3], batch[key][:, 3:]], 1)}
        after = model.decoder(model.open_loop(earlier, 3, generator()))
        assert any(not torch.equal(after[name][:, 3:], value[:, 3:]) for name, value in before.items())

    def test_actions_are_read_where_they_lead(self, kind):
        model, batch = make(kind), rows(KINDS[kind])
        before = model.decoder(model.open_loop(batch, 3, generator()))
        actions = batch["action"].clone()
        actions[:, 4] = actions[:, 4].roll(1, -1)
        after = model.decoder(model.open_loop(batch | {"action": actions}, 3, generator()))
        for name, value in before.items():
            assert torch.equal(after[name][:, :4], value[:, :4])
            assert not torch.equal(after[name][:, 4], value[:, 4])

    def test_the_context_is_reconstruction(self, kind):
        model, batch = make(kind), rows(KINDS[kind])
        found = model.decoder(model.open_loop(batch, 3, generator()))
        seen = {key: value[:, :3] for key, value in batch.items()}
        latents, *_ = model.observe(seen, model.initial(2), noise()[:, :3])
        for name, value in model.decoder(latents.features).items():
            torch.testing.assert_close(found[name][:, :3], value)
            assert found[name].shape[:2] == (2, 6)


def test_box_actions():
    model = make(action_space=gymnasium.spaces.Box(-1, 1, (2,)))
    batch = rows(KINDS["vector"]) | {"action": torch.randn(2, 6, 2, generator=generator())}
    losses, *_ = model.loss(batch, noise())
    assert all(loss.isfinite().all() for loss in losses.values())


def test_same_noise_same_losses():
    model, batch = make("both"), rows(KINDS["both"])
    one, two, other = (model.loss(batch, noise(seed=seed))[0] for seed in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


# The rule of time

NUM_ACTIONS, LENGTHS, CONTEXT, WINDOW, RATE = 4, (5, 8), 2, 10, 1e-2
# No unimix and no free nats: what is certain is to be predicted with certainty.
SCRIPT = dataclasses.replace(
    SMALL, deter=64, hidden=32, units=32, stoch=8, classes=8, unimix=0.0, free_nats=0.0, horizon=10_000
)


def scripted_rows(count, time, seed):
    """Sequences (count, time, ...) of random actions, stored by the rule of time."""
    envs = SerialVectorEnv(lambda: Scripted(NUM_ACTIONS, LENGTHS), count)
    rng, arrived, actions = np.random.default_rng(seed), envs.reset(seed), np.zeros((count, NUM_ACTIONS))
    held = []
    for _ in range(time):
        held.append({**arrived, "action": (actions * ~arrived["is_first"][:, None]).astype(np.float32)})
        choice = rng.integers(NUM_ACTIONS, size=count)
        actions = np.eye(NUM_ACTIONS)[choice]
        arrived = envs.step(choice)
    return {key: torch.tensor(np.stack([row[key] for row in held], 1)) for key in held[0]}


def early(batch):
    """The mistake: row t holds the action that will be taken from it."""
    action = batch["action"]
    return batch | {"action": torch.cat([action[:, 1:], torch.zeros_like(action[:, :1])], 1)}


def episodes(batch, length):
    """Windows of whole episodes (their first `length` rows), cut from long sequences."""
    starts = [
        (b, t)
        for b, t in batch["is_first"].nonzero().tolist()
        if t + length <= batch["is_first"].shape[1] and not batch["is_first"][b, t + 1 : t + length].any()
    ]
    return {key: torch.stack([value[b, t : t + length] for b, t in starts]) for key, value in batch.items()}


def late(batch):
    """The mistake that hides what a row depends on: the action that led to row t stands in row t + 1."""
    action = batch["action"]
    return batch | {"action": torch.cat([torch.zeros_like(action[:, :1]), action[:, :-1]], 1)}


def train(batch, updates):
    torch.manual_seed(0)
    space = SerialVectorEnv(lambda: Scripted(NUM_ACTIONS, LENGTHS), 1)
    model = WorldModel(space.observation_space, space.action_space, SCRIPT)
    optimizer, source, picks = LaProp(model.parameters(), lr=RATE, warmup=50), generator(), generator(1)
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, 2 - 2 * update / updates)
        rows = torch.randint(len(batch["action"]), (16,), generator=picks)
        start = int(torch.randint(batch["action"].shape[1] - WINDOW, (), generator=picks))
        window = {k: value[rows, start : start + WINDOW] for k, value in batch.items()}
        losses, *_ = model.loss(window, torch.rand(16, WINDOW, SCRIPT.stoch, generator=source))
        losses["reconstruction_vector"] = (
            20 * losses["reconstruction_vector"]
        )  # its elements are few and small
        optimizer.zero_grad()
        sum(loss.mean() for loss in losses.values()).backward()
        optimizer.step()
    return model


@torch.no_grad()
def judge(model, batch):
    """What the model predicts open loop, the median of nine samples: the prior stays a little random."""
    batch = {key: value.repeat(9, *[1] * (value.ndim - 1)) for key, value in batch.items()}
    count = len(batch["action"])
    vector = model.decoder(model.open_loop(batch, CONTEXT, generator()))["vector"][:, CONTEXT:]
    chances = noise(*batch["action"].shape[:2], stoch=SCRIPT.stoch)
    latents, *_ = model.observe(
        {k: v[:, :CONTEXT] for k, v in batch.items()}, model.initial(count), chances[:, :CONTEXT]
    )
    latent, features = latents.map(lambda x: x[:, -1]), []
    for t in range(CONTEXT, batch["action"].shape[1]):
        latent = model.dynamics.predict(latent, batch["action"][:, t], chances[:, t])
        features.append(latent.features)
    rows = torch.stack(features, 1)
    found = {"vector": vector, "reward": model.predict_reward(rows), "going": model.predict_continue(rows)}
    return {key: value.unflatten(0, (9, -1)).median(0).values for key, value in found.items()}


def errors(found, batch):
    """Of the action and counter parts, squared, in shares of a one-hot element's range; of the reward."""
    truth = symlog(batch["vector"][:, CONTEXT:])
    squared = (found["vector"] - truth).square() / symlog(torch.ones(())) ** 2
    return {
        "action": squared[..., :NUM_ACTIONS].mean().item(),
        "counter": squared[..., NUM_ACTIONS:-1].mean().item(),
        "reward": (found["reward"] - batch["reward"][:, CONTEXT:]).abs().mean().item(),
    }


@pytest.fixture(scope="module")
def unseen():
    batch = scripted_rows(40, 40, seed=2)
    return {length: episodes(batch, length + 1) for length in LENGTHS}


@pytest.fixture(scope="module")
def trained():
    return train(scripted_rows(64, 60, seed=1), 450)


@pytest.mark.parametrize("length", LENGTHS)
class TestRuleOfTime:
    def test_open_loop_prediction_is_exact(self, trained, unseen, length):
        batch = unseen[length]
        found = judge(trained, batch)
        truth = batch["vector"][:, CONTEXT:]
        for part in (slice(0, NUM_ACTIONS), slice(NUM_ACTIONS, -1)):
            assert torch.equal(found["vector"][..., part].argmax(-1), truth[..., part].argmax(-1))
        error = errors(found, batch)
        # a blind guess comes to 0.19 for the action and to 0.1 for the counter
        assert error["action"] < 0.002
        assert error["counter"] < 0.002
        # rewards are 0.25 apart
        assert (found["reward"] - batch["reward"][:, CONTEXT:]).abs().max() < 0.06
        assert error["reward"] < 0.01

    def test_the_end_comes_in_its_row(self, trained, unseen, length):
        ends = unseen[length]["is_terminal"][:, CONTEXT:]
        assert ends.any(0).tolist() == [False] * (length - CONTEXT) + [length == LENGTHS[0]]
        going = judge(trained, unseen[length])["going"]
        assert (going[ends] < 0.1).all()
        assert (going[~ends] > 0.9).all()

    @pytest.mark.parametrize("shift", [late, early])
    def test_shifted_actions_are_plainly_mispredicted(self, trained, unseen, length, shift):
        right = errors(judge(trained, unseen[length]), unseen[length])
        batch = shift(unseen[length])
        wrong = errors(judge(trained, batch), batch)
        assert wrong["action"] > 0.1
        assert wrong["action"] > 50 * right["action"]
        assert wrong["reward"] > 10 * right["reward"]


def test_a_model_of_late_actions_cannot_learn_them(unseen):
    # the first test's model had learned the action by then: 120 updates suffice to tell them apart
    rows = scripted_rows(64, 60, seed=1)
    right, wrong = train(rows, 120), train(late(rows), 120)
    good = errors(judge(right, unseen[8]), unseen[8])
    bad = errors(judge(wrong, late(unseen[8])), unseen[8])
    assert good["action"] < 0.03
    assert bad["action"] > 0.15
    assert bad["reward"] > 5 * good["reward"]
