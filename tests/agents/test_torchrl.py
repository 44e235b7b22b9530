"""Returns and the losses of actor and critic against TorchRL's DreamerV3 with the same weights."""

import gymnasium
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import (
    ProbabilisticTensorDictModule,
    ProbabilisticTensorDictSequential,
    TensorDictModule,
    TensorDictSequential,
)
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import DreamerEnv
from torchrl.modules import RSSMPriorV3, SymExpTwoHot, WorldModelWrapper
from torchrl.modules.distributions import OneHotCategorical
from torchrl.objectives import DreamerV3ActorLoss, DreamerV3ValueLoss
from torchrl.objectives.dreamer_v3 import _replay_value_target
from torchrl.objectives.value.functional import vtrace_advantage_estimate

from agents import ActorCritic, ActorCriticConfig
from agents.learning.returns import lambda_returns, vtrace

pytestmark = pytest.mark.filterwarnings("ignore:No target network updater")

STATE, BELIEF, ACTIONS, UNITS = 6, 8, 3, 8
FEATURES = STATE + BELIEF
N, H, GAMMA = 5, 7, 0.97


class Joined(torch.nn.Module):
    """A head of ours that takes belief and state apart, as their modules give them."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, state, belief):
        return self.head(torch.cat([belief, state], -1))


class Unimixed(Joined):
    """Our actor's log-probabilities as their logits."""

    def forward(self, state, belief):
        return torch.log(0.99 * super().forward(state, belief).softmax(-1) + 0.01 / ACTIONS)


def make_behaviour(**settings):
    torch.manual_seed(0)
    # rate 1: both then normalise by this batch's percentiles, for only ours corrects its average's start
    config = ActorCriticConfig(layers=2, imagination=H, return_decay=0.0, **settings)
    behaviour = ActorCritic(FEATURES, UNITS, gymnasium.spaces.Discrete(ACTIONS), config)
    with torch.no_grad():
        for net in (behaviour.actor, behaviour.critic, behaviour.slow_critic):
            for p in net[-1].parameters():
                p.add_(0.5 * torch.randn(p.shape))
        # unlikely outer bins, or values near 1e5 would drown the rewards
        for net in (behaviour.critic, behaviour.slow_critic):
            net[-1].bias.sub_(4 * torch.linspace(-20, 20, 255).abs())
    return behaviour


def values_of(net):
    return TensorDictSequential(
        TensorDictModule(Joined(net), in_keys=["state", "belief"], out_keys=["state_value_logits"]),
        TensorDictModule(SymExpTwoHot(), in_keys=["state_value_logits"], out_keys=["state_value"]),
    )


def make_world():
    """Their imagination: a small RSSM prior, and a reward head."""
    torch.manual_seed(1)
    prior = RSSMPriorV3(
        action_shape=(ACTIONS,),
        hidden_dim=8,
        rnn_hidden_dim=BELIEF,
        num_categoricals=2,
        num_classes=3,
        action_dim=ACTIONS,
        recurrent_model="block_gru",
        num_blocks=2,
    )
    transition = TensorDictModule(
        prior, in_keys=["state", "belief", "action"], out_keys=["logits", "state", "belief"]
    )
    reward = TensorDictModule(
        Joined(torch.nn.Linear(FEATURES, 1)), in_keys=["state", "belief"], out_keys=["reward"]
    )
    with torch.no_grad():
        reward.module.head.weight.mul_(6)
    env = DreamerEnv(WorldModelWrapper(transition, reward), torch.Size([STATE]), torch.Size([BELIEF]))
    env.action_spec = Bounded(0, 1, (ACTIONS,))
    env.observation_spec = Composite(state=Unbounded((STATE,)), belief=Unbounded((BELIEF,)))
    env.state_spec = Composite(state=Unbounded((STATE,)), belief=Unbounded((BELIEF,)))
    env.reward_spec = Unbounded((1,))
    continuation = TensorDictModule(
        Joined(torch.nn.Sequential(torch.nn.Linear(FEATURES, 1), torch.nn.Sigmoid())),
        in_keys=["state", "belief"],
        out_keys=["continuation"],
    )
    return env, continuation


@pytest.fixture
def both():
    """Our behaviour, their actor loss after imagining, and the imagined rows in our layout."""
    behaviour = make_behaviour(entropy=0.05)
    env, continuation = make_world()
    actor = ProbabilisticTensorDictSequential(
        TensorDictModule(Unimixed(behaviour.actor), in_keys=["state", "belief"], out_keys=["logits"]),
        ProbabilisticTensorDictModule(
            in_keys=["logits"], out_keys=["action"], distribution_class=OneHotCategorical
        ),
    )
    loss = DreamerV3ActorLoss(
        actor,
        values_of(behaviour.critic),
        env,
        continuation_model=continuation,
        imagination_horizon=H,
        entropy_bonus=0.05,
        use_reinforce=True,
        return_normalization_rate=1.0,
    )
    loss.make_value_estimator(gamma=GAMMA, lmbda=0.95)
    generator = torch.Generator().manual_seed(2)
    start = {
        "state": torch.eye(3)[torch.randint(3, (N, 2), generator=generator)].flatten(1),
        "belief": torch.randn(N, BELIEF, generator=generator),
    }
    found, fake = loss(TensorDict(start, [N]))
    return behaviour, loss, found, fake


def rows(fake):
    """Their (N, H) transitions as our (N, H + 1) rows: an action stands in the row that it led to."""
    features = torch.cat([fake["belief"], fake["state"]], -1)
    last = torch.cat([fake["next", "belief"], fake["next", "state"]], -1)[:, -1:]
    zero = torch.zeros(N, 1)
    return (
        torch.cat([features, last], 1),
        torch.cat([torch.zeros(N, 1, ACTIONS), fake["action"].float()], 1),
        torch.cat([zero, fake["next", "reward"].squeeze(-1)], 1),
        # Their weights leave the first row's continuation undiscounted; every later row has the discount.
        torch.cat([fake["continuation"][:, 0], GAMMA * fake["next", "continuation"].squeeze(-1)], 1),
    )


class TestImagination:
    def test_actor_loss_and_gradients(self, both):
        behaviour, _, theirs, fake = both
        losses, returns, metrics = behaviour.imagination_loss(*rows(fake))
        torch.testing.assert_close(returns, fake["lambda_target"].squeeze(-1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            metrics["imagination/return_scale"], theirs["return_scale"], rtol=1e-4, atol=1e-5
        )
        assert returns.abs().max() < 30
        assert theirs["return_scale"] > 1.1  # or the percentiles would not have been compared
        mine = losses["actor"].mean()
        torch.testing.assert_close(mine, theirs["loss_actor"], rtol=1e-4, atol=1e-6)
        parameters = list(behaviour.actor.parameters())
        for one, two in zip(
            torch.autograd.grad(mine, parameters),
            torch.autograd.grad(theirs["loss_actor"], parameters),
            strict=True,
        ):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-6)

    def test_critic_loss(self, both):
        behaviour, actor_loss, _, fake = both
        value_loss = DreamerV3ValueLoss(
            values_of(behaviour.critic), "two_hot", actor_loss=actor_loss, slow_critic_regularization=1.0
        )
        copy_slow(value_loss, behaviour)
        theirs, _ = value_loss(fake)
        losses, _, _ = behaviour.imagination_loss(*rows(fake))
        torch.testing.assert_close(losses["critic"].mean(), theirs["loss_value"], rtol=1e-4, atol=1e-6)
        assert theirs["value_slow_loss"] > 0.1


def copy_slow(value_loss, behaviour):
    """Put our slow critic's weights into their target network."""
    held = dict(value_loss.target_value_model_params.flatten_keys(".").items())
    for name, value in behaviour.slow_critic.named_parameters():
        held[f"module.0.module.head.{name}"].data.copy_(value)


class TestReplay:
    def data(self):
        generator = torch.Generator().manual_seed(3)
        belief, state = torch.randn(4, 9, BELIEF, generator=generator), torch.randn(4, 9, STATE)
        rewards, bootstrap = torch.randn(2, 4, 9, generator=generator)
        is_last = torch.rand(4, 9, generator=generator) < 0.25
        is_terminal = is_last & (torch.rand(4, 9, generator=generator) < 0.5)
        assert (is_last & ~is_terminal)[:, 1:].any()
        assert is_terminal[:, 1:].any()
        return belief, state, rewards, bootstrap, is_last, is_terminal

    def test_returns_at_terminal_and_cut_off_rows(self):
        _, _, rewards, bootstrap, is_last, is_terminal = self.data()
        expected = _replay_value_target(rewards, is_last, is_terminal, bootstrap, 333, 0.95)
        found = lambda_returns(rewards, bootstrap, (~is_terminal) * (1 - 1 / 333), is_last, 0.95)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)

    def test_loss(self):
        behaviour = make_behaviour(replay_critic=1.0)
        belief, state, rewards, bootstrap, is_last, is_terminal = self.data()
        value_loss = DreamerV3ValueLoss(
            values_of(behaviour.critic), "two_hot", slow_critic_regularization=1.0
        )
        copy_slow(value_loss, behaviour)
        replay = {
            "state": state,
            "belief": belief,
            "bootstrap": bootstrap,
            "next": {
                "reward": rewards[..., None],
                "done": is_last[..., None],
                "terminated": is_terminal[..., None],
            },
        }
        theirs = value_loss.replay_value_loss(TensorDict(replay, [4, 9]), horizon=333, lmbda=0.95)
        found = behaviour.replay_loss(
            torch.cat([belief, state], -1), rewards, is_last, is_terminal, bootstrap, 1 - 1 / 333
        )
        torch.testing.assert_close(found.mean(), theirs["loss_replay_value"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("caps", [(1.0, 1.0), (1.5, 0.8)])
def test_vtrace_over_terminal_and_cut_off_rows(caps):
    # theirs are transitions, row t to t + 1: one that ends an episode is done, one from a last row is none
    torch.manual_seed(0)
    rewards, values = torch.randn(2, 6, 12)
    log_pi, log_mu = torch.randn(2, 6, 11)
    ends = torch.zeros(6, 12, dtype=torch.bool)
    ends[:3, 4] = ends[:3, 8] = True  # last rows
    terminal = ends.clone()
    terminal[:, 8] = False
    acted = ~ends[:, :-1]
    advantages, targets = vtrace_advantage_estimate(
        GAMMA,
        *(x[..., None] for x in (log_pi, log_mu, values[:, :-1], values[:, 1:], rewards[:, 1:], ends[:, 1:])),
        terminated=terminal[:, 1:, None],
        rho_thresh=caps[0],
        c_thresh=caps[1],
    )
    ratios = acted * (log_pi - log_mu).exp()
    found = vtrace(rewards, values, GAMMA * ~terminal, ratios, 1.0, *caps)
    torch.testing.assert_close(found[0][acted], targets[..., 0][acted])
    torch.testing.assert_close(found[1][acted], advantages[..., 0][acted])
