"""Where an agent plans: while it learns, while it acts, when it is judged."""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch

from agents import AgentConfig
from agents.base import rows_on
from agents.programs.fused import FusedAgents
from agents.search import VARIANTS, GumbelConfig, Plan, SearchConfig, as_variant
from expedition import UserError
from tests.agents.test_dreamer import BOX, CONFIG, DISCRETE, make, rows, weights
from world_model import Latent

FACTORED = gymnasium.spaces.MultiDiscrete([3, 2])
SEARCH = SearchConfig(gumbel=GumbelConfig(simulations=6, depth=3, considered=3, sampled_actions=4))


def planning(**changes):
    return dataclasses.replace(CONFIG, search=dataclasses.replace(SEARCH, **changes))


def seen(agent, envs=2):
    return {
        "vector": np.ones((envs, 4), np.float32),
        "is_first": np.zeros(envs, bool),
    }


def test_the_variants_are_those_of_the_papers_table():
    paper = {  # Hamrick et al. 2021, table 1: update, train act, test act
        "one-step": ("depth 1", "prior", "prior"),
        "learn": ("search", "prior", "prior"),
        "data": ("depth 1", "search", "prior"),
        "learn+data": ("search", "search", "prior"),
        "learn+data+eval": ("search", "search", "search"),
    }
    updates = {"one-step": "depth 1", "search": "search"}
    told = {
        name: (updates[update], *("search" if used else "prior" for used in uses))
        for name, (update, *uses) in VARIANTS.items()
        if name not in ("dreamer", "eval")
    }
    assert told == paper
    assert not as_variant(as_variant(SEARCH, "learn+data+eval"), "dreamer").used
    assert as_variant(SEARCH, "data").gumbel == SEARCH.gumbel
    with pytest.raises(UserError, match=r"learn\+data"):
        as_variant(SEARCH, "learn+dta")


@pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
@pytest.mark.parametrize("update", ["one-step", "search"])
@pytest.mark.parametrize("intrinsic", [None, "disagreement", "rnd"])
def test_plans_teach_the_actor_and_replayed_rows_the_critic(update, actions, intrinsic):
    agent = make(actions=actions, intrinsic=intrinsic, config=planning(update=update))
    before = weights(agent)
    for seed in range(3):
        metrics = agent.update(rows(actions=actions, seed=seed, reward=intrinsic is None))
    changed = {name for name, value in agent.state_dict().items() if not torch.equal(value, before[name])}
    still = {name for name, _ in agent.named_parameters()} - changed
    headless = intrinsic == "disagreement"
    allowed = ("world_model.reward.",) if headless else ("-",)
    allowed += ("intrinsic.target.",)
    assert all(name.startswith(allowed) for name in still)
    assert {"plan/value", "plan/improvement", "plan/entropy", "loss/replay_critic"} <= set(metrics)
    assert "imagination/return" not in metrics
    assert all(value.isfinite() for value in metrics.values())


@pytest.mark.parametrize("update", ["imagination", "search"])
def test_where_plans_teach_the_critic_learns_on_all_rows(update, monkeypatch):
    agent, found = make(config=planning(update=update)), {}
    loss = agent.behaviour.replay_loss

    def watched(*arguments):
        found["arguments"], found["own"] = arguments, agent.behaviour.value(arguments[0].detach())
        return loss(*arguments)

    monkeypatch.setattr(agent.behaviour, "replay_loss", watched)
    batch, starts = rows(), CONFIG.behaviour.starts
    for _ in range(2):
        agent.update(batch)
    *by_row, bootstrap, _ = found["arguments"]
    length = batch["action"].shape[1]  # 8, of which 4 are planned or imagined from
    learned = length if update == "search" else starts
    assert [x.shape[1] for x in (*by_row, bootstrap)] == [learned] * 5
    own = (bootstrap == found["own"]).all(0)
    assert own.tolist() == [True] * (learned - starts) + [False] * starts


def test_the_actors_loss_is_the_cross_entropy_less_the_bonus():
    agent = make()
    features = torch.zeros(2, agent.config.model.features)
    with torch.no_grad():
        for parameter in agent.behaviour.actor.parameters():
            parameter.zero_()  # a uniform policy
    candidates = torch.eye(3).expand(2, 3, 3)
    targets = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    loss = agent.behaviour.plan_loss(features, candidates, targets, torch.tensor([1.0, 0.0]), 0.3)
    bonus = 0.3 * np.log(3)
    assert loss.tolist() == pytest.approx([np.log(3) - bonus, 0.0], abs=1e-6)
    with torch.no_grad():
        agent.behaviour.actor[-1].bias.copy_(torch.log(torch.tensor([0.6, 0.2, 0.2])))
    loss = agent.behaviour.plan_loss(features, candidates, targets, torch.ones(2), 0.3)
    likely = np.log(0.99 * np.array([0.6, 0.2, 0.2]) + 0.01 / 3)  # with the unimix
    entropy = -(np.exp(likely) * likely).sum()
    expected = [-(0.5 * likely[0] + 0.5 * likely[1]), -likely[0]]
    bonus = 0.3 * entropy
    assert loss.tolist() == pytest.approx([x - bonus for x in expected], abs=1e-5)


@pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
def test_the_searchs_entropy_counts_beside_the_actors_own_where_plans_teach_it(actions, monkeypatch):
    losses, entropies = [], []
    for entropy in (0.0, 0.5):
        agent = make(actions=actions, config=planning(update="search", entropy=entropy))
        watch = _watching(agent.behaviour, entropies)
        monkeypatch.setattr(agent.behaviour, "plan_loss", watch)
        data = rows_on(agent.device, rows(actions=actions))
        found, _ = agent._losses(data, agent.draw_noise(data), torch.tensor(0.0))
        losses.append(found["actor"].sum().item())
    assert losses[0] - losses[1] == pytest.approx(0.5 * entropies[0], rel=1e-4)


def _watching(behaviour, entropies):
    """The actor's loss, which also notes the policy's entropy, weighted as the loss is."""
    loss = behaviour.plan_loss

    def watched(features, candidates, targets, weights, entropy):
        entropies.append((weights * behaviour.policy(features).entropy()).sum().item())
        return loss(features, candidates, targets, weights, entropy)

    return watched


@pytest.mark.parametrize(
    ("actions", "simulations", "considered", "tried"),
    [(DISCRETE, 3, 8, 3), (BOX, 4, 8, 4), (FACTORED, 2, 3, 3), (BOX, 4, 4, 4)],
)
def test_a_search_that_looks_no_further_than_one_step_is_refused_as_a_teacher(
    actions, simulations, considered, tried
):
    gumbel = GumbelConfig(simulations=simulations, considered=considered, sampled_actions=4)
    with pytest.raises(UserError, match=f"is {simulations}, by which each of {tried} considered actions"):
        make(actions=actions, config=planning(update="search", gumbel=gumbel))
    make(actions=actions, config=planning(act=True, gumbel=gumbel))  # to act it may be as short as one likes
    deeper = dataclasses.replace(gumbel, simulations=tried + 1)
    assert make(actions=actions, config=planning(update="search", gumbel=deeper)).teacher.depth > 1


@pytest.mark.parametrize("actions", [DISCRETE, BOX, FACTORED], ids=["discrete", "box", "factored"])
def test_the_default_search_looks_further_than_one_step(actions):
    agent = make(actions=actions, config=planning(update="search", gumbel=GumbelConfig()))
    assert agent.teacher.depth > 1


@pytest.mark.parametrize("actions", [DISCRETE, BOX], ids=["discrete", "box"])
def test_ends_teach_the_actor_nothing(actions):
    agent = make(actions=actions, config=planning(update="search"))
    ended = rows(actions=actions)
    ended["is_terminal"][:], ended["is_last"][:] = True, True
    data = rows_on(agent.device, ended)
    noise = agent.draw_noise(data)
    losses, _ = agent._losses(data, noise, torch.tensor(0.0))
    assert (losses["actor"] == 0).all()


class Fixed:
    """A planner that always wants the last action."""

    def __init__(self):
        self.asked = 0

    def draw_noise(self, count, generator):
        return count

    def plan(self, state, noise, greedy=False):
        assert isinstance(state, Latent)
        self.asked += 1
        candidates = torch.eye(3).expand(noise, 3, 3)
        weights = torch.tensor([[0.125, 0.125, 0.75]]).expand(noise, 3)
        return Plan(candidates[:, 2], candidates, weights, weights, torch.zeros(noise))


@pytest.mark.parametrize(("act", "evaluate"), [(True, False), (False, True), (True, True)])
def test_acting_plans_where_it_is_told_to(act, evaluate):
    agent = make(config=planning(act=act, evaluate=evaluate))
    planner = Fixed()
    agent.planners = {mode: planner if used else None for mode, used in agent.planners.items()}
    for mode, plans in (("train", act), ("evaluate", evaluate)):
        asked = planner.asked
        actions, _, record = agent.act(seen(agent), agent.initial_state(2, 0), mode)
        assert planner.asked - asked == plans
        if plans:
            assert actions.tolist() == [[0, 0, 1]] * 2
        if plans and mode == "train":
            assert record["behaviour/log_prob"] == pytest.approx([np.log(0.75)] * 2)


def test_an_agent_that_plans_nowhere_has_no_planner():
    agent = make()
    assert set(agent.planners.values()) == {None}
    assert agent.teacher is None


@pytest.mark.parametrize("actions", [BOX, FACTORED], ids=["box", "factored"])
def test_a_planned_action_among_sampled_ones_has_no_probability(actions):
    agent = make(actions=actions, config=planning(act=True))
    actions, _, record = agent.act(seen(agent), agent.initial_state(2, 0), "train")
    assert (np.abs(actions) <= 1).all()
    assert np.isnan(record["behaviour/log_prob"]).all()


def test_an_explorer_plans_for_what_it_explores():
    agent = make(intrinsic="disagreement", config=planning(act=True))
    start = Latent(torch.randn(5, 32), torch.nn.functional.one_hot(torch.randint(4, (5, 4)), 4).float())
    action = torch.eye(3)[torch.randint(3, (5,))]
    step = agent.planners["train"].model.step(start, action, torch.rand(5, 4))
    pair = Latent(*(torch.stack(two, 1) for two in zip(start, step.state, strict=True)))
    both = torch.stack([torch.zeros_like(action), action], 1)
    expected = agent.intrinsic.scale(agent.intrinsic.reward(pair, both))[:, 1]
    torch.testing.assert_close(step.reward, expected)


def test_a_tree_of_depth_one_tries_every_action_once():
    agent = make(config=planning(update="one-step"))
    assert agent.teacher.config.simulations == 3
    assert agent.teacher.config.depth == 1
    for actions in (BOX, FACTORED):
        sampled = make(actions=actions, config=planning(update="one-step"))
        assert sampled.teacher.config.simulations == 4


@pytest.mark.parametrize("kind", ["model-free", "ppo"])
def test_search_without_a_model_is_refused(kind):
    with pytest.raises(UserError, match="Search needs a model"):
        AgentConfig(kind=kind, search=SearchConfig(evaluate=True))


@pytest.mark.parametrize("behaviour", [{"replay_critic": 0.0}])
def test_plans_that_leave_the_critic_without_a_teacher_are_refused(behaviour):
    with pytest.raises(UserError, match="critic learns on replayed rows alone"):
        dataclasses.replace(
            planning(update="search"), behaviour=dataclasses.replace(CONFIG.behaviour, **behaviour)
        )


def test_runs_that_learn_from_plans_are_not_fused():
    agents = [make(seed=seed, config=planning(update="search")) for seed in range(2)]
    with pytest.raises(UserError, match="learn from plans"):
        FusedAgents(agents)


def test_a_kind_of_update_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="one-step"):
        SearchConfig(update="one-stp")
    with pytest.raises(UserError, match="mppi"):
        make(config=planning(kind="mppi", act=True))
