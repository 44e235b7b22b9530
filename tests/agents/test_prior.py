"""The policy prior: schedule, loss, and who acts."""

import gymnasium
import numpy as np
import pytest
import torch
from torch import distributions as td

from agents import AgentConfig, DreamerAgent
from agents.actor_critic import ActorCriticConfig
from agents.distributions import from_network
from agents.prior import PolicyPrior, PriorConfig
from world_model import for_size

SPACE = gymnasium.spaces.Dict({"vector": gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)})
CONFIG = AgentConfig(
    model=for_size("tiny", deter=16, hidden=8, units=8, stoch=2, classes=4, blocks=2, vector_layers=1),
    behaviour=ActorCriticConfig(imagination=2, layers=1),
)
DISCRETE, BOX = gymnasium.spaces.Discrete(4), gymnasium.spaces.Box(-1, 1, (2,))


def agent(actions=DISCRETE, seed=0):
    return DreamerAgent(SPACE, actions, CONFIG, None, seed, torch.device("cpu"))


def prior(config=PriorConfig(), actions=DISCRETE, steps=1000, seed=1):  # noqa: B008  (frozen)
    teacher = agent(actions, seed)
    return PolicyPrior(teacher.world_model, teacher.behaviour, config, steps)


def rows(count, first=False, seed=0):
    rng = np.random.default_rng(seed)
    return {"vector": rng.normal(size=(count, 3)).astype(np.float32), "is_first": np.full(count, first)}


def at(env_step):
    """An environment step as the learner hands it on."""
    return torch.tensor(float(env_step))


class TestStrength:
    @pytest.mark.parametrize(
        ("env_step", "expected"), [(0, 1.0), (125, 0.75), (250, 0.5), (500, 0.0), (501, 0.0), (10**6, 0.0)]
    )
    def test_falls_linearly_to_zero(self, env_step, expected):
        assert prior(PriorConfig(decay=0.5)).strength(at(env_step)).item() == pytest.approx(expected)

    def test_decay_over_the_whole_run(self):
        assert prior(PriorConfig(decay=1.0)).strength(at(900)).item() == pytest.approx(0.1)


class TestLoss:
    def batch(self, names, seed=0):
        generator = torch.Generator().manual_seed(seed)
        values = from_network(torch.randn(2, 5, 4, generator=generator), (4,) if "logits" in names else ())
        recorded = {"prior/" + name: value for name, value in values.parameters().items()}
        is_last = torch.zeros(2, 5, dtype=torch.bool)
        is_last[0, 2] = is_last[1, 4] = True
        return {**recorded, "is_last": is_last}

    @pytest.mark.parametrize(("actions", "names"), [(DISCRETE, ("logits",)), (BOX, ("mean", "std"))])
    def test_against_torch(self, actions, names):
        batch = self.batch(names)
        logits = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(9))
        policy = from_network(logits, (4,) if "logits" in names else ())
        found = prior(PriorConfig(scale=0.3, decay=0.5), actions).loss(policy, batch, at(125))["prior"]
        if "logits" in names:
            teacher, student = td.Categorical(logits=batch["prior/logits"]), td.Categorical(logits=policy[0])
        else:
            teacher = td.Independent(td.Normal(batch["prior/mean"], batch["prior/std"]), 1)
            student = td.Independent(td.Normal(policy[0], policy[1]), 1)
        expected = 0.3 * 0.75 * td.kl_divergence(teacher, student)
        expected[0, 2] = expected[1, 4] = 0.0
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)

    def test_factors_are_added_up(self):
        generator = torch.Generator().manual_seed(0)
        one, two = torch.randn(2, 5, 5, generator=generator), torch.randn(2, 5, 5, generator=generator)
        teacher, student = from_network(one, (3, 2)), from_network(two, (3, 2))
        batch = {
            "prior/logits": teacher.parameters()["logits"],
            "is_last": torch.zeros(2, 5, dtype=torch.bool),
        }
        module = prior(PriorConfig(scale=0.3), gymnasium.spaces.MultiDiscrete([3, 2]))
        found = module.loss(student, batch, at(0))["prior"]
        parts = [slice(0, 3), slice(3, 5)]
        logits = [(batch["prior/logits"][..., x], student.parameters()["logits"][..., x]) for x in parts]
        both = [td.kl_divergence(*(td.Categorical(logits=each) for each in pair)) for pair in logits]
        torch.testing.assert_close(found, 0.3 * (both[0] + both[1]), rtol=1e-4, atol=1e-6)

    def test_gone_once_decayed(self):
        batch = self.batch(("logits",))
        logits = torch.zeros(2, 5, 4, requires_grad=True)
        almost = prior().loss(from_network(logits, (4,)), batch, at(499))["prior"]
        assert (almost > 0).any()
        found = prior().loss(from_network(logits, (4,)), batch, at(500))["prior"]
        assert (found == 0).all()
        found.sum().backward()
        assert (logits.grad == 0).all()

    def test_rows_without_a_record_cost_nothing_and_pull_nowhere(self):
        batch = self.batch(("logits",))
        whole = prior().loss(from_network(torch.zeros(2, 5, 4), (4,)), batch, at(0))["prior"]
        batch["prior/logits"] = batch["prior/logits"].clone()
        batch["prior/logits"][1, :3] = torch.nan
        logits = torch.zeros(2, 5, 4, requires_grad=True)
        found = prior().loss(from_network(logits, (4,)), batch, at(0))["prior"]
        whole[1, :3] = 0
        torch.testing.assert_close(found, whole)
        found.sum().backward()
        assert (logits.grad[1, :3] == 0).all()
        assert logits.grad[0, 0].abs().sum() > 0

    def test_pulls_the_actor_towards_the_teacher(self):
        batch = self.batch(("logits",))
        logits = torch.zeros(2, 5, 4, requires_grad=True)
        before = prior().loss(from_network(logits, (4,)), batch, at(0))["prior"].sum()
        before.backward()
        after = prior().loss(from_network(logits - logits.grad, (4,)), batch, at(0))["prior"].sum()
        assert after < before


class TestWhoActs:
    def shares(self, config, steps, env_step=0, count=400, first=False):
        teacher = prior(config)
        generator = torch.Generator().manual_seed(0)
        state, seen = teacher.initial(count), []
        batch = {k: torch.as_tensor(v)[:, None] for k, v in rows(count).items()}
        batch["action"] = torch.zeros(count, 1, 4)
        for step in range(steps):
            batch["is_first"] = torch.full((count, 1), step == 0 or first)
            _, state = teacher.follow(batch, state, generator, at(env_step))
            seen.append(state.acting)
        return torch.stack(seen).float()  # (steps, count)

    def test_share_over_time(self):
        acting = self.shares(PriorConfig(share=0.3, stretch=5), 60)
        # 400 environments of about 12 independent stretches each: deviation 0.0066
        assert acting.mean().item() == pytest.approx(0.3, abs=0.03)
        assert acting[0].mean().item() == pytest.approx(0.3, abs=0.1)

    def test_share_decays(self):
        acting = self.shares(PriorConfig(share=0.8, stretch=1, decay=0.5), 20, env_step=250)
        assert acting.mean().item() == pytest.approx(0.4, abs=0.03)
        assert self.shares(PriorConfig(stretch=1), 5, env_step=500).sum() == 0

    def test_who_acts_changes_at_the_stated_rate(self):
        acting = self.shares(PriorConfig(share=0.5, stretch=10), 50)
        # drawn anew once in 10 steps, and half of the draws change nothing
        assert (acting[1:] != acting[:-1]).float().mean().item() == pytest.approx(0.05, abs=0.01)

    def test_drawn_anew_at_every_first_row(self):
        acting = self.shares(PriorConfig(share=0.5, stretch=10**9), 30, first=True)
        assert (acting[1:] != acting[:-1]).float().mean().item() == pytest.approx(0.5, abs=0.03)

    def test_the_agents_actions_are_the_teachers_where_it_acts(self):
        student = agent()
        with torch.no_grad():  # two policies that cannot be mistaken
            student.behaviour.actor[-1].bias.copy_(torch.tensor([30.0, 0, 0, 0]))
        teacher = prior(PriorConfig(share=0.4, stretch=1))
        with torch.no_grad():
            teacher.actor[-1].bias.copy_(torch.tensor([0, 0, 0, 30.0]))
        student.attach_prior(teacher)
        state, chosen = student.initial_state(500, 0), []
        for step in range(8):
            actions, state, record = student.act(rows(500, first=step == 0), state, "train", 0)
            led = state.prior.acting.numpy()
            # unimix leaves each other action a probability of 0.0025
            assert (actions.argmax(-1)[led] == 3).mean() > 0.95
            assert (actions.argmax(-1)[~led] == 0).mean() > 0.95
            np.testing.assert_allclose(np.exp(record["prior/logits"])[:, 3], 0.9925, atol=1e-3)
            chosen.append(led.mean())
        assert np.mean(chosen) == pytest.approx(0.4, abs=0.04)

    def test_not_in_evaluation(self):
        student, teacher = agent(), prior(PriorConfig(share=1.0, stretch=1))
        with torch.no_grad():
            student.behaviour.actor[-1].bias.copy_(torch.tensor([30.0, 0, 0, 0]))
            teacher.actor[-1].bias.copy_(torch.tensor([0, 0, 0, 30.0]))
        student.attach_prior(teacher)
        state = student.initial_state(300, 0)
        actions, state, record = student.act(rows(300, first=True), state, "evaluate", 0)
        assert (actions.argmax(-1) == 0).mean() > 0.95
        assert record == {}
        assert not state.prior.acting.any()


def test_the_teacher_never_changes():
    student, teacher = agent(), prior()
    student.attach_prior(teacher)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    rng = np.random.default_rng(0)
    batch = {
        "vector": rng.normal(size=(3, 6, 3)).astype(np.float32),
        "action": np.eye(4, dtype=np.float32)[rng.integers(4, size=(3, 6))],
        "reward": rng.normal(size=(3, 6)).astype(np.float32),
        "prior/logits": np.log(rng.dirichlet(np.ones(4), size=(3, 6))).astype(np.float32),
        **{flag: np.zeros((3, 6), bool) for flag in ("is_first", "is_last", "is_terminal")},
    }
    for _ in range(3):
        metrics = student.update(batch, env_step=0)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert np.isfinite(metrics["loss/total"].item())
