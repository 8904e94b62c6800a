"""Arms as they are written, as folders, and what their choices do to labels and training."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from boostlm import ARMS, Arm, Curation, ideal_learner, mix, theta_from_beta
from boostlm.config import Config
from boostlm.config_io import arm_config, arms_of, from_json, override, start_folders, to_json
from boostlm.curation.arms import LABELS, OWN, folder_of, parse_arm, split_list
from boostlm.curation.policies import by_difficulty, keep_own, share_of, switches_of
from boostlm.errors import BoostError

FILE = """
from boostlm import Arm
from jax import numpy as jnp

gentle = Arm(own="one", labels="easiest", overrides={"label.beta": 0.1})
number = 3

def second(weight_N, failures_N, accepted_NxK):
    return jnp.where(failures_N == 2, weight_N, 0.0)

def scalar(weight_N, failures_N, accepted_NxK):
    return jnp.sum(weight_N)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize("text", [
    *ARMS,
    "boosting(label.beta=0.1)",
    "low=boosting(label.beta=0.1)",
    "uniform(own=one,data=all,label.filter_labels=false)",
    "Arm(own=all,labels=uniform)",
    'boosting(label.endpoint.request={"a": 1, "b": [2]})',
])  # fmt: skip
def test_an_arm_is_what_is_written_and_is_written_so(text):
    arm = parse_arm(text)
    assert parse_arm(str(arm)) == arm
    assert arm.name == text.partition("=boosting")[0]


def test_changes_are_of_the_preset():
    arm = parse_arm("supervised( as_many_as = low , label.cost=2 )")
    assert (arm.own, arm.labels, arm.start) == ("none", "uniform", "seed")
    assert (arm.as_many_as, arm.settings["label.cost"]) == ("low", "2")
    assert arm.settings["label.labeler"] == "reference"
    assert arm.name == "supervised(as_many_as = low,label.cost=2)"


def test_an_arm_of_a_file_is_kept_without_the_file(file):
    config = override(Config(), [f"--arms=boosting,{file}:gentle,{file}:gentle(own=all)"])
    kept = from_json(to_json(config), "x")
    file.unlink()
    assert list(arms_of(kept)) == ["boosting", "gentle", "gentle(own=all)"]
    assert arms_of(kept)["gentle"].labels == "easiest"
    assert arms_of(kept)["gentle(own=all)"].own == "all"


def test_a_config_takes_arms_as_values():
    config = Config(arms=("boosting", Arm(labels="easiest", name="easy")))
    assert config.arms == ("boosting", "easy=Arm(labels=easiest)")
    assert override(config, []).arms == config.arms


@pytest.mark.parametrize(("arms", "reason"), [
    ("best", "'best' unknown"),
    ("boosting(", "unknown"),
    ("boosting(own)", "write own=VALUE"),
    ("boosting(own=some)", "own is 'some'; choose from accepted"),
    ("boosting(labels=some)", "name a function as FILE.py:NAME"),
    ("boosting(weigh_training=1)", "takes true or false"),
    ("boosting(own=one,own=all)", "own is given twice"),
    ("boosting,boosting", "need different names"),
    ("a=uniform,A=boosting", "a and A need different names"),
    ("shared=boosting", "not with 'shared'"),
    ("", "name at least one"),
    ("supervised,boosting", "put that arm before it"),
    ("filter_only(label.beta=0.2)", "label.beta changes nothing, because it buys no labels"),
    ("filter_only(train.alpha=0.2)", "train.alpha changes nothing"),
    ("filter_only,filter_only(as_many_as=filter_only)", "not as many as filter_only kept"),
    ("boosting,supervised(label.budget=3)", "label.budget contradicts as_many_as"),
    ("filter_only(own=none)", "it trains on nothing"),
    ("boosting(data.task=x)", "data.task is neither a choice nor a setting"),
    ("boosting(sample.batch_size=3)", "sample.batch_size must be the same for all arms"),
    ("boosting(label.bta=1)", "label.bta is not a field; did you mean label.beta"),
    ("boosting(label.beta=2)", "label.beta: 2.0 is not in"),
    ("boosting(label.beta=x)", "label.beta takes a number, not 'x'"),
])  # fmt: skip
def test_a_wrong_or_contradictory_arm_is_refused_with_the_reason(arms, reason):
    with pytest.raises(BoostError) as error:
        override(Config(), [f"--arms={arms}"])
    assert reason in str(error.value)


def test_what_is_no_arm_of_a_file_is_refused(file):
    with pytest.raises(BoostError, match="number is 3, not an Arm"):
        parse_arm(f"{file}:number")
    with pytest.raises(BoostError, match="has no nobody"):
        parse_arm(f"{file}:nobody")


def test_an_arm_has_settings_of_its_own():
    config, arm = Config(), parse_arm("boosting(label.beta=1/4,sample.k=3,filter.miss_rate=0.1)")
    own = arm_config(config, arm)
    assert (own.label.beta, own.sample.k, own.filter.miss_rate) == (0.25, 3, 0.1)
    assert replace(own, label=config.label, sample=config.sample, filter=config.filter) == config


def test_arms_that_sample_and_filter_alike_share_where_they_start():
    starts = {
        text: start_folders(Config(), parse_arm(text))
        for text in ("boosting", "uniform(label.beta=0.1,sample.k=8)", "boosting(sample.k=3)",
                     "boosting(sample.k=3,filter.miss_rate=0.1)")
    }  # fmt: skip
    assert list(starts.values()) == [
        ("shared", "shared"),
        ("shared", "shared"),
        ("shared+sample.k=3",) * 2,
        ("shared+sample.k=3", "shared+sample.k=3,filter.miss_rate=0.1"),
    ]


@pytest.mark.parametrize(("name", "folder"), [
    ("boosting", "boosting"),
    ("boosting(label.beta=0.1)", "boosting+label.beta=0.1"),
    ("boosting(label.labeler=../x.py:f)", "boosting+label.labeler=..-x.py-f-673bf13f"),
])  # fmt: skip
def test_folders_are_safe_and_stay(name, folder):
    assert folder_of(name) == folder


def test_long_names_have_short_folders_that_differ():
    names = [f"boosting(label.labeler={'x' * 300}{i})" for i in range(2)]
    folders = {folder_of(name) for name in names}
    assert len(folders) == 2
    assert max(map(len, folders)) <= 100


def test_lists_are_split_outside_brackets_and_quotes():
    assert split_list(' a, b(c,d) ,e({"x,y)": [1,2]}),, "f,g"') == [
        "a", "b(c,d)", 'e({"x,y)": [1,2]})', '"f,g"'
    ]  # fmt: skip


ACCEPTED = jnp.array([[0, 0], [0, 0], [0, 1], [1, 1]], bool)
WEIGHT, FAILURES = jnp.array([0.1, 0.4, 0.4, 0.1]), jnp.array([1, 2, 1, 0])


@pytest.mark.parametrize(("labels", "share"), [
    ("none", [0, 0, 0, 0]),
    ("uniform", [1, 1, 1, 1]),
    ("failing", [1, 1, 0, 0]),
    ("hardest", [0.1, 0.4, 0, 0]),
    ("easiest", [1, 0.25, 0, 0]),
    ("static", [0, 1, 1, 0]),
])  # fmt: skip
def test_where_labels_go(labels, share):
    assert labels in LABELS
    switches = switches_of(Arm(own="all", labels=labels))
    np.testing.assert_allclose(share_of(switches, WEIGHT, FAILURES, ACCEPTED), share, rtol=1e-6)


def test_a_function_of_ones_own_is_jitted_with_the_rest(file):
    switches = switches_of(Arm(labels=f"{file}:second"))
    share = jax.jit(share_of)(switches, WEIGHT, FAILURES, ACCEPTED)
    np.testing.assert_allclose(share, [0, 0.4, 0, 0])
    assert switches_of(Arm(labels=f"{file}:second")) == switches  # and so compiled once


@pytest.mark.parametrize(("name", "reason"), [
    ("scalar", r"returns shape \(\) for 3 prompts"), ("number", "fails: TypeError")
])  # fmt: skip
def test_a_function_that_gives_no_shares_is_refused(file, name, reason):
    with pytest.raises(BoostError, match=reason):
        switches_of(Arm(labels=f"{file}:{name}"))


@pytest.mark.parametrize(("own", "kept"), [
    ("accepted", [0, 0, 1, 2]), ("all", [2, 2, 2, 2]), ("one", [0, 0, 1, 1]), ("none", [0] * 4)
])  # fmt: skip
def test_which_own_responses_train(own, kept):
    kept_NxK = keep_own(OWN.index(own), ACCEPTED)
    assert kept_NxK.sum(axis=1).tolist() == kept
    assert own == "all" or not (kept_NxK & ~ACCEPTED).any()


def test_difficulty_weighs_examples_and_keeps_the_parts_of_the_mixture():
    kept_L, prompt_id_L = jnp.array([True, True, False]), jnp.array([0, 1, 1])
    before = mix(ACCEPTED, kept_L, 0.25)
    after = jax.jit(by_difficulty)(before, WEIGHT, prompt_id_L)
    np.testing.assert_allclose(after.weak_L, [0.05, 0.2, 0], rtol=1e-3)
    expected = 0.75 * np.array([[0, 0], [0, 0], [0, 4], [1, 1]]) / 6
    np.testing.assert_allclose(after.synthetic_NxK, expected, rtol=1e-3)


@pytest.fixture(scope="module")
def curves():
    """Each preset's ideal learner: its trace, from the same start."""
    p_N = np.random.default_rng(0).uniform(0, 0.6, 400)
    table_NxA = ideal_learner.initial_table(p_N)
    found = {}
    for name, arm in ARMS.items():
        budget = np.diff(found[arm.as_many_as].kept) if arm.as_many_as else 80
        right = arm.settings.get("label.labeler") == "reference"
        filtered = arm.settings.get("label.filter_labels") != "false"
        world = ideal_learner.World(1.0 if right else 0.3, 0.1, 0.1, filtered)
        curation = Curation(theta_from_beta(0.3), jnp.asarray(budget), 1 / 3, places=80)
        key = jax.random.key(0)
        found[name] = ideal_learner.simulate(key, table_NxA, arm, curation, world, 4, 3)
    return found


@pytest.mark.slow
def test_every_preset_has_a_curve_and_one_program_serves_them_all(curves):
    final = {name: float(trace.accuracy[-1]) for name, trace in curves.items()}
    assert final["oracle"] > final["boosting"] > final["hardest_static"] > final["filter_only"]
    assert final["filter_only"] > final["one_per_prompt"] > final["do_nothing"] + 0.1
    assert final["boosting"] > final["uniform"] > final["filter_only"]
    assert final["rest_em"] > final["star"]
    assert curves["supervised"].labels.tolist() == curves["boosting"].kept.tolist()
    assert 0.31 < final["supervised"] < final["boosting"]
    for name, arm in ARMS.items():
        assert (curves[name].labels[-1] > 0) == (arm.labels != "none")


@pytest.mark.slow
def test_accumulated_data_keep_their_diversity(curves):
    assert curves["accumulate"].distinct[-1] > curves["do_nothing"].distinct[-1] + 0.05
