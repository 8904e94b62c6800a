"""Stands in for gcloud, and on a worker for curl, sudo, systemd, uv and python3, by its own name.

gcloud writes what it was asked to $CLOUD/calls, a JSON list a line. It plays the first reply in
$CLOUD/replies.json (lists of a text that the call holds, stdout, stderr and status) that fits; else
it runs ssh commands in the folders $CLOUD/workers/*, one for each worker, copies files to them, and
copies to and from $CLOUD/gs, the buckets.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
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


def curl(*words):
    value = Path.home() / "metadata" / words[-1].rpartition("/")[2]
    if not value.exists():
        return 22
    sys.stdout.write(value.read_text())
    return 0


def sudo(*words):
    os.execvp(words[0], words)


def unit():
    file = Path.home() / "unit"
    pid = int(file.read_text()) if file.exists() else 0
    alive = pid and Path(f"/proc/{pid}/cmdline").exists()
    return pid if alive and Path(f"/proc/{pid}/cmdline").read_bytes() else 0


def systemctl(*words):
    pid = unit()
    if words[0] == "is-active":
        return 0 if pid else 3
    os.kill(pid, signal.SIGTERM)  # stop
    while unit():
        time.sleep(0.01)
    return 0


def systemd_run(*words):
    options = [word for word in words if word.startswith("--")]
    environment = dict(o.removeprefix("--setenv=").split("=", 1) for o in options if "setenv" in o)
    environment["CLOUD"] = str(CLOUD)
    environment["BOOSTLM_LOG_SECONDS"] = "0.05"
    started = subprocess.Popen(
        [word.replace("$$", "$") for word in words[len(options) :]],
        env=environment,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (Path.home() / "unit").write_text(str(started.pid))
    return 0


def python3(*words):
    target = Path(words[words.index("--target") + 1]) / "bin" / "uv"
    target.parent.mkdir(parents=True)
    target.symlink_to(Path(sys.argv[0]).with_name("uv"))
    return 0


def uv(*words):
    if words[0] == "venv":
        program = Path(words[-1]) / "bin" / "boostlm"
        program.parent.mkdir(parents=True)
        shutil.copy(CLOUD / "boostlm", program)
    if "install" in words:
        (Path.home() / "installed").write_text(json.dumps(words))
    if "freeze" in words:
        sys.stdout.write((Path.home() / "freeze").read_text())
    return 0


sys.exit(globals()[Path(sys.argv[0]).name.replace("-", "_")](*sys.argv[1:]))
