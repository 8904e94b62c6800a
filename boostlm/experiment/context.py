"""What a run works with: task, tokenizer, model and tokenized prompts, made from the config."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from boostlm.config import ComputeConfig, Config, ModelConfig
from boostlm.errors import BoostError
from boostlm.lm.decoder import decoder_lm
from boostlm.lm.generate import Responses
from boostlm.lm.language_model import Params
from boostlm.lm.sharding import device_mesh
from boostlm.lm.token_sampling import TokenRule
from boostlm.labelers.base import Labeler, in_form
from boostlm.labelers.endpoint import endpoint_labeler
from boostlm.labelers.frozen_model import frozen_model_labeler
from boostlm.labelers.people import people_labeler
from boostlm.labelers.simulated import simulated_labeler
from boostlm.runtime import multihost as hosts
from boostlm.storage.durable_files import write_atomically
from boostlm.engine.learner import LanguageLearner, texts_of
from boostlm.storage.ledger import spent
from boostlm.engine.prompt_table import PromptTable, tokenize_prompts
from boostlm.storage.run_dir import RunDir
from boostlm.engine.sampler import Progress
from boostlm.engine.stop_strings import cut_at_stops, endings
from boostlm.storage.partial_stages import UnfinishedSamples
from boostlm.pretrained.converted import open_converted
from boostlm.tasks.base import AnswerKey, Task
from boostlm.tasks.contamination import refuse_overlap
from boostlm.tasks.registry import load_task
from boostlm.engine.tokenizer import Tokenizer, train_tokenizer

# (prompt_ids, responses) -> bool [len(responses)]: what is left of an answer key outside a task.
Verifier = Callable[[np.ndarray, list[str]], np.ndarray]


@dataclass(frozen=True)
class Workbench:
    """Everything that stays the same over seeds, arms and rounds. Holds no reference.

    Attributes:
      config: the settings.
      task: prompts.
      tokenizer: of the run.
      learner: compiled sampling and training.
      train_prompts: N training prompts.
      eval_prompts: prompts of the evaluated split.
      verify: the training prompts' verifier.
      verify_eval: the evaluated split's verifier.
      make_labeler: of the training prompts, from a learner and the seed model's parameters, which
        are the model that the frozen_model labeler samples.
    """

    config: Config
    task: Task
    tokenizer: Tokenizer
    learner: LanguageLearner
    train_prompts: PromptTable
    eval_prompts: PromptTable
    verify: Verifier
    verify_eval: Verifier
    make_labeler: Callable[[LanguageLearner, Params], Labeler]

    def sample(
        self,
        params: Params,
        prompts: PromptTable,
        key: jax.Array,
        rule: TokenRule,
        k: int,
        progress: Progress,
        unfinished: UnfinishedSamples | None = None,
    ) -> Responses:
        """`LanguageLearner.sample`, with what ends a response of this task cut off it."""
        responses = self.learner.sample(params, prompts, key, rule, k, progress, unfinished)
        return cut_at_stops(self.tokenizer, responses, self.task.stops)

    def texts(self, tokens_NxKxR: np.ndarray, length_NxK: np.ndarray) -> list[str]:
        """The N * K responses as text, in order of prompt, then sample."""
        flat = tokens_NxKxR.reshape(-1, tokens_NxKxR.shape[-1])
        return texts_of(self.tokenizer, flat, length_NxK.reshape(-1))


def build_workbench(config: Config, run_dir: RunDir, task: Task | None = None) -> Workbench:
    """Loads or makes everything.

    A tokenizer is trained once a run and kept there; a pretrained model brings its own.

    Args:
      config: the settings.
      run_dir: where the tokenizer lies, and what the prompts were.
      task: in place of the config's own.

    Raises:
      BoostError: a split without prompts, a prompt that does not fit, a training prompt or few-shot
        example that overlaps the test set, prompts that are not those the run was started with, or
        a `seed_model.path` that holds no converted model or one that contradicts the config's
        `model`.
    """
    task = task or load_task(config.data)
    split = config.data.eval_split
    for name in ("train", split):
        if not task.prompts[name].texts:
            raise BoostError(f"task {task.name} has no {name} prompts")
    refuse_overlap(task)
    run_dir.keep_task(task)
    model, tokenizer = _model_and_tokenizer(config, run_dir, task)
    texts = {name: task.prompts[name].texts for name in ("train", split)}
    tables = tokenize_prompts(tokenizer, texts, config.data.max_prompt_tokens)
    answers = task.answer_key("train")
    return Workbench(
        config=config,
        task=task,
        tokenizer=tokenizer,
        learner=make_learner(
            config,
            model,
            tokenizer.vocab_size,
            endings(tokenizer, task.stops),
            jax.devices(),
        ),
        train_prompts=tables["train"],
        eval_prompts=tables[split],
        verify=by_all_hosts(answers.check),
        verify_eval=by_all_hosts(task.answer_key(split).check),
        make_labeler=lambda learner, seed_params: _labeler(
            config, run_dir, task, answers, learner, seed_params, tables["train"], tokenizer
        ),
    )


def by_all_hosts(verify: Verifier) -> Verifier:
    """The verifier with its work spread over the hosts."""

    def check(prompt_ids: np.ndarray, responses: list[str]) -> np.ndarray:
        ids = np.asarray(prompt_ids)
        return hosts.by_share(len(ids), lambda i: verify(ids[i], [responses[j] for j in i]))

    return check


def make_learner(
    config: Config,
    model: ModelConfig,
    vocab_size: int,
    endings: Sequence[Sequence[int]],
    devices: Sequence[jax.Device],
) -> LanguageLearner:
    """The learner of a run on these devices, which need not be there (see `boostlm.aot`)."""
    devices, compute = list(devices), config.compute
    dtype = compute_dtype(compute, devices[0].platform)
    make = functools.partial(decoder_lm, model, vocab_size, dtype, compute.remat)
    sharded = compute.parallel == "fsdp"
    return LanguageLearner(
        make(device_mesh(devices)) if sharded else make(),
        endings,
        config.sample.max_new_tokens,
        config.sample.rows,
        devices,
        sharded,
        make(),
    )


def compute_dtype(config: ComputeConfig, platform: str) -> jnp.dtype:
    """The dtype of matrix products on devices of a platform: "cpu", "gpu" or "tpu"."""
    if config.dtype == "auto":
        return jnp.dtype(jnp.float32 if platform == "cpu" else jnp.bfloat16)
    return jnp.dtype(config.dtype)


def _labeler(
    config: Config,
    run_dir: RunDir,
    task: Task,
    answers: AnswerKey,
    learner: LanguageLearner,
    seed_params: Params,
    prompts: PromptTable,
    tokenizer: Tokenizer,
) -> Labeler:
    """The config's labeler; see `LABELERS`."""
    match config.label.labeler:
        case "frozen_model":
            return frozen_model_labeler(
                config, learner, seed_params, prompts, tokenizer, task.stops
            )
        case "people":
            asked = people_labeler(run_dir.people_folder, config.label.cost)
            return in_form(_asked_by_first(asked), task.response_of)
        case "endpoint":
            asked = endpoint_labeler(config, lambda: spent(run_dir.ledger_folder))
            return in_form(_asked_by_first(asked), task.response_of)
    return simulated_labeler(config.label, answers)


def _asked_by_first(labeler: Labeler) -> Labeler:
    """The labeler, asked by one host on behalf of all."""
    return lambda queries: hosts.iterate_on_first(labeler(queries))


def _model_and_tokenizer(
    config: Config, run_dir: RunDir, task: Task
) -> tuple[ModelConfig, Tokenizer]:
    if config.seed_model.path:
        model, tokenizer = open_converted(epath.Path(config.seed_model.path))
        if config.model not in (ModelConfig(), model):
            raise BoostError(
                f"model.* is set, but {config.seed_model.path} has a config of its own: leave out "
                "either model.* or seed_model.path"
            )
        return model, tokenizer
    path = run_dir.tokenizer_path

    def kept() -> bytes:
        if not path.exists():
            write_atomically(path, train_tokenizer(config.tokenizer, task.tokenizer_texts()).model)
        return path.read_bytes()

    try:
        return config.model, Tokenizer(hosts.from_first(kept))
    except BoostError as error:
        raise BoostError(f"{path} is damaged: remove it and run again ({error})") from error
