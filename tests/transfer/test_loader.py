"""Carrying plans out on tiny agents: what arrives is what was saved, the rest is as from scratch."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from agents import ActorCriticConfig, PriorConfig
from agents.distributions import from_network, kl
from envs import make_vector
from expedition import UserError
from tests.transfer import tiny
from tests.transfer.tiny import QUIET, TRAINING
from training import Replay, RunConfig, execute, open_checkpoint
from training.budget import most_rows
from training.collecting.collector import Collector, row_spec
from training.session import build_agent
from transfer.loader import Transfer, open_source, transfer_record
from transfer.plan import COMPONENTS, PLANS, parse_plan
from world_model import for_size

MODEL = tiny.AGENT.model
PRIOR = PriorConfig(share=1.0, scale=10.0, decay=1.0, stretch=1)
AGENT = dataclasses.replace(tiny.AGENT, prior=PRIOR)
FREE = dataclasses.replace(AGENT, kind="model-free")


def settings(phase="finetune", **changes):
    intrinsic = "rnd" if phase == "pretrain" else None
    config = RunConfig("catch-vector", phase, intrinsic, "tiny", 60, 5, AGENT, TRAINING)
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def source_dir(tmp_path_factory):
    """A pre-training run with another seed than the runs that carry from it."""
    folder = tmp_path_factory.mktemp("source") / "run"
    execute(settings("pretrain", seed=1), folder, QUIET)
    return folder


@pytest.fixture(scope="module")
def source(source_dir):
    return open_source(source_dir)


def saved(source, name):
    """A component as it lies on disk, read without our code."""
    return load_file(source.checkpoint.path / f"{name}.safetensors")


def fresh_run(plan, source, config):
    """An agent and a replay as a run makes them, before and after the transfer."""
    transfer = Transfer(parse_plan(plan), source, config)
    envs = make_vector(config.env, config.training.num_envs, config.training.image_size)
    agent = build_agent(config, envs, torch.device("cpu"))
    transfer.prepare(agent)
    rows = most_rows(config.steps, config.training.num_envs) + transfer.carried_rows
    replay = Replay(config.training.num_envs, row_spec(envs, agent, True), 2**26, rows)
    return transfer, agent, replay, envs


def loaded(plan, source, config=None):
    config = config or settings()
    transfer, agent, replay, envs = fresh_run(plan, source, config)
    return agent, replay, transfer.load(agent, replay, lambda: None), envs


def equal(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[k], other[k]) for k in state)


def carried_out(plan, source_dir, folder, **changes):
    config, parsed = settings(**changes), parse_plan(plan)
    source = open_source(source_dir)
    record = transfer_record(parsed, source)
    return execute(config, folder, QUIET, record, Transfer(parsed, source, config))


@pytest.mark.parametrize("plan", [*PLANS, "encoder=freeze,dynamics=copy,reward=copy"])
def test_carried_components_are_the_sources_and_the_others_those_of_scratch(plan, source):
    """Equal seeds pair the conditions: what a plan leaves fresh is the same in every one of them."""
    scratch = loaded("scratch", None)[0].components()
    components = loaded(plan, source)[0].components()
    assert components.keys() == scratch.keys()
    modes = parse_plan(plan).as_dict()
    for name, module in components.items():
        state = dict(module.state_dict())
        if modes[name] in ("copy", "freeze"):
            assert equal(state, saved(source, name)), name
            assert not equal(state, dict(scratch[name].state_dict())), name
        else:
            assert equal(state, dict(scratch[name].state_dict())), name


def test_agents_of_one_plan_sample_alike_while_learning(source):
    states = [loaded(plan, source)[0].generator.get_state() for plan in PLANS]
    assert all(torch.equal(states[0], state) for state in states)


def test_the_manifest_names_the_source_and_hashes_each_component(source, source_dir):
    manifest = loaded("all", source)[2]
    assert manifest["plan"] == "all"
    assert manifest["source"]["folder"] == str(source_dir.resolve())
    assert manifest["source"]["checkpoint"] == source.checkpoint.path.name
    assert manifest["source"]["step"] == 60
    carried = {name for name in COMPONENTS if parse_plan("all")[name] == "copy"}
    assert set(manifest["components"]) == carried
    files = json.loads((source.checkpoint.path / "manifest.json").read_text())["files"]
    for name in carried:
        held = [
            hashlib.sha256((source.checkpoint.path / file).read_bytes()).hexdigest()
            for file in (f"{name}.json", f"{name}.safetensors")
        ]
        assert held == [files[f"{name}.json"]["sha256"], files[f"{name}.safetensors"]["sha256"]]
        expected = hashlib.sha256(" ".join(held).encode()).hexdigest()
        assert manifest["components"][name] == {"mode": "copy", "sha256": {name: expected}}


def test_scratch_writes_a_manifest_of_nothing():
    assert loaded("scratch", None)[2] == {"plan": "scratch", "components": {}}


def test_frozen_components_stay_and_the_others_learn(source, source_dir, tmp_path):
    plan = "encoder=freeze,dynamics=freeze,decoder=copy"
    outcome = carried_out(plan, source_dir, tmp_path / "run")
    assert outcome.result["updates"] > 3
    end = open_checkpoint(tmp_path / "run")
    for name in ("encoder", "dynamics"):
        assert equal(end.load(name), saved(source, name))
    assert not equal(end.load("decoder"), saved(source, "decoder"))
    written = json.loads((tmp_path / "run" / "transfer.json").read_text())
    assert {name: part["mode"] for name, part in written["components"].items()} == {
        "encoder": "freeze",
        "dynamics": "freeze",
        "decoder": "copy",
    }
    trained = outcome.result["parameters"]
    everything = sum(v.numel() for n in ("encoder", "dynamics") for v in saved(source, n).values())
    whole = carried_out("scratch", source_dir, tmp_path / "scratch", steps=30).result["parameters"]
    assert trained == whole - everything


def test_a_carried_model_begins_where_the_source_ended(source_dir, tmp_path):
    """The same seed judges both on the same held-out sequences, so the two errors are one number."""
    execute(settings("pretrain"), tmp_path / "first", QUIET)
    carried = carried_out("model", tmp_path / "first", tmp_path / "second", steps=30).result
    ended = json.loads((tmp_path / "first" / "result.json").read_text())
    assert carried["metrics"]["open_loop_error_start"] == pytest.approx(
        ended["metrics"]["open_loop_error_end"], rel=1e-6
    )
    scratch = carried_out("scratch", tmp_path / "first", tmp_path / "third", steps=30).result
    assert scratch["metrics"]["open_loop_error_start"] != carried["metrics"]["open_loop_error_start"]


def test_the_prior_is_the_sources_policy_on_the_sources_model(source):
    agent, _, manifest, _ = loaded("policy", source)
    for name, module in (
        ("encoder", agent.prior.encoder),
        ("dynamics", agent.prior.dynamics),
        ("actor", agent.prior.actor),
    ):
        assert equal(dict(module.state_dict()), saved(source, name))
    assert not any(p.requires_grad for p in agent.prior.parameters())
    assert manifest["components"]["actor"]["mode"] == "prior"
    assert set(manifest["components"]["actor"]["sha256"]) == {"encoder", "dynamics", "actor"}


def teach(source, scale):
    """Collect with the teacher and learn; return the agent and its rows."""
    prior = dataclasses.replace(AGENT.prior, scale=scale)
    config = settings(steps=10_000, agent=dataclasses.replace(AGENT, prior=prior))
    agent, replay, _, envs = loaded("policy", source, config)
    with torch.no_grad():  # a teacher with a strong opinion: always the first action
        last = [p for p in agent.prior.actor.parameters() if p.shape == (3,)][-1]
        last.copy_(torch.tensor([20.0, 0.0, 0.0]))
    collector = Collector(envs, agent, replay, True, seed=3)
    collector.start()
    for step in range(40):
        collector.step(step)
    return agent, replay


def test_the_prior_acts_and_pulls(source):
    agent, replay = teach(source, scale=10.0)
    rows = replay.sample(8, 16, np.random.default_rng(0))
    acted = rows["action"][~rows["is_first"]]
    assert (acted.argmax(-1) == 0).mean() > 0.9  # its share is 1
    assert np.isfinite(rows["prior/logits"]).all()

    @torch.no_grad()
    def distance():
        batch = {key: torch.as_tensor(value) for key, value in rows.items()}
        noise = agent.draw_noise(batch, torch.Generator().manual_seed(0)).posterior
        latents, _, _ = agent.world_model.observe(batch, agent.world_model.initial(8), noise)
        policy = agent.behaviour.policy(latents.features)
        teacher = policy._replace(log_probs=batch["prior/logits"])
        return float(kl(teacher, policy).mean())

    before = distance()
    for _ in range(30):
        agent.update(rows, 40)
    assert distance() < 0.5 * before


def test_without_weight_the_prior_does_not_pull(source):
    agent, replay = teach(source, scale=0.0)
    rows = replay.sample(4, 8, np.random.default_rng(0))
    batch = {key: torch.as_tensor(value) for key, value in rows.items()}
    logits = torch.zeros(4, 8, 3, requires_grad=True)
    loss = agent.prior.loss(from_network(logits, (3,)), batch, torch.tensor(0.0))["prior"]
    loss.sum().backward()
    assert (loss == 0).all()
    assert (logits.grad == 0).all()


def test_evaluation_is_the_agent_alone(source):
    agent, _, _, envs = loaded("policy", source)
    state = agent.initial_state(2, 0)
    _, after, record = agent.act(envs.reset(0), state, "evaluate")
    assert record == {}
    assert after.prior is state.prior


def test_a_run_with_a_prior_resumes_with_it(source, source_dir, tmp_path):
    carried_out("policy", source_dir, tmp_path / "run")
    held = open_checkpoint(tmp_path / "run").load("training")["prior"]
    for part in ("encoder", "dynamics", "actor"):
        own = {k.removeprefix(f"{part}."): v for k, v in held.items() if k.startswith(f"{part}.")}
        assert equal(own, saved(source, part))


def test_a_carried_replay_arrives_whole_without_its_rewards(source):
    _, replay, manifest, _ = loaded("replay", source)
    before = source.checkpoint.load("replay")
    old = {key: value[0] for key, value in before["tail"].items()}  # the first environment's rows
    rows = next(iter(replay.sequences()))
    assert len(rows["is_first"]) == before["added"] - before["first"]
    for name in ("vector", "action", "is_first", "is_last", "is_terminal"):
        assert np.array_equal(rows[name][-len(old[name]) :], old[name])
    assert np.isnan(rows["reward"]).all()
    assert "task/reward" not in rows
    assert manifest["components"]["replay"]["sha256"]["replay"] == source.checkpoint.section_hash("replay")


EVERYTHING = "encoder=copy,dynamics=copy,decoder=copy,continue=copy,actor=copy,critic=copy,replay=copy"


@pytest.mark.parametrize("plan", ["replay", "replay=copy,actor=prior", EVERYTHING])
def test_training_on_carried_rows_stays_finite(source_dir, tmp_path, plan):
    result = carried_out(plan, source_dir, tmp_path / "run").result
    assert result["updates"] > 3
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    learned = [line for line in lines if "loss/total" in line]
    assert learned
    assert all(np.isfinite(value) for line in learned for value in line.values())
    checkpoint = open_checkpoint(tmp_path / "run")
    assert all(
        torch.isfinite(v).all() for part in ("reward", "actor") for v in checkpoint.load(part).values()
    )
    rewards = checkpoint.load("replay")["tail"]["reward"]
    assert np.isnan(rewards).any()
    assert np.isfinite(rewards).any()


@pytest.mark.parametrize(
    ("plan", "changes", "sentence"),
    [
        (
            "model",
            {"agent": dataclasses.replace(AGENT, model=for_size("tiny"))},
            "weights do not fit; fine-tune with the source's settings",
        ),
        (
            "encoder",
            {"env": "maze-vector"},
            "the encoder, which learned of the observations .* same observations and actions",
        ),
        ("model", {"env": "catch-pixels"}, "the encoder, which learned of the obs"),
        ("policy", {"env": "catch-pixels"}, "the actor, which learned of the obs"),
        ("replay", {"env": "catch-pixels"}, "the replay, which learned of the obs"),
        ("replay", {"env": "maze-vector"}, "the replay, which learned of the actions"),
        (
            "replay",
            {"training": dataclasses.replace(TRAINING, num_envs=3)},
            "--training.num-envs 2",
        ),
        ("model", {"agent": dataclasses.replace(AGENT, kind="ppo")}, "PPO has no place for them"),
        (
            "model+policy",
            {"agent": dataclasses.replace(AGENT, behaviour=ActorCriticConfig(imagination=3, layers=2))},
            "another behaviour.layers .* weights do not fit",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_no_folder(plan, changes, sentence, source_dir, tmp_path):
    with pytest.raises(UserError, match=sentence):
        carried_out(plan, source_dir, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_what_only_decides_how_it_learns_may_differ(source_dir, tmp_path):
    learner = dataclasses.replace(
        AGENT,
        model=dataclasses.replace(AGENT.model, horizon=20, free_nats=0.1, scale_dynamics=0.5),
        behaviour=dataclasses.replace(AGENT.behaviour, entropy=0.5, imagination=2),
        optimizer=dataclasses.replace(AGENT.optimizer, lr=1e-3),
    )
    assert carried_out("all", source_dir, tmp_path / "run", agent=learner).result is not None


def test_a_plan_that_carries_needs_a_source():
    with pytest.raises(UserError, match=r"say from which run with --from"):
        Transfer(parse_plan("model"), None, settings())


def test_missing_foreign_and_torn_sources(source_dir, tmp_path):
    with pytest.raises(UserError, match="There is no run at"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no config\.json"):
        open_source(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"holds no config\.json"):
        open_source(tmp_path / "file")
    for text, sentence in (
        ("{", "is not whole JSON"),
        ("[]", "is not a file of Expedition"),
        ('{"learning_rate": 1}', "lacks env, phase, intrinsic"),
    ):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=sentence):
            open_source(tmp_path)
    shutil.copy(source_dir / "config.json", tmp_path)
    with pytest.raises(UserError, match="holds no checkpoint"):
        open_source(tmp_path)
    shutil.copytree(source_dir, tmp_path / "torn")
    weights = next((tmp_path / "torn").glob("checkpoint-*/encoder.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4])
    torn = open_source(tmp_path / "torn").checkpoint
    with pytest.raises(UserError, match=r"Cannot read 'encoder' .*encoder\.safetensors has"):
        torn.load("encoder")
    assert torn.load("dynamics")


def test_a_fine_tuning_run_is_no_source(source_dir, tmp_path):
    carried_out("scratch", source_dir, tmp_path / "run", steps=4)
    with pytest.raises(
        UserError, match=r"is a fine-tuning run: give --from the folder of a pre-training run"
    ):
        open_source(tmp_path / "run")


def test_a_source_without_the_component_is_named(source_dir, tmp_path, monkeypatch):
    source = open_source(source_dir)
    monkeypatch.setattr(source.checkpoint, "sections", ["encoder"])
    with pytest.raises(UserError, match="holds no component 'dynamics'"):
        loaded("model", source)


def test_the_source_decides_whether_a_folder_holds_the_same_run(source):
    plan = parse_plan("model")
    one = transfer_record(plan, source)["transfer"]
    assert one["source"] == {"run": source.identity["run"], "step": 60}
    assert one["modes"] == plan.as_dict()
    assert transfer_record(parse_plan("scratch"), source)["transfer"]["source"] is None
    assert transfer_record(parse_plan("scratch"), source) == transfer_record(parse_plan("scratch"), None)


class TestKinds:
    """Carrying between the model-based agent and its model-free twin."""

    @pytest.fixture(scope="class")
    def twin_dir(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("twin") / "run"
        execute(settings("pretrain", seed=1, agent=FREE), folder, QUIET)
        return folder

    def sources(self, source_dir, twin_dir):
        return {"model-based": source_dir, "model-free": twin_dir}

    @pytest.mark.parametrize("plan", ["policy", "all"])
    @pytest.mark.parametrize(
        ("origin", "kind"),
        [("model-free", "model-free"), ("model-based", "model-free"), ("model-free", "model-based")],
    )
    def test_every_direction_runs(self, origin, kind, plan, source_dir, twin_dir, tmp_path):
        folder = self.sources(source_dir, twin_dir)[origin]
        agent = dataclasses.replace(AGENT, kind=kind)
        assert carried_out(plan, folder, tmp_path / "run", agent=agent).result["updates"] > 3

    @pytest.mark.parametrize(
        ("origin", "kind"), [("model-based", "model-free"), ("model-free", "model-based")]
    )
    def test_what_one_of_them_lacks_is_absent(self, origin, kind, source_dir, twin_dir):
        source = open_source(self.sources(source_dir, twin_dir)[origin])
        config = settings(agent=dataclasses.replace(AGENT, kind=kind))
        agent, _, manifest, _ = loaded("all", source, config)
        scratch = loaded("scratch", None, config)[0].components()
        modes = {name: part["mode"] for name, part in manifest["components"].items()}
        shared = ("encoder", "dynamics", "actor", "critic")
        assert modes == dict.fromkeys(shared, "copy") | {"decoder": "absent", "continue": "absent"}
        for name, module in agent.components().items():
            expected = saved(source, name) if name in shared else dict(scratch[name].state_dict())
            assert equal(dict(module.state_dict()), expected), name

    def test_an_absent_component_is_not_frozen(self, twin_dir):
        agent, *_ = loaded("encoder=freeze,dynamics=copy,decoder=freeze", open_source(twin_dir))
        parts = agent.components()
        assert not any(p.requires_grad for p in parts["encoder"].parameters())
        assert all(p.requires_grad for p in parts["decoder"].parameters())

    def test_the_teacher_is_of_the_sources_kind(self, source_dir, twin_dir):
        # the twin has no decoder to load, and yet teaches a model-based agent; and the other way round
        for folder, kind in ((twin_dir, "model-based"), (source_dir, "model-free")):
            source, agent = open_source(folder), dataclasses.replace(AGENT, kind=kind)
            prior = loaded("policy", source, settings(agent=agent))[0].prior
            assert equal(dict(prior.actor.state_dict()), saved(source, "actor"))
            assert equal(dict(prior.encoder.state_dict()), saved(source, "encoder"))

    def test_a_torn_source_of_either_kind_is_named(self, twin_dir, monkeypatch):
        source = open_source(twin_dir)
        monkeypatch.setattr(source.checkpoint, "sections", ["encoder"])
        with pytest.raises(UserError, match="holds no component 'dynamics'"):
            loaded("model", source)

    @pytest.mark.parametrize(
        ("plan", "kind", "sentence"),
        [
            ("replay", "model-free", "from which a model-free agent learns nothing"),
            ("encoder=freeze,dynamics=freeze", "model-based", "never learned to predict: copy them"),
        ],
    )
    def test_what_would_mean_nothing_is_refused(self, plan, kind, sentence, twin_dir):
        config = settings(agent=dataclasses.replace(AGENT, kind=kind))
        with pytest.raises(UserError, match=sentence):
            Transfer(parse_plan(plan), open_source(twin_dir), config)

    def test_a_carried_replay_keeps_the_actions_probabilities(self, twin_dir):
        source = open_source(twin_dir)
        _, replay, _, _ = loaded("replay", source)
        rows = next(iter(replay.sequences()))
        old = source.checkpoint.load("replay")["tail"]["behaviour/log_prob"][0]
        assert np.array_equal(rows["behaviour/log_prob"][-len(old) :], old)
        assert np.isfinite(old).all()
