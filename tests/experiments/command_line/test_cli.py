"""The command line from end to end on tiny runs, and everything that a user may type wrongly."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import gymnasium
import pytest

from expedition import __version__
from experiments.command_line import cli as module
from experiments.command_line.commands import COMMANDS
from experiments.settings import finetune_preset, with_settings
from training import Logistics, fingerprint, read_config, session, to_dict
from training.storage.folder import only_process
from transfer.plan import PLANS
from world_model import SIZES


def state(folder):
    return json.loads((folder / "status.json").read_text())["state"]


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


@pytest.fixture
def pretrain(cli, small, tmp_path):
    """`expedition pretrain` on a tiny run of 64 steps, in a folder of its own; flags come after."""

    def run(*flags, out="run"):
        return cli("pretrain", "--config", small, "--steps", 64, "--out", tmp_path / out, *flags)

    return run


# From end to end


def test_a_baseline_is_trained_and_judged_again(cli, tmp_path):
    pytest.importorskip("stable_baselines3")
    flags = ("--env", "CartPole-v1", "--steps", 100, "--episodes", 2, "--wandb", "off", "--threads", 1)
    code, out, err = cli("baseline", "ppo", *flags, "--out", tmp_path / "run", "--ppo.epochs", 1)
    assert code == 0, err
    assert re.search(r"^return +-?[\d.]+$", out, re.M)
    ppo = read_config(tmp_path / "run").agent.ppo
    assert (ppo.epochs, ppo.rollout) == (1, 256)  # its flag, and what suits a short run
    code, out, err = cli("evaluate", "--from", tmp_path / "run", "--episodes", 1)
    assert code == 0, err
    assert "return" in out


def test_an_unknown_baseline_gets_the_nearest(cli):
    code, _, err = cli("baseline", "pp0")
    assert code == 2
    assert "Unknown baseline 'pp0': did you mean ppo" in err


@pytest.mark.parametrize("plan", [*PLANS, "encoder=freeze,dynamics=copy"])
def test_fine_tuning_under_each_plan(cli, pretrained, tmp_path, plan):
    arguments = ("--from", pretrained, "--plan", plan, "--steps", 40, "--wandb", "off")
    code, out, err = cli("finetune", *arguments, "--out", tmp_path / "run")
    assert code == 0, err
    assert re.search(r"^return +-?[\d.]+$", out, re.M)
    assert out.splitlines()[-1].split() == ["folder", str(tmp_path / "run")]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["phase"], config["env"], config["steps"]) == ("finetune", "catch-vector", 40)
    assert config["transfer"]["plan"] == plan
    assert (config["transfer"]["source"] is None) == (plan == "scratch")
    own = with_settings(read_config(pretrained).agent, finetune_preset("tiny"))
    assert config["agent"] == to_dict(own)  # the source's settings, but for phase 2's own
    if plan != "scratch":
        assert "Phase 2 sets for itself (phase 1 had): behaviour.entropy 0.003 (0.01)" in err
    assert json.loads((tmp_path / "run" / "transfer.json").read_text())["plan"] == plan
    assert state(tmp_path / "run") == "finished"


def test_the_same_again_is_finished_and_other_settings_are_refused(cli, refused, pretrained, small):
    before = contents(pretrained)
    command = ("pretrain", "--config", small, "--out", pretrained)
    code, out, err = cli(*command, "--steps", 64)
    assert code == 0
    assert "is finished already: nothing to do." in err
    assert "return" in out
    assert "steps (64 there, 63 asked for)" in refused(*command, "--steps", 63)
    found = refused(*command, "--steps", 64, "--training.batch", 3, "--seed", 4)
    assert "seed (0 there, 4 asked for)" in found
    assert "training.batch (2 there, 3 asked for)" in found
    assert contents(pretrained) == before


def test_with_more_steps_a_finished_run_goes_on(cli, pretrain, small, tmp_path):
    assert pretrain()[0] == 0
    code, out, err = pretrain("--steps", 80)
    assert code == 0
    assert "It had 64 steps and goes on to 80." in err
    assert "Going on from step 64" in err
    assert json.loads((tmp_path / "run" / "result.json").read_text())["environment_steps"] == 80


def test_the_default_folder_is_named_by_the_settings(cli, small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = cli("pretrain", "--config", small, "--steps", 20)
    assert code == 0
    (folder,) = (tmp_path / "runs" / "pretrain").iterdir()
    config = read_config(folder)
    assert folder.name == fingerprint(to_dict(config))
    assert str(folder.relative_to(tmp_path)) in out
    assert cli("finetune", "--from", folder, "--plan", "encoder=copy", "--steps", 4, "--wandb", "off")[0] == 0
    (tuned,) = (tmp_path / "runs" / "finetune").iterdir()
    assert re.fullmatch(r"custom-[0-9a-f]{10}", tuned.name)


def test_evaluate(cli, refused, pretrained):
    code, out, _ = cli("evaluate", "--from", pretrained, "--episodes", 3, "--device", "cpu")
    assert code == 0
    assert re.search(r"^episodes +3$", out, re.M)
    code, out, _ = cli("evaluate", "--from", pretrained, "--episodes", 3, "--json")
    assert json.loads(out)["episodes"] == 3
    assert "episodes is 0: it must be a number of at least 1" in refused(
        "evaluate", "--from", pretrained, "--episodes", 0
    )
    assert "seed" in refused("evaluate", "--from", pretrained, "--seed", -1)
    assert "There is no" in refused("evaluate", "--from", pretrained / "none")


def test_report_writes_the_same_again(cli, studied, tmp_path, no_page):
    folder = tmp_path / "copy"
    shutil.copytree(studied[0], folder)
    before = json.loads((folder / "summary.json").read_text())
    for name in ("summary.json", "report.txt", "report.png"):
        (folder / name).unlink()
    code, out, _ = cli("report", folder)
    assert code == 0
    assert json.loads((folder / "summary.json").read_text()) == before
    assert out.splitlines()[-1] == str(folder)
    assert json.loads((folder / "summary.json").read_text())["answer"]["sentence"] in " ".join(out.split())
    assert (folder / "report.png").exists()


def test_list(cli, refused):
    code, out, _ = cli("list", "--json")
    assert code == 0
    assert list(json.loads(out)) == ["environments", "intrinsic", "plans", "studies", "sizes"]
    code, out, _ = cli("list", "sizes", "--json")
    assert list(json.loads(out)["sizes"]) == list(SIZES)
    code, out, _ = cli("list", "plans")
    assert out.splitlines()[0] == "plans"
    assert "environments" not in out
    assert "did you mean environments" in refused("list", "enviroments")


def test_the_resolved_settings_are_written_into_the_run(pretrain, tmp_path):
    assert pretrain("--training.batch", 3, "--agent.optimizer.lr", 0.002)[0] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["training"]["batch"] == 3
    assert config["agent"]["optimizer"]["lr"] == 0.002
    assert config["agent"]["model"]["unimix"] == 0.01  # what nobody named is there as well
    assert config["training"]["checkpoint_seconds"] == 300.0


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_what_a_person_can_read(cli, command):
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert len(out.splitlines()) <= 50
    assert "--agent." not in out
    assert "--training." not in out
    assert "default" in out or command in ("report", "export-data")


@pytest.mark.parametrize("command", ["pretrain", "train", "finetune"])
def test_all_help_shows_the_groups(cli, command):
    code, out, _ = cli(command, "--help-all")
    assert code == 0
    for flag in ("--agent.model.deter", "--agent.prior.share", "--training.train-ratio"):
        assert flag in out


def test_help_is_given_even_where_the_rest_is_wrong(cli):
    assert cli("finetune", "--from", "nowhere", "--help")[0] == 0
    assert cli("pretrain", "--size", "huge", "--help")[0] == 0


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_the_first_page(cli, arguments):
    code, out, _ = cli(*arguments)
    assert code == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", out, re.M)
    assert len(out.splitlines()) <= 20


def test_version(cli):
    assert cli("--version") == (0, f"expedition {__version__}\n", "")


# Bad input


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--env", "catch-vectr"], "Unknown environment 'catch-vectr': did you mean catch-vector"),
        (["--env", "nomodule:Env-v0"], "cannot import 'nomodule'"),
        (["--intrinsic", "disagreemnt"], "Unknown intrinsic reward 'disagreemnt': did you mean disagreement"),
        (["--size", "tinny"], "Unknown size 'tinny': did you mean tiny"),
        (["--size", ""], "Unknown size ''"),
        (["--agent.optimizer.lr", "-1"], "agent.optimizer.lr is -1.0"),
        (["--agent.model.free-nats", "-1"], "agent.model.free_nats is -1.0"),
        (["--agent.model.units", "0"], "agent.model.units is 0"),
        (["--device", "gpu"], "Unknown device 'gpu'"),
        (["--wandb", "of"], "Unknown W&B mode 'of': did you mean off"),
        (["--steps", "0"], "steps is 0"),
        (["--steps", "-5"], "steps is -5"),
        (["--seed", "-1"], "seed is -1"),
        (["--seed", "99999999999"], "at most"),
        (["--threads", "-1"], "threads is -1"),
        (["--training.batch", "0"], "batch is 0"),
        (["--training.batch", "-4"], "batch is -4"),
        (["--training.num-envs", "0"], "num_envs is 0"),
        (["--training.replay-gib", "1e-9"], "is too small for one sequence"),
        (["--training.replay-gib", "0"], "is too small for one sequence"),
        (["--training.train-ratio", "nan"], "train_ratio is nan"),
        (["--agent.model.blocks", "5"], "not a multiple of its 5 blocks"),
        (["--config", "none.yaml"], "Cannot read none.yaml"),
        (["--env", "catch-pixels", "--training.image-size", "20"], "image"),
    ],
)
def test_wrong_values_are_refused_and_leave_no_folder(refused, small, tmp_path, flags, sentence):
    out = tmp_path / "run"
    assert sentence in refused("pretrain", "--config", small, "--steps", 64, "--out", out, *flags)
    assert not out.exists()


class Strange(gymnasium.Env):
    """Its actions are of two kinds at a time."""

    observation_space = gymnasium.spaces.Box(0, 1, (2,))
    action_space = gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(2), gymnasium.spaces.Box(0, 1, (1,))])


def test_an_environment_whose_spaces_are_unknown_is_refused(refused, small, tmp_path, monkeypatch):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    gymnasium.register("Strange-v0", entry_point=Strange)
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)
    flags = ("--env", "Strange-v0", "--steps", 8, "--out", tmp_path / "run")
    assert "Tuple(Discrete(2), Box" in refused("pretrain", "--config", small, *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pretrian"], "Unknown command 'pretrian': did you mean pretrain"),
        (["study", "quikstart"], "Unknown study 'quikstart': did you mean quickstart"),
        (["study", "none.yaml"], "Cannot read none.yaml"),
        (["study", "quickstart", "--seeds", "0"], "at least one seed and at most 1,000, not 0"),
        (["study", "quickstart", "--seeds", "1000000000"], "at most 1,000, not 1,000,000,000"),
        (["study", "quickstart", "--size", ""], "Unknown size ''"),
        (["study", "quickstart", "--jobs", "-2"], "number of jobs"),
        (["study", "quickstart", "--size", "huge"], "Unknown size 'huge'"),
        (["study", "quickstart", "--finetune-steps", "-1"], "steps is -1"),
        (
            ["study", "quickstart", "--predict", "pixels"],
            "Unknown kind of prediction 'pixels': known: barlow, contrastive",
        ),
        (["study", "quickstart", "--search", "evl"], "did you mean eval"),
        (["report", "nowhere"], "There is no study at nowhere"),
        (["finetune", "--from", "nowhere"], "There is no run at nowhere"),
        (["evaluate", "--from", "nowhere"], "nowhere"),
    ],
)
def test_names_that_are_not_there(refused, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    assert sentence in refused(*arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        ("modle", "Unknown plan 'modle': did you mean model"),
        ("actor=copy", "carries the actor without"),
        ("encodr=copy", "Unknown component 'encodr'"),
        ("encoder=prior", "only the actor can be a prior"),
    ],
)
def test_impossible_plans(refused, pretrained, tmp_path, plan, sentence):
    out = tmp_path / "run"
    assert sentence in refused("finetune", "--from", pretrained, "--plan", plan, "--out", out)
    assert not out.exists()


def test_sources_that_do_not_fit(refused, pretrained, tmp_path):
    command = ("finetune", "--from", pretrained, "--steps", 20, "--wandb", "off", "--out", tmp_path / "run")
    assert "weights do not fit" in refused(*command, "--agent.model.units", 12)
    assert "same observations and actions" in refused(*command, "--env", "catch-pixels")
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").write_text("x")
    assert "file holds no config.json" in refused("finetune", "--from", tmp_path / "file")
    assert "holds no config.json" in refused("finetune", "--from", tmp_path)
    assert "(File name too long): give another path" in refused("evaluate", "--from", "x" * 5000)


@pytest.mark.parametrize("command", ["pretrain", "train", "finetune", "evaluate", "study", "report", "list"])
def test_unknown_flags_end_with_2(cli, command):
    code, _, err = cli(command, "--no-such-flag", "3")
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("steps: [1", "is not YAML"),
        ("stepps: 3", "Unknown setting 'stepps': did you mean steps"),
        ("training: {bach: 2}", "Unknown setting in training 'bach': did you mean batch"),
        ("steps: many", "'steps' must be a whole number"),
        ("training: {batch: 0}", "batch is 0"),
        ("- 3", "holds no settings"),
        ("{" * 2000, "nests its settings too deeply"),
    ],
)
def test_bad_files(refused, tmp_path, text, sentence):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert sentence in refused("pretrain", "--config", file, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folders_that_are_none(refused, small, tmp_path):
    (tmp_path / "file").write_text("x")
    for command in (("pretrain", "--config", small), ("study", "quickstart")):
        for out in (tmp_path / "file", tmp_path / "file" / "below"):
            assert "choose another folder" in refused(*command, "--out", out)
    assert (tmp_path / "file").read_text() == "x"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    for command in (("pretrain", "--config", small), ("study", "quickstart")):
        assert "is not empty" in refused(*command, "--out", tmp_path / "home")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"env": 3}'])
def test_broken_settings_of_a_run(refused, small, pretrained, tmp_path, text):
    folder = tmp_path / "run"
    shutil.copytree(pretrained, folder)
    (folder / "config.json").write_text(text)
    before = contents(folder)
    refused("pretrain", "--config", small, "--steps", 64, "--out", folder)
    refused("finetune", "--from", folder, "--out", tmp_path / "tuned")
    refused("evaluate", "--from", folder)
    assert contents(folder) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"runs": 3}'])
def test_broken_studies(refused, studied, study_file, tmp_path, text):
    folder = tmp_path / "out"
    shutil.copytree(studied[0], folder)
    (folder / "study.json").write_text(text)
    refused("report", folder)
    if text != '{"runs": 3}':  # the launcher writes that one anew
        refused("study", study_file(), "--out", folder)
    assert (folder / "study.json").read_text() == text


def test_a_torn_checkpoint_of_the_only_one(refused, pretrained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(pretrained, folder)
    next(folder.glob("checkpoint-*/actor.safetensors")).write_bytes(b"torn")
    for command in (("finetune", "--steps", 40, "--out", tmp_path / "carried"), ("evaluate",)):
        found = refused(*command, "--from", folder)
        assert re.search(r"Cannot read 'actor' in checkpoint .*: actor\.safetensors has 4 bytes", found)
    assert not (tmp_path / "carried").exists()
    next(folder.glob("checkpoint-*/manifest.json")).write_text("{")
    for name in ("finetune", "evaluate"):
        assert "No checkpoint can be opened" in refused(name, "--from", folder)


def test_a_torn_component_keeps_no_other_from_being_carried(cli, pretrained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(pretrained, folder)
    next(folder.glob("checkpoint-*/actor.safetensors")).write_bytes(b"torn")
    flags = ("--plan", "model", "--steps", 40, "--out", tmp_path / "carried", "--wandb", "off")
    code, _, err = cli("finetune", "--from", folder, *flags)
    assert code == 0, err


def test_of_a_torn_source_is_warned_once(cli, pretrained, tmp_path, caplog):
    folder = tmp_path / "run"
    shutil.copytree(pretrained, folder)
    (newest,) = folder.glob("checkpoint-*")
    shutil.copytree(newest, folder / "checkpoint-000000000900")
    next(folder.glob("checkpoint-*900/actor.safetensors")).write_bytes(b"torn")
    flags = ("--plan", "model", "--steps", 40, "--out", tmp_path / "carried", "--wandb", "off")
    code, _, err = cli("finetune", "--from", folder, *flags)
    assert code == 0, err
    assert len([text for text in caplog.messages if "is torn" in text]) == 1


def test_a_folder_in_use(refused, small, pretrained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(pretrained, folder)
    (folder / "result.json").unlink()
    with only_process(folder):
        command = ("pretrain", "--config", small, "--steps", 64, "--out", folder)
        assert "Another process is working on" in refused(*command)
    assert state(folder) == "finished"


def test_an_interrupt_outside_a_run_is_no_traceback(cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(module._HANDLERS, "list", interrupted)
    code, _, err = cli("list")
    assert code == 130
    assert err == "expedition: interrupted; what was saved is intact.\n"


# Disks


@pytest.fixture
def disk(tmp_path):
    """A disk of its own in memory: `disk("size=1m")` mounts it, or mounts it anew with other options."""
    where = tmp_path / "disk"
    where.mkdir()

    def mount(options):
        fresh = not os.path.ismount(where)
        how = ["mount", "-t", "tmpfs", "-o", options if fresh else f"remount,{options}", "tmpfs", str(where)]
        if shutil.which("mount") is None or subprocess.run(how, capture_output=True).returncode:
            pytest.skip("this user may not mount")
        return where

    yield mount
    if os.path.ismount(where):
        subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_loses_nothing(refused, cli, small, disk):
    folder = disk("size=160k") / "run"
    command = ("pretrain", "--config", small, "--steps", 64, "--out", folder)
    found = refused(*command)
    assert "No space left on device" in found
    assert "free some space on that disk and run the same command again" in found
    assert folder.exists()
    disk("size=16m")
    assert cli(*command)[0] == 0
    assert state(folder) == "finished"


def test_a_read_only_folder(refused, small, disk, pretrained, study_file):
    where = disk("size=16m")
    shutil.copytree(pretrained, where / "run")
    (where / "run" / "result.json").unlink()
    disk("ro")
    before = contents(where)
    for arguments in (
        ("pretrain", "--config", small, "--steps", 64, "--out", where / "new"),
        ("pretrain", "--config", small, "--steps", 64, "--out", where / "run"),
        ("study", study_file(), "--out", where / "study"),
    ):
        found = refused(*arguments)
        assert "Read-only file system" in found
        assert "make that folder writable or choose another" in found
    assert contents(where) == before


def test_reading_from_a_read_only_folder_works(cli, disk, pretrained, tmp_path):
    where = disk("size=16m")
    shutil.copytree(pretrained, where / "run")
    disk("ro")
    assert cli("evaluate", "--from", where / "run", "--episodes", 1)[0] == 0
    arguments = ("--from", where / "run", "--plan", "all", "--steps", 4, "--wandb", "off")
    assert cli("finetune", *arguments, "--out", tmp_path / "tuned")[0] == 0


# W&B


def test_an_offline_run_holds_settings_tags_and_axis(pretrain, cli, tmp_path, wandb_runs):
    assert pretrain("--wandb", "offline", "--project", "atlas")[0] == 0
    (found,) = wandb_runs(tmp_path / "run" / "wandb")
    assert found.run.project == "atlas"
    assert found.run.display_name == "run"
    assert set(found.run.tags) == {"pretrain", "disagreement"}
    assert found.config["env"] == "catch-vector"
    assert found.config["training"]["batch"] == 2
    assert {"env_step", "loss/total", "open_loop/error", "evaluation/return"} <= found.keys


def test_wandb_gets_the_last_evaluation_of_a_run_that_was_interrupted_in_it(
    pretrain, tmp_path, wandb_runs, monkeypatch
):
    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(session.Session, "_policy", interrupted)
        assert pretrain("--wandb", "offline")[0] == 130
    (first,) = wandb_runs(tmp_path / "run" / "wandb")
    assert "evaluation/return" not in first.keys
    assert pretrain("--wandb", "offline")[0] == 0
    (last,) = wandb_runs(tmp_path / "run" / "wandb")
    assert {"evaluation/return", "open_loop/error", "loss/total"} <= last.keys
    said = [(tmp_path / "run" / f"{name}.jsonl").read_text() for name in ("metrics", "episodes")]
    assert said[0].count("evaluation/return") == 1
    steps = [json.loads(line)["env_step"] for text in said for line in text.splitlines()]
    assert last.steps == sorted(steps)  # each line once, none left out


@pytest.mark.parametrize("holds", ["manifest", "weights"])
def test_fine_tuning_uses_the_artifact_that_pretraining_made(pretrain, cli, tmp_path, wandb_runs, holds):
    offline = ("--wandb", "offline")
    assert pretrain(*offline, "--artifact", holds)[0] == 0
    for plan in ("model", "scratch"):
        arguments = ("--from", tmp_path / "run", "--plan", plan, "--steps", 8, "--out", tmp_path / plan)
        assert cli("finetune", *arguments, *offline)[0] == 0
    (maker,), (user,), (scratch,) = (wandb_runs(tmp_path / name) for name in ("run", "model", "scratch"))
    assert (maker.run.job_type, user.run.job_type) == ("pretrain", "finetune")
    (made,), (used,) = maker.artifacts, user.artifacts
    assert (made.name, made.type, made.digest) == (used.name, "checkpoint", used.digest)
    assert made.name.startswith("pretrained-catch-vector-disagreement-s0-")
    assert (made.use_after_commit, used.use_after_commit) == (False, True)
    assert (made.user_created, used.user_created) == (False, True)  # phase 1 alone is its maker
    assert scratch.artifacts == []
    sent = {entry.path for entry in made.manifest.contents}
    assert "manifest.json" in sent
    assert ("encoder.safetensors" in sent) == (holds == "weights")
    assert not any(name.startswith(("training", "replay")) for name in sent)
    assert user.config["transfer"]["plan"] == "model"


# Processes and signals


def test_the_command_and_the_module_are_one():
    for command in (["expedition"], [sys.executable, "-m", "experiments.command_line.cli"]):
        if shutil.which(command[0]) is None:
            continue
        done = subprocess.run([*command, "reprot"], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("expedition: Unknown command 'reprot': did you mean report")
        assert done.stderr.count("\n") == 1


def test_help_does_not_wait_for_torch():
    code = (
        "import sys, experiments.command_line.cli as c; c.main(['--help']); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_same_command_goes_on(spawn, small, cli, tmp_path, number, code):
    folder = tmp_path / "run"
    flags = ("--steps", 800, "--training.train-ratio", 0, "--out", folder)
    process = spawn("pretrain", "--config", small, *flags)
    deadline = time.monotonic() + 60
    while not (folder / "status.json").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(60) == code
    assert "Traceback" not in process.said()
    assert "run the same command again to go on" in process.said()
    assert state(folder) == "stopped"
    status, out, err = cli("pretrain", "--config", small, *flags)
    assert status == 0
    assert "Going on from step" in err
    assert state(folder) == "finished"
    steps = [json.loads(line)["env_step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    logged = [step // 20 for step in steps[1:-2]]
    assert len(logged) == len(set(logged))  # no line twice


def test_logistics_are_no_part_of_the_run(cli, small, pretrained):
    """Threads, device and W&B may differ when a run goes on."""
    code, _, err = cli(
        "pretrain", "--config", small, "--steps", 64, "--out", pretrained, "--threads", 1, "--device", "cpu"
    )
    assert code == 0
    assert "finished already" in err
    assert Logistics().wandb == "auto"


def test_a_source_at_an_address_is_read_and_recorded(cli, pretrained, tmp_path):
    arguments = ("--plan", "model", "--steps", 40, "--wandb", "off", "--out", tmp_path / "tuned")
    code, _, err = cli("finetune", "--from", f"file://{pretrained.resolve()}", *arguments)
    assert code == 0, err
    assert (tmp_path / "tuned" / "result.json").exists()
    manifest = json.loads((tmp_path / "tuned" / "transfer.json").read_text())
    assert manifest["source"]["folder"] == f"file://{pretrained.resolve()}"
