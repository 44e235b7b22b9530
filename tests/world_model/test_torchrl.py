"""The world model against TorchRL's DreamerV3 modules with the same weights."""

import gymnasium
import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.modules.functional import symexp, symlog
from torchrl.modules.models.model_based import (
    DreamerV3BlockGRU,
    DreamerV3MLP,
    RSSMPosteriorV3,
    RSSMPriorV3,
    SymExpTwoHot,
    two_hot_cross_entropy,
    two_hot_decode,
)
from torchrl.objectives import DreamerV3ModelLoss
from torchrl.objectives.dreamer_v3 import categorical_kl_terms

from world_model import RSSM, WorldModel, WorldModelConfig
from world_model import distributions as ours
from world_model.nets import MLP, RMSNorm

CONFIG = WorldModelConfig(deter=32, hidden=12, stoch=4, classes=6, blocks=4, units=16, vector_layers=2)
EMBEDDING, ACTIONS = 9, 5


def randomise(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(0.4 * torch.randn(p.shape, generator=generator))
    return module


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def copy_norm_linear(target, source):
    """Two equal Sequentials [Linear, norm, SiLU]."""
    target[0].load_state_dict(source[0].state_dict())
    target[1].weight.data = source[1].weight.data


def copy_mlp(target, source):
    """Linear layers and norms, in their order."""
    linears = [m for m in target if isinstance(m, torch.nn.Linear)]
    for theirs, layer in zip(linears, [m for m in source if isinstance(m, torch.nn.Linear)], strict=True):
        theirs.load_state_dict(layer.state_dict())
    norms = [m for m in target if type(m).__name__ == "_DreamerV3RMSNorm"]
    for theirs, layer in zip(norms, [m for m in source if isinstance(m, RMSNorm)], strict=True):
        theirs.weight.data = layer.weight.data


def first_layer_blocks(core):
    """Their first block layer reads [own state, shared input] in each block: its kernel is all of ours."""
    dense = torch.cat([core.hidden_shared.weight, core.hidden_action.weight], 1)
    shared = dense.unflatten(0, (core.blocks, -1)).transpose(1, 2)  # (g, 3h, D / g)
    return torch.cat([core.hidden_own.weight, shared], 1)


def copy_core(target, core):
    copy_norm_linear(target.belief_projection, core.deter_in)
    copy_norm_linear(target.state_projection, core.stoch_in)
    copy_norm_linear(target.action_projection, core.action_in)
    target.hidden_layers[0].weight.data = first_layer_blocks(core).detach()
    target.hidden_layers[0].bias.data = core.hidden_own.bias.data
    target.hidden_layers[1].weight.data = core.hidden_norm.weight.data
    target.gates.weight.data, target.gates.bias.data = core.gates.weight.data, core.gates.bias.data


@pytest.fixture
def rssm():
    return randomise(RSSM(CONFIG, EMBEDDING, ACTIONS))


@pytest.fixture
def prior(rssm):
    theirs = RSSMPriorV3(
        action_shape=(ACTIONS,),
        hidden_dim=CONFIG.hidden,
        rnn_hidden_dim=CONFIG.deter,
        num_categoricals=CONFIG.stoch,
        num_classes=CONFIG.classes,
        action_dim=ACTIONS,
        recurrent_model="block_gru",
        num_blocks=CONFIG.blocks,
        num_layers=1,
        prior_num_layers=2,
        unimix=CONFIG.unimix,
    )
    copy_core(theirs.rnn, rssm.core)
    copy_mlp(theirs.rnn_to_prior_projector, rssm.prior_net)
    return theirs


class TestCore:
    def test_one_step_and_its_gradients(self, rssm, prior):
        inputs = [normal(7, 32), normal(7, 24, seed=2), 2 * normal(7, ACTIONS, seed=3)]
        mine, theirs = ([x.clone().requires_grad_() for x in inputs] for _ in range(2))
        found = rssm.core(*mine)
        expected = prior.rnn(theirs[1], theirs[0], theirs[2])  # state, belief, action
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        weights = normal(7, 32, seed=4)
        (found * weights).sum().backward()
        (expected * weights).sum().backward()
        for one, two in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(rssm.core.gates.weight.grad, prior.rnn.gates.weight.grad)

    def test_block_gru_over_time(self, rssm):
        # DreamerV3BlockGRU projects one input where DreamerV3 projects stochastic state and action apart, so
        # ours is made to hear the action alone: the projection of the state gets a zero norm. It must share
        # its input with the recurrence in their order [input, belief].
        core = rssm.core
        with torch.no_grad():
            core.stoch_in[1].weight.zero_()
        gru = DreamerV3BlockGRU(
            ACTIONS, CONFIG.deter, projection_size=CONFIG.hidden, num_blocks=CONFIG.blocks
        )
        cell = gru.cell
        cell.input_linear.load_state_dict(core.action_in[0].state_dict())
        cell.input_norm.weight.data = core.action_in[1].weight.data
        cell.hidden_linear.load_state_dict(core.deter_in[0].state_dict())
        cell.hidden_norm.weight.data = core.deter_in[1].weight.data
        own, belief, _, action = first_layer_blocks(core).split([32 // 4, 12, 12, 12], 1)
        cell.dynamic_linears[0].weight.data = torch.cat([own, action, belief], 1).detach()
        cell.dynamic_linears[0].bias.data = core.hidden_own.bias.data
        cell.dynamic_norms[0].weight.data = core.hidden_norm.weight.data
        cell.gates.load_state_dict(core.gates.state_dict())
        actions, start = normal(3, 6, ACTIONS).clamp(-1, 1), normal(3, 32, seed=2)
        is_first = torch.zeros(3, 6, dtype=torch.bool)
        is_first[0, 0] = is_first[1, 2] = True
        # theirs keeps the action of a first row, so only the state is forgotten on our side too
        expected, _ = gru(actions, start, is_first)
        deter, found = start, []
        for t in range(6):
            deter = core(deter * ~is_first[:, t, None], normal(3, 24), actions[:, t])
            found.append(deter)
        torch.testing.assert_close(torch.stack(found, 1), expected, rtol=1e-5, atol=1e-6)

    def test_prior(self, rssm, prior):
        deter, stoch, action = normal(7, 32), normal(7, 24, seed=2), normal(7, ACTIONS, seed=3)
        logits, _, belief = prior(stoch, deter, action)
        after = rssm.core(deter, stoch, action)
        torch.testing.assert_close(after, belief, rtol=1e-5, atol=1e-6)
        expected = ours.unimix_log_probs(logits, CONFIG.unimix)
        torch.testing.assert_close(rssm.prior(after), expected, rtol=1e-4, atol=1e-5)

    def test_posterior(self, rssm):
        theirs = RSSMPosteriorV3(
            hidden_dim=CONFIG.hidden,
            num_categoricals=CONFIG.stoch,
            num_classes=CONFIG.classes,
            rnn_hidden_dim=CONFIG.deter,
            obs_embed_dim=EMBEDDING,
            use_rms_norm=True,
            num_layers=1,
            unimix=CONFIG.unimix,
        )
        layers = theirs.obs_rnn_to_post_projector
        layers[0].weight.data = torch.cat(
            [rssm.posterior_deter.weight, rssm.posterior_embedding.weight], 1
        ).detach()
        layers[0].bias.data = rssm.posterior_embedding.bias.data
        layers[1].weight.data = rssm.posterior_norm.weight.data
        layers[3].load_state_dict(rssm.posterior_out.state_dict())
        deter, embedding = normal(7, 32), normal(7, EMBEDDING, seed=2)
        logits, _ = theirs(deter, embedding)
        found = rssm.posterior(deter, rssm.posterior_embedding(embedding))
        torch.testing.assert_close(found, ours.unimix_log_probs(logits, CONFIG.unimix), rtol=1e-4, atol=1e-5)


def test_mlp():
    mine = randomise(MLP(5, 8, 3, outputs=4))
    theirs = DreamerV3MLP(5, 4, depth=3, num_cells=8)
    copy_mlp(theirs.model, mine)
    torch.testing.assert_close(mine(normal(6, 5)), theirs(normal(6, 5)))


class TestDistributions:
    def test_symlog_and_symexp(self):
        x = torch.linspace(-15, 15, 101)
        torch.testing.assert_close(ours.symlog(x), symlog(x))
        torch.testing.assert_close(ours.symexp(x), symexp(x))

    def test_twohot(self):
        theirs, logits = SymExpTwoHot(), 2 * normal(64, 255)
        bins = ours.twohot_bins(torch.device("cpu"))
        assert torch.equal(bins, theirs.bins)
        target = torch.cat([1e4 * normal(32, seed=2), normal(28, seed=3), torch.tensor([0, 1e9, -1e9, 1.0])])
        torch.testing.assert_close(
            ours.twohot_loss(logits, target), two_hot_cross_entropy(logits, target, theirs.bins)
        )
        torch.testing.assert_close(
            ours.twohot_mean(logits), two_hot_decode(logits, theirs.bins), rtol=1e-5, atol=0
        )

    @pytest.mark.parametrize("free", [0.0, 1.0, 8.0])
    def test_kl(self, free):
        posterior, prior = normal(9, 4, 6), normal(9, 4, 6, seed=2)
        mine, theirs = ([x.clone().requires_grad_() for x in (posterior, prior)] for _ in range(2))
        found = ours.balanced_kl(*(ours.unimix_log_probs(x, 0.01) for x in mine), free)
        expected = categorical_kl_terms(*theirs, free_nats=free, unimix=0.01)
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one.mean(), two)
        (found[0].mean() + 0.1 * found[1].mean()).backward()
        (expected[0] + 0.1 * expected[1]).backward()
        for one, two in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-7)


class Predictions(torch.nn.Module):
    """Hands their model loss what our model computed, so that the losses alone are compared."""

    def __init__(self, *values):
        super().__init__()
        self.values = values

    def forward(self, _):
        return self.values


def test_model_losses():
    space = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)})
    model = randomise(WorldModel(space, gymnasium.spaces.Discrete(ACTIONS), CONFIG))
    with torch.no_grad():
        model.dynamics.posterior_out.weight.mul_(8)  # sharp, so that the KL stands above the free nats
    batch = {
        "vector": 5 * normal(2, 6, 3),
        "action": torch.nn.functional.one_hot(torch.arange(12).reshape(2, 6) % ACTIONS, ACTIONS).float(),
        "is_first": torch.zeros(2, 6, dtype=torch.bool),
        "is_terminal": torch.arange(12).reshape(2, 6) % 5 == 3,
        "reward": 3 * normal(2, 6, seed=4),
    }
    noise = torch.rand(2, 6, CONFIG.stoch, generator=torch.Generator().manual_seed(0))
    losses, latents, _, _ = model.loss(batch, noise)
    _, posterior, _ = model.observe(batch, model.initial(2), noise)
    features = latents.features
    keys = ["prior_logits", "posterior_logits", "reco_pixels", "reward_logits", "continue_pred"]
    theirs = DreamerV3ModelLoss(
        TensorDictModule(
            # The log-probabilities hold the unimix already; their vector head predicts before the symlog
            # that is taken of both sides, ours after it.
            Predictions(
                model.dynamics.prior(latents.deter),
                posterior,
                ours.symexp(model.decoder(features)["vector"]),
                model.reward(features),
                model.continuation(features),
            ),
            in_keys=["action"],
            out_keys=[("next", key) for key in keys],
        ),
        kl_mode="separate",
        lambda_continue=1.0,
        unimix=0.0,
        continue_target_scale=CONFIG.discount,
        reco_symlog=True,
        detach_output=False,
    )
    rows = TensorDict(
        {
            "action": batch["action"],
            "next": {
                "pixels": batch["vector"],
                "reward": batch["reward"][..., None],
                "terminated": batch["is_terminal"][..., None],
            },
        },
        [2, 6],
    )
    expected, _ = theirs(rows)
    for mine, name in [
        ("dynamics_kl", "dynamic"),
        ("representation_kl", "representation"),
        ("reconstruction_vector", "reco"),
        ("reward", "reward"),
        ("continue", "continue"),
    ]:
        torch.testing.assert_close(
            losses[mine].mean(), expected[f"loss_model_{name}"].squeeze(), rtol=1e-5, atol=1e-6
        )
    assert (losses["dynamics_kl"] > CONFIG.free_nats).any()
