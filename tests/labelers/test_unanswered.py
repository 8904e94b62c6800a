"""Labels without an answer: in the ledger, out of training, counted, and never bought again."""

import io
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from support.chat_server import KEY, completion, failure, serving
from support.report_run import make_run
from support.runs import ledger_files, on_one_device, rows_of, tiny_config

from boostlm.config import EndpointConfig, FilterConfig, LabelConfig
from boostlm.curation.mixture import mix
from boostlm.curation.round import LabelRequest
from boostlm.experiment.context import make_context
from boostlm.experiment.labeling import label_round
from boostlm.experiment.metrics import unanswered_in_words, unanswered_of
from boostlm.experiment.run import planned_stages, run_experiment
from boostlm.labelers.base import CUT_OFF, NO_TEXT, Label, in_batches, in_form
from boostlm.report.conclusions import conclusions
from boostlm.report.page import render_html
from boostlm.report.terminal import final_table
from boostlm.report.write import read_run
from boostlm.runtime.progress import Progress
from boostlm.storage.ledger import read_ledger
from boostlm.storage.run_dir import RoundId, RunDir

ID = RoundId(0, "boosting", 1)


def surroundings(filter_labels, task_is_right=True):
    """What `label_round` needs of a run: every text is right, and the filter accepts everything."""
    config = tiny_config(
        filter=FilterConfig(false_accept_rate=1.0), label=LabelConfig(filter_labels=filter_labels)
    )
    prompts = SimpleNamespace(texts=tuple(f"prompt {n}" for n in range(8)))
    return SimpleNamespace(
        config=config,
        task=SimpleNamespace(prompts={"train": prompts}),
        tokenizer=SimpleNamespace(encode_response=lambda text: [5] * len(text) + [1]),
        grade=lambda ids, texts: np.full(len(texts), task_is_right),
    )


def labeled(ctx, labels, path):
    """(Labels, the ledger's entries, queries asked) with one label for each prompt."""
    asked = []

    def give(queries):
        asked.extend(query.prompt for query in queries)
        return [labels[query.prompt] for query in queries]

    labeler = in_form(
        in_batches(give, 3), lambda text, prompt: " " + text.replace("<think>", "").strip()
    )
    count = len(labels)
    request = LabelRequest(jnp.arange(count), jnp.zeros(count, jnp.int32), jnp.ones(count, bool))
    ledger = read_ledger(path)
    made = label_round(ctx, labeler, ledger, ID, request, lambda done, total: None)
    return made, read_ledger(path).entries, asked


WHOLE = Label("ab", "me", 2.0)
BLANK = [
    "", " ", "\n", "\t\r\n ", "\u3000", "\u00a0", "\u2028", "<think>", " <think> \n", "\x0b\x0c",
]  # fmt: skip
GIVEN = [Label(text, "me", 2.0) for text in BLANK] + [
    Label(text, "me", cost, reason)
    for text in ("", "ab", " ")
    for cost, reason in ((0.0, "answered 400 Bad Request: no"), (2.0, CUT_OFF), (2.0, "x"))
]


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("filter_labels", [True, False])
@pytest.mark.parametrize("given", GIVEN, ids=lambda label: repr((label.text, label.unanswered)))
def test_an_unanswered_label_is_recorded_once_and_not_trained_on(
    tmp_path, epath_of, given, filter_labels, right
):
    ctx = surroundings(filter_labels, right)
    path = epath_of(tmp_path) / "ledger.jsonl"
    labels, entries, asked = labeled(ctx, [given, WHOLE, given], path)
    assert asked == [0, 1, 2]
    assert np.asarray(labels.kept_L).tolist() == [False, True, False]
    assert labels.examples[2].tolist() == [0, 4, 0]  # tokens
    for prompt in (0, 2):
        entry = entries[prompt, 0]
        assert (entry.text, entry.cost, entry.source) == (given.text, given.cost, "me")
        assert entry.unanswered == (given.unanswered or NO_TEXT)
        assert (entry.correct, entry.accepted, entry.kept) == (False, False, False)
    assert (entries[1, 0].unanswered, entries[1, 0].kept) == ("", True)
    assert labeled(ctx, [given, WHOLE, given], path)[2] == []  # nothing is asked again
    mixture = mix(jnp.ones((2, 1), bool), labels.kept_L, 0.5)
    assert np.asarray(mixture.weak_L).tolist() == [0, 0.5, 0]


@pytest.fixture
def epath_of():
    from etils import epath

    return epath.Path


def test_a_round_without_any_answer_leaves_its_weight_to_own_samples(tmp_path, epath_of):
    path = epath_of(tmp_path) / "ledger.jsonl"
    labels, _, _ = labeled(surroundings(False), [Label("", "me", 1.0)] * 3, path)
    mixture = mix(jnp.ones((2, 1), bool), labels.kept_L, 0.5)
    assert (int(mixture.weak), float(mixture.synthetic_NxK.sum())) == (0, 1.0)


@pytest.mark.parametrize(
    ("reasons", "counts", "words"),
    [
        ([], {}, ""),
        ([""] * 4, {}, ""),
        (["", "no text"], {"no text": 1}, "1 of 2 labels unanswered: 1 no text"),
        (
            ["no text: reasoning only", "x", "no text", "x: 17", "x: 18", ""],
            {"x": 3, "no text": 2},
            "5 of 6 labels unanswered: 3 x, 2 no text",
        ),
        (
            [f"answered 400 Bad Request: {n} tokens" for n in range(2000)],
            {"answered 400 Bad Request": 2000},
            "2,000 of 2,000 labels unanswered: 2,000 answered 400 Bad Request",
        ),
    ],
)
def test_unanswered_labels_are_counted_by_reason(reasons, counts, words):
    entries = [SimpleNamespace(unanswered=reason) for reason in reasons]
    assert unanswered_of(entries) == counts
    assert unanswered_in_words(len(reasons), counts) == words


def test_the_report_says_how_many_labels_were_unanswered_and_if_none_came_back():
    run = make_run(seeds=1, rounds=1)
    assert "unanswered" not in " ".join(conclusions(run))
    none = {"of": 0, "checked": 0, "right": 0}
    for row in run.rows:
        bought = 256 * (row["round"] > 0 and row["arm"] in ("uniform", "boosting"))
        row["audit"] = {"accepted": none, "rejected": none, "labels": none | {"of": bought}}
        row["labels_unanswered"] = {"no text": bought // 2} if bought else {}
    said = "256 of 512 labels unanswered: 256 no text."
    for text in (final_table(run), render_html(run)):
        assert said in " ".join(text.split())
        assert "No label came back" not in text
    for row in run.rows:
        row["labels_unanswered"] = {"no text": row["audit"]["labels"]["of"]}
    assert "No label came back: 512 of 512 labels unanswered: 512 no text." in conclusions(run)[-1]


@pytest.mark.slow
def test_a_run_in_which_no_label_came_back_says_so(tmp_path, monkeypatch):
    """One prompt in three is refused; the others get a reasoning model's empty content."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def reply(number, body):
        filtered = sum(body["messages"][0]["content"].encode()) % 3 == 0
        return failure(400, f"filtered {number}") if filtered else completion("", "length")

    with serving(reply) as server:
        endpoint = EndpointConfig(url=server.url, model="m", concurrency=2)
        label = LabelConfig("endpoint", budget=8, filter_labels=False, endpoint=endpoint)
        config = tiny_config(arms=("boosting",), label=label)
        out = io.StringIO()
        for _ in range(2):  # the second time, nothing is left to do
            folder = RunDir(tmp_path)
            folder.create(config)
            ctx = on_one_device(make_context(config, folder))
            run_experiment(ctx, folder, Progress(planned_stages(config), out))
        assert len(server.asked) == 16
    lines = "".join(path.read_text() for path in ledger_files(tmp_path)).splitlines()
    entries = list(map(json.loads, lines))
    refused = sum(e["unanswered"].startswith("answered 400 Bad Request: filtered") for e in entries)
    assert 0 < refused < 16
    assert sum(e["unanswered"] == CUT_OFF for e in entries) == 16 - refused
    assert sum(e["cost"] for e in entries) == 16 - refused
    rows = rows_of(tmp_path)
    assert (rows[-1]["labels_spent"], rows[-1]["labels_kept"]) == (16, 0)
    assert [sum(row["labels_unanswered"].values()) for row in rows] == [0, 8, 8]
    assert out.getvalue().count("  8 of 8 labels unanswered: ") == 2
    assert "No label came back: 16 of 16 labels unanswered: " in conclusions(read_run(folder))[-1]
