"""Sampling tokens per second: boostlm, transformers' generate and google-tunix's vanilla sampler.

    pip install -r benchmarks/requirements.txt
    boostlm convert MODEL models/gemma3
    boostlm convert models/gemma3 models/gemma3-hf --to huggingface
    python benchmarks/sampling_speed.py --model models/gemma3 --hf models/gemma3-hf --data FOLDER

MODEL is Gemma 3 270M; FOLDER has GSM8K's test.jsonl. The workload is 64 test prompts with the
packaged 3 few-shot examples, k = 8, exactly 128 new tokens per response (without stop sequences),
temperature 1, float32. Each system runs in a separate process and is timed after a warm-up on the
same shapes. boostlm samples all 64 x 8 responses, --repeats times. The others run --repeats batches
of each size in --peer-batches (tokens per second do not depend on the number of batches), and the
best size counts. The roofline is this machine's, measured in the same run. Its step time is the
larger of two: a decoding step's bytes divided by the bandwidth of a long sum, and its FLOPs divided
by the rate of matrix products with the same number of rows.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

NEW, K, STEPS_OF_ROOFLINE = 128, 8, 5


def prompts(data: str, count: int) -> list[str]:
    from boostlm.config import DataConfig
    from boostlm.tasks.registry import load_task

    config = DataConfig("gsm8k", data, eval_prompts=count, few_shot="gsm8k_3shot.txt")
    return list(load_task(config).prompts["test"].texts[:count])


def ours(args) -> dict:
    import jax
    import numpy as np
    from etils import epath

    from boostlm.engine.learner import LanguageLearner
    from boostlm.engine.prompt_table import tokenize_prompts
    from boostlm.lm.decoder import decoder_lm
    from boostlm.lm.token_sampling import SamplingParams
    from boostlm.pretrained.converted import load_converted
    from boostlm.runtime.malloc import tune_allocator

    tune_allocator()  # the command line does this too
    config, tokenizer, params, _ = load_converted(epath.Path(args.model))
    model = decoder_lm(config, tokenizer.vocab_size)
    calls = []
    counted = model._replace(
        prefill=lambda *a: calls.append("prefill") or model.prefill(*a),
        decode=lambda *a: calls.append("decode") or model.decode(*a),
    )
    table = tokenize_prompts(tokenizer, {"test": prompts(args.data, args.prompts)}, 2048)["test"]
    learner = LanguageLearner(counted, ((-1,),), NEW, args.rows, jax.devices()[:1])
    lengths = table.length_N + len(table.prefix_P0)

    def once(seed):
        began = time.perf_counter()
        out = learner.sample(params, table, jax.random.key(seed), SamplingParams(), K)
        return int(out.length_BxK.sum()), time.perf_counter() - began

    began = time.perf_counter()
    few = table._replace(tokens_NxP=table.tokens_NxP[:16], length_N=table.length_N[:16])
    widest = np.argsort(table.length_N)[[0, -1]]
    few.tokens_NxP[:2], few.length_N[:2] = table.tokens_NxP[widest], table.length_N[widest]
    learner.sampler.max_new_tokens = NEW
    learner.sample(params, few, jax.random.key(9), SamplingParams(), K)
    warm_up, compiled = time.perf_counter() - began, len(calls)
    runs = [once(seed) for seed in range(args.repeats)]
    return {
        "prompt_tokens": float(np.mean(lengths)),
        "shared_tokens": len(table.prefix_P0),
        "rate": statistics.median(tokens / seconds for tokens, seconds in runs),
        "rates": [tokens / seconds for tokens, seconds in runs],
        "warm_up_s": warm_up,
        "compiled_in_warm_up": compiled,
        "compiled_after": len(calls) - compiled,
        "roofline": roofline(args, config, tokenizer.vocab_size, params, table),
    }


def roofline(args, config, vocab_size: int, params, table) -> dict:
    """Upper bound on tokens per second from the bytes and FLOPs of a step of `args.rows` rows."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    def median_s(function, *arrays):
        function(*arrays).block_until_ready()
        times = []
        for _ in range(STEPS_OF_ROOFLINE):
            began = time.perf_counter()
            function(*arrays).block_until_ready()
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    A, E, key = args.rows, config.width, jax.random.key(0)
    long = jnp.ones(2**27)
    bandwidth = long.nbytes / median_s(jax.jit(jnp.sum), long)
    sizes = [
        (x.size // E, E) for x in jax.tree.leaves(params) if x.ndim > 1
    ]  # each matrix as [outputs, E] or its transpose; both take the same FLOPs
    flops = 2.0 * A * sum(n * e for n, e in sizes)
    matmul = jax.jit(lambda x, w: jnp.einsum("ae,ne->an", x, w))
    seconds = sum(
        median_s(matmul, jax.random.normal(key, (A, e)), jax.random.normal(key, (n, e))) * count
        for (n, e), count in zip(*np.unique(sizes, axis=0, return_counts=True), strict=True)
    )
    cache = config.layers * config.kv_heads * config.head_dim * 2 * 4
    seen = A * NEW / 2 + A / K * table.length_N.mean() + len(table.prefix_P0)
    moved = sum(x.nbytes for x in jax.tree.leaves(params)) + cache * seen
    return {
        "rate": A / max(moved / bandwidth, seconds),
        "bandwidth_gb_s": bandwidth / 1e9,
        "matmul_gflop_s": flops / seconds / 1e9,
        "bytes_s": moved / bandwidth,
        "flops_s": seconds,
    }


def transformers(args) -> dict:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(args.hf, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(args.hf, dtype=torch.float32).eval()
    texts = prompts(args.data, args.prompts)

    def once(batch, start, new=NEW):
        chosen = [texts[(start + i) % len(texts)] for i in range(batch)]
        inputs = tokenizer(chosen, return_tensors="pt", padding=True)
        began = time.perf_counter()
        with torch.no_grad():
            out = model.generate(
                **inputs, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                num_return_sequences=K, max_new_tokens=new, min_new_tokens=new,
            )  # fmt: skip
        made = (out.shape[1] - inputs["input_ids"].shape[1]) * out.shape[0]
        return made, time.perf_counter() - began

    return best_of(args, once, lambda batch: once(batch, 0, 4))


def tunix(args) -> dict:
    import jax
    import jax.numpy as jnp
    import numpy as np
    import sentencepiece
    from tunix.generate.sampler import CacheConfig, Sampler
    from tunix.models.gemma3 import model as gemma3
    from tunix.models.gemma3.params_safetensors import create_model_from_safe_tensors

    config = gemma3.ModelConfig.gemma3_270m()
    mesh = jax.make_mesh((1, 1), ("fsdp", "tp"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    with mesh:
        model = create_model_from_safe_tensors(args.hf, config, mesh, jnp.float32)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=f"{args.hf}/tokenizer.model")
    sampler = Sampler(
        model, tokenizer, CacheConfig(768, config.num_layers, config.num_kv_heads, config.head_dim)
    )
    texts = prompts(args.data, args.prompts)

    def once(batch, start):
        chosen = [texts[(start + i) % len(texts)] for i in range(batch) for _ in range(K)]
        began = time.perf_counter()
        out = sampler(
            chosen, max_generation_steps=NEW, max_prompt_length=512, temperature=1.0, top_p=1.0,
            eos_tokens=[-1], seed=start,
        )  # fmt: skip
        made = sum(len(np.asarray(tokens)) for tokens in out.tokens)
        return made, time.perf_counter() - began

    return best_of(args, once, lambda batch: once(batch, 0))


def best_of(args, once, warm_up) -> dict:
    found = {}
    for batch in args.peer_batches:
        began = time.perf_counter()
        warm_up(batch)
        warm = time.perf_counter() - began
        runs = [once(batch, i * batch) for i in range(args.repeats)]
        rates = [tokens / seconds for tokens, seconds in runs]
        found[batch] = {"rate": statistics.median(rates), "rates": rates, "warm_up_s": warm}
    best = max(found, key=lambda batch: found[batch]["rate"])
    return {**found[best], "best_batch": best, "all": {b: f["rate"] for b, f in found.items()}}


CONTENDERS = {"ours": ours, "transformers": transformers, "tunix": tunix}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="folder made by boostlm convert")
    parser.add_argument("--hf", required=True, help="the same model as a Hugging Face directory")
    parser.add_argument("--data", required=True)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--rows", type=int, default=128, help="decode slots of boostlm")
    parser.add_argument(
        "--peer-batches", type=int, nargs="+", default=[1, 2, 4], help="prompts per batch"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--only", choices=CONTENDERS, help="run one system in this process; prints JSON"
    )
    args = parser.parse_args()
    if args.only:
        found = CONTENDERS[args.only](args)
        found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print("RESULT " + json.dumps(found))
        return
    results = {}
    for name in CONTENDERS:
        command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        line = next(x for x in done.stdout.splitlines() if x.startswith("RESULT "))
        results[name] = json.loads(line.removeprefix("RESULT "))
        print(name, json.dumps(results[name], indent=1), flush=True)
    own = results["ours"]["rate"]
    for name in ("transformers", "tunix"):
        print(f"ours / {name}: {own / results[name]['rate']:.2f}")
    print(f"ours / roofline: {own / results['ours']['roofline']['rate']:.2f}")


if __name__ == "__main__":
    main()
