"""Stands in for gcloud (tpu_worker_stand_in.sh for the rest, on a worker).

It writes what it was asked to $CLOUD/calls, a JSON list a line. It plays the first reply in
$CLOUD/replies.json (lists of a text that the call holds, stdout, stderr and status) that fits; else
it runs ssh commands in the folders $CLOUD/workers/*, one for each worker, copies files to them, and
copies to and from $CLOUD/gs, the buckets.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

CLOUD = Path(os.environ["CLOUD"])


def gcloud(*words):
    with open(CLOUD / "calls", "a") as file:
        file.write(json.dumps(words) + "\n")
    for text, out, err, status in json.loads((CLOUD / "replies.json").read_text()):
        if text in " ".join(words):
            sys.stdout.write(out)
            sys.stderr.write(err)
            return status
    if words[:2] == ("storage", "cp"):
        return copy(*[in_bucket(word) for word in words[2:] if not word.startswith("-")])
    results = [0]
    for home in sorted((CLOUD / "workers").iterdir()):
        if "scp" in words:
            shutil.copy(words[4], home / words[5].partition(":")[2])
        if "ssh" in words:
            [command] = [w.removeprefix("--command=") for w in words if w.startswith("--command=")]
            results.append(remote(home, command))
    return max(results)


def remote(home, command):
    return subprocess.run(
        ["bash", "-c", command],
        cwd=home,
        env=os.environ | {"HOME": str(home), "BOOSTLM_WORKER_ROOT": str(home / "root")},
    ).returncode


def in_bucket(word):
    return CLOUD / "gs" / word[5:] if word.startswith("gs://") else Path(word)


def copy(source, target):
    if not source.exists():
        print(f"ERROR: {source} matched no objects", file=sys.stderr)
        return 1
    target = target / source.name if target.is_dir() else target
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    return 0


sys.exit(gcloud(*sys.argv[1:]))
