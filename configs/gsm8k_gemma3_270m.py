"""GSM8K with Gemma 3 270M (pretrained): the reported experiment with a model an eighth the size.

    boostlm convert FOLDER models/gemma3-270m    (FOLDER: google/gemma-3-270m, or a GGUF file of it)
    boostlm run configs/gsm8k_gemma3_270m.py
    boostlm run configs/gsm8k_gemma3_270m.py --data.path FOLDER  (with train.jsonl and test.jsonl)

For one accelerator. 7,000 training problems, 8 responses per prompt, 5 rounds, all four arms, three
seeds. Each round measures greedy accuracy on all 1,319 test problems.

Expected results: the base model's greedy 3-shot accuracy is about 0. The accuracy of the arms and
the running time are not known yet. The base model is hardly ever correct, so labels come from the
references and are correct with probability 0.3 (our choice). The rest is as in gsm8k_gemma2_2b.py.
"""

from boostlm.config import (
    Config,
    DataConfig,
    LabelConfig,
    OptimizerConfig,
    SampleConfig,
    SeedModelConfig,
    TrainConfig,
)


def get_config() -> Config:
    """Five rounds, four arms, three seeds."""
    return Config(
        name="gsm8k_gemma3_270m",
        rounds=5,
        seeds=3,
        data=DataConfig(
            task="gsm8k",
            train_prompts=7000,
            eval_prompts=1319,
            max_prompt_tokens=640,  # the longest has 619
            few_shot="gsm8k_3shot.txt",
        ),
        seed_model=SeedModelConfig(path="models/gemma3-270m"),
        sample=SampleConfig(k=8, temperature=0.7, max_new_tokens=352, batch_size=1024),
        label=LabelConfig(beta=0.3, budget=7000),
        train=TrainConfig(optimizer=OptimizerConfig(steps=330, batch_size=64, learning_rate=2e-5)),
    )
