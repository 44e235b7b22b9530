"""The W&B sweep of docs/wandb.md, as far as it goes without W&B's server."""

import itertools
from pathlib import Path

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from experiments.command_line.parsing import parse
from transfer.plan import parse_plan

DOCS = Path(__file__).parents[3] / "docs" / "wandb.md"
SWEEP = yaml.safe_load(DOCS.read_text().split("```yaml\n")[1].split("```")[0])
GRID = [
    dict(zip(SWEEP["parameters"], choice, strict=True))
    for choice in itertools.product(*(each["values"] for each in SWEEP["parameters"].values()))
]


@pytest.mark.parametrize("choice", GRID, ids=str)
def test_the_sweeps_commands_are_ours(choice, pretrained):
    given = {name: {"value": value} for name, value in choice.items()}  # as W&B's server sends it
    flags = create_sweep_command_args({"args": given})["args"]
    command = [word for item in SWEEP["command"] for word in (flags if item == "${args}" else [item])]
    assert command[:2] == ["expedition", "finetune"]
    command[command.index("runs/explored")] = str(pretrained)
    parsed = parse("finetune", command[2:])
    assert (parsed.plan, parsed.seed, parsed.machine.wandb) == (choice["plan"], choice["seed"], "online")
    parse_plan(parsed.plan)


def test_every_plan_meets_every_seed():
    assert len(GRID) == 12
    assert SWEEP["metric"]["name"] == "return"  # of the run's summary
