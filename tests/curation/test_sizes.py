"""Reweighting, allocation and drawing beyond 2**24 entries, and of parts of very unequal size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from boostlm import allocate, draw, expand, initial_log_weights, mix, reweight
from boostlm.curation.mixture import Mixture
from boostlm.numerics import MAX_ENTRIES, fixed_point_sum

KEY = jax.random.key(3)
LIMIT = 2**24  # where a sum of bytes in 32 bits overflows, and float32 cannot count on by ones
BEYOND = LIMIT + 2**17


@pytest.mark.parametrize(
    ("entries", "value"),
    [(1, 65536), (65537, 65536), (2**20 + 3, 4097), (LIMIT, 65536), (LIMIT + 5, 65535)],
)
def test_the_sum_is_that_of_python(entries, value):
    assert float(fixed_point_sum(jnp.full(entries, value, jnp.uint32))) == np.float32(
        entries * value
    )


@pytest.mark.slow
def test_the_sum_of_values_of_all_kinds_is_exact_across_the_limit():
    rng = np.random.default_rng(0)
    for entries in (LIMIT, 2**25 + 17):
        values = rng.integers(0, 65537, entries, dtype=np.uint32)
        expected = np.float32(int(values.sum(dtype=np.uint64)))
        assert float(fixed_point_sum(jnp.asarray(values))) == expected


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_a_budget_over_equal_weights():
    count = jax.jit(allocate)(KEY, 1_000_000, jnp.ones(BEYOND), jnp.ones(BEYOND, bool))
    assert int(count.sum()) == 1_000_000
    assert set(np.unique(count)) == {0, 1}


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_a_budget_over_two_halves_of_unequal_weight():
    """At 2**25 the counts were -3 to 3 while their sum was right."""
    entries, budget = 2**25, 1_000_000
    first = jnp.arange(entries) < entries // 2
    count = jax.jit(allocate)(KEY, budget, jnp.where(first, 1.0, 0.01), jnp.ones(entries, bool))
    fixed = np.array([65536, round(0.01 * 65536)])
    assert int(count.sum()) == budget
    assert (int(count.min()), int(count.max())) == (0, 1)
    assert int(count[: entries // 2].sum()) == pytest.approx(
        budget * fixed[0] / fixed.sum(), abs=500
    )


@pytest.mark.slow
def test_weights_are_finite_and_sum_to_1():
    failing = jnp.arange(BEYOND) % 2 == 0
    log_weight = jax.jit(reweight)(initial_log_weights(BEYOND), failing, jnp.log(2.0))
    assert bool(jnp.isfinite(log_weight).all())
    weight = np.exp(np.asarray(log_weight[:2], np.float64))
    assert weight[0] / weight[1] == pytest.approx(2, rel=1e-5)
    assert float(weight.sum() * BEYOND / 2) == pytest.approx(1, rel=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("optimized")
def test_rows_are_drawn_from_all_examples():
    """At 2**21 prompts x 8, a million rows were one example."""
    prompts = 2**21 + 2**14
    mixture = mix(jnp.ones((prompts, 8), bool), jnp.zeros(8, bool), 1 / 3)
    index, valid = draw(KEY, mixture, 1_000_000)
    assert bool(valid.all())
    assert len(np.unique(index)) == 1_000_000
    assert np.mean(index) == pytest.approx(prompts * 4, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("own", [1, 1000, 56_000, 1_000_000])
@pytest.mark.parametrize(("weak", "alpha"), [(1, 1 / 3), (7, 0.5)])
def test_labels_take_their_share_of_the_rows_beside_any_number_of_own_responses(own, weak, alpha):
    """A lone label beside 56,000 own responses took 0.369 of the rows, beside a million 0.062."""
    mixture = mix(jnp.ones((own, 1), bool), jnp.ones(weak, bool), alpha)
    rows = 9000
    index, valid = draw(KEY, mixture, rows)
    assert bool(valid.all())
    count = np.bincount(np.asarray(index), minlength=own + weak)
    share = np.concatenate(
        [np.full(own, rows * (1 - alpha) / own), np.full(weak, rows * alpha / weak)]
    )
    assert (count >= np.floor(share - 1e-3)).all()
    assert (count <= np.ceil(share + 1e-3)).all()
    assert count[own:].sum() == pytest.approx(rows * alpha, abs=1)


@pytest.mark.slow
def test_the_part_of_the_labels_is_right_on_average():
    """2.5 rows are 2 or 3, as often as each other."""
    mixture = mix(jnp.ones((4, 1), bool), jnp.ones(1, bool), 0.25)
    keys = jax.random.split(KEY, 400)
    count = jax.vmap(lambda key: jnp.sum(draw(key, mixture, 10)[0] == 4))(keys)
    assert set(np.unique(count)) == {2, 3}
    assert float(count.mean()) == pytest.approx(2.5, abs=0.12)


@pytest.mark.slow
def test_an_empty_part_takes_no_row():
    only_labels = mix(jnp.zeros((4, 2), bool), jnp.ones(3, bool), 0.5)
    only_own = mix(jnp.ones((4, 2), bool), jnp.zeros(3, bool), 0.5)
    assert int(draw(KEY, only_labels, 30)[0].min()) == 8
    assert int(draw(KEY, only_own, 30)[0].max()) == 7


def shape(*axes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(axes, dtype)


@pytest.mark.parametrize(
    "call",
    [
        lambda n: jax.eval_shape(
            lambda w, e: allocate(KEY, 5, w, e), shape(n), shape(n, dtype=jnp.bool_)
        ),
        lambda n: jax.eval_shape(
            lambda w, f: reweight(w, f, 0.5), shape(n), shape(n, dtype=jnp.bool_)
        ),
        lambda n: jax.eval_shape(lambda c: expand(c, 5), shape(n, dtype=jnp.int32)),
        lambda n: jax.eval_shape(
            lambda own, weak: draw(KEY, Mixture(own, weak, 0, 0), 5), shape(n // 2, 2), shape(4)
        ),
    ],
    ids=["allocate", "reweight", "expand", "draw"],
)
def test_more_entries_than_int32_can_number_are_refused_before_any_work(call):
    with pytest.raises(ValueError, match=r"2,147,483,65\d entries: at most 2,147,483,647"):
        call(MAX_ENTRIES + 3)
