"""Every setting of a run, documented where it is defined. The defaults run the embedded task.

Nested frozen dataclasses of int, float, bool, str and tuple of str. `config_io` reads, overrides,
compares and writes them, and `config_checks` checks their values. Lengths are in tokens.
"""

from dataclasses import dataclass, field
from typing import Any

FOUR_ARMS = ("do_nothing", "filter_only", "uniform", "boosting")
SPLITS = ("train", "validation", "test")
TASKS = ("skills", "gsm8k", "mbpp", "jsonl")
VERIFIERS = ("number", "text", "choice", "regex", "math", "expression")
DTYPES = ("auto", "float32", "bfloat16")
LABELERS = ("simulated", "reference", "frozen_model", "people", "endpoint")

# Fields that may change when a run is continued: how a server is reached, what it is asked for
# besides the prompt, and how much may be spent there.
_ENDPOINT = "url api_key_env concurrency timeout request prompt_price response_price max_cost"
MAY_CHANGE = tuple(f"label.endpoint.{name}:" for name in _ENDPOINT.split())


@dataclass(frozen=True)
class DataConfig:
    """Which prompts a run uses."""

    task: str = "skills"  # one of TASKS, or FILE.py:CLASS for a task of your own
    path: str = ""  # folder of data files; for jsonl also a file or hf://NAME; empty: download
    train_prompts: int = 1024  # prompts to sample, label and train on (N)
    eval_prompts: int = 512  # prompts of the evaluated split
    eval_split: str = "test"  # "validation" to choose settings, "test" after that
    max_prompt_tokens: int = 15  # BOS included; a longer prompt is an error that names it
    few_shot: str = ""  # examples before each prompt: a packaged file or a path; empty: none
    prompt: str = "prompt"  # jsonl: the field with the question
    answer: str = "answer"  # jsonl: the field with the reference
    group: str = ""  # jsonl: the field by which the report groups prompts; empty: one group
    split: str = ""  # jsonl: the field that names a row's split; empty: by file, or a fixed share
    template: str = ""  # jsonl: such as "Question: {question}\nAnswer:"; empty: the prompt field
    verifier: str = "text"  # jsonl: one of VERIFIERS, or FILE.py:NAME for a function of your own
    packages: tuple[str, ...] = ()  # installed packages that MBPP's programs may import


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
    micro_batches: int = 1  # parts that each batch is computed in, one by one; saves memory


@dataclass(frozen=True)
class SeedModelConfig:
    """The model that every arm starts from.

    It is trained from scratch on the task's seed examples, whose prompts are in no split; or, with
    a path, it is a pretrained model, whose own config and tokenizer replace `model` and
    `tokenizer`. With a path and `examples`, the pretrained model is first trained on these.
    """

    # for training on the task's seed examples
    optimizer: OptimizerConfig = OptimizerConfig(steps=1000, learning_rate=3e-3)
    path: str = ""  # folder that `boostlm convert` made; empty: train from scratch
    examples: int = 0  # seed examples, drawn for each seed; 0: all from scratch, none with a path


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
    max_cost: float = 0.0  # the run stops once its labels have cost this much; 0: no limit


@dataclass(frozen=True)
class LabelConfig:
    """The outside labels: who gives them, how good they are and how many a round buys.

    The labelers: `simulated` answers from the references, and a fraction `beta` of its answers is
    right; all of `reference`'s are; `frozen_model` is the seed model, sampled again; `people`
    answer in a terminal or a spreadsheet; `endpoint` is a server.
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
    mesh: str = "auto"  # devices as data x model, such as "2x4"; "replicate"; auto: by size, memory


@dataclass(frozen=True)
class Config:
    """One experiment: every arm, from the same seed model and the same round-0 samples."""

    name: str = "skills"  # of the run; also names its folder
    arms: tuple[Any, ...] = FOUR_ARMS  # presets, boosting(label.beta=0.1), Arm(...) or FILE.py:NAME
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

    def __post_init__(self) -> None:
        """Keeps arms as they are written."""
        object.__setattr__(self, "arms", tuple(map(str, self.arms)))
