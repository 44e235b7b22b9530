"""Who suggests goals: pairs by rank, the controls, and a language model that a local server stands in for."""

import json
import logging

import numpy as np
import pytest

from expedition import UserError
from exploration import LanguageConfig, Vocabulary, make_goal_reward
from exploration.language.cache import CACHE
from exploration.language.suggestions import all_pairs, prompt, ranked_pairs, read_goals
from tests.service import Service

WORDS = Vocabulary(
    did=("collect wood", "eat cow", "sleep"),
    scene=("see tree", "see cow", "feel hungry"),
    verbs=("collect", "eat"),
    objects=("wood", "cow", "iron sword"),
    alone=("sleep",),
    achievements=("eat cow",),
)
TREE, HUNGRY = 1, 4


@pytest.fixture
def service(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE, str(tmp_path / "answers"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    made = Service()
    made.says("1. Collect wood.\n2. Fly to the moon\n- eat the  cow\n* sleep")
    yield made
    made.dies()


def ask(service, **changes):
    config = LanguageConfig("endpoint", endpoint=service.address, model="small", timeout=5, **changes)
    return make_goal_reward(config, WORDS, 1)


def earn(reward, did, scene=0, first=False):
    return reward.earn(np.array([did]), np.array([scene]), np.array([first]))[0]


def test_pairs_are_ranked_by_the_nearness_of_their_words():
    places = {"collect": 0.0, "eat": 90.0, "wood": 10.0, "cow": 60.0, "iron sword": 45.0}

    def embed(phrases):
        angles = np.deg2rad([places[phrase] for phrase in phrases])
        return np.stack([np.cos(angles), np.sin(angles)], -1)

    assert len(all_pairs(WORDS)) == 7
    assert ranked_pairs(WORDS, embed, 0.5) == ("collect wood", "eat cow", "collect iron sword", "sleep")
    assert ranked_pairs(WORDS, embed, 0.01) == ("collect wood", "sleep")
    assert set(ranked_pairs(WORDS, embed, 1.0)) == set(all_pairs(WORDS))


@pytest.mark.parametrize(("suggest", "rewarded"), [("all", {1, 2, 4}), ("oracle", {2})])
def test_the_controls(suggest, rewarded):
    for did in (1, 2, 4):
        reward = make_goal_reward(LanguageConfig(suggest), WORDS, 1)
        assert earn(reward, did) == pytest.approx(float(did in rewarded), abs=1e-6)


def test_an_oracle_needs_achievements():
    with pytest.raises(UserError, match="no oracle"):
        make_goal_reward(LanguageConfig("oracle"), WORDS._replace(achievements=()), 1)


def test_answers_are_read_without_bullets_and_articles_stay():
    answer = "Goals:\n1) Collect wood.\n\n2. collect wood\n- Eat the cow\n`sleep`\ncollect " + "x " * 9
    assert read_goals(answer, WORDS, 5) == ("collect wood", "eat the cow", "sleep")
    assert read_goals(answer, WORDS, 2) == ("collect wood", "eat the cow")
    assert read_goals("I am sorry, I cannot.\neating cows", WORDS, 5) == ()


def test_a_state_is_asked_about_once_and_what_is_said_is_rewarded(service, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    reward = ask(service)
    assert len(service.asked) == 1  # one trial before anything runs
    earn(reward, 0, scene=TREE | HUNGRY, first=True)
    assert len(service.asked) == 1
    assert earn(reward, 1, scene=TREE | HUNGRY) == pytest.approx(1)
    assert earn(reward, 4, scene=TREE | HUNGRY) == pytest.approx(1)
    assert len(service.asked) == 2
    path, key, body = service.asked[1]
    assert (path, key) == ("/v1/chat/completions", "Bearer secret")
    assert (body["model"], body["temperature"]) == ("small", 0)
    [message] = body["messages"]
    assert message["content"] == prompt(WORDS, "You see tree. You feel hungry.", 5)
    for word in ("collect, eat", "wood, cow, iron sword", "sleep", "You feel hungry.", "5 different"):
        assert word in message["content"]


def test_a_rerun_needs_no_endpoint_and_repeats(service, tmp_path):
    def run():
        reward = ask(service)
        earn(reward, 0, scene=TREE, first=True)
        return [earn(reward, did, scene=scene) for did, scene in ((1, HUNGRY), (2, TREE), (4, TREE))]

    first = run()
    asked = len(service.asked)
    service.dies()
    assert run() == first
    assert len(service.asked) == asked
    files = list((tmp_path / "answers").iterdir())
    assert len(files) == asked
    assert all(json.loads(path.read_text())["model"] == "small" for path in files)


def test_no_key_is_written_to_disk(service, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    ask(service)
    assert all("secret" not in path.read_text() for path in (tmp_path / "answers").iterdir())


def test_a_damaged_answer_is_asked_for_again(service, tmp_path):
    ask(service)
    [path] = (tmp_path / "answers").iterdir()
    path.write_text("{")
    ask(service)
    assert len(service.asked) == 2
    assert json.loads(path.read_text())["answer"]


def broken(service, how):
    if how == "late":
        service.delay = 1.0
    elif how == "dead":
        service.dies()
    elif how == "status":
        service.status = 500
    elif how == "page":
        service.body = "<html>"
    elif how == "shape":
        service.body = '{"choices": []}'
    elif how == "silent":
        service.body = '{"choices": [{"message": {"content": null}}]}'
    else:
        service.says("Sure! Here are some lovely ideas.")


HOW = {
    "late": "no answer within 0.2 s",
    "dead": "refused",
    "status": "status 500",
    "page": "none of a chat model",
    "shape": "none of a chat model",
    "silent": "no text",
    "nonsense": "it answered 'Sure! .* which holds none",
}


@pytest.mark.parametrize("how", HOW)
def test_an_endpoint_that_does_not_suggest_is_told_before_anything_runs(how, service):
    broken(service, how)
    config = LanguageConfig("endpoint", endpoint=service.address, model="small", timeout=0.2)
    with pytest.raises(UserError, match=f"suggests no goals .*{HOW[how]}") as told:
        make_goal_reward(config, WORDS, 1)
    assert "\n" not in str(told.value)


def test_an_address_that_is_none_is_told(service):
    config = LanguageConfig("endpoint", endpoint="http://no such host", model="small", timeout=1)
    with pytest.raises(UserError, match="suggests no goals"):
        make_goal_reward(config, WORDS, 1)


def test_an_endpoint_lost_amid_a_run_costs_suggestions_and_comes_back(service, caplog):
    reward = ask(service)
    service.status = 503
    with caplog.at_level(logging.WARNING):
        for scene in range(2, 5):  # states that nobody was asked about
            earn(reward, 0, scene=scene, first=True)
            assert earn(reward, 1) == 0
    assert len(service.asked) == 2  # the trial, and one failure: two states then go without
    assert caplog.text.count("suggests no goals (it answered with status 503)") == 1
    service.status = 200
    earn(reward, 0, scene=5, first=True)
    assert earn(reward, 1) == pytest.approx(1)


def test_a_folder_that_cannot_be_written_only_costs_the_repetition(service, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE, str(tmp_path / "file" / "answers"))
    reward = ask(service)
    earn(reward, 0, scene=2, first=True)
    assert earn(reward, 1) == pytest.approx(1)
    assert caplog.text.count("cannot be kept") == 1


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"suggest": "oracel"}, "oracle"),
        ({"suggest": "endpoint"}, "set agent.intrinsic.language.endpoint"),
        ({"suggest": "endpoint", "endpoint": "localhost:8000", "model": "x"}, "http://localhost:8000/v1"),
        ({"suggest": "endpoint", "endpoint": "http://localhost:8000/v1"}, "language.model"),
        ({"endpoint": "http://localhost:8000/v1"}, "set suggest to endpoint"),
        ({"share": 0}, "language.share"),
        ({"threshold": 1.0}, "language.threshold"),
        ({"goals": 0}, "language.goals"),
        ({"timeout": 0}, "language.timeout"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, problem):
    with pytest.raises(UserError, match=problem):
        LanguageConfig(**settings)
