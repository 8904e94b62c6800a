"""What a run works with, made from its config: task, tokenizer, model, prompts, learner."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from boostlm.config import ComputeConfig, Config, ModelConfig
from boostlm.config_io import arm_config, arms_of
from boostlm.engine.learner import LanguageLearner, texts_of
from boostlm.engine.prompt_shards import PromptShards
from boostlm.engine.prompt_table import PromptTable, tokenize_prompts
from boostlm.engine.sampler import OnProgress
from boostlm.engine.stop_strings import cut_at_stops, stop_sequences
from boostlm.engine.tokenizer import Tokenizer, train_tokenizer
from boostlm.errors import BoostError
from boostlm.lm.decoder import decoder_lm
from boostlm.lm.generate import Responses
from boostlm.lm.language_model import Params
from boostlm.lm.sharding import device_mesh
from boostlm.lm.token_sampling import SamplingParams
from boostlm.pretrained.converted import open_converted
from boostlm.runtime.multihost import on_host0
from boostlm.storage import durable_files
from boostlm.storage.partial_stages import PartialSamples
from boostlm.storage.run_dir import RunDir
from boostlm.tasks.base import Task, describe_task
from boostlm.tasks.contamination import check_contamination
from boostlm.tasks.registry import load_task
from boostlm.user_code import open_path

# (prompt_ids, responses) -> bool [len(responses)]: the part of an answer key that a run needs.
Grader = Callable[[Sequence[int] | np.ndarray, list[str]], np.ndarray]


class Assembly(NamedTuple):
    """The parts that a config names, without a learner.

    Attributes:
      config: the settings.
      task: prompts.
      model: config of the decoder.
      tokenizer: the model's tokenizer.
      prompts: the tokenized prompts of the training and of the evaluated split.
    """

    config: Config
    task: Task
    model: ModelConfig
    tokenizer: Tokenizer
    prompts: dict[str, PromptTable]

    def stop_sequences(self) -> tuple[tuple[int, ...], ...]:
        """Token sequences that end a response."""
        return stop_sequences(self.tokenizer, self.task.stop_strings)


@dataclass(frozen=True)
class RunContext:
    """Everything that stays the same over seeds, arms and rounds.

    Attributes:
      config: the settings.
      task: prompts.
      tokenizer: the model's tokenizer.
      learner: compiled sampling and training.
      train_prompts: N training prompts.
      eval_prompts: M prompts of the evaluated split.
      grade: the verifier of training prompts.
      grade_eval: the verifier of the evaluated split.
    """

    config: Config
    task: Task
    tokenizer: Tokenizer
    learner: LanguageLearner
    train_prompts: PromptTable
    eval_prompts: PromptTable
    grade: Grader
    grade_eval: Grader

    def sample(
        self,
        params: Params,
        prompts: PromptTable,
        key: jax.Array,
        sampling: SamplingParams,
        k: int,
        progress: OnProgress,
        partial: PartialSamples | None = None,
    ) -> Responses:
        """`LanguageLearner.sample`, with the task's stop strings cut off."""
        responses = self.learner.sample(params, prompts, key, sampling, k, progress, partial)
        return cut_at_stops(self.tokenizer, responses, self.task.stop_strings)

    def of_arm(self, arm: str) -> "RunContext":
        """The context with an arm's own settings."""
        return replace(self, config=arm_config(self.config, arms_of(self.config)[arm]))

    @property
    def train_shards(self) -> PromptShards:
        """How the training prompts are split over the devices."""
        return self.learner.shards(len(self.train_prompts.length_N))

    def texts(self, tokens_NxKxR: np.ndarray, length_NxK: np.ndarray) -> list[str]:
        """N * K responses as text, in order of prompt, then sample."""
        tokens_CxR = tokens_NxKxR.reshape(-1, tokens_NxKxR.shape[-1])
        return texts_of(self.tokenizer, tokens_CxR, length_NxK.reshape(-1))


def assemble(
    config: Config, task: Task | None = None, tokenizer: Tokenizer | None = None
) -> Assembly:
    """Loads or makes the parts that a config names.

    Args:
      config: the settings.
      task: the task, instead of the config's own.
      tokenizer: the run's tokenizer; None trains one. A pretrained model brings its own.

    Raises:
      BoostError: a split has no prompts, a prompt is too long, a training prompt or few-shot
        example contains a test problem, or `seed_model.path` holds no converted model or one that
        contradicts the config's `model`.
    """
    task = task or load_task(config.data)
    split = config.data.eval_split
    for name in ("train", split):
        if not task.prompts[name].texts:
            raise BoostError(f"task {task.name} has no {name} prompts")
    check_contamination(task)
    model = config.model
    if config.seed_model.path:
        model, tokenizer = open_converted(open_path(config.seed_model.path, "seed_model.path"))
        if config.model not in (ModelConfig(), model):
            raise BoostError(
                f"model.* is set, but {config.seed_model.path} has a config of its own: leave out "
                "either model.* or seed_model.path"
            )
    elif tokenizer is None:
        tokenizer = train_tokenizer(config.tokenizer, task.tokenizer_texts())
    texts = {name: task.prompts[name].texts for name in ("train", split)}
    prompts = tokenize_prompts(tokenizer, texts, config.data.max_prompt_tokens)
    return Assembly(config, task, model, tokenizer, prompts)


def assemble_run(run_dir: RunDir) -> Assembly:
    """The parts of an existing run; writes nothing.

    Raises:
      BoostError: as `assemble`; also if the run's tokenizer is missing, or its prompts are not
        those that the run was started with.
    """
    config = run_dir.read_config()
    task = load_task(config.data)
    run_dir.check_task(describe_task(task))
    return assemble(config, task, _kept_tokenizer(config, run_dir, task, make=False))


def make_context(config: Config, run_dir: RunDir, task: Task | None = None) -> RunContext:
    """The context of a run that is about to start or to continue.

    The run directory keeps the tokenizer, which is trained once, and a description of the prompts.

    Raises:
      BoostError: as `assemble`; also if the prompts are not those the run was started with.
    """
    task = task or load_task(config.data)
    run_dir.keep_task(describe_task(task))
    tokenizer = _kept_tokenizer(config, run_dir, task, make=True)
    return with_learner(assemble(config, task, tokenizer))


def with_learner(parts: Assembly) -> RunContext:
    """The context for these parts, with a learner on all devices."""
    config, task, model, tokenizer, prompts = parts
    split = config.data.eval_split
    return RunContext(
        config=config,
        task=task,
        tokenizer=tokenizer,
        learner=make_learner(
            config, model, tokenizer.vocab_size, parts.stop_sequences(), jax.devices()
        ),
        train_prompts=prompts["train"],
        eval_prompts=prompts[split],
        grade=grader(task, "train"),
        grade_eval=grader(task, split),
    )


def grader(task: Task, split: str) -> Grader:
    """A split's verifier; an array of ids serves it as a sequence of them."""
    return cast(Grader, task.answer_key(split).grade)


def make_learner(
    config: Config,
    model: ModelConfig,
    vocab_size: int,
    stop_sequences: Sequence[Sequence[int]],
    devices: Sequence[jax.Device],
) -> LanguageLearner:
    """The learner of a run on these devices, which need not exist (see `boostlm.aot`)."""
    devices, compute = list(devices), config.compute
    dtype = compute_dtype(compute, devices[0].platform)
    make = functools.partial(decoder_lm, model, vocab_size, dtype, compute.remat)
    split = compute.parallel == "fsdp"
    return LanguageLearner(
        make(device_mesh(devices)) if split else make(),
        stop_sequences,
        config.sample.max_new_tokens,
        config.sample.batch_size,
        devices,
        split,
        make(),
    )


def compute_dtype(config: ComputeConfig, platform: str) -> jnp.dtype:
    """The dtype of matrix products on devices of a platform: "cpu", "gpu" or "tpu"."""
    if config.dtype == "auto":
        return jnp.dtype(jnp.float32 if platform == "cpu" else jnp.bfloat16)
    return jnp.dtype(config.dtype)


def _kept_tokenizer(config: Config, run_dir: RunDir, task: Task, make: bool) -> Tokenizer | None:
    """The run's tokenizer, trained if it is missing and `make`; None for a pretrained model."""
    if config.seed_model.path:
        return None
    path = run_dir.tokenizer_path

    @on_host0
    def read() -> bytes:
        if make and not path.exists():
            model = train_tokenizer(config.tokenizer, task.tokenizer_texts()).model
            durable_files.write_atomically(path, model)
        if not path.exists():
            raise BoostError(f"{path} is missing: without it, the run's models cannot be used")
        return path.read_bytes()

    data = read()
    try:
        return Tokenizer(data)
    except BoostError as error:
        raise BoostError(f"{path} is damaged: remove it and run again ({error})") from error
