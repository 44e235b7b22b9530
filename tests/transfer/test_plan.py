"""Plans: what each named one carries, and which make no sense."""

import pytest

from expedition import UserError
from transfer.plan import COMPONENTS, PLANS, TransferPlan, parse_plan

MODEL = {"encoder": "copy", "dynamics": "copy", "decoder": "copy", "continue": "copy"}
EXPECTED = {
    "scratch": {},
    "encoder": {"encoder": "copy"},
    "model": MODEL,
    "policy": {"actor": "prior"},
    "model+policy": {**MODEL, "actor": "copy"},
    "model+prior": {**MODEL, "actor": "prior"},
    "all": {**MODEL, "actor": "copy", "critic": "copy"},
    "replay": {"replay": "copy"},
    "relabel": {"replay": "relabel"},
    "model+relabel": {**MODEL, "replay": "relabel"},
    "model+policy+relabel": {**MODEL, "actor": "copy", "replay": "relabel"},
    "rehearsal": {**MODEL, "replay": "retrieve"},
    "guidance": {**MODEL, "actor": "clone"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_named_plans_carry_what_their_names_say(name):
    plan = parse_plan(name)
    assert plan.name == name
    assert plan.as_dict() == {component: EXPECTED[name].get(component, "fresh") for component in COMPONENTS}
    assert plan.carries == (name != "scratch")


def test_every_named_plan_is_known_here_and_leaves_the_reward_head_fresh():
    assert set(PLANS) == set(EXPECTED)
    assert all(plan["reward"] == "fresh" for _, plan in PLANS.values())
    assert all(text and "\n" not in text for text, _ in PLANS.values())


def test_a_plan_spelled_out():
    text = "encoder=freeze, dynamics = copy,actor=copy"
    plan = parse_plan(text)
    assert plan.name == text
    assert {c: m for c, m in plan.as_dict().items() if m != "fresh"} == {
        "encoder": "freeze",
        "dynamics": "copy",
        "actor": "copy",
    }


def test_what_follows_a_colon():
    plan = parse_plan("encoder=freeze:500,dynamics=freeze,decoder=copy,replay=relabel:collect")
    assert [plan[name] for name in ("encoder", "dynamics", "decoder", "replay", "actor")] == [
        "freeze",
        "freeze",
        "copy",
        "relabel",
        "fresh",
    ]
    assert plan.as_dict()["encoder"] == "freeze:500"
    assert (plan.thaw_step("encoder"), plan.thaw_step("dynamics"), plan.thaw_step("actor")) == (
        500,
        None,
        None,
    )
    assert plan.recorded_reward == "collect"
    assert parse_plan("relabel").recorded_reward is None
    assert parse_plan("replay").recorded_reward is None


def test_a_plan_of_fresh_components_carries_nothing():
    assert not parse_plan("encoder=fresh").carries


def test_a_plan_cannot_be_changed():
    modes = {"encoder": "copy"}
    plan = TransferPlan("mine", modes)
    modes["encoder"] = "fresh"
    assert plan["encoder"] == "copy"
    with pytest.raises(TypeError):
        plan.modes["encoder"] = "fresh"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("modle", "Unknown plan 'modle': did you mean model"),
        ("", "Unknown plan ''"),
        ("encodr=copy", "Unknown component 'encodr': did you mean encoder"),
        ("intrinsic=copy", "Unknown component 'intrinsic'"),
        ("encoder=frieze", "Unknown mode 'frieze': did you mean freeze"),
        ("encoder=", "Unknown mode ''"),
        ("encoder=copy,dynamics", "write each part as component=mode"),
        ("encoder=copy,", "write each part as component=mode"),
        ("encoder=copy,encoder=freeze", "names the encoder twice"),
        ("encoder=prior", "only the actor can be a prior"),
        ("actor=copy", "carries the actor without the encoder and the dynamics .* or use actor=prior"),
        ("actor=copy,encoder=copy", "carries the actor without the dynamics"),
        ("dynamics=copy", "carries the dynamics without the encoder"),
        ("encoder=copy,decoder=freeze", "carries the decoder without the dynamics"),
        ("encoder=copy,dynamics=copy,normalizers=copy", "carries the normalizers without the critic"),
        ("critic=copy,actor=prior", "carries the critic without"),
        ("replay=freeze", "has no weights to freeze"),
        ("replay=prior", "only the actor can be a prior"),
        ("replay=freeze:10", "has no weights to freeze"),
        ("encoder=relabel", "only the replay can be relabelled, not the encoder"),
        ("replay=relabel:", "lacks the name of a recorded reward"),
        ("encoder=copy:5", "nothing follows 'copy'"),
        ("actor=prior:5", "nothing follows 'prior'"),
        ("encoder=frieze:5", "Unknown mode 'frieze'"),
        ("encoder=freeze:0", "at least 1, it thaws, such as encoder=freeze:5000"),
        ("encoder=freeze:-3", "at least 1"),
        ("encoder=freeze:1.5", "at least 1"),
        ("encoder=freeze:", "at least 1"),
        ("actor=freeze:9", "carries the actor without the encoder"),
        ("encoder=copy,dynamics=copy,critic=copy,normalizers=freeze:5", "copy them or leave them fresh"),
        (
            "encoder=copy,dynamics=copy,critic=copy,normalizers=freeze",
            "copy them or leave them fresh",
        ),
    ],
)
def test_impossible_plans_and_typos_get_one_sentence(text, sentence):
    with pytest.raises(UserError, match=sentence) as refusal:
        parse_plan(text)
    message = str(refusal.value)
    assert "\n" not in message
    assert message.endswith((".", "?"))
    # One sentence: no full stop before the last.
    assert ". " not in message


def test_a_named_plan_with_changes():
    plan = parse_plan("model+policy,actor=freeze:2000,critic=copy")
    named = parse_plan("model+policy").as_dict()
    assert plan.as_dict() == {**named, "actor": "freeze:2000", "critic": "copy"}
    assert plan.name == "model+policy,actor=freeze:2000,critic=copy"
    assert parse_plan("model+policy,actor=fresh").as_dict() == parse_plan("model").as_dict()
    for text, sentence in (
        ("modle,actor=copy", "Unknown plan 'modle'"),
        ("model,policy", "write each part as component=mode"),
        ("scratch,actor=freeze:9", "carries the actor without the encoder"),
        ("model,actor=copy,actor=freeze", "names the actor twice"),
    ):
        with pytest.raises(UserError, match=sentence):
            parse_plan(text)
