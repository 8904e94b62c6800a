"""Every labeler in a run: the ledger's entries, and that a kill loses and repeats no label."""

import io
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from support.chat_server import KEY, completion, failure, serving
from support.runs import (
    as_options,
    bits,
    environment,
    finished_run,
    ledger_files,
    on_one_device,
    rows_of,
    started,
    tiny_config,
)

from boostlm.cli.main import main as cli
from boostlm.config import LABELERS, EndpointConfig, FilterConfig, LabelConfig
from boostlm.errors import BoostError, WaitingForPeople
from boostlm.experiment import resume
from boostlm.experiment import run as experiment
from boostlm.experiment.context import make_context
from boostlm.experiment.run import planned_stages, run_experiment
from boostlm.labelers import frozen_model, people, simulated
from boostlm.labelers.base import CUT_OFF, Label
from boostlm.lm.token_sampling import SamplingParams
from boostlm.prng import Purpose, round_key
from boostlm.runtime.progress import Progress
from boostlm.storage import checkpoint, durable_files
from boostlm.storage.run_dir import RoundId, RunDir

pytestmark = pytest.mark.slow

BUDGET, ROUNDS = 8, 2
CONFIG = tiny_config(arms=("boosting",), rounds=ROUNDS)
ALL_PAIRS = np.repeat(np.arange(24), 2), np.tile(np.arange(2), 24)


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    """A learner on one device, compiled once for all runs of this module."""
    folder = RunDir(tmp_path_factory.mktemp("ctx"))
    return on_one_device(make_context(CONFIG, folder)).learner


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """Sets a key, no proxy, and several label commits per round."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(simulated, "_AT_ONCE", 3)
    monkeypatch.setattr(frozen_model, "_FILLINGS", 1 / 16)  # of 48 rows: 3 labels


def labels_of(labeler, url="http://127.0.0.1:9", **changes):
    server = EndpointConfig(url=url, model="m", concurrency=2)
    return LabelConfig(labeler=labeler, budget=BUDGET, endpoint=server, **changes)


def live(learner, config, root):
    """Does what one process of the command line does, from a seed model that was trained before."""
    folder, seed_model = RunDir(root), Path("rounds", "seed0", "shared")
    with folder.locked():
        folder.create(config)
        if config.filter == CONFIG.filter and not (root / seed_model).exists():
            shutil.copytree(finished_run()[0] / seed_model, root / seed_model)
        ctx = replace(make_context(config, folder), learner=learner)
        return run_experiment(ctx, folder, Progress(planned_stages(config), io.StringIO()))


def live_with_people(learner, config, root):
    """Runs and answers the queries until none is left."""
    while True:
        try:
            return live(learner, config, root)
        except WaitingForPeople:
            folder = RunDir(root).people_folder
            asked = people.open_queries(folder)
            people.record(folder, [(q, answer_to(q.text)) for q in asked])


def answer_to(text):
    """An answer that depends only on the prompt."""
    return text[-2:-5:-1]


def reply(number, body):
    return completion(answer_to(body["messages"][0]["content"]))


def reply_to_some(number, body):
    """Some prompts are refused, and some completions have no text."""
    kind = sum(body["messages"][0]["content"].encode()) % 3
    return (failure(400, "filtered"), completion(None), reply(number, body))[kind]


def entries(root, arm="boosting"):
    """The ledgers' lines by (round, prompt, sample). None may occur twice."""
    found = {}
    for path in ledger_files(root, arm):
        for line in path.read_text().splitlines():
            e = json.loads(line)
            assert found.setdefault((e["seed"], e["round"], e["prompt"], e["sample"]), e) is e
    return found


def last_model(learner, config, root):
    """The bits of the state after the last round."""
    folder = RunDir(root)
    ctx = replace(make_context(config, folder), learner=learner)
    path = folder.round_dir(RoundId(0, "boosting", ROUNDS)).checkpoint
    return bits(resume.load_state(path, resume.shapes_of(ctx)))


class Killed(BaseException):
    """Simulates SIGKILL: nothing may catch it."""


def killed_at(patch, at, half):
    """Dies at the `at`-th commit of labels: during the write, or right after it."""
    real, seen = durable_files.append_durably, []

    def append(path, data):
        seen.append(path)
        if len(seen) <= at:
            return real(path, data)
        real(path, data[: len(data) * 3 // 5]) if half else real(path, data)
        raise Killed

    patch.setattr(durable_files, "append_durably", append)


@pytest.mark.filterwarnings("ignore:.*ignored a torn last line:UserWarning")
@pytest.mark.parametrize(("labeler", "answer"), [*((x, reply) for x in LABELERS), ("endpoint", reply_to_some)])  # fmt: skip
def test_a_run_killed_at_every_label_commit_has_the_same_result(learner, tmp_path, labeler, answer):
    """This includes kills during a commit. Only pending endpoint requests may be repeated."""
    run = live_with_people if labeler == "people" else live
    with serving(answer) as server:
        config = replace(CONFIG, label=labels_of(labeler, server.url))
        run(learner, config, tmp_path / "whole")
        requests = len(server.asked)
        whole, kills = entries(tmp_path / "whole"), 0
        assert len(whole) == BUDGET * ROUNDS
        while True:
            before = entries_that_are_whole(tmp_path / "killed")
            with pytest.MonkeyPatch.context() as patch:
                at = 0 if labeler == "people" else kills % 2  # people's answers arrive in one batch
                killed_at(patch, at, half=kills % 2 == 1)
                try:
                    run(learner, config, tmp_path / "killed")
                    break
                except Killed:
                    kills += 1
            after = entries_that_are_whole(tmp_path / "killed")
            assert before.items() <= after.items(), "lost"
            assert kills < 50
        asked = len(server.asked) - requests
    assert kills >= 2
    killed = entries(tmp_path / "killed")
    for key in whole if answer is reply_to_some else ():  # a resumed run may ask the plain question
        assert killed[key].pop("cost") - whole[key].pop("cost") in (0, 1)
    assert killed == whole
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")
    models = [last_model(learner, config, tmp_path / name) for name in ("whole", "killed")]
    assert models[0] == models[1]
    if labeler == "endpoint":
        assert requests == len(whole)
        refused = sum("400" in e["unanswered"] for e in whole.values())  # held back, and free
        assert (refused > 0) == (answer is reply_to_some)
        assert len(whole) <= asked <= len(whole) + kills * (2 + (refused and refused + 1))
        assert sum(e["text"] == "" for e in whole.values()) > refused or not refused


def entries_that_are_whole(root):
    """The labels that the next process will find, without the torn line."""
    found = {}
    for path in ledger_files(root):
        for line in path.read_bytes().split(b"\n")[:-1]:
            e = json.loads(line)
            found[e["round"], e["prompt"], e["sample"]] = e
    return found


# --- the interface ----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["none", "twice", "not asked"])
def test_a_labeler_that_violates_the_interface_is_detected(learner, tmp_path, wrong):
    def labeler(queries):
        if wrong == "twice":
            yield [(queries[0], Label("a", "me", 1.0))] * 2
        if wrong == "not asked":
            yield [(replace(queries[0], sample=99), Label("a", "me", 1.0))]

    folder = RunDir(tmp_path)
    folder.create(CONFIG)
    ctx = replace(make_context(CONFIG, folder), learner=learner)
    progress = Progress(planned_stages(CONFIG), io.StringIO())
    with pytest.raises(BoostError if wrong == "none" else KeyError):
        run_experiment(ctx, folder, progress, lambda context: labeler)
    assert entries(tmp_path) == {}


# --- frozen model -----------------------------------------------------------------------------


def test_pairs_are_drawn_as_samples_of_all_prompts_are(learner, tmp_path):
    ctx = make_context(CONFIG, RunDir(tmp_path))
    params, key = learner.init(jax.random.key(5)).params, jax.random.key(6)
    whole = learner.sample(params, ctx.train_prompts, key, SamplingParams(), 2)
    order = np.random.default_rng(0).permutation(48)[:31]  # more than one batch, in any order
    pairs = [ids[order] for ids in ALL_PAIRS]
    drawn = learner.sample_pairs(params, ctx.train_prompts, *pairs, key, SamplingParams(), 99)
    for name in ("tokens_BxKxR", "length_BxK", "finished_BxK"):
        expected = getattr(whole, name)[pairs[0], pairs[1]]
        np.testing.assert_array_equal(getattr(drawn, name), expected)


def test_the_frozen_model_is_the_seed_model_in_every_round(learner, tmp_path):
    """Its labels are the seed model's samples for the prompt, sample and round."""
    config = replace(CONFIG, label=labels_of("frozen_model", cost=0.5, filter_labels=False))
    live(learner, config, tmp_path)
    ctx = replace(make_context(config, RunDir(tmp_path)), learner=learner)
    params = resume.load_learner(
        RunDir(tmp_path), RoundId(0, "boosting", 0), resume.shapes_of(ctx)
    ).params
    found = entries(tmp_path)
    texts = set()
    for round_ in range(ROUNDS):
        key = round_key(0, Purpose.LABEL, round_)
        drawn = learner.sample(params, ctx.train_prompts, key, SamplingParams(), BUDGET)
        text = ctx.texts(drawn.tokens_BxKxR, drawn.length_BxK)
        mine = [e for e in found.values() if e["round"] == round_ + 1]
        assert len(mine) == BUDGET
        for e in mine:
            assert e["text"] == text[e["prompt"] * BUDGET + e["sample"]]
            assert (e["unanswered"] == "") == drawn.finished_BxK[e["prompt"], e["sample"]]
            assert (e["source"], e["cost"]) == ("frozen_model", 0.5)
        texts |= {e["text"] for e in mine}
    assert len(texts) > BUDGET


def test_a_label_that_was_cut_off_costs_money_and_is_never_accepted(learner, tmp_path):
    def right_but_cut(number, body):
        return completion(answer_to(body["messages"][0]["content"]), "length" if number % 2 else "stop")  # fmt: skip

    with serving(right_but_cut) as server:
        label = labels_of("endpoint", server.url, filter_labels=False)
        config = replace(CONFIG, label=label)
        folder = RunDir(tmp_path)
        folder.create(config)
        ctx = replace(make_context(config, folder), learner=learner)
        ctx = replace(ctx, grade=lambda ids, texts: np.ones(len(texts), bool))
        rows = run_experiment(ctx, folder, Progress(planned_stages(config), io.StringIO()))
    found = entries(tmp_path).values()
    assert sum(e["unanswered"] == CUT_OFF for e in found) == len(found) / 2
    assert all(e["kept"] == e["correct"] == (e["unanswered"] == "") for e in found)
    assert {e["cost"] for e in found} == {1.0}
    assert (rows[-1]["labels_spent"], rows[-1]["labels_kept"]) == (len(found), len(found) / 2)


# --- people -----------------------------------------------------------------------------------


def test_all_work_that_needs_no_answers_is_done_before_waiting_for_people(learner, tmp_path):
    arms = ("uniform", "boosting", "filter_only")
    lenient = FilterConfig(false_accept_rate=0.9)  # no arm may run out of examples
    config = replace(CONFIG, arms=arms, seeds=2, label=labels_of("people"), filter=lenient)
    with pytest.raises(WaitingForPeople, match="prompts are needed"):
        live(learner, config, tmp_path)
    rows = rows_of(tmp_path)
    done = [(s, a, r) for s in (0, 1) for a in arms for r in range(3 if a == "filter_only" else 1)]
    assert [(row["seed"], row["arm"], row["round"]) for row in rows] == done
    asked = people.open_queries(RunDir(tmp_path).people_folder)
    assert {q.seed for q in asked} == {0, 1}
    assert BUDGET < len([q for q in asked if q.seed == 0]) <= 2 * BUDGET  # both arms ask at once


def test_people_answer_in_the_queue_and_the_run_resumes(learner, tmp_path):
    config = replace(CONFIG, label=labels_of("people"))
    queue = RunDir(tmp_path).people_folder / "queue.jsonl"
    for expected in (0, 3, BUDGET):
        with pytest.raises(WaitingForPeople):
            live(learner, config, tmp_path)
        assert len(entries(tmp_path)) == expected
        rows = [json.loads(line) for line in queue.read_text().splitlines()]
        for row in rows[: 3 if expected == 0 else None]:
            row["answer"] = answer_to(row["text"])
        queue.write_text("".join(json.dumps(row) + "\n" for row in rows))
    live(learner, config, tmp_path)
    found = entries(tmp_path).values()
    texts = make_context(config, RunDir(tmp_path)).task.prompts["train"].texts
    assert all(e["text"] == answer_to(texts[e["prompt"]]) for e in found)
    assert {e["source"] for e in found} == {"people"}
    assert len(found) == BUDGET * ROUNDS


def test_waiting_for_people_has_its_own_exit_status(tmp_path, monkeypatch, capsys):
    def wait(*args, **more):
        raise WaitingForPeople("answers are wanted")

    monkeypatch.setattr(experiment, "run_experiment", wait)
    arguments = ["--run-dir", str(tmp_path), *as_options(tiny_config(label=labels_of("people")))]
    assert cli(["run", *arguments]) == 3
    assert capsys.readouterr().err == "boostlm: answers are wanted\n"


# --- endpoint ---------------------------------------------------------------------------------


def test_the_cost_cap_stops_a_run_which_resumes_with_a_higher_one(learner, tmp_path):
    """It may also use another server: the address and the prices may change, the model may not."""
    label = labels_of("endpoint")

    def config_with(url, cap, **changes):
        server = replace(label.endpoint, url=url, max_cost=cap, **changes)
        return replace(CONFIG, label=replace(label, endpoint=server))

    with serving(reply) as first:
        for _ in range(2):
            with pytest.raises(BoostError, match=r"boosting, round 2, stage label: .*max_cost 11 is reached"):  # fmt: skip
                live(learner, config_with(first.url, 11.0), tmp_path)
        kept = entries(tmp_path)
        assert len(first.asked) == len(kept) == 11
    with serving(reply) as second:
        with pytest.raises(BoostError, match=r"label\.endpoint\.model: 'm' -> 'other'"):
            live(learner, config_with(second.url, 16.0, model="other"), tmp_path)
        live(learner, config_with(second.url, 16.0, concurrency=7), tmp_path)
        assert len(second.asked) == 5
    assert len(entries(tmp_path)) == BUDGET * ROUNDS
    assert kept.items() <= entries(tmp_path).items()
    assert RunDir(tmp_path).read_config().label.endpoint.max_cost == 16.0


def test_labels_that_arrived_are_in_the_ledger_when_another_fails(learner, tmp_path):
    def sometimes(number, body):
        return failure(404, "no more") if number == 5 else reply(number, body)

    with serving(sometimes) as server:
        config = replace(CONFIG, label=labels_of("endpoint", server.url))
        with pytest.raises(BoostError, match=r"round 1, stage label: .*404 Not Found: no more"):
            live(learner, config, tmp_path)
        assert len(entries(tmp_path)) == len(server.asked) - 1
        live(learner, config, tmp_path)
        assert len(server.asked) == BUDGET * ROUNDS + 1


def test_a_missing_key_is_reported_before_any_work(learner, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setattr(learner, "train", lambda *a: pytest.fail("worked"))
    with pytest.raises(BoostError, match="OPENAI_API_KEY is not set"):
        live(learner, replace(CONFIG, label=labels_of("endpoint")), tmp_path)


def test_sigkill_of_a_real_run_repeats_at_most_the_pending_requests(tmp_path):
    """The key appears in no file and no output."""
    dead = []

    def hold(number, body):
        while number in (3, 4) and not dead:  # both requests stay pending until the client is dead
            signal.sigtimedwait([], 0.01)
        return reply(number, body)

    with serving(hold) as server:
        config = tiny_config(arms=("boosting",), rounds=1, label=labels_of("endpoint", server.url))
        arguments = ("run", "--run-dir", tmp_path / "run", *as_options(config))
        with started(*arguments) as process:
            while len(entries_that_are_whole(tmp_path / "run")) < 3 or len(server.asked) < 5:
                assert process.poll() is None, process.stderr.read()
                signal.sigtimedwait([], 0.02)
            process.kill()
            process.wait()
        dead.append(True)
        before = entries(tmp_path / "run")
        assert len(before) == 3
        with started(*arguments) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        assert len(server.asked) == BUDGET + 2
    after = entries(tmp_path / "run")
    assert before.items() <= after.items()
    assert len(after) == BUDGET
    assert environment()["OPENAI_API_KEY"] == KEY
    assert set(server.keys) == {f"Bearer {KEY}"}
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()
    assert KEY not in out + err
    assert checkpoint.is_good(
        RunDir(tmp_path / "run").round_dir(RoundId(0, "boosting", 1)).checkpoint
    )
