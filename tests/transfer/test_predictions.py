"""Plans carry what stands in the decoder's place, whichever it is, and nothing into another kind."""

import dataclasses
from typing import get_args

import pytest
import torch

from agents import ActorCriticConfig, AgentConfig
from expedition import UserError
from tests.transfer.test_loader import MODEL, fresh_run, loaded
from tests.transfer.tiny import QUIET, TRAINING
from training import RunConfig, execute
from transfer.loader import Transfer, open_source, transfer_record
from transfer.plan import parse_plan
from world_model import Predicts

KINDS = get_args(Predicts)
AGENT = AgentConfig(model=MODEL, behaviour=ActorCriticConfig(imagination=2, layers=1, starts=2))
SHORT = dataclasses.replace(TRAINING, learning_starts=16, heldout=2, probe_updates=2)


def settings(predicts, phase="finetune", kind="model-based", seed=5):
    agent = dataclasses.replace(AGENT, kind=kind, model=dataclasses.replace(MODEL, predicts=predicts))
    intrinsic = "rnd" if phase == "pretrain" else None
    return RunConfig("catch-vector", phase, intrinsic, "tiny", 24, seed, agent, SHORT)


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """A pre-training run of each kind of prediction."""
    folders = {predicts: tmp_path_factory.mktemp(predicts) / "run" for predicts in KINDS}
    for predicts, folder in folders.items():
        assert execute(settings(predicts, "pretrain", seed=1), folder, QUIET).result["updates"] > 0
    return folders


def carried_out(plan, folder, out, config):
    plan, source = parse_plan(plan), open_source(folder)
    record = transfer_record(plan, source)
    return execute(config, out, QUIET, record, Transfer(plan, source, config)).result


@pytest.mark.parametrize("plan", ["model", "model+policy"])
@pytest.mark.parametrize("predicts", KINDS)
def test_every_kind_is_carried_into_its_own(explored, tmp_path, predicts, plan):
    result = carried_out(plan, explored[predicts], tmp_path / "run", settings(predicts))
    reader = "open_loop" if predicts == "reconstruction" else "probe"
    assert result["metrics"][f"{reader}_error_end"] > 0
    source = open_source(explored[predicts])
    agent, *_ = loaded(plan, source, settings(predicts))
    saved = source.checkpoint.load("decoder")
    held = agent.components()["decoder"].state_dict()
    assert held.keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in held.items())


@pytest.mark.parametrize(("there", "here"), [("spr", "reconstruction"), ("none", "barlow")])
def test_no_kind_is_carried_into_another(explored, there, here):
    source, config = open_source(explored[there]), settings(here)
    with pytest.raises(
        UserError, match=f"the source has '{there}' and the new agent '{here}': fine-tune with"
    ):
        Transfer(parse_plan("model+policy"), source, config)
    for plan in ("model+policy,decoder=fresh", "encoder", "policy", "replay"):
        loaded(plan, source, config)
    loaded("model+policy", source, dataclasses.replace(settings(here, kind="model-free")))


def test_a_target_that_is_not_carried_begins_where_a_carried_encoder_is(explored):
    source = open_source(explored["spr"])
    agent, *_ = loaded("encoder", source, settings("spr"))
    target, encoder = agent.world_model.decoder.target[0], agent.world_model.encoder
    assert all(torch.equal(a, b) for a, b in zip(target.parameters(), encoder.parameters(), strict=True))
    # a carried one is its own, some updates behind the encoder
    agent, *_ = loaded("model", source, settings("spr"))
    target, encoder = agent.world_model.decoder.target[0], agent.world_model.encoder
    assert not any(torch.equal(a, b) for a, b in zip(target.parameters(), encoder.parameters(), strict=True))


def test_a_frozen_prediction_rests_with_its_target(explored):
    _, agent, *_ = fresh_run("model,decoder=freeze", open_source(explored["spr"]), settings("spr"))
    assert not any(p.requires_grad for p in agent.world_model.decoder.parameters())
