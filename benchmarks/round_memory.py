"""Peak memory of each host of a run over many prompts: one host alone, and two that share them.

    python benchmarks/round_memory.py [--prompts 1000000]

One host has 8 virtual devices; two have 4 each, as two processes of this machine. All of a run is
real (files, verdicts, curation, rows, checkpoints, metrics) but for the tokens, which a stub draws
at random instead of the model, and their texts. The run has one round of the arm boosting, with
8 responses of 64 tokens a prompt and simulated labels. Prints a line for each host.
"""

import argparse
import io
import os
import resource
import socket
import subprocess
import sys
import tempfile

import numpy as np

DEVICES, K, R, WIDTH = 8, 8, 64, 8


class Key:
    """A response is right if it says so."""

    def grade(self, prompt_ids, responses):
        """The verdicts."""
        return np.fromiter((text == "right" for text in responses), bool, len(responses))

    def correct_response(self, prompt_id, rng):
        """A correct label."""
        return "right"

    def wrong_response(self, prompt_id, rng):
        """A wrong one."""
        return "wrong"


def context_of(config):
    """A run's context whose sampler draws tokens at random, an eighth of the responses right."""
    import jax

    from boostlm.engine.prompt_table import PromptTable
    from boostlm.engine.tokenizer import Tokenizer, train_tokenizer
    from boostlm.experiment.context import RunContext, make_learner
    from boostlm.lm.generate import Responses
    from boostlm.tasks.base import Prompts, Task

    class Numbers(Task):
        name = "numbers"

        def __init__(self):
            sizes = {"train": config.data.train_prompts, "validation": 64, "test": 64}
            self.prompts = {
                split: Prompts((f"a {split} number",) * size, ("all",) * size)
                for split, size in sizes.items()
            }

        def answer_key(self, split):
            return Key()

        def seed_examples(self, seed):
            return [("a seed", "right"), ("a seed", "wrong")]

    class Stub(RunContext):
        def texts(self, tokens_NxKxR, length_NxK):
            right = tokens_NxKxR[..., 0].reshape(-1) % 8 == 0
            return ["right" if x else "wrong" for x in right.tolist()]

    def sample(params, prompts, groups, *rest):
        shape, rng = groups.sample_MxK.shape, np.random.default_rng(len(groups.prompt_M))
        tokens_MxKxR = rng.integers(4, 64, (*shape, R), np.int32)
        logprob_MxKxR = np.full((*shape, R), -1.0, np.float32)
        responses = Responses(
            tokens_MxKxR, np.full(shape, R, np.int32), np.ones(shape, bool), logprob_MxKxR
        )
        return responses, np.ones(shape[0], bool)

    task, rng = Numbers(), np.random.default_rng(0)
    tokenizer = Tokenizer(
        train_tokenizer(
            config.tokenizer, ["right wrong a train validation test number a seed"] * 64
        ).model
    )
    learner = make_learner(config, config.model, tokenizer.vocab_size, ((1,),), jax.devices())
    learner.sampler.sample = sample
    train, evaluated = (
        PromptTable(
            np.array([2], np.int32),
            rng.integers(4, 64, (len(task.prompts[split].texts), WIDTH), np.int32),
            np.full(len(task.prompts[split].texts), WIDTH, np.int32),
        )
        for split in ("train", "validation")
    )
    return Stub(config, task, tokenizer, learner, train, evaluated, Key().grade, Key().grade)


def run_host(prompts, folder):
    """Runs one seed, arm and round on this host; prints its peak memory."""
    from boostlm.config import (
        Config,
        DataConfig,
        LabelConfig,
        ModelConfig,
        OptimizerConfig,
        SampleConfig,
        SeedModelConfig,
        TrainConfig,
    )
    from boostlm.experiment.run import planned_stages, run_experiment
    from boostlm.runtime.join_hosts import join_hosts
    from boostlm.runtime.progress import Progress
    from boostlm.storage.run_dir import RunDir

    hosts = join_hosts()
    optimizer = OptimizerConfig(steps=8, batch_size=64, warmup_steps=2)
    config = Config(
        name="memory",
        arms=("boosting",),
        rounds=1,
        data=DataConfig(train_prompts=prompts, eval_prompts=64, eval_split="validation"),
        model=ModelConfig(layers=1, width=16, heads=2, kv_heads=1, head_dim=8, mlp_width=16),
        seed_model=SeedModelConfig(optimizer),
        sample=SampleConfig(k=K, max_new_tokens=R),
        label=LabelConfig(budget=4096),
        train=TrainConfig(optimizer=optimizer),
    )
    run_dir = RunDir(folder)
    with run_dir.locked():
        run_dir.create(config)
        progress = Progress(planned_stages(config), io.StringIO())
        [_, row] = run_experiment(context_of(config), run_dir, progress)
    assert row["labels_spent"] == 4096
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{prompts:,} prompts, {hosts} hosts: peak {peak:.2f} GiB", flush=True)


def on_hosts(hosts, prompts):
    """Starts the processes of a run and waits for them; returns the largest peak in GiB."""
    with socket.socket() as free, tempfile.TemporaryDirectory(dir=os.getcwd()) as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        processes = [
            subprocess.Popen(
                [sys.executable, __file__, "--prompts", str(prompts), "--folder", folder + "/run"],
                env=os.environ
                | {
                    "JAX_PLATFORMS": "cpu",
                    "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES // hosts}",
                    "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                    "JAX_NUM_PROCESSES": str(hosts),
                    "JAX_PROCESS_ID": str(index),
                },
                stdout=subprocess.PIPE,
                text=True,
            )
            for index in range(hosts)
        ]
        said = [process.communicate()[0] for process in processes]
        assert not any(process.returncode for process in processes)
    print("".join(said), end="", flush=True)
    return max(float(line.split()[-2]) for line in said)


def main() -> None:
    """Measures both, or runs as one of the hosts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--folder", help="run as a host, in this run directory")
    args = parser.parse_args()
    if args.folder:
        run_host(args.prompts, args.folder)
        return
    alone, shared = (on_hosts(hosts, args.prompts) for hosts in (1, 2))
    print(f"each of two hosts takes {shared / alone:.0%} of one")


if __name__ == "__main__":
    main()
