"""User-defined labelers, FILE.py:NAME: a complete run, and rejected files."""

import pytest
from support.data_sets import REPOSITORY
from support.runs import tiny_config

from boostlm.config import LabelConfig
from boostlm.config_io import override
from boostlm.errors import BoostError
from boostlm.labelers.base import Label, in_batches
from boostlm.labelers.registry import LabelerContext, make_labeler

EXAMPLE = REPOSITORY / "examples" / "own_labeler.py"


def context(name):
    config = tiny_config(label=LabelConfig(labeler=name))
    task = type("Task", (), {"response_of": staticmethod(lambda text, prompt: text)})
    return LabelerContext(config, task, None, None, None, None, None, lambda: 0.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist"),
        ("def other(context): pass", "has no mine"),
        ("def (", "does not run: SyntaxError"),
        ("mine = 3", "mine is not a function of a LabelerContext"),
        ("def mine(context): return 1 / 0", "mine fails: ZeroDivisionError"),
        ("def mine(context): return 'a'", "mine returned 'a', not a labeler"),
    ],
)
def test_a_file_that_returns_no_labeler_is_rejected(tmp_path, text, said):
    path = tmp_path / "labeler.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(
        BoostError, match=rf"label\.labeler: .*labeler\.py.*{said}|{said} .*labeler\.py"
    ):
        make_labeler(context(f"{path}:mine"))


def test_an_unknown_labeler_is_rejected():
    with pytest.raises(
        BoostError, match=r"choose from simulated, .*or name your own as FILE\.py:NAME"
    ):
        override(tiny_config(), ["--label.labeler=mine"])
    assert override(tiny_config(), ["--label.labeler=a/b.py:mine"]).label.labeler == "a/b.py:mine"


def test_batches_are_in_order_and_have_the_given_size():
    sizes = []

    def label(batch):
        sizes.append(len(batch))
        return [Label(f"to {query}", "me", 0.0) for query in batch]

    batches = list(in_batches(label, 3)(list(range(7))))
    assert sizes == [3, 3, 1]
    assert [(q, x.text) for b in batches for q, x in b] == [(n, f"to {n}") for n in range(7)]
    with pytest.raises(ValueError):
        list(in_batches(lambda batch: [], 3)([1]))
