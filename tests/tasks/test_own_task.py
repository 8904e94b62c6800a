"""A user's task from a file, few-shot files, and prompts that must not change during a run."""

import dataclasses

import numpy as np
import pytest
from support.runs import REPOSITORY, tiny_config

from boostlm.config import DataConfig
from boostlm.config_io import override
from boostlm.errors import BoostError
from boostlm.storage.run_dir import RunDir
from boostlm.tasks.base import Task, describe_task
from boostlm.tasks.contamination import check_contamination
from boostlm.tasks.few_shot import load_few_shot
from boostlm.tasks.registry import load_task

EXAMPLE = (REPOSITORY / "examples" / "own_task.py").read_text()


@pytest.fixture
def file(tmp_path):
    """A copy of the example in a temporary folder."""
    path = tmp_path / "my_task.py"
    path.write_text(EXAMPLE)
    return path


def own(file, name="Sums", **changes):
    return DataConfig(task=f"{file}:{name}", **{"train_prompts": 24, "eval_prompts": 24, **changes})


def test_the_example_is_a_whole_task(file):
    task, rng = load_task(own(file)), np.random.default_rng(0)
    key = task.answer_key("test")
    assert key.grade(range(24), [key.correct_response(i) for i in range(24)]).all()
    assert not key.grade(range(24), [key.wrong_response(i, rng) for i in range(24)]).any()
    assert (task.stop_strings, task.few_shot, task.notes) == ((), "", ())
    check_contamination(task)


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        (lambda text: text, "Nothing", r"my_task\.py has no Nothing"),
        (lambda text: text, "Key", r"my_task\.py:Key is not a subclass of .*Task"),
        (lambda text: "def (:", "Sums", r"my_task\.py does not run: SyntaxError"),
        (lambda text: text.replace("8100", "0"), "Sums", r"my_task\.py:Sums fails: IndexError"),
        (lambda text: text.replace('name = "sums"', ""), "Sums", "has no name"),
        (lambda text: text.replace("in SPLITS\n", "in SPLITS[:2]\n"), "Sums", r"prompts\['test'\] is missing"),
        (lambda text: text.replace("for a, _ in self.pairs[split]", "for a, _ in self.pairs[split][1:]"), "Sums", "must have one group per text"),
        (lambda text: text.replace("def answer_key", "def answers"), "Sums", "fails: TypeError.*answer_key"),
    ],
)  # fmt: skip
def test_a_class_that_is_not_a_task_is_rejected(file, change, name, message):
    file.write_text(change(EXAMPLE))
    with pytest.raises(BoostError, match=message):
        load_task(own(file, name))


def test_a_file_runs_like_an_imported_module(file):
    """It has `__file__` and can import modules from its folder."""
    (file.parent / "neighbour_of_my_task.py").write_text("NAME = 'sums'\n")
    text = EXAMPLE.replace('name = "sums"', "name = NAME")
    line = "from neighbour_of_my_task import NAME\nassert __file__.endswith('my_task.py')\n"
    file.write_text(text.replace("import numpy as np\n", f"import numpy as np\n\n{line}", 1))
    assert load_task(own(file)).name == "sums"


def test_an_unknown_task_is_rejected(tmp_path):
    with pytest.raises(BoostError, match=r"the file .*no_task\.py does not exist"):
        load_task(own(tmp_path / "no_task.py"))
    for name in ("my_task:Sums", "my_task.py", "my_task.py:a b", ":Sums"):
        with pytest.raises(BoostError, match=r"choose from skills, gsm8k, mbpp, .*FILE\.py:CLASS"):
            override(tiny_config(), [f"--data.task={name}"])
    assert override(tiny_config(), ["--data.task=a/b.py:C"]).data.task == "a/b.py:C"


def test_without_seed_examples_a_pretrained_model_is_required(file):
    file.write_text(EXAMPLE.split("    def seed_examples")[0])
    task = load_task(own(file))
    assert task.tokenizer_texts() == task.prompts["train"].texts
    with pytest.raises(BoostError, match=r"--seed_model\.path"):
        task.seed_examples(0)


# --- few-shot files ---------------------------------------------------------------------------

FORM = r"Q: .+\nA: .+"
GOOD = "Q: one?\nA: 1\n\nQ: two?\nA: 2\n\n"


def test_a_few_shot_file_is_used_unchanged(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(GOOD)
    assert load_few_shot(str(path), FORM, "\n\n") == GOOD
    path.write_bytes(GOOD.replace("\n", "\r\n").encode())
    assert load_few_shot(str(path), FORM, "\n\n") == GOOD
    assert load_few_shot("", FORM, "\n\n") == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (GOOD.strip().encode(), r"must end with '\\n\\n'"),
        (GOOD.encode()[:-1], r"ends with '2\\n'"),
        (GOOD.replace("A: 2", "2").encode(), "example 2 of .* does not have the format"),
        (GOOD.replace("\n\nQ", "\n\n\n\nQ").encode(), "example 2 of .* does not have the format"),
        (b"Q: \xe9?\nA: 1\n\n", "cannot be read"),
    ],
)
def test_a_malformed_few_shot_file_is_rejected(tmp_path, content, message):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(BoostError, match=message):
        load_few_shot(str(path), FORM, "\n\n")


def test_a_missing_few_shot_file_names_the_packaged_ones(tmp_path):
    for name in ("gsm8k.txt", str(tmp_path), str(tmp_path / "gsm8k_3shot.txt")):
        with pytest.raises(BoostError, match=r"gsm8k_3shot\.txt, mbpp_3shot\.txt"):
            load_few_shot(name, FORM, "\n\n")


def test_the_embedded_task_takes_no_few_shot_examples():
    with pytest.raises(BoostError, match="takes no few-shot"):
        load_task(DataConfig(few_shot="gsm8k_3shot.txt"))


# --- prompts that change during a run ---------------------------------------------------------


def test_a_run_resumes_only_with_the_same_prompts(file, tmp_path):
    run_dir, task = RunDir(tmp_path / "run"), load_task(own(file))
    task.notes = ("2 problems are left out",)
    run_dir.keep_task(describe_task(task))
    run_dir.keep_task(describe_task(task))
    kept = (tmp_path / "run" / "task.json").read_text()
    assert "2 problems are left out" in kept
    prompts = task.prompts["train"]
    other = dataclasses.replace(prompts, texts=(*prompts.texts[:-1], "1+1="))
    task.prompts = {**task.prompts, "train": other}
    with pytest.raises(BoostError, match=r"other prompts \(see train prompts in .*task\.json\)"):
        run_dir.keep_task(describe_task(task))
    assert (tmp_path / "run" / "task.json").read_text() == kept
    (tmp_path / "run" / "task.json").write_text("{")
    with pytest.raises(BoostError, match=r"task\.json is damaged"):
        run_dir.keep_task(describe_task(task))


def test_outside_text_is_converted_to_a_response():
    class Form(Task):
        response_prefix, stop_strings = " ", ("\n\n", "END")

        def answer_key(self, split):
            raise NotImplementedError

    def form(text):
        return Form().response_of(text, "add 3+4=")

    assert form("3 + 4 = 7\n#### 7") == " 3 + 4 = 7\n#### 7"
    assert form("  7\n\nbecause 3 + 4 ENDless") == " 7\nbecause 3 + 4"
    assert form(" 7 END\n\n8") == " 7"
    assert form(form("7")) == " 7"
