"""The complete pipeline on real GSM8K problems, with a model far too small to solve them.

    boostlm run configs/gsm8k_tiny.py
    boostlm run configs/gsm8k_tiny.py --data.path FOLDER     (with train.jsonl and test.jsonl)

The run samples responses to real questions, verifies their final answers, labels, curates and
trains: 2 rounds of 256 prompts. Expected accuracy: about 0 for every arm. The run shows that the
parts work together. It says nothing about which arm is better.
"""

from boostlm.config import (
    Config,
    DataConfig,
    LabelConfig,
    OptimizerConfig,
    SampleConfig,
    SeedModelConfig,
    TokenizerConfig,
    TrainConfig,
)


def get_config() -> Config:
    """Two rounds, all four arms."""
    return Config(
        name="gsm8k_tiny",
        rounds=2,
        data=DataConfig(task="gsm8k", train_prompts=256, eval_prompts=128, max_prompt_tokens=288),
        tokenizer=TokenizerConfig(kind="bpe", vocab_size=2048),
        seed_model=SeedModelConfig(OptimizerConfig(steps=300, batch_size=8, learning_rate=3e-3)),
        sample=SampleConfig(max_new_tokens=128, batch_size=512),
        label=LabelConfig(budget=128),
        train=TrainConfig(optimizer=OptimizerConfig(steps=40, batch_size=8)),
    )
