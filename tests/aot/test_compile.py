"""What `boostlm compile` says, on numbers made by hand and with XLA's TPU compiler."""

import dataclasses
import functools
import importlib.util
import json
import re

import jax
import jax.numpy as jnp
import pytest

from boostlm.aot import advice, chips, command
from boostlm.aot.advice import Target, find_fitting, options
from boostlm.aot.chips import CHIPS, Chip, chips_of
from boostlm.aot.compiled import Measured, measure, needed
from boostlm.aot.flops import flops
from boostlm.aot.programs import build_programs, held_beside
from boostlm.aot.roofline import Work, by_kind, cost, hours
from boostlm.aot.sizes import Sizes, named_sizes
from boostlm.aot.traffic import Collective, arrays, traffic
from boostlm.aot.workload import workload
from boostlm.cli.main import main
from boostlm.config import (
    ComputeConfig,
    Config,
    DataConfig,
    LabelConfig,
    ModelConfig,
    OptimizerConfig,
    SampleConfig,
    SeedModelConfig,
    TrainConfig,
)
from boostlm.config_io import override
from boostlm.engine.choose_mesh import parameter_count
from boostlm.errors import BoostError
from boostlm.lm.decoder import decoder_lm

pytestmark = pytest.mark.slow

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="XLA's TPU compiler is not installed (pip install libtpu)",
)
V = 2048
MODEL = ModelConfig(layers=1, width=256, heads=2, kv_heads=1, head_dim=128, mlp_width=1024)
CONFIG = Config(
    rounds=2,
    arms=("filter_only", "boosting"),
    data=DataConfig(train_prompts=96, eval_prompts=40, max_prompt_tokens=48),
    model=MODEL,
    seed_model=SeedModelConfig(path="not/at/hand"),
    sample=SampleConfig(k=4, max_new_tokens=16, batch_size=32),
    label=LabelConfig(labeler="frozen_model", budget=64),
    train=TrainConfig(optimizer=OptimizerConfig(steps=10, batch_size=16, micro_batches=2)),
    compute=ComputeConfig(mesh="4x1", remat=True),
)
MEMORY = 24 * 2**20  # of a chip, on which the replicated state alone does not fit
SIZES = Sizes(MODEL, V, ((1,),), 8, 40, "by hand")

# --- arithmetic, without libtpu ---------------------------------------------------------------

CHIP = Chip(memory=1000, flops=100.0, bandwidth=10.0, network=2.0)


def test_a_program_takes_as_long_as_its_slowest_part():
    gather = Collective("all-gather", "bf16[8]", 16, 3.0, "")
    reduce = Collective("all-reduce", "f32[4]", 16, 1.0, "")
    found = cost(500.0, 40.0, [gather, reduce], CHIP, chips=4)
    assert found.sent == 3 * 16 * 3 / 4 + 2 * 16 * 3 / 4
    assert (found.compute, found.memory, found.network) == (5.0, 4.0, 30.0)
    assert (found.seconds, found.bound) == (30.0, "network")
    assert cost(500.0, 40.0, [], CHIP, 1).bound == "compute"
    assert cost(300.0, 40.0, [gather], CHIP, 1).bound == "memory"  # one chip sends nothing
    assert by_kind([reduce, gather, gather]) == {
        "all-gather": {"times": 6.0, "bytes": 96.0},
        "all-reduce": {"times": 1.0, "bytes": 16.0},
    }


def test_hours_and_rates_follow_from_the_calls():
    work = [Work("sample", {"a": 100.0, "b": 10.0}, 7200.0), Work("label", {"a": 0.0}, 0.0)]
    sample, label = hours(work, {"a": 36.0, "b": 0.0})
    assert (sample.hours, sample.tokens_per_second) == (1.0, 2.0)
    assert (label.hours, label.tokens_per_second) == (0.0, 0.0)


def test_every_chip_has_the_figures_of_its_data_sheet():
    v5e, v6e = CHIPS["v5e"], CHIPS["v6e"]
    assert (v5e.flops, v5e.bandwidth, v5e.network) == (197e12, 819e9, 100e9)
    assert v6e.flops / v5e.flops == pytest.approx(4.66, abs=0.01)
    assert all(c.memory > 15 * 2**30 and c.flops / c.bandwidth > 150 for c in CHIPS.values())


def test_flops_count_every_turn_of_a_loop():
    a, b = jnp.ones((4, 8)), jnp.ones((8, 8))

    def scanned(a, b):
        return jax.lax.scan(lambda x, _: (x @ b, None), a, length=5)[0]

    def looped(a, b):
        return jax.lax.while_loop(lambda x: x[0, 0] < 9, lambda x: x @ b, a)

    once = 2 * 4 * 8 * 8
    assert flops(jax.make_jaxpr(jnp.dot)(a, b)) == once
    assert flops(jax.make_jaxpr(jax.jit(scanned))(a, b)) == 5 * once
    assert flops(jax.make_jaxpr(looped)(a, b), loops=3) == 3 * once
    assert flops(jax.make_jaxpr(jax.grad(lambda a: scanned(a, b).sum()))(a)) == 10 * once


def test_flops_of_training_are_six_a_parameter_and_token():
    model = decoder_lm(MODEL, V)
    params = jax.eval_shape(model.init, jax.random.key(0))
    tokens, prefix = jnp.zeros((4, 32), jnp.int32), jnp.zeros(0, jnp.int32)

    def loss(params):
        return model.unembed(params, model.hidden(params, tokens, prefix)).sum()

    counted = flops(jax.make_jaxpr(jax.grad(loss))(params))
    attention = 3 * 2 * 2 * 4 * 32 * 32 * MODEL.heads * MODEL.head_dim
    products = 6 * parameter_count(MODEL, V) * 4 * 32
    assert counted == pytest.approx(products + attention, rel=0.01)


def test_the_number_of_parameters_is_the_models():
    for config in (MODEL, dataclasses.replace(MODEL, qk_norm=True, post_norms=True, kv_heads=2)):
        found = jax.eval_shape(decoder_lm(config, V).init, jax.random.key(0))
        counted = sum(x.size for x in jax.tree.leaves(found))
        assert parameter_count(config, V) == counted


PROGRAM = """
HloModule jit_f

%cond (p: (s32[], f32[8])) -> pred[] {
  %p = (s32[], f32[8]{0:T(128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %n = s32[]{:T(128)} constant(6)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

%part (q: f32[100,8], j: s32[]) -> f32[1,8] {
  %q = f32[100,8]{1,0:T(8,128)} parameter(0)
  %j = s32[]{:T(128)} parameter(1)
  %zero = s32[] constant(0)
  ROOT %ds = f32[1,8]{1,0} dynamic-slice(%q, %j, %zero), dynamic_slice_sizes={1,8}
}

%all-reduce-scatter (r: f32[8]) -> f32[2] {
  %r = f32[8]{0:T(128)} parameter(0)
  %ar = f32[8]{0:T(128)} all-reduce(%r), channel_id=2, to_apply=%add
  ROOT %mine = f32[2]{0} slice(%ar), slice={[0:2]}
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0:T(128)}) parameter(0)
  %i = s32[]{:T(128)S(2)} get-tuple-element(%p), index=0
  %x = f32[8]{0:T(128)} get-tuple-element(%p), index=1
  %table = f32[100,8]{1,0:T(8,128)} custom-call()
  %row = f32[1,8]{1,0:T(1,128)S(1)} fusion(%table, %i), kind=kLoop, calls=%part
  %ag = bf16[4,8]{1,0:T(8,128)S(1)} all-gather(%row), channel_id=1, dimensions={0}, metadata={op_name="jit(f)/gather"}
  %again = bf16[4,8]{1,0:T(8,128)S(1)} all-gather(%row), channel_id=1, dimensions={0}
  %scattered = f32[2]{0:T(128)S(1)} fusion(%x), kind=kCustom, calls=%all-reduce-scatter
  ROOT %t = (s32[], f32[8]{0:T(128)}) tuple(%i, %x)
}

ENTRY %main (a: f32[8]) -> f32[8] {
  %a = f32[8]{0:T(128)} parameter(0)
  %z = s32[] constant(0)
  %t = (s32[], f32[8]{0:T(128)}) tuple(%z, %a)
  %w = (s32[], f32[8]{0:T(128)}) while(%t), condition=%cond, body=%body
  %far = ((f32[8]{0:T(128)}), f32[4]{0:T(128)S(1)}, s32[]{:S(2)}) slice-start(%a), slice={[0:4]}
  %near = f32[4]{0:T(128)S(1)} slice-done(%far)
  ROOT %y = f32[8]{0:T(128)} get-tuple-element(%w), index=1
}
"""


def test_traffic_of_a_program_written_by_hand():
    found = traffic(PROGRAM)
    gather, scatter = found.collectives
    assert gather == Collective("all-gather", "bf16[4,8]", 64, 6.0, "jit(f)/gather")
    assert (scatter.kind, scatter.bytes, scatter.times) == ("reduce-scatter", 32, 6.0)
    # In each of 6 turns the table's own making (3200), one row of it (32) and x (32), not what is
    # on the chip; and half of a once.
    assert found.hbm == 6 * (3200 + 32 + 32) + 16
    open_loop = PROGRAM.replace("constant(6)", "add(%i, %i)")
    assert traffic(open_loop, loops=2).collectives[0].times == 2


def test_sizes_of_arrays():
    found = arrays("(f32[2,3]{1,0}, token[], pred[3]{0:S(2)}, bf16[4], s4[8], opaque[])")
    assert [size for _, size, _ in found] == [24, 0, 3, 8, 4, 0]
    assert [in_hbm for *_, in_hbm in found] == [True, True, False, True, True, True]


def test_xlas_refusals_are_read():
    gib = 2**30
    assert needed("Used 20.50G of 15.75G hbm. Exceeded hbm capacity by 4.75G") == 20.5 * gib
    assert needed("required for HLO temporaries (512.00M) exceeds available HBM") == gib / 2
    assert needed("something else") == 0


@pytest.mark.parametrize(
    ("mebibytes", "want"),
    [
        (24, ["--compute.mesh 4x1"]),
        (8, ["--compute.mesh 2x2"]),  # where a chip holds half of the sampled model
        (7.4, ["--compute.mesh 2x2", "--train.lora_rank 16"]),
        (7, ["--compute.mesh 2x2", "--train.lora_rank 16", "--sample.batch_size 16"]),
        (1, None),
    ],
)
def test_advice_compiles_nothing_in_vain(mebibytes, want, devices, monkeypatch):
    """With programs that take what their arguments do: a mesh helps first, adapters last."""
    compiled = []

    def by_hand(program, beside, chip, chips, say):
        compiled.append(program.name)
        size = program.arguments + beside
        return Measured(program.name, size, size <= chip.memory, None, None, (), 0)

    monkeypatch.setattr(advice, "measure", by_hand)
    plain = override(CONFIG, ["--compute.mesh=replicate"])
    target = Target(SIZES, CHIP._replace(memory=mebibytes * 2**20), devices[:4], print)
    programs = build_programs(plain, SIZES, devices[:4])._asdict()
    beside = held_beside(plain, SIZES, devices[:4])
    measured = {n: by_hand(p, beside, target.chip, 4, print) for n, p in programs.items()}
    compiled.clear()
    fitting, then = find_fitting(plain, target, measured)
    assert (fitting and sorted(options(plain, fitting))) == (want and sorted(want))
    assert compiled == ([one.name for one in then.values()] if want else [])


def test_advice_ends_where_a_program_never_fits(devices, monkeypatch):
    """Each setting is halved at most to its end, on each mesh."""
    tried = []

    def never(program, beside, chip, chips, say):
        tried.append(program.name)
        fits = program.name != "training step"
        return Measured(program.name, 0, fits, None, None, (), 0)

    monkeypatch.setattr(advice, "measure", never)
    target = Target(SIZES, CHIP._replace(memory=2**40), devices[:4], print)
    assert find_fitting(CONFIG, target, {})[0] is None
    assert tried.count("training step") <= 3 * 2 * 4  # meshes, with and without adapters, sizes
    assert tried.count("decoding step") == 2  # one a mesh: two heads are split in at most two


def test_sizes_of_a_named_gemma():
    config = dataclasses.replace(CONFIG, data=DataConfig(max_prompt_tokens=100))
    sizes = named_sizes(config, "gemma2_2b", 60, None)
    assert (sizes.prefix, sizes.prompt, sizes.vocab_size) == (60, 40, 256_000)
    assert parameter_count(sizes.model, sizes.vocab_size) == 2_614_341_888
    for wrong in (("gemma7", None, None), ("gemma2_2b", 60, 41), ("gemma2_2b", -1, 3)):
        with pytest.raises(BoostError, match=r"choose from|together at most"):
            named_sizes(config, *wrong)


def test_a_run_is_so_many_calls_of_each_program(devices):
    programs = build_programs(CONFIG, SIZES, devices[:4])
    assert (programs.decode.rows, programs.greedy_decode.rows) == (32, 32)
    sample, label, evaluate, train = workload(CONFIG, programs, response_tokens=8)
    assert sample.tokens == (1 + 2 * 2) * 96 * 4 * 8
    assert sample.calls["decode"] == (1 + 2 * 2) * 96 * 4 * 8 / 32
    assert label.tokens == 2 * 64 * 8  # one arm buys
    assert evaluate.calls["greedy_decode"] == (1 + 2 * 2) * 40 * 8 / 32
    assert train.calls == {"train": 2 * 2 * 10}


# --- with XLA's TPU compiler ------------------------------------------------------------------


@functools.cache
def compiled(name):
    """One of the programs of CONFIG for four v5e chips, compiled."""
    chip, found = chips_of("v5e:2x2")
    assert len(found) == 4
    assert {device.platform for device in found} == {"tpu"}
    program = getattr(build_programs(CONFIG, SIZES, found), name)
    return program, measure(program, 0, chip, len(found), lambda line: None)


def shapes(collectives, kind):
    """Dimensions of the arrays that collectives of a kind move."""
    sent = ", ".join(one.shape for one in collectives if one.kind == kind)
    return [tuple(map(int, filter(None, s.split(",")))) for s in re.findall(r"\w+\[(.*?)\]", sent)]


@needs_libtpu
def test_training_gathers_kernels_and_scatters_their_gradients():
    program, measured = compiled("train")
    gathered = shapes(measured.collectives, "all-gather")
    reduced = shapes(measured.collectives, "reduce-scatter")
    kernels = [(256, 2, 128), (256, 1024), (1024, 256)]
    for kernel in kernels:
        assert kernel in gathered
        assert kernel in reduced + shapes(measured.collectives, "all-reduce")
    assert not [shape for shape in gathered if V in shape], "the vocabulary stays where it is"
    assert measured.fits
    assert measured.cost.flops == program.flops() > 0
    assert measured.memory.peak > measured.memory.arguments >= program.arguments


@needs_libtpu
def test_sampling_gathers_neither_caches_nor_logits():
    for name in ("prefill", "decode"):
        program, measured = compiled(name)
        for one in measured.collectives:
            assert one.kind == "all-reduce", "what chips agree on, and nothing else"
            assert one.bytes < 64, one
        least = program.arguments if name == "decode" else 0
        assert measured.cost.hbm >= 0.5 * least, "parameters and caches are read"
        assert measured.cost.hbm < 8 * program.arguments


@needs_libtpu
def test_each_host_of_a_slice_samples_by_itself():
    """Four hosts with four chips each: a program of one host's chips, which moves a quarter on."""
    chip, found = chips_of("v5e:4x4")
    config = override(
        CONFIG,
        ["--train.optimizer.batch_size=32", "--sample.batch_size=128", "--compute.mesh=16x1"],
    )
    program = build_programs(config, SIZES, found).decode
    alone, _ = compiled("decode")
    assert program.rows == 4 * alone.rows
    measured = measure(program, 0, chip, len(found), lambda line: None)
    assert measured.fits
    assert all(one.bytes < 64 for one in measured.collectives)


@needs_libtpu
def test_what_does_not_fit_gets_advice_that_fits(capsys, monkeypatch):
    plain = dataclasses.replace(CONFIG, compute=ComputeConfig(mesh="replicate"))
    monkeypatch.setattr(command, "measured_sizes", lambda config: SIZES)
    with pytest.raises(BoostError, match="does not fit on v5e:2x2") as refused:
        command.compile_for(plain, "v5e:2x2", as_json=True, memory=MEMORY)
    report = json.loads(capsys.readouterr().out)
    assert report["advice"] == ["--compute.mesh 4x1"]
    assert not report["fits"]
    assert report["hours"] is None
    assert "With --compute.mesh 4x1 it fits" in str(refused.value)
    assert all(one["fits"] and one["needs"] <= MEMORY for one in report["with_advice"])


@needs_libtpu
def test_what_fits_nothing_is_said_so(capsys, monkeypatch):
    monkeypatch.setattr(command, "measured_sizes", lambda config: SIZES)
    few = override(CONFIG, ["--sample.batch_size=4", "--train.optimizer.micro_batches=4"])
    effort = jax.config.jax_exec_time_optimization_effort
    with pytest.raises(BoostError, match="No setting that we know of"):
        command.compile_for(few, "v5e:2x2", quick=True, memory=2**10)
    assert jax.config.jax_exec_time_optimization_effort == -1.0
    jax.config.update("jax_exec_time_optimization_effort", effort)
    said = capsys.readouterr().out
    assert "does not fit" in said
    assert "least effort" in said


def call(capsys, *arguments):
    status = main(["compile", *arguments])
    return status, *capsys.readouterr()


@needs_libtpu
def test_topologies_that_are_none_are_said(capsys):
    status, _, err = call(capsys, "--topology", "v5e:3x5")
    assert status == 2
    assert "libtpu says" in err
    assert "3x5" in err
    assert call(capsys, "--json", "--topology", "v5e:2x2", "--prompt-tokens", "3")[0] == 2


def test_a_chip_that_is_none_and_a_missing_compiler_are_said(capsys, monkeypatch):
    status, _, err = call(capsys, "--topology", "h100:8")
    assert status == 2
    assert "v5e:2x4" in err
    monkeypatch.setattr(chips.importlib.util, "find_spec", lambda name: None)
    status, _, err = call(capsys, "--topology", "v5e:2x4")
    assert status == 2
    assert "pip install libtpu" in err
