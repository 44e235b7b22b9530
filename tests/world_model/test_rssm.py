"""The recurrent state-space model against its equations, written out plainly."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from world_model import RSSM, Latent, WorldModelConfig
from world_model.nets import NORM_EPS

CONFIG = WorldModelConfig(deter=24, hidden=10, stoch=3, classes=4, blocks=4, units=8, depth=2)
EMBEDDING, ACTIONS = 7, 5


def randomise(module, seed=0):
    """Give every parameter a value of its own: fresh biases and norms would hide what is left out."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * 0.5)
    return module


@pytest.fixture
def rssm():
    return randomise(RSSM(CONFIG, EMBEDDING, ACTIONS)).double()


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape, seed=0):
    """Noise (*shape, S) of the stochastic state."""
    return torch.rand(*shape, CONFIG.stoch, generator=torch.Generator().manual_seed(seed))


def norm_silu(x, layer):
    y = x / torch.sqrt((x * x).mean(-1, keepdim=True) + NORM_EPS) * layer.weight
    return y * torch.sigmoid(y)


def plain_core(core, deter, stoch, action):
    """One row (D,), (S C,), (A,) by DreamerV3's equations, block by block."""
    g, width = core.blocks, len(deter) // core.blocks
    action = action / torch.clamp(action.abs(), min=1)
    shared = torch.cat(
        [
            norm_silu(net[0].weight @ x + net[0].bias, net[1])
            for net, x in ((core.deter_in, deter), (core.stoch_in, stoch), (core.action_in, action))
        ]
    )
    blocks = []
    for k in range(g):
        own = deter[k * width : (k + 1) * width]
        # one dense map of this block's [own state, shared input] to its own hidden units
        kernel = torch.cat(
            [
                core.hidden_own.weight[k].T,
                core.hidden_shared.weight[k * width : (k + 1) * width],
                core.hidden_action.weight[k * width : (k + 1) * width],
            ],
            1,
        )
        blocks.append(kernel @ torch.cat([own, shared]) + core.hidden_own.bias[k * width : (k + 1) * width])
    hidden = norm_silu(torch.cat(blocks), core.hidden_norm)
    result = []
    for k in range(g):
        part = slice(k * width, (k + 1) * width)
        gates = core.gates.weight[k].T @ hidden[part] + core.gates.bias[3 * k * width : 3 * (k + 1) * width]
        reset, candidate, update = gates[:width], gates[width : 2 * width], gates[2 * width :]
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update - 1)
        result.append(update * candidate + (1 - update) * deter[part])
    return torch.cat(result)


class TestCore:
    def test_against_equations(self, rssm):
        deter, stoch, action = normal(6, 24), normal(6, 12, seed=2), 2 * normal(6, ACTIONS, seed=3)
        found = rssm.core(deter, stoch, action)
        expected = torch.stack(
            [plain_core(rssm.core, *row) for row in zip(deter, stoch, action, strict=True)]
        )
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)

    def test_actions_beyond_one_count_as_one(self, rssm):
        deter, stoch = normal(1, 24), normal(1, 12, seed=2)
        far = rssm.core(deter, stoch, torch.tensor([[3.0, -7.0, 0.5, 1.0, 0.0]]).double())
        near = rssm.core(deter, stoch, torch.tensor([[1.0, -1.0, 0.5, 1.0, 0.0]]).double())
        torch.testing.assert_close(far, near)

    def test_a_fresh_core_remembers(self):
        # with zero gates the update is sigmoid(-1) and the candidate 0
        torch.manual_seed(0)
        core = RSSM(CONFIG, EMBEDDING, ACTIONS).core
        torch.nn.init.zeros_(core.gates.weight)
        deter = torch.randn(2, 24)
        kept = 1 - torch.sigmoid(torch.tensor(-1.0))
        found = core(deter, torch.randn(2, 12), torch.zeros(2, ACTIONS))
        torch.testing.assert_close(found, kept * deter)

    def test_initial_scale_counts_the_whole_fan_in(self):
        torch.manual_seed(0)
        config = dataclasses.replace(CONFIG, deter=512, hidden=128, blocks=8)
        core = RSSM(config, EMBEDDING, ACTIONS).core
        expected = (512 // 8 + 3 * 128) ** -0.5
        for layer in (core.hidden_own, core.hidden_shared, core.hidden_action):
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.02)


class TestHeads:
    def test_posterior_of_two_parts_is_one_linear_on_the_concatenation(self, rssm):
        deter, embedding = normal(5, 24), normal(5, EMBEDDING, seed=2)
        joint = torch.cat([rssm.posterior_deter.weight, rssm.posterior_embedding.weight], 1)
        hidden = F.linear(torch.cat([deter, embedding], -1), joint, rssm.posterior_embedding.bias)
        logits = F.linear(
            norm_silu(hidden, rssm.posterior_norm), rssm.posterior_out.weight, rssm.posterior_out.bias
        )
        probs = 0.99 * logits.reshape(5, 3, 4).float().softmax(-1) + 0.01 / 4
        found = rssm.posterior(deter, rssm.posterior_embedding(embedding))
        torch.testing.assert_close(found, probs.log(), rtol=1e-4, atol=1e-5)

    def test_posterior_parts_start_like_one_layer(self):
        torch.manual_seed(0)
        rssm = RSSM(dataclasses.replace(CONFIG, deter=400, hidden=200), 600, ACTIONS)
        for layer in (rssm.posterior_deter, rssm.posterior_embedding):
            assert layer.weight.std().item() == pytest.approx(1000**-0.5, rel=0.02)

    def test_prior_reads_the_state_alone(self, rssm):
        deter = normal(5, 24)
        h = deter
        for k in (0, 3):
            h = norm_silu(
                F.linear(h, rssm.prior_net[k].weight, rssm.prior_net[k].bias), rssm.prior_net[k + 1]
            )
        logits = F.linear(h, rssm.prior_net[6].weight, rssm.prior_net[6].bias).reshape(5, 3, 4)
        probs = 0.99 * logits.float().softmax(-1) + 0.01 / 4
        torch.testing.assert_close(rssm.prior(deter), probs.log(), rtol=1e-4, atol=1e-5)


def picked(log_probs, noise):
    """The class whose cumulative probability is the first above the noise."""
    above = torch.searchsorted(
        log_probs.exp().cumsum(-1), noise[..., None].contiguous(), right=True
    ).clamp_max(3)
    return F.one_hot(above[..., 0], 4).double()


class TestObserve:
    def observe(self, rssm, is_first, latent=None, embeddings=None, actions=None, seed=0):
        batch, time = is_first.shape
        return rssm.observe(
            normal(batch, time, EMBEDDING) if embeddings is None else embeddings,
            normal(batch, time, ACTIONS, seed=2) if actions is None else actions,
            is_first,
            latent or rssm.initial(batch),
            uniform(batch, time, seed=seed),
        )

    def test_against_a_plain_loop(self, rssm):
        is_first = torch.zeros(2, 5, dtype=torch.bool)
        is_first[0, 0] = is_first[1, 3] = True
        embeddings, actions = normal(2, 5, EMBEDDING), normal(2, 5, ACTIONS, seed=2)
        start = Latent(normal(2, 24, seed=3), F.one_hot(torch.tensor([[1, 0, 2], [3, 3, 0]]), 4).double())
        latents, posterior = self.observe(rssm, is_first, start, embeddings, actions)
        noise = uniform(2, 5)
        for b in range(2):
            deter, stoch = start.deter[b], start.stoch[b]
            for t in range(5):
                action = actions[b, t]
                if is_first[b, t]:
                    deter, stoch, action = 0 * deter, 0 * stoch, 0 * action
                deter = plain_core(rssm.core, deter, stoch.flatten(), action)
                projected = rssm.posterior_embedding(embeddings[b, t])
                log_probs = rssm.posterior(deter[None], projected[None])[0]
                stoch = picked(log_probs, noise[b, t])
                torch.testing.assert_close(latents.deter[b, t], deter, rtol=1e-6, atol=1e-7)
                torch.testing.assert_close(latents.stoch[b, t].double(), stoch, rtol=0, atol=1e-6)
                torch.testing.assert_close(posterior[b, t], log_probs, rtol=1e-5, atol=1e-6)

    def test_first_rows_forget_state_and_action(self, rssm):
        is_first = torch.zeros(2, 4, dtype=torch.bool)
        is_first[:, 2] = True
        actions = normal(2, 4, ACTIONS, seed=2)
        plain, _ = self.observe(rssm, is_first, actions=actions)
        changed = actions.clone()
        changed[:, 2] += 5
        other_start = Latent(normal(2, 24, seed=9), rssm.initial(2).stoch)
        one, _ = self.observe(rssm, is_first, actions=changed)
        two, _ = self.observe(rssm, is_first, latent=other_start, actions=actions)
        assert torch.equal(plain.deter, one.deter)
        assert torch.equal(plain.deter[:, 2:], two.deter[:, 2:])
        assert not torch.allclose(plain.deter[:, 0], two.deter[:, 0])

    def test_in_two_pieces_as_in_one(self, rssm):
        is_first = torch.zeros(2, 6, dtype=torch.bool)
        embeddings, actions = normal(2, 6, EMBEDDING), normal(2, 6, ACTIONS, seed=2)
        noise = uniform(2, 6)
        whole, _ = self.observe(rssm, is_first, None, embeddings, actions)
        latent = rssm.initial(2)
        for t in range(6):
            deter = rssm.core(latent.deter, latent.stoch.flatten(1), actions[:, t])
            log_probs = rssm.posterior(deter, rssm.posterior_embedding(embeddings[:, t]))
            latent = Latent(deter, picked(log_probs, noise[:, t]))
            torch.testing.assert_close(whole.deter[:, t], deter, rtol=1e-6, atol=1e-7)

    def test_the_gradient_passes_through_samples_and_time(self, rssm):
        embeddings = normal(1, 4, EMBEDDING).requires_grad_()
        is_first = torch.zeros(1, 4, dtype=torch.bool)
        latents, _ = self.observe(rssm, is_first, embeddings=embeddings)
        latents.deter[:, -1].sum().backward()
        # row 3's deter depends on earlier embeddings through straight-through samples only
        assert (embeddings.grad[0, :3].abs().sum(-1) > 0).all()
        assert (embeddings.grad[0, 3] == 0).all()


def test_predict_samples_the_prior(rssm):
    latent = Latent(normal(4000, 24)[:1].expand(4000, -1), rssm.initial(4000).stoch)
    action = normal(1, ACTIONS, seed=2).expand(4000, -1)
    after = rssm.predict(latent, action, uniform(4000))
    expected = rssm.prior(after.deter[:1]).exp()[0]
    assert after.stoch.sum(-1).unique().tolist() == [1.0]
    torch.testing.assert_close(after.stoch.mean(0).float(), expected.float(), rtol=0, atol=0.03)


def test_features_are_deter_then_stoch():
    latent = Latent(torch.zeros(2, 5), torch.ones(2, 3, 4))
    assert latent.features.shape == (2, 17)
    assert latent.features[0].tolist() == [0.0] * 5 + [1.0] * 12
