"""Checks the values of a config, which `config` documents."""

import json
import re
import string
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from boostlm.config import DTYPES, LABELERS, PARALLEL, TASKS, VERIFIERS, Config
from boostlm.errors import BoostError
from boostlm.user_code import FILE_AND_NAME

Need = Callable[[bool, str], None]  # (holds, what to say if it does not)


def validate(config: Config, problems: Sequence[str] = ()) -> Config:
    """Returns `config` if every value is possible; else raises BoostError listing what is not.

    `problems` are found elsewhere: `config_io` checks arms.
    """
    wrong = list(problems)

    def need(holds: bool, message: str) -> None:
        if not holds:
            wrong.append(message)

    for check in (_need_names, _need_least, _need_ranges, _need_endpoint, _need_optimizers):
        check(config, need)
    if wrong:
        raise BoostError("the config is not usable:\n  " + "\n  ".join(wrong))
    return config


def _need_names(c: Config, need: Need) -> None:
    need(
        c.data.task in TASKS or FILE_AND_NAME.fullmatch(c.data.task) is not None,
        f"data.task: {c.data.task!r}; choose from {', '.join(TASKS)}, or name your own class as "
        "FILE.py:CLASS",
    )
    _need_verifier(c, need)
    need(c.data.eval_split in ("validation", "test"), "data.eval_split: validation or test")
    need(c.tokenizer.kind in ("char", "bpe", "unigram"), "tokenizer.kind: char, bpe or unigram")
    need(
        c.label.labeler in LABELERS or FILE_AND_NAME.fullmatch(c.label.labeler) is not None,
        f"label.labeler: {c.label.labeler!r}; choose from {', '.join(LABELERS)}, or name your own "
        "as FILE.py:NAME",
    )
    need(c.compute.parallel in PARALLEL, f"compute.parallel: choose from {', '.join(PARALLEL)}")
    need(c.compute.dtype in DTYPES, f"compute.dtype: choose from {', '.join(DTYPES)}")


def _need_verifier(c: Config, need: Need) -> None:
    need(
        c.data.verifier in VERIFIERS or FILE_AND_NAME.fullmatch(c.data.verifier) is not None,
        f"data.verifier: {c.data.verifier!r}; choose from {', '.join(VERIFIERS)}, or name your own "
        "function as FILE.py:NAME",
    )
    need(c.data.task != "jsonl" or c.data.path != "", "data.path: a file or folder for task jsonl")
    try:
        list(string.Formatter().parse(c.data.template))
    except ValueError as error:
        need(False, f"data.template: {error}; write a brace of the text twice, as in {{{{x}}}}")


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
        ("seed_model.examples", c.seed_model.examples, 0),
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
    """The server's settings. None may hold a key, because the config is written to disk."""
    e, used = c.label.endpoint, c.label.labeler == "endpoint"
    need(
        not e.api_key_env or re.fullmatch("[A-Z_][A-Z0-9_]*", e.api_key_env) is not None,
        "label.endpoint.api_key_env: not the name of an environment variable, in capitals (put "
        "the key itself into that variable and nowhere else)",
    )
    try:
        parts = urlsplit(e.url)
        good_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        secret = parts.username is not None or parts.password is not None or bool(parts.query)
    except ValueError:
        good_url, secret = False, False
    need(not secret, "label.endpoint.url: has a user name, password or query; see api_key_env")
    need(
        not used or secret or good_url,
        f"label.endpoint.url: {e.url!r} is not an http:// or https:// address",
    )
    need(not used or e.model != "", "label.endpoint.model: the server's name of the model")
    need(e.timeout > 0, "label.endpoint.timeout: must be above 0")
    try:
        request = json.loads(e.request, parse_constant=int)  # int raises: NaN is not JSON
    except (ValueError, RecursionError):
        request = None
    need(
        isinstance(request, dict) and not request.keys() & {"model", "messages", "n", "stream"},
        f"label.endpoint.request: {e.request!r} is not a JSON object such as "
        '{"max_tokens": 4096, "temperature": 0.7}, without model, messages, n and stream',
    )
