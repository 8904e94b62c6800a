"""The task jsonl: prompts from fields, splits, verifiers, and `boostlm check`."""

import json

import numpy as np
import pytest

from boostlm.cli.main import main
from boostlm.config import SPLITS, DataConfig
from boostlm.errors import BoostError
from boostlm.tasks.contamination import check_contamination
from boostlm.tasks.own_data.splits import near_duplicates, split_rows
from boostlm.tasks.registry import load_task

ADD = [
    {"q": f"What is {a} + {b}?", "a": a + b, "kind": f"{a // 10}0s"}
    for a in range(10, 30)
    for b in range(5)
]


def save(folder, rows, name="rows.jsonl"):
    path = folder / name
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def config(path, **fields):
    fields = {
        "train_prompts": 40,
        "eval_prompts": 10,
        "prompt": "q",
        "answer": "a",
        "verifier": "number",
    } | fields
    return DataConfig(task="jsonl", path=path, **fields)


def test_a_file_becomes_a_task_whose_verifier_knows_its_answers(tmp_path):
    task = load_task(config(save(tmp_path, ADD), group="kind", template=r"Q: {q}\nA:"))
    assert [len(task.prompts[split].texts) for split in SPLITS] == [40, 10, 10]
    assert task.response_prefix == " "
    prompts = task.prompts["train"]
    assert all(
        text == f"Q: {problem}\nA:" for text, problem in zip(prompts.texts, prompts.problems)
    )
    assert set(prompts.groups) <= {"10s", "20s"}
    key, rng = task.answer_key("train"), np.random.default_rng(0)
    ids = list(range(40))
    assert key.grade(ids, [key.correct_response(i, rng) for i in ids]).all()
    assert not key.grade(ids, [key.wrong_response(i, rng) for i in ids]).any()
    check_contamination(task)
    assert "references" not in repr(vars(task)).replace("_OwnDataTask__references", "")


def test_rows_beyond_the_prompts_train_the_seed_model(tmp_path):
    task = load_task(config(save(tmp_path, ADD)))
    examples = task.seed_examples(0)
    assert len(examples) == 70 - 40  # 15 of 100 for validation, 15 for test
    shown = {text for split in SPLITS for text in task.prompts[split].texts}
    assert not shown & {prompt for prompt, _ in examples}
    assert sorted(examples) == sorted(task.seed_examples(1))
    assert examples != task.seed_examples(1)
    with pytest.raises(BoostError, match=r"seed_model\.path"):
        load_task(config(save(tmp_path, ADD), train_prompts=70)).seed_examples(0)


def test_splits_do_not_depend_on_order_and_keep_near_duplicates_together():
    story = "one two three four five six seven eight nine ten eleven twelve thirteen"
    problems = [f"unrelated problem number {i}" for i in range(100)]
    problems += [f"{story} fourteen {i}" for i in range(5)] + ["same", "same"]
    splits = split_rows(problems)
    assert {splits.count(s) for s in ("validation", "test")} == {round(0.15 * 107)}
    assert len(set(splits[100:105])) == 1
    assert splits[105] == splits[106]
    order = np.random.default_rng(0).permutation(len(problems))
    again = split_rows([problems[i] for i in order])
    assert all(again[place] == splits[i] for place, i in enumerate(order) if problems[i] != "same")


def test_near_duplicates_chain():
    words = [f"w{i}" for i in range(40)]
    texts = [" ".join(words[:20]), " ".join(words[5:30]), " ".join(words[12:40]), "w1 w2"]
    assert sorted(map(sorted, near_duplicates(texts))) == [[0, 1, 2], [3]]


def test_a_field_names_the_split(tmp_path):
    rows = [row | {"part": ["train", "dev", "test"][i % 3]} for i, row in enumerate(ADD)]
    task = load_task(config(save(tmp_path, rows), split="part", train_prompts=30))
    named = {row["q"]: row["part"] for row in rows}
    assert {named[q] for q in task.prompts["validation"].texts} == {"dev"}
    rows[3]["part"] = "holdout"
    with pytest.raises(BoostError, match=r"line 4: the field 'part' \(data.split\) is 'holdout'"):
        load_task(config(save(tmp_path, rows), split="part"))


def test_options_are_listed_in_the_prompt(tmp_path):
    rows = [
        {"q": f"Which is {i}?", "choices": [str(i), str(i + 1), "none"], "a": 0} for i in range(60)
    ]
    fields = {
        "template": "{q}\n{choices}\nAnswer:",
        "verifier": "choice",
        "train_prompts": 20,
        "eval_prompts": 5,
    }
    task = load_task(config(save(tmp_path, rows), **fields))
    assert "\nA) " in task.prompts["train"].texts[0]
    key = task.answer_key("train")
    assert key.grade([0, 0], ["The answer is (A).", "B"]).tolist() == [True, False]


def test_own_verifiers(tmp_path):
    (tmp_path / "v.py").write_text(
        "def even(response, reference):\n    return int(response) % 2 == reference % 2\n"
        "def odd(response, reference):\n    return 1\nnothing = 3\n"
    )
    path = save(tmp_path, ADD)
    key = load_task(config(path, verifier=f"{tmp_path}/v.py:even")).answer_key("train")
    assert key.grade([0], [key.correct_response(0, np.random.default_rng(0))]).all()
    with pytest.raises(BoostError, match=r"fails for the response 'x'.*ValueError"):
        key.grade([0], ["x"])
    odd = load_task(config(path, verifier=f"{tmp_path}/v.py:odd")).answer_key("train")
    with pytest.raises(BoostError, match="returned 1, which is neither True nor False"):
        odd.grade([0], ["x"])
    with pytest.raises(BoostError, match="is no function"):
        load_task(config(path, verifier=f"{tmp_path}/v.py:nothing"))


MISUSES = {
    "field": ({"prompt": "question"}, "no field 'question' (data.prompt); it has 'q', 'a', 'kind'"),
    "answer": ({"answer": "x"}, "no field 'x' (data.answer)"),
    "group": ({"group": "x"}, "no field 'x' (data.group)"),
    "template": ({"template": "{x}"}, "no field 'x' (data.template)"),
    "too many": ({"train_prompts": 71}, "has 70 problems: lower data.train_prompts"),
    "verifier": ({"verifier": "choice"}, "it has no field choices"),
}


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_is_named(tmp_path, name):
    fields, said = MISUSES[name]
    with pytest.raises(BoostError) as caught:
        load_task(config(save(tmp_path, ADD), **fields))
    assert said in str(caught.value)


def test_check_counts_every_kind_and_shows_the_worst(tmp_path, capsys):
    rows = [
        *ADD,
        {"q": "Two?", "a": "many"},
        {"q": "", "a": 1},
        {"a": 1},
        ADD[0],
        {"q": ADD[1]["q"], "a": "12,34"},
    ]
    path = save(tmp_path, rows)
    status = main(
        ["check", path, "--prompt", "q", "--answer", "a", "--verifier", "number", "--group", "kind"]
    )
    out, err = capsys.readouterr()
    assert status == 2
    assert "105 rows" in out
    assert "groups: 10s 5" in out or "no field 'kind'" in out
    assert "line 101: the answer 'many'" in out
    assert "line 102: the field 'q' (data.prompt) is empty" in out
    assert "line 103: no field 'q'" in out
    assert "1 repeated" in out
    assert f"equals {path}, line 1" in out
    assert "a run would refuse" in err


def test_check_of_good_data_says_so(tmp_path, capsys):
    path = save(tmp_path, ADD)
    assert main(["check", path, "--prompt", "q", "--answer", "a", "--verifier", "number"]) == 0
    out = capsys.readouterr().out
    assert "70 train, 15 validation, 15 test" in out
    assert "nothing is wrong" in out
    assert "prompts: median 5 words" in out


def test_check_finds_test_problems_in_training(tmp_path, capsys):
    rows = [row | {"part": ["train", "dev", "test"][i % 3]} for i, row in enumerate(ADD)]
    rows.append(rows[2] | {"part": "train"})
    arguments = ["--prompt", "q", "--answer", "a", "--verifier", "number", "--split", "part"]
    assert main(["check", save(tmp_path, rows), *arguments]) == 2
    assert "1 in training and in test" in capsys.readouterr().out
