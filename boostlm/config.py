"""Every setting of a run, documented where it is defined. The defaults run the embedded task.

Nested frozen dataclasses of int, float, bool, str and tuple of str. `config_io` reads, overrides,
compares and writes them. Lengths are in tokens.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from boostlm.errors import BoostError
from boostlm.user_code import FILE_AND_NAME

ARM_NAMES = ("do_nothing", "filter_only", "uniform", "boosting")
SPLITS = ("train", "validation", "test")
TASKS = ("skills", "gsm8k", "mbpp")
DTYPES = ("auto", "float32", "bfloat16")
LABELERS = ("simulated", "frozen_model", "people", "endpoint")

# Fields that may change when a run is continued: of a server, but for its model.
MAY_CHANGE = tuple(
    f"label.endpoint.{name}:"
    for name in (
        "url",
        "api_key_env",
        "concurrency",
        "timeout",
        "request",
        "prompt_price",
        "response_price",
        "max_cost",
    )
)


@dataclass(frozen=True)
class DataConfig:
    """Which prompts a run uses."""

    task: str = "skills"  # one of TASKS, or FILE.py:CLASS for a task of your own
    path: str = ""  # folder with the data set's files; empty: tensorflow-datasets downloads them
    train_prompts: int = 1024  # prompts to sample, label and train on (N)
    eval_prompts: int = 512  # prompts of the evaluated split
    eval_split: str = "test"  # "validation" to choose settings, "test" after that
    max_prompt_tokens: int = 15  # BOS included; a longer prompt is an error that names it
    few_shot: str = ""  # examples before each prompt: a packaged file or a path; empty: none
    packages: tuple[str, ...] = ()  # that MBPP's programs may import, such as numpy; installed here


@dataclass(frozen=True)
class TokenizerConfig:
    """The SentencePiece model trained on the task's texts; a pretrained model has its own."""

    kind: str = "char"  # "char", "bpe" or "unigram"
    vocab_size: int = 64  # an upper bound


@dataclass(frozen=True)
class ModelConfig:
    """A decoder-only transformer (RMSNorm, RoPE, grouped queries, gated GELU, tied embedding).

    The defaults leave out Gemma's additions; `boostlm.pretrained.gemma` has its models' configs.
    """

    layers: int = 2  # blocks of attention and MLP
    width: int = 64  # of the residual stream (E)
    heads: int = 4  # query heads (H)
    kv_heads: int = 4  # key-value heads (G); heads is a multiple of it
    head_dim: int = 16  # of each head (D); even
    mlp_width: int = 256  # hidden units of the MLP
    rope_base: float = 10_000.0  # of global layers
    global_every: int = 1  # every n-th layer is global; the others see the last `window` tokens
    window: int = 0  # tokens that local layers see, the current one included
    local_rope_base: float = 10_000.0  # of local layers
    query_divisor: int = 0  # queries are divided by its square root; 0: head_dim
    qk_norm: bool = False  # RMSNorm on each head's queries and keys (Gemma 3)
    post_norms: bool = False  # RMSNorm on the output of attention and MLP (Gemma 2, 3)
    attention_cap: float = 0.0  # soft cap on attention scores; 0: none (Gemma 2: 50)
    logit_cap: float = 0.0  # soft cap on logits; 0: none (Gemma 2: 30)


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with linear warm-up to a constant rate, and clipping by the global norm."""

    steps: int = 330  # steps a round
    batch_size: int = 64  # rows a step, over all devices
    learning_rate: float = 1e-3  # after the warm-up
    warmup_steps: int = 10  # the rate rises from learning_rate / warmup_steps
    weight_decay: float = 0.0  # decoupled, multiplied by the learning rate
    clip_norm: float = 1.0  # largest global norm of the gradient
    micro_batches: int = 1  # compute each batch in so many parts, one by one; only saves memory


@dataclass(frozen=True)
class SeedModelConfig:
    """The model that every arm starts from.

    It is trained from scratch on the task's seed examples; or, with a path, it is a pretrained
    model, whose own config and tokenizer replace `model` and `tokenizer`.
    """

    # for training from scratch
    optimizer: OptimizerConfig = OptimizerConfig(steps=1000, learning_rate=3e-3)
    path: str = ""  # folder that `boostlm convert` made; empty: train from scratch


@dataclass(frozen=True)
class SampleConfig:
    """How the model samples responses to training prompts."""

    k: int = 8  # responses a prompt (K)
    temperature: float = 1.0  # above 0; evaluation is greedy
    top_k: int = 0  # 0: all tokens
    top_p: float = 1.0  # keep the likeliest tokens up to this probability; 1: all tokens
    max_new_tokens: int = 7  # response length limit, EOS included (R)
    batch_size: int = 2048  # responses decoded at once, over all devices
    eval_k: int = 0  # samples for each evaluation prompt besides the greedy response, for pass@k


@dataclass(frozen=True)
class FilterConfig:
    """The noisy filter. With both rates 0 it is the task's exact verifier."""

    miss_rate: float = 0.0  # chance that a correct response is rejected
    false_accept_rate: float = 0.0  # chance that an incorrect one is accepted
    audit: int = 64  # responses and labels a round that are checked exactly to estimate the rates


@dataclass(frozen=True)
class EndpointConfig:
    """A server that speaks the OpenAI chat-completions protocol, for the endpoint labeler.

    `request` is all that it gets besides the model and the prompt: the fields of `sample` are not
    sent. A label longer than `sample.max_new_tokens` is not trained on. All fields but `model` may
    change when a run is continued.
    """

    url: str = ""  # without /chat/completions, such as http://localhost:8000/v1
    model: str = ""  # the server's name of the model
    api_key_env: str = "OPENAI_API_KEY"  # environment variable with the key; empty: send no key
    concurrency: int = 8  # requests in flight at once
    timeout: float = 600.0  # seconds that one request may take
    request: str = '{"max_completion_tokens": 8192}'  # more fields of the request, a JSON object
    prompt_price: float = 0.0  # for a million prompt tokens; both 0: a label costs label.cost
    response_price: float = 0.0  # for a million response tokens
    max_cost: float = 0.0  # the run stops when its labels have cost so much; 0: no limit


@dataclass(frozen=True)
class LabelConfig:
    """The outside labels: who gives them, how good they are and how many a round buys.

    The labelers: `simulated` answers from the references, and a fraction `beta` of its answers is
    right; `frozen_model` is the seed model, sampled again; `people` answer in a terminal or a
    spreadsheet; `endpoint` is a server.
    """

    labeler: str = "simulated"  # one of LABELERS, or FILE.py:NAME for a labeler of your own
    beta: float = 0.3  # fraction right, for the simulated labeler; reweighting assumes it, too
    budget: int = 256  # labels a round
    filter_labels: bool = True  # train only on labels that the filter accepts
    cost: float = 1.0  # of one label, in any unit
    endpoint: EndpointConfig = EndpointConfig()


@dataclass(frozen=True)
class TrainConfig:
    """How a round trains."""

    alpha: float = 1 / 3  # weight of the labels in the mixture; accepted samples weigh 1 - alpha
    reset_optimizer: bool = True  # start each round with a new optimizer state
    lora_rank: int = 0  # rank of adapters, merged after each round; 0: train all parameters
    optimizer: OptimizerConfig = OptimizerConfig()


@dataclass(frozen=True)
class ComputeConfig:
    """How the model is computed on the devices.

    Parameters, optimizer state, norms, softmax, soft caps, logits and losses are always float32.
    """

    dtype: str = "auto"  # of matrix products, one of DTYPES; auto: bfloat16, on CPU float32
    remat: bool = False  # compute blocks again in the backward pass, to save memory
    # devices as data x model ("2x4"); "replicate": each holds the model; "auto": by size and memory
    mesh: str = "auto"


@dataclass(frozen=True)
class Config:
    """One experiment: every arm, from the same seed model and the same round-0 samples."""

    name: str = "skills"  # of the run; also names its folder
    arms: tuple[str, ...] = ARM_NAMES  # ways of curating, some of ARM_NAMES
    rounds: int = 5  # rounds of training; at least 1
    seeds: int = 1  # repeats, with seeds 0, 1, ...
    keep_checkpoints: int = 2  # newest checkpoints of each arm; the seed model is always kept
    data: DataConfig = field(default_factory=DataConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    seed_model: SeedModelConfig = field(default_factory=SeedModelConfig)
    sample: SampleConfig = field(default_factory=SampleConfig)
    filter: FilterConfig = field(default_factory=FilterConfig)
    label: LabelConfig = field(default_factory=LabelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


Need = Callable[[bool, str], None]  # (holds, what to say if it does not)


def validate(config: Config) -> Config:
    """Returns `config` if every value is possible; else raises BoostError listing what is not."""
    wrong = []

    def need(holds: bool, message: str) -> None:
        if not holds:
            wrong.append(message)

    for check in (_need_names, _need_least, _need_ranges, _need_endpoint, _need_optimizers):
        check(config, need)
    if wrong:
        raise BoostError("the config is not usable:\n  " + "\n  ".join(wrong))
    return config


def _need_names(c: Config, need: Need) -> None:
    unknown = [a for a in c.arms if a not in ARM_NAMES]
    need(not unknown, f"arms: {unknown} unknown; choose from {', '.join(ARM_NAMES)}")
    need(len(c.arms) > 0 and len(set(c.arms)) == len(c.arms), "arms: at least one, none twice")
    need(
        c.data.task in TASKS or FILE_AND_NAME.fullmatch(c.data.task) is not None,
        f"data.task: {c.data.task!r}; choose from {', '.join(TASKS)}, or name your own class as "
        "FILE.py:CLASS",
    )
    need(c.data.eval_split in ("validation", "test"), "data.eval_split: validation or test")
    need(c.tokenizer.kind in ("char", "bpe", "unigram"), "tokenizer.kind: char, bpe or unigram")
    need(
        c.label.labeler in LABELERS or FILE_AND_NAME.fullmatch(c.label.labeler) is not None,
        f"label.labeler: {c.label.labeler!r}; choose from {', '.join(LABELERS)}, or name your own "
        "as FILE.py:NAME",
    )
    mesh = re.fullmatch(r"auto|replicate|[1-9]\d*x[1-9]\d*", c.compute.mesh)
    need(mesh is not None, "compute.mesh: auto, replicate or data x model, such as 2x4")
    need(c.compute.dtype in DTYPES, f"compute.dtype: choose from {', '.join(DTYPES)}")


def _need_least(c: Config, need: Need) -> None:
    for name, value, least in (
        ("rounds", c.rounds, 1),
        ("seeds", c.seeds, 1),
        ("keep_checkpoints", c.keep_checkpoints, 1),
        ("data.train_prompts", c.data.train_prompts, 1),
        ("data.eval_prompts", c.data.eval_prompts, 1),
        ("data.max_prompt_tokens", c.data.max_prompt_tokens, 2),
        ("tokenizer.vocab_size", c.tokenizer.vocab_size, 8),
        ("model.layers", c.model.layers, 1),
        ("model.kv_heads", c.model.kv_heads, 1),
        ("model.head_dim", c.model.head_dim, 2),
        ("model.global_every", c.model.global_every, 1),
        ("model.window", c.model.window, min(c.model.global_every - 1, 1)),
        ("model.query_divisor", c.model.query_divisor, 0),
        ("model.attention_cap", c.model.attention_cap, 0),
        ("model.logit_cap", c.model.logit_cap, 0),
        ("sample.k", c.sample.k, 1),
        ("sample.top_k", c.sample.top_k, 0),
        ("sample.max_new_tokens", c.sample.max_new_tokens, 1),
        ("sample.batch_size", c.sample.batch_size, 1),
        ("sample.eval_k", c.sample.eval_k, 0),
        ("filter.audit", c.filter.audit, 0),
        ("label.budget", c.label.budget, 0),
        ("label.cost", c.label.cost, 0),
        ("label.endpoint.concurrency", c.label.endpoint.concurrency, 1),
        ("label.endpoint.prompt_price", c.label.endpoint.prompt_price, 0),
        ("label.endpoint.response_price", c.label.endpoint.response_price, 0),
        ("label.endpoint.max_cost", c.label.endpoint.max_cost, 0),
        ("train.lora_rank", c.train.lora_rank, 0),
    ):
        need(value >= least, f"{name}: {value} is below {least}")


def _need_ranges(c: Config, need: Need) -> None:
    need(c.model.head_dim % 2 == 0, f"model.head_dim: {c.model.head_dim} is odd; RoPE needs pairs")
    need(
        c.model.kv_heads > 0 and c.model.heads % c.model.kv_heads == 0,
        f"model.heads: {c.model.heads} is not a multiple of model.kv_heads {c.model.kv_heads}",
    )
    need(c.sample.temperature > 0, "sample.temperature: must be above 0 (evaluation is greedy)")
    need(0 < c.sample.top_p <= 1, f"sample.top_p: {c.sample.top_p} is not in (0, 1]")
    for name, rate in (
        ("filter.miss_rate", c.filter.miss_rate),
        ("filter.false_accept_rate", c.filter.false_accept_rate),
        ("train.alpha", c.train.alpha),
    ):
        need(0 <= rate <= 1, f"{name}: {rate} is not in [0, 1]")
    need(0 < c.label.beta < 1, f"label.beta: {c.label.beta} is not in (0, 1)")


def _need_optimizers(c: Config, need: Need) -> None:
    for name, o in (
        ("seed_model.optimizer", c.seed_model.optimizer),
        ("train.optimizer", c.train.optimizer),
    ):
        need(o.steps >= 1, f"{name}.steps: {o.steps} is below 1")
        need(o.batch_size >= 1, f"{name}.batch_size: {o.batch_size} is below 1")
        need(o.learning_rate > 0, f"{name}.learning_rate: must be above 0")
        need(o.clip_norm > 0, f"{name}.clip_norm: must be above 0")
        need(
            o.micro_batches >= 1 and o.batch_size % max(1, o.micro_batches) == 0,
            f"{name}.micro_batches: {o.micro_batches} does not divide batch_size {o.batch_size}",
        )
    need(
        c.train.reset_optimizer or not c.train.lora_rank,
        "train.lora_rank: adapters are new each round, so train.reset_optimizer must be true",
    )


def _need_endpoint(c: Config, need: Need) -> None:
    """Where the server is, and that no key stands in the config, which is written to disk."""
    e, used = c.label.endpoint, c.label.labeler == "endpoint"
    need(
        not e.api_key_env or re.fullmatch("[A-Z_][A-Z0-9_]*", e.api_key_env) is not None,
        "label.endpoint.api_key_env: not the name of an environment variable, in capitals (the "
        "key itself must stand in that variable, and nowhere else)",
    )
    try:
        parts = urlsplit(e.url)
        good_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        secret = parts.username is not None or parts.password is not None or bool(parts.query)
    except ValueError:
        good_url, secret = False, False
    need(not secret, "label.endpoint.url: no names, passwords or queries in it; see api_key_env")
    need(
        not used or secret or good_url,
        f"label.endpoint.url: {e.url!r} is not an http:// or https:// address",
    )
    need(not used or e.model != "", "label.endpoint.model: the server's name of the model")
    need(e.timeout > 0, "label.endpoint.timeout: must be above 0")
    try:
        request = json.loads(e.request, parse_constant=int)  # int raises: NaN is no JSON
    except (ValueError, RecursionError):
        request = None
    need(
        isinstance(request, dict) and not request.keys() & {"model", "messages", "n", "stream"},
        f"label.endpoint.request: {e.request!r} is not a JSON object such as "
        '{"max_tokens": 4096, "temperature": 0.7}, without model, messages, n and stream',
    )
