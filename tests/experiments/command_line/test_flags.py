"""Settings of a study's groups as flags."""

import pytest

from expedition import UserError
from experiments.command_line.flags import grouped_flags
from experiments.studies.presets import find_study


def test_flags_reach_into_groups_and_leave_the_others():
    words = "quickstart --finetune-agent.behaviour.entropy 2e-3 --seeds 3 --agent.behaviour.no-center"
    words += " --finetune_agent.optimizer.lr=1e-4 --finetune.learning-starts 600 --out a.b --jobs=1"
    groups, left = grouped_flags(words.split())
    assert left == ["quickstart", "--seeds", "3", "--out", "a.b", "--jobs=1"]
    study = find_study("quickstart", None, groups)
    learner = study.finetuning_agent
    assert (learner.behaviour.entropy, learner.optimizer.lr, learner.behaviour.center) == (2e-3, 1e-4, False)
    assert (study.agent.behaviour.entropy, study.agent.behaviour.center) == (0.05, False)
    assert (study.finetune.learning_starts, study.pretrain.learning_starts) == (600, 512)


def test_a_switch_and_the_last_of_two_values():
    flags = ["--agent.behaviour.center", "--pretrain.batch", "3", "--pretrain.batch", "4", "--fused"]
    groups, left = grouped_flags(flags)
    assert groups == {"agent": {"behaviour": {"center": True}}, "pretrain": {"batch": 4}}
    assert left == ["--fused"]


def test_flags_win_over_a_file_and_leave_the_rest_of_its_groups(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "base: quickstart\nfinetune-agent:\n  behaviour: {entropy: 0.5, return-limit: 2}\n"
        "finetune: {learning-starts: 600}\n"
    )
    groups, _ = grouped_flags(
        ["--finetune-agent.behaviour.entropy", "0.25", "--finetune.learning-starts", "700"]
    )
    study = find_study(str(path), None, groups)
    behaviour = study.finetuning_agent.behaviour
    assert (behaviour.entropy, behaviour.return_limit) == (0.25, 2.0)
    assert study.finetune.learning_starts == 700


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--finetune-agent.behaviour.entrpy", "1"], "in behaviour 'entrpy': did you mean entropy"),
        (["--finetune-agent.behaviour.entropy", "much"], "'entropy' must be a number, not 'much'"),
        (["--finetune-agent.behaviour.entropy"], "'entropy' must be a number, not True"),
        (["--agent.optimizer.lr", "[1"], "The value of --agent.optimizer.lr cannot be read"),
    ],
)
def test_bad_flags_get_one_sentence(flags, sentence):
    with pytest.raises(UserError, match=sentence):
        find_study("quickstart", None, grouped_flags(flags)[0])
