"""The notebook on the primitives: every cell runs, and what its text says holds."""

import ast
import json
import re
import subprocess
import sys

import pytest
from docs.pages import DOCS
from support.runs import environment

import boostlm

NOTEBOOK = json.loads((DOCS / "primitives.ipynb").read_text())
CODE = {c["id"]: "".join(c["source"]) for c in NOTEBOOK["cells"] if c["cell_type"] == "code"}
TEXT = "\n".join("".join(c["source"]) for c in NOTEBOOK["cells"] if c["cell_type"] == "markdown")
# What is printed, as JSON, after the last cell.
FACTS = """
import json

def lies(x):
    return [len(x.sharding.device_set), str(x.sharding.spec), x.sharding.shard_shape(x.shape)]

facts = {
    "devices": len(jax.devices()),
    "lies": {name: lies(value) for name, value in {
        "answer_NxK": answer_NxK, "accepted_NxK": accepted_NxK, "failing_N": failing_N,
        "log_weight_N": log_weight_N, "count_N": count_N, "synthetic_NxK": mixture.synthetic_NxK,
        "trained": runs[-1][2],
    }.items()},
    "N": N, "L": L, "rounds": ROUNDS, "seeds": SEEDS,
    "spent": int(count_N.sum()), "spent_elsewhere": int(count_N[~failing_N].sum()),
    "same_on_one_device": bool((np.asarray(alone_N) == np.asarray(count_N)).all()),
    "compiled": [plan._cache_size(), learn._cache_size()],
    "bought": [bought for _, bought, _ in runs],
    "traced": traced.tolist(),
    "curves": {arm: accuracy.tolist() for arm, accuracy in curves.items()},
}
print("facts:" + json.dumps(facts))
"""


@pytest.fixture(scope="module")
def facts():
    """What the notebook computed, in a process in which only its first cell makes devices."""
    script = "\n\n".join([*CODE.values(), FACTS])
    env = environment() | {"MPLBACKEND": "Agg", "JAX_NUMPY_RANK_PROMOTION": "raise"}
    assert "XLA_FLAGS" not in env
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("facts:")[2])


@pytest.mark.slow
def test_the_results_are_split_over_eight_devices(facts):
    assert facts["devices"] == 8
    for name, (devices, spec, (prompts, *_)) in facts["lies"].items():
        assert devices == 8, name
        assert "'data'" in spec, name
        assert prompts == facts["N"] // 8, name


@pytest.mark.slow
def test_the_budget_is_spent_on_failing_prompts_alike_on_one_device(facts):
    assert facts["spent"] == facts["L"]
    assert facts["spent_elsewhere"] == 0
    assert facts["same_on_one_device"]
    assert facts["bought"] == [facts["L"] * facts["rounds"]] * facts["seeds"]
    # The text says that a budget of 0 does not compile again. The first round's inputs come from
    # device_put, later ones from the functions themselves; both have the same sharding.
    assert facts["compiled"] == [1, 1]


@pytest.mark.slow
def test_the_curve_is_what_the_text_below_it_says(facts):
    filtering, boosting = (facts["curves"][arm] for arm in ("filter_only", "boosting"))
    assert len(filtering) == len(boosting) == facts["seeds"] >= 3
    for low, high in zip(filtering, boosting, strict=True):
        assert len(low) == facts["rounds"] + 1
        assert low[0] == high[0]
        assert high[-1] > low[-1] + 0.05
        half = facts["rounds"] // 2
        assert low[half] - low[0] > 1.5 * (low[-1] - low[half])  # ever more slowly


@pytest.mark.slow
def test_the_compiled_rounds_learn_as_the_others_do(facts):
    """The same models at the start; other draws."""
    boosting = facts["curves"]["boosting"]
    assert len(facts["traced"]) == facts["seeds"]
    for traced, by_hand in zip(facts["traced"], boosting, strict=True):
        assert len(traced) == facts["rounds"]
        assert traced[0] == pytest.approx(by_hand[0], abs=1e-6)
        assert traced[-1] == pytest.approx(by_hand[-2], abs=0.06)


def test_it_uses_public_names_only_and_all_that_a_round_needs():
    tree = ast.parse("\n".join(CODE.values()))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "boostlm"
    }
    assert used <= set(boostlm.__all__)
    assert used >= {
        "row_keys", "noisy_verdict", "failing", "initial_log_weights", "theta_from_beta",
        "reweight", "allocate", "expand", "mix", "draw",
    }  # fmt: skip
    imported = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    assert not [n for n in imported if (n.module or "").startswith("boostlm")]


def test_it_holds_no_outputs_that_could_be_old():
    for cell in NOTEBOOK["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert next(iter(CODE.values())).startswith("import os")


def test_its_links_lead_somewhere_and_pages_link_to_it():
    links = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert len(links) >= 2
    assert all((DOCS / link).exists() for link in links)
    assert "(primitives.ipynb)" in (DOCS / "index.md").read_text()
    assert "(primitives.ipynb)" in (DOCS / "api.md").read_text()
