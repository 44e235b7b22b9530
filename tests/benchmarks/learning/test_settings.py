"""How variants are named, and how their differences are paired."""

import json

import pytest

from benchmarks.learning.settings import MEASURES, measured, summed, table, usual, variant
from expedition import UserError
from experiments.settings import Setting, with_settings


def test_a_variant_has_a_name_and_settings():
    name, settings = variant(["more starts", "agent.behaviour.starts=16", "training.train_ratio=8.5"])
    assert name == "more starts"
    assert settings == (Setting("agent.behaviour.starts", 16), Setting("training.train_ratio", 8.5))
    config = with_settings(usual("CartPole-v1", 100, 3), settings)
    assert (config.agent.behaviour.starts, config.training.train_ratio, config.seed) == (16, 8.5, 3)
    with pytest.raises(UserError, match="has no value"):
        variant(["x", "agent.behaviour.starts"])


def test_a_run_is_read_by_its_measures(tmp_path):
    lines = [{"env_step": 50, "return": 1.0}, {"env_step": 100, "return": 3.0}]
    (tmp_path / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    metrics = {"return": 4.0, "open_loop_error_end": 0.5, "open_loop_nats_end": 0.25}
    (tmp_path / "result.json").write_text(json.dumps({"metrics": metrics, "environment_steps": 100}))
    (tmp_path / "cpu.json").write_text("7.5")
    assert measured(tmp_path) == dict(zip(MEASURES, (2.0, 4.0, 0.25, 7.5), strict=True))


def test_differences_are_paired_by_seed():
    same = dict.fromkeys(MEASURES, 1.0)
    tables = {"unchanged": [same, same | {"return": 3.0}], "x": [same, same | {"return": 7.0}]}
    found = summed(tables)["x"]["return"]
    assert found == {"mean": 4.0, "more": (2.0, pytest.approx(2.0))}
    head, first, second = table({"variants": summed(tables)}).splitlines()
    assert head.split() == ["area", "return", "open", "loop", "CPU-s"]
    assert first.split() == ["unchanged", "1.000", "2.000", "1.000", "1.000"]
    assert "4.000 (+2.000 +- 2.000)" in second
