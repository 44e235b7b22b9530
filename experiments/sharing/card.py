"""The model card of an exported explorer: what it is and reached, how it is used, its study's figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from experiments.reporting.closing import condition_table
from experiments.reporting.metrics import METRICS, PRETRAINING, metric_of
from training import RunConfig
from training.storage.folder import read_json

FIGURE = "study.png"
"""The study's figure beside the card."""
_REMAKE = "run `expedition report` on the study"


def model_card(
    config: RunConfig, step: int, result: Mapping[str, Any] | None, run_dir: Path
) -> tuple[str, Path | None]:
    """Return the card as Markdown under the hub's YAML, and the picture of the study that it shows.

    Args:
        config: the run.
        step: environment steps at its checkpoint.
        result: of the run; None where it was not judged at that step.
        run_dir: its folder; where that lies in a study's that has reported, the study's figures are told.
    """
    study, figure = _study(run_dir)
    use = _USE + (_CARRY if config.phase == "pretrain" else "")
    parts = [_head(config), _what(config, step, result), _reached(result), use, study, _LICENCE]
    return "\n".join(part for part in parts if part), figure


def _head(config: RunConfig) -> str:
    """What the hub files it under."""
    env = config.env.partition(",")[0].replace(":", "-")
    tags = ["reinforcement-learning", "world-model", config.agent.kind, env]
    if config.intrinsic is not None:
        tags += ["exploration", config.intrinsic.replace(":", "-")]
    meta = {
        "license": "mit",
        "library_name": "expedition",
        "pipeline_tag": "reinforcement-learning",
        "tags": tags,
    }
    return f"---\n{yaml.safe_dump(meta, sort_keys=False)}---\n"


def _what(config: RunConfig, step: int, result: Mapping[str, Any] | None) -> str:
    explored = config.phase == "pretrain"
    what = f"explored `{config.env}`" if explored else f"learned `{config.env}`"
    how = f"on the intrinsic reward `{config.intrinsic}` alone" if explored else "on the task's reward"
    rows = {
        "environment": f"`{config.env}`",
        "reward": f"`{config.intrinsic}` (intrinsic)" if explored else "the task's",
        "environment steps": f"{step:,}",
        "agent": f"{config.agent.kind}, size `{config.size}`",
        "model predicts": f"`{config.agent.model.predicts}`",
        "seed": str(config.seed),
    }
    if result is not None:
        rows |= {
            "parameters": f"{result['parameters']:,}",
            "observations": ", ".join(result["observed"]),
            "made with": f"Expedition {result['version']}",
        }
    told = f"An agent of Expedition that {what} for {step:,} steps {how}."
    return f"# {_title(config)}\n\n{told}\n\n{_table(rows)}"


def _title(config: RunConfig) -> str:
    role = "Explorer" if config.phase == "pretrain" else "Agent"
    return f"{role} of {config.env.partition(',')[0]}"


def _reached(result: Mapping[str, Any] | None) -> str:
    """What its result measured, as a report shows it."""
    if result is None:
        return ""
    measured = result["metrics"]
    names = [name for name in dict.fromkeys([*PRETRAINING, *METRICS]) if measured.get(name) is not None]
    rows = {}
    for name in names:
        metric = metric_of(name)
        rows[f"{metric.label} ({metric.unit})" if metric.unit else metric.label] = (
            f"{measured[name] * metric.scale:.4g}"
        )
    reached = result.get("coverage", {})
    if reached.get("reachable"):
        rows["reached, of all there is to reach"] = f"{reached['reached']} of {reached['reachable']}"
    return f"## What it reached\n\n{_table(rows)}" if rows else ""


_USE = """## How it is used

```python
import expedition

explorer = expedition.load("hf:OWNER/NAME")  # this repository, or the folder that holds it
env = explorer.env()
observation, _ = env.reset(seed=0)
action = explorer.act(observation)
```

Only tensors (safetensors) and JSON are read, no code; `export.json` and the checkpoint's manifest hold their
SHA-256.
"""

_CARRY = """
Or carry parts of it into a task of the same observations and actions:

    expedition finetune --from hf:OWNER/NAME --plan model+policy --env ID --steps N
"""

_LICENCE = """## Licence

MIT, see `LICENSE`. Whoever shares it under another replaces that file and the first line of this one.
"""


def _study(run_dir: Path) -> tuple[str, Path | None]:
    """The figures of the study that a run belongs to; nothing where there are none."""
    folder = run_dir.parent
    if not (folder / "study.json").is_file() or not (folder / "summary.json").is_file():
        return "", None
    study, summary = (read_json(folder / f"{name}.json", _REMAKE) for name in ("study", "summary"))
    if run_dir.name not in [run["id"] for run in study["runs"]]:
        return "", None
    figure = folder / "report.png"
    shown = f"![What the study measured]({FIGURE})\n\n" if figure.is_file() else ""
    text = (
        f"## The study's figures\n\nIt is the run `{run_dir.name}` of the study `{study['name']}` "
        f"(Expedition {study['version']}). {summary['answer']['sentence']}\n\n{shown}"
        f"```\n{condition_table(summary).rstrip()}\n```\n\n"
        "Brackets, where there are any, are 95 % intervals of the mean over seeds.\n"
    )
    return text, figure if shown else None


def _table(rows: Mapping[str, str]) -> str:
    return "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows.items())
