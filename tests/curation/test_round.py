"""One round with stubs and no model: who is called, with what, and what comes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from boostlm import ARMS, Curation, Labels, RoundFns, curation_round, initial_state, theta_from_beta

N, K, BUDGET = 40, 4, 24
CURATION = Curation(theta_from_beta(0.3), BUDGET, 1 / 3)
KEY = jax.random.key(2)


class Stub:
    """Prompts 0 to 9 fail; labels on even prompts are right. Notes every call."""

    def __init__(self, accepted=None, kept=True):
        never = np.arange(N)[:, None] < 10
        self.accepted = jnp.asarray(~never & (np.arange(K) < 2)) if accepted is None else accepted
        self.kept, self.calls, self.requests, self.mixtures = kept, [], [], []

    def fns(self):
        return RoundFns(self.sample, self.judge, self.label, self.train)

    def sample(self, learner, round_):
        self.calls.append("sample")
        return f"responses of {learner}"

    def judge(self, responses, round_):
        assert responses.startswith("responses of")
        self.calls.append("judge")
        return self.accepted

    def label(self, request, round_):
        self.calls.append("label")
        self.requests.append(jax.tree.map(np.asarray, request))
        right = self.kept and request.prompt_id_L % 2 == 0
        return Labels("examples", request.valid_L & right)

    def train(self, learner, responses, labels, mixture, round_):
        self.calls.append("train")
        self.mixtures.append(jax.tree.map(np.asarray, mixture))
        return f"{learner}+{round_}"

    def round(self, arm, state=None, round_=0):
        state = state or initial_state("model", N)
        return curation_round(state, self.fns(), ARMS[arm], CURATION, KEY, round_)


def test_stages_run_in_order_and_the_learner_is_replaced():
    stub = Stub()
    state = stub.round("boosting")
    assert stub.calls == ["sample", "judge", "label", "train"]
    assert state.learner == "model+0"


@pytest.mark.parametrize("arm", ["do_nothing", "filter_only"])
def test_arms_without_labels_ask_nobody(arm):
    stub = Stub()
    state = stub.round(arm)
    assert "label" not in stub.calls
    assert (state.labels_spent, state.labels_kept) == (0, 0)
    assert stub.mixtures[0].weak == 0


def test_do_nothing_trains_on_everything_and_filter_only_on_what_was_accepted():
    for arm, count in (("do_nothing", N * K), ("filter_only", 30 * 2)):
        stub = Stub()
        stub.round(arm)
        assert stub.mixtures[0].synthetic == count
        assert stub.mixtures[0].synthetic_NxK.sum() == pytest.approx(1, abs=1e-5)


def test_boosting_asks_about_failing_prompts_only_and_uniform_about_all():
    boosting, uniform = Stub(), Stub()
    boosting.round("boosting")
    uniform.round("uniform")
    hard, everywhere = (np.bincount(s.requests[0].prompt_id_L, minlength=N) for s in
                        (boosting, uniform))  # fmt: skip
    assert hard[10:].sum() == 0
    assert set(hard[:10]) == {2, 3}  # 24 labels on 10 equally hard prompts
    assert everywhere.max() == 1
    assert hard.sum() == everywhere.sum() == BUDGET


def test_repeated_labels_of_a_prompt_are_numbered():
    stub = Stub()
    stub.round("boosting")
    request = stub.requests[0]
    pairs = set(zip(request.prompt_id_L.tolist(), request.sample_L.tolist(), strict=True))
    assert len(pairs) == BUDGET
    for prompt in range(10):
        samples = request.sample_L[request.prompt_id_L == prompt]
        assert samples.tolist() == list(range(len(samples)))


def test_what_fails_longer_gets_more_labels():
    """Prompts 0 to 4 have failed 6 rounds, 5 to 9 fail for the first time."""
    half = jnp.asarray((np.arange(N)[:, None] >= 5) & np.ones((1, K), bool))
    stub = Stub(accepted=half)
    state = initial_state("model", N)
    for r in range(6):
        state = stub.round("boosting", state, r)
    assert np.asarray(state.failures_N).tolist() == [6] * 5 + [0] * 35
    last = Stub()
    last.round("boosting", state, 6)
    count = np.bincount(last.requests[0].prompt_id_L, minlength=N)
    ratio = 0.7**-6
    assert count[:5].sum() == pytest.approx(BUDGET * ratio / (1 + ratio), abs=3)


def test_difficulty_follows_the_failures():
    stub, state = Stub(), initial_state("model", N)
    for r in range(3):
        state = stub.round("boosting", state, r)
    weight = np.exp(np.asarray(state.log_weight_N))
    assert weight[0] / weight[20] == pytest.approx(0.7**-3, rel=1e-3)
    assert weight.sum() == pytest.approx(1, abs=1e-3)
    assert state.labels_spent == 3 * BUDGET


def test_only_kept_labels_count_as_kept():
    stub = Stub()
    state = stub.round("boosting")
    asked = stub.requests[0].prompt_id_L
    assert state.labels_kept == (asked % 2 == 0).sum()
    assert stub.mixtures[0].weak_L.sum() == pytest.approx(1 / 3, abs=1e-5)


def test_nothing_is_bought_when_nothing_fails():
    stub = Stub(accepted=jnp.ones((N, K), bool))
    state = stub.round("boosting")
    assert not stub.requests[0].valid_L.any()
    assert state.labels_spent == 0


def test_no_right_label_leaves_the_weight_to_own_responses():
    stub = Stub(kept=False)
    stub.round("boosting")
    assert stub.mixtures[0].synthetic_NxK.sum() == pytest.approx(1, abs=1e-5)
