"""Actors that point: by an independent form, for any number of objects, in learning, search and fusion."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces

from agents import ActorCriticConfig, AgentConfig, OptimizerConfig, make_agent
from agents.base import LOG_PROB
from agents.distributions import from_network, from_parameters, kl
from agents.pointer import PointerActor, paired
from agents.prior import PolicyPrior
from agents.programs.fused import FusedAgents
from agents.search import GumbelConfig, SearchConfig
from expedition.pointing import Pointing
from world_model import for_size, to_learner_actions
from world_model.objects import place_codes
from world_model.sizes import ObjectsConfig

CPU = torch.device("cpu")
MODEL = for_size("tiny", deter=16, hidden=8, units=8, stoch=4, classes=4, depth=2, vector_layers=1)
MODEL = dataclasses.replace(MODEL, objects=ObjectsConfig(units=8))
CONFIG = AgentConfig(
    model=MODEL,
    behaviour=ActorCriticConfig(imagination=3, layers=1, starts=2),
    optimizer=OptimizerConfig(lr=1e-3, warmup=2),
)
SEARCH = SearchConfig(
    update="search", act=True, gumbel=GumbelConfig(simulations=4, considered=2, sampled_actions=4)
)
BATCH, TIME = 3, 4


def observed(count):
    rows = spaces.Box(-np.inf, np.inf, (count, 3), np.float32)
    return spaces.Dict({"blocks": rows, "blocks_mask": spaces.MultiDiscrete([2] * count, dtype=np.uint8)})


def acts(count):
    return Pointing([2, count], {1: "blocks"})


def make(count, seed=0, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    agent = make_agent(observed(count), acts(count), config, None, seed, CPU)
    with torch.no_grad():  # fresh heads hold the outer bins in a balance that one rounding tips
        heads = [agent.behaviour.critic, agent.behaviour.slow_critic]
        heads += [agent.world_model.reward] if config.kind == "model-based" else []
        for head in heads:
            head[-1].bias.copy_(-0.5 * (torch.arange(255) - 127).abs())
    return agent


def rows(count, seed=0):
    rng = np.random.default_rng(seed)
    made = {name: np.zeros((BATCH, TIME), bool) for name in ("is_first", "is_last", "is_terminal")}
    made["blocks"] = rng.normal(size=(BATCH, TIME, count, 3)).astype(np.float32)
    made["blocks_mask"] = rng.integers(2, size=(BATCH, TIME, count)).astype(np.uint8)
    numbers = rng.integers([2, count], size=(BATCH * TIME, 2))
    made["action"] = to_learner_actions(numbers, acts(count)).reshape(BATCH, TIME, -1)
    made["reward"] = rng.normal(size=(BATCH, TIME)).astype(np.float32)
    made[LOG_PROB] = np.full((BATCH, TIME), -1.5, np.float32)
    return made


def test_logits_by_object():
    torch.manual_seed(0)
    actor, features = PointerActor(6, 5, 2, (2, 4), (None, "blocks")), torch.randn(3, 7, 6)
    logits = actor(features)
    assert logits.shape == (3, 7, 6)
    asked, (dense, point) = actor.trunk(features), actor.heads
    torch.testing.assert_close(logits[..., :2], F.linear(asked, dense.weight, dense.bias))
    for row in range(4):
        seen = point.objects.shared(asked) + point.objects.own.weight @ place_codes(4)[row]
        made_out = point.objects.rest(F.silu(point.objects.norm(seen)))
        expected = (made_out * point.query(asked)).sum(-1) / 5**0.5
        torch.testing.assert_close(logits[..., 2 + row], expected)


def test_logits_of_pairs():
    torch.manual_seed(0)
    actor = PointerActor(6, 5, 2, (3, 2, 3), ("blocks", None, "blocks"))
    features = torch.randn(4, 6)
    logits = actor(features)
    assert logits.shape == (4, 2 + 9)
    asked, (dense, edge) = actor.trunk(features), actor.heads
    torch.testing.assert_close(logits[:, :2], dense(asked))
    objects = edge.objects(asked[:, None], place_codes(3))
    for i in range(3):
        for j in range(3):
            first = (edge.first(asked) * objects[:, i]).sum(-1)
            second = (edge.second(asked) * objects[:, j]).sum(-1)
            both = (objects[:, i] * edge.both(objects[:, j])).sum(-1)
            torch.testing.assert_close(logits[:, 2 + 3 * i + j], (first + second + both) / 5**0.5)


@pytest.mark.parametrize(
    ("pointed", "pair"),
    [
        (("a", None, "a"), (0, 2)),
        (("a", "b"), None),
        (("a", "b", "b"), (1, 2)),
        (("a", "a", "a"), None),
        ((None, None), None),
        ((), None),
    ],
)
def test_two_that_point_at_one_set_are_a_pair(pointed, pair):
    assert paired(pointed) == pair


def test_it_begins_all_but_uniform():
    policy = make(5).behaviour.policy(torch.randn(50, MODEL.features))
    chances = policy.log_probs.exp()
    assert (chances[:, 2:] - 1 / 5).abs().max() < 0.02


def test_the_same_weights_point_at_more_objects():
    few, many = make(3), make(8, seed=1)
    for name, module in many.components().items():
        module.load_state_dict(few.components()[name].state_dict())
    features = torch.randn(5, MODEL.features)
    torch.testing.assert_close(
        many.behaviour.actor(features)[:, :5], few.behaviour.actor(features)
    )  # 2 of the first factor, and 3 of the rows


def test_a_plain_agent_has_a_dense_head():
    plain = dataclasses.replace(MODEL, objects=ObjectsConfig(kind="plain"))
    assert not isinstance(make(3, model=plain).behaviour.actor, PointerActor)


@pytest.mark.parametrize("changes", [{}, {"search": SEARCH}, {"kind": "model-free"}], ids=str)
@pytest.mark.parametrize("kind", ["graph", "plain"])
def test_every_agent_learns_from_sets_of_objects(changes, kind):
    model = dataclasses.replace(MODEL, objects=ObjectsConfig(kind=kind, units=8))
    agent = make(4, model=model, **changes)
    before = {name: p.clone() for name, p in agent.named_parameters()}
    for seed in range(3):
        metrics = agent.update(rows(4, seed))
        assert np.isfinite(metrics["loss/total"].item())
    still = {name for name, p in agent.named_parameters() if p.requires_grad and torch.equal(p, before[name])}
    assert still == set()
    state = agent.initial_state(BATCH, 0)
    row = {key: value[:, 0] for key, value in rows(4).items()}
    action, _, _ = agent.act(row, state, "train")
    assert action.shape == (BATCH, 6)
    assert (action[:, 2:].sum(-1) == 1).all()


@pytest.mark.parametrize("kind", ["model-based", "model-free"])
def test_fused_agents_learn_as_each_does_alone(kind):
    alone, together = ([make(4, seed, kind=kind) for seed in (0, 1)] for _ in range(2))
    fused = FusedAgents(together)
    for update in range(2):
        batches = [rows(4, 10 * update + seed) for seed in (0, 1)]
        fused.update(batches)
        for agent, batch in zip(alone, batches, strict=True):
            agent.update(batch)
    for agent, twin in zip(alone, together, strict=True):
        for name, value in agent.state_dict().items():
            torch.testing.assert_close(twin.state_dict()[name], value, rtol=1e-3, atol=1e-4)


class TestPairs:
    """Actions of which two factors choose an edge."""

    FACTORS, PAIR = (3, 2, 3), (0, 2)

    def law(self, *batch, seed=0):
        source = torch.Generator().manual_seed(seed)
        return from_network(torch.randn(*batch, 2 + 9, generator=source), self.FACTORS, self.PAIR)

    def every(self):
        rows = [(i, k, j) for i in range(3) for k in range(2) for j in range(3)]
        space = spaces.MultiDiscrete(self.FACTORS)
        return torch.as_tensor(to_learner_actions(rows, space)), rows

    def test_all_actions_together_are_certain(self):
        law, (actions, rows) = self.law(), self.every()
        chances = law.log_prob(actions).exp()
        assert chances.sum().item() == pytest.approx(1)
        dense, edges = law.log_probs.split([2, 9])
        for (i, k, j), chance in zip(rows, chances, strict=True):
            assert chance.item() == pytest.approx((dense[k] + edges[3 * i + j]).exp().item(), rel=1e-5)
        assert law.entropy().item() == pytest.approx(-(chances * chances.log()).sum().item(), rel=1e-5)

    def test_samples_follow_the_law(self):
        law, (actions, _) = self.law(), self.every()
        many = law._replace(log_probs=law.log_probs.expand(40_000, -1))
        drawn = many.sample(torch.rand(40_000, 3, generator=torch.Generator().manual_seed(1)))
        assert set(drawn.sum(-1).tolist()) == {3.0}
        share = (drawn[:, None] == actions).all(-1).float().mean(0)
        torch.testing.assert_close(share, law.log_prob(actions).exp(), atol=0.01, rtol=0)

    def test_the_divergence_is_that_of_all_actions(self):
        one, other, (actions, _) = self.law(), self.law(seed=1), self.every()
        left, right = one.log_prob(actions), other.log_prob(actions)
        assert kl(one, other).item() == pytest.approx((left.exp() * (left - right)).sum().item(), rel=1e-5)

    def test_it_is_built_again_from_its_parameters(self):
        law = self.law(4)
        again = from_parameters(law.parameters(), self.FACTORS, self.PAIR)
        assert torch.equal(again.log_probs, law.log_probs)

    @pytest.mark.parametrize("changes", [{}, {"search": SEARCH}, {"kind": "model-free"}], ids=str)
    def test_agents_choose_edges(self, changes):
        edges = Pointing([4, 2, 4], {0: "blocks", 2: "blocks"})
        agent = make_agent(observed(4), edges, dataclasses.replace(CONFIG, **changes), None, 0, CPU)
        batch = rows(4)
        numbers = np.random.default_rng(0).integers([4, 2, 4], size=(BATCH * TIME, 3))
        batch["action"] = to_learner_actions(numbers, edges).reshape(BATCH, TIME, -1)
        for _ in range(2):
            assert np.isfinite(agent.update(batch)["loss/total"].item())
        row = {key: value[:, 0] for key, value in batch.items()}
        action, _, kept = agent.act(row, agent.initial_state(BATCH, 0), "train")
        assert action.shape == (BATCH, 10)
        assert np.isfinite(kept[LOG_PROB]).all() or "search" in changes

    def test_a_teacher_of_pairs_leads(self):
        edges = Pointing([4, 2, 4], {0: "blocks", 2: "blocks"})
        teacher, student = (make_agent(observed(4), edges, CONFIG, None, seed, CPU) for seed in (1, 0))
        student.attach_prior(PolicyPrior(teacher.world_model, teacher.behaviour, CONFIG.prior, 100))
        assert student.record_spec["prior/logits"][0] == (2 + 16,)
        row = {key: value[:, 0] for key, value in rows(4).items()}
        _, _, kept = student.act(row, student.initial_state(BATCH, 0), "train")
        assert kept["prior/logits"].shape == (BATCH, 18)
        batch = rows(4)
        batch["action"] = np.zeros((BATCH, TIME, 10), np.float32)
        batch["prior/logits"] = np.broadcast_to(kept["prior/logits"][:, None], (BATCH, TIME, 18)).copy()
        assert student.update(batch)["loss/prior"].item() > 0
