"""A labeler of your own: a local program that answers prompts, one a line.

boostlm run --label.labeler examples/own_labeler.py:program
"""

import json
import subprocess
import sys

from boostlm.labelers.base import Label, in_batches

# Stands in for your program: it reads prompts as JSON lines and prints an answer for each.
PROGRAM = """
import json, sys
for line in sys.stdin:
    prompt = json.loads(line)
    print(json.dumps(prompt.split()[-1].rstrip("=")[::-1]))
"""


def program(context):
    """A labeler for a run; `context` is a boostlm.labelers.registry.LabelerContext."""

    def answer(queries):
        given = "".join(json.dumps(query.text) + "\n" for query in queries)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], input=given, capture_output=True, text=True, check=True
        )
        texts = [json.loads(line) for line in done.stdout.strip().split("\n")]
        return [Label(text, source="program", cost=context.config.label.cost) for text in texts]

    return in_batches(answer, 64)  # 64 prompts at a time; each batch is on disk before the next
