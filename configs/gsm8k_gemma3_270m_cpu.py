"""Real weights on real data on two CPU cores: Gemma 3 270M on a slice of GSM8K, all four arms.

    boostlm convert MODEL models/gemma3-270m-gsm8k \\
        --keep-tokens-of DATA/train.jsonl --keep-tokens-of DATA/test.jsonl \\
        --keep-tokens-of configs/gsm8k_gemma3_270m_cpu.py --data.path DATA
    boostlm run configs/gsm8k_gemma3_270m_cpu.py --data.path DATA

MODEL is google/gemma-3-270m from Hugging Face or a GGUF file of it. DATA is a folder with GSM8K's
train.jsonl and test.jsonl. The vocabulary is trimmed to the 17,078 of 262,144 tokens that these
texts need (including bytes and special tokens). Otherwise, the output head would dominate the
arithmetic. All prompts and references can still be encoded.

48 training problems, 4 responses per prompt, 48 labels per round (30% correct), 2 rounds, one seed,
greedy accuracy on 96 test problems. The filter accepts 3% of the wrong responses: the base model
solves so few problems that an exact filter would often leave filter_only without training data.

Expected results (27 minutes and 10 GiB on 2 cores beside other work; benchmarks/README.md has the
figures): every arm starts and ends at 0 of 96, and boosting has 3 of 96 after its first round. A
run of this size shows that all parts work with real weights. It does not show which arm is better.
"""

from boostlm.config import (
    Config,
    DataConfig,
    FilterConfig,
    LabelConfig,
    OptimizerConfig,
    SampleConfig,
    SeedModelConfig,
    TrainConfig,
)


def get_config() -> Config:
    """Two rounds, four arms, one seed. We chose all numbers to limit the running time."""
    return Config(
        name="gsm8k_gemma3_270m_cpu",
        rounds=2,
        data=DataConfig(
            task="gsm8k",
            train_prompts=48,
            eval_prompts=96,
            max_prompt_tokens=640,  # the longest has 619
            few_shot="gsm8k_3shot.txt",
        ),
        seed_model=SeedModelConfig(path="models/gemma3-270m-gsm8k"),
        sample=SampleConfig(k=4, temperature=0.7, max_new_tokens=128, batch_size=128),
        filter=FilterConfig(false_accept_rate=0.03),
        label=LabelConfig(beta=0.3, budget=48),
        train=TrainConfig(
            optimizer=OptimizerConfig(steps=16, batch_size=4, learning_rate=2e-5, warmup_steps=4)
        ),
    )
