"""What read few objects as a graph is carried to more of them; what read them in a row is refused."""

import dataclasses

import pytest
import torch

from expedition import UserError
from tests.transfer.tiny import AGENT, QUIET, TRAINING
from training import RunConfig, execute, open_checkpoint
from training.spaces import SPACES, any_number, describe_spaces, described_spaces
from transfer.loader import Transfer, open_source, transfer_record
from transfer.plan import parse_plan
from world_model.sizes import ObjectsConfig

FEW, MANY = "tests.blocks:Blocks-v0,objects=4", "tests.blocks:Blocks-v0,objects=7"
KINDS = ("graph", "plain")


def settings(env, kind, phase="finetune"):
    model = dataclasses.replace(AGENT.model, objects=ObjectsConfig(kind=kind, units=8, messages=1))
    agent = dataclasses.replace(AGENT, model=model)
    intrinsic = "none" if phase == "pretrain" else None
    return RunConfig(env, phase, intrinsic, "tiny", 60, 0, agent, TRAINING)


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    folders = {kind: tmp_path_factory.mktemp(kind) / "run" for kind in KINDS}
    for kind, folder in folders.items():
        execute(settings(FEW, kind, "pretrain"), folder, QUIET)
    return folders


def carried_out(source, folder, plan, config):
    plan, opened = parse_plan(plan), open_source(source)
    return execute(config, folder, QUIET, transfer_record(plan, opened), Transfer(plan, opened, config))


@pytest.mark.parametrize("plan", ["all", "policy", "encoder", "model+policy,encoder=freeze,actor=freeze:30"])
def test_graphs_are_carried_to_more_objects(explored, tmp_path, plan):
    found = carried_out(explored["graph"], tmp_path / "run", plan, settings(MANY, "graph"))
    assert found.exit_code == 0
    assert {"return_start", "return"} <= found.result["metrics"].keys()  # zero-shot, and after learning
    if "freeze" in plan:
        kept, now = (
            open_checkpoint(folder).load("encoder") for folder in (explored["graph"], tmp_path / "run")
        )
        assert all(torch.equal(kept[name], now[name]) for name in kept)


def test_to_the_twin_too(explored, tmp_path):
    config = settings(MANY, "graph")
    config = dataclasses.replace(config, agent=dataclasses.replace(config.agent, kind="model-free"))
    assert carried_out(explored["graph"], tmp_path / "run", "model+policy", config).exit_code == 0


@pytest.mark.parametrize(
    ("kind", "plan", "sentence"),
    [
        (
            "plain",
            "model+policy",
            r"the dynamics, which learned of the actions MultiDiscrete\(2, 4 of objects\) of .* and not of "
            r"MultiDiscrete\(2, 7 of objects\): read in a row, objects fit one number of them, so pre-train "
            "with agent.model.objects.kind graph, or carry less.",
        ),
        (
            "plain",
            "encoder",
            r"the encoder, which learned of the observations objects \(4, 2\) float32, objects_mask 4 "
            r"symbols of 2 of .* and not of objects \(7, 2\) .*: read in a row",
        ),
        ("graph", "replay", "carries the replay, .*: its rows hold another number of objects, so leave"),
        ("graph", "model+relabel", "carries the replay, .*: its rows hold another number of objects"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_step(explored, tmp_path, kind, plan, sentence):
    with pytest.raises(UserError, match=sentence):
        carried_out(explored[kind], tmp_path / "run", plan, settings(MANY, kind))
    assert not (tmp_path / "run").exists()


def test_a_graph_is_not_carried_into_a_plain_agent(explored, tmp_path):
    with pytest.raises(UserError, match=r"has another model\.objects"):
        carried_out(explored["graph"], tmp_path / "run", "model", settings(FEW, "plain"))


def test_spaces_on_record(explored):
    described = open_checkpoint(explored["graph"]).metadata[SPACES]
    assert described == {
        "observations": [["objects", "float32", [4, 2]], ["objects_mask", "symbols", [2, 2, 2, 2]]],
        "actions": "MultiDiscrete(2, 4 of objects)",
    }
    assert describe_spaces(*described_spaces(described)) == described
    assert any_number(described) == {
        "observations": [["objects", "float32", ["n", 2]], ["objects_mask", "symbols", ["n"]]],
        "actions": "MultiDiscrete(2, n of objects)",
    }


@pytest.mark.parametrize(
    ("name", "kind", "sizes"),
    [("objects", "float32", [4]), ("mask", "symbols", [2, 2]), ("image", "uint8", [32, 32, 3])],
)
def test_all_else_keeps_its_number(name, kind, sizes):
    described = {"observations": [[name, kind, sizes]], "actions": "MultiDiscrete(2, 4)"}
    assert any_number(described) == described
