"""Full fine-tuning tokens per second: boostlm, a plain transformers loop, tunix's PeftTrainer.

    pip install -e '.[convert]' -r benchmarks/requirements.txt
    python benchmarks/training_speed.py MODEL TEXTS [--rows 8] [--steps 5] [--repeats 3]

MODEL is a folder made by `boostlm convert` (Gemma 3 270M). TEXTS is a JSON Lines file with
"question" and "answer", such as GSM8K's train.jsonl. Every system trains the same pretrained
weights in float32 with AdamW on the same rows of 512 tokens, all with weight. Each run is a
separate process, and the systems alternate. The first two steps of a run (compilation, memory
allocation) do not count. Prints medians over the other steps, ratios, losses and peak memory. Run
it on an idle machine. `--at-once` sets the number of rows per micro-batch; more rows need more
memory. Use the fastest value for each system.
"""

import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

LENGTH = 512
RATE = 1e-5
WARM_UP = 2  # steps of a run that do not count
AT_ONCE = {"boostlm": 1, "transformers": 4, "tunix": 1}  # rows per micro-batch


class Clock:
    """Records seconds and losses of steps. Call `done` when a step has been computed."""

    def __init__(self):
        self.losses, self.seconds, self.last = [], [], time.perf_counter()

    def done(self, loss: float) -> None:
        now = time.perf_counter()
        self.losses.append(float(loss))
        self.seconds.append(now - self.last)
        self.last = now


def train_boostlm(folder: pathlib.Path, batches: np.ndarray, at_once: int, clock: Clock) -> None:
    from etils import epath

    from boostlm import Batch, TrainState, decoder_lm, jit_train_step
    from boostlm.config import OptimizerConfig
    from boostlm.lm.language_model import NO_PREFIX
    from boostlm.lm.train_step import make_optimizer
    from boostlm.pretrained.converted import load_converted_params, open_converted
    from boostlm.runtime.malloc import tune_allocator

    tune_allocator()  # the command line does this too
    path = epath.Path(folder / "converted")
    config, tokenizer = open_converted(path)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=RATE, warmup_steps=0))
    step = jit_train_step(
        decoder_lm(config, tokenizer.vocab_size), optimizer, batches.shape[1] // at_once
    )
    params = load_converted_params(path)
    state = TrainState(params, optimizer.init(params))
    for tokens in batches:
        state, metrics = step(state, Batch(tokens, np.ones(tokens.shape, np.float32)), NO_PREFIX)
        clock.done(metrics.loss)


def train_transformers(
    folder: pathlib.Path, batches: np.ndarray, at_once: int, clock: Clock
) -> None:
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "huggingface", dtype=torch.float32
    ).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    for tokens in batches:
        parts = torch.from_numpy(tokens.astype(np.int64)).split(at_once)
        losses = []
        for part in parts:
            loss = model(input_ids=part, labels=part, use_cache=False).loss / len(parts)
            loss.backward()
            losses.append(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.done(sum(losses))


def train_tunix(folder: pathlib.Path, batches: np.ndarray, at_once: int, clock: Clock) -> None:
    import dataclasses

    import jax
    import optax
    from flax import nnx
    from tunix.models.gemma3 import model as gemma
    from tunix.models.gemma3 import params_safetensors
    from tunix.sft import hooks, peft_trainer, utils

    config = dataclasses.replace(gemma.ModelConfig.gemma3_270m(), param_dtype=jax.numpy.float32)
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    parts = batches.shape[1] // at_once

    class Losses(hooks.TrainingHooks):
        """Records losses. They arrive a step late, so they cannot be used for timing."""

        def on_train_step_end(self, trainer, step, loss):
            losses.append(float(loss))

        def nothing(self, *args):
            pass

        on_train_start = on_train_end = on_train_step_start = nothing
        on_eval_step_start = on_eval_step_end = nothing

    losses: list[float] = []
    with jax.set_mesh(mesh):
        model = params_safetensors.create_model_from_safe_tensors(
            str(folder / "huggingface"), config, mesh, dtype=jax.numpy.float32
        )
        trainer = peft_trainer.PeftTrainer(
            model,
            optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(RATE, b2=0.95)),
            peft_trainer.TrainingConfig(
                eval_every_n_steps=10**9,
                gradient_accumulation_steps=parts if parts > 1 else None,
                max_inflight_computations=1,
            ),
        )
        trainer.with_training_hooks(Losses())
        trainer.with_gen_model_input_fn(
            lambda x: {
                "input_tokens": x.input_tokens,
                "input_mask": x.input_mask,
                "positions": utils.build_positions_from_mask(x.input_mask),
                "attention_mask": utils.make_causal_attn_mask(x.input_mask),
            }
        )

        def inputs():
            for tokens in batches:
                for part in tokens.reshape(parts, at_once, LENGTH):
                    yield peft_trainer.TrainingInput(part, np.ones(part.shape, bool))
                jax.block_until_ready(
                    nnx.state(trainer.model)
                )  # before the next batch is requested
                clock.done(float("nan"))

        trainer.train(inputs())
    clock.losses = losses


SYSTEMS = {"boostlm": train_boostlm, "transformers": train_transformers, "tunix": train_tunix}


def rows_of(model: pathlib.Path, texts: pathlib.Path, count: int) -> np.ndarray:
    """The concatenated texts, cut into rows: int32 [count, LENGTH]."""
    from etils import epath

    from boostlm.pretrained.converted import open_converted

    _, tokenizer = open_converted(epath.Path(model))
    tokens: list[int] = []
    for line in texts.read_text().strip().split("\n"):
        if len(tokens) >= count * LENGTH:
            break
        example = json.loads(line)
        tokens += tokenizer.encode_prompt(example["question"] + "\n")
        tokens += tokenizer.encode_response(example["answer"])
    return np.array(tokens[: count * LENGTH], np.int32).reshape(count, LENGTH)


def measure(system: str, folder: pathlib.Path, at_once: int) -> None:
    """Trains in this process and prints the measurements as JSON."""
    clock = Clock()
    SYSTEMS[system](folder, np.load(folder / "batches.npy"), at_once, clock)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"seconds": clock.seconds, "losses": clock.losses, "gib": memory}))


def report(runs: dict[str, list[dict]], tokens: int) -> None:
    rates = {}
    for system, results in runs.items():
        all_rates = [tokens / s for result in results for s in result["seconds"][WARM_UP:]]
        rates[system] = statistics.median(all_rates)
        losses = ", ".join(f"{loss:.3f}" for loss in results[0]["losses"])
        print(
            f"{system:>12}: median {rates[system]:.1f} tokens/s of {len(all_rates)} steps (min "
            f"{min(all_rates):.1f}, max {max(all_rates):.1f}); first step "
            f"{results[0]['seconds'][0]:.0f} s; {max(r['gib'] for r in results):.1f} GiB; "
            f"losses {losses}"
        )
    for system in rates.keys() - {"boostlm"}:
        print(f"boostlm / {system}: {rates['boostlm'] / rates[system]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("texts", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=8, help="rows per step")
    parser.add_argument("--steps", type=int, default=5, help="measured steps per run")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each system")
    parser.add_argument(
        "--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="must include boostlm"
    )
    parser.add_argument(
        "--at-once",
        nargs="*",
        default=[],
        metavar="SYSTEM=ROWS",
        help=f"rows per micro-batch; default {AT_ONCE}",
    )
    parser.add_argument(
        "--python",
        nargs="*",
        default=[],
        metavar="SYSTEM=PATH",
        help="Python interpreter of a system",
    )
    parser.add_argument("--measure", choices=SYSTEMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    at_once = AT_ONCE | {k: int(v) for k, v in (x.split("=") for x in options.at_once)}
    if options.measure:
        measure(options.measure, options.model, at_once[options.measure])
        return
    python = dict(x.split("=", 1) for x in options.python)

    from boostlm.experiment.export import export_model

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "converted").symlink_to(options.model.resolve())
        export_model(str(options.model), str(folder / "huggingface"))
        rows = rows_of(options.model, options.texts, options.rows * (options.steps + WARM_UP))
        np.save(folder / "batches.npy", rows.reshape(-1, options.rows, LENGTH))
        runs: dict[str, list[dict]] = {system: [] for system in options.systems}
        for _ in range(options.repeats):
            for system in options.systems:
                command = [python.get(system, sys.executable), __file__, str(folder), "-"]
                rows_at_once = min(at_once[system], options.rows)
                command += ["--measure", system, "--at-once", f"{system}={rows_at_once}"]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                runs[system].append(json.loads(done.stdout.splitlines()[-1]))
    report(runs, options.rows * (LENGTH - 1))


if __name__ == "__main__":
    main()
