"""A run's command, read by the command line itself, has the run's own settings."""

import json
import os
import shlex

from experiments.command_line.parsing import parse
from experiments.reporting.page.commands import commands
from experiments.reporting.records import read_study
from training import to_dict


def test_commands_are_read_back_as_the_runs_settings(studied, monkeypatch):
    folder, _ = studied
    monkeypatch.chdir(folder)
    found = commands(read_study(folder))
    runs = [run for run in os.listdir(folder) if (folder / run / "config.json").is_file()]
    learning = {run for run in runs if not run.startswith("random-policy")}
    assert set(found) == learning
    for run, line in found.items():
        program, name, *arguments = shlex.split(line)
        assert program == "expedition"
        command = parse(name, arguments)
        config = json.loads((folder / run / "config.json").read_text())
        assert json.loads(json.dumps(to_dict(command.agent))) == config["agent"]
        assert json.loads(json.dumps(to_dict(command.training))) == config["training"]
        assert (command.env, command.steps, command.seed) == (
            config["env"],
            config["steps"],
            config["seed"],
        )
        assert str(command.out) == f"again/{run}"
        if name == "finetune":
            assert command.plan == config["transfer"]["plan"]
            carried = config["transfer"]["source"]
            assert (command.source is not None) == (carried is not None)
            if command.source is not None:
                assert command.source.endswith(carried["run"])


def test_switches_lists_and_what_other_versions_had(write_study, tmp_path):
    folder = write_study(tmp_path, films=False, conditions=("scratch",))
    config = {"env": "crafter", "steps": 40, "seed": 0, "size": "tiny"}
    config["agent"] = {"behaviour": {"center": False, "gone": 3}}
    config["training"] = {"searches": [4, 16], "simulator": True, "batch": 16}
    (folder / "scratch-s0" / "config.json").write_text(json.dumps(config))
    (folder / "pretrain-s0" / "config.json").write_text(json.dumps({"env": "crafter"}))  # not readable
    (line,) = commands(read_study(folder)).values()
    assert line == (
        "expedition finetune --env crafter --steps 40 --seed 0 --size tiny --plan scratch "
        "--agent.behaviour.no-center --training.searches 4 16 --training.simulator --out again/scratch-s0"
    )
