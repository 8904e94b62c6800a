"""tpu_scripts/, against a stand-in gcloud and stand-in workers (tpu_stand_in.py)."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.runs import REPOSITORY

pytestmark = pytest.mark.slow

SCRIPTS = REPOSITORY / "tpu_scripts"
COMMIT = "git+https://example.org/boostlm@" + "0123456789" * 4
WHERE = ["--project", "my project", "--zone", "us-west4-a"]
NAMED = [*WHERE, "--name", "tpu-1"]
COMMANDS = {
    "create": [*NAMED, "--accelerator-type=v5litepod-8", "--runtime-version=v2-alpha-tpuv5-lite"],
    "setup": [*NAMED, "--bucket", "gs://b", "--package", COMMIT],
    "run": [*NAMED, "--bucket=gs://b", "--", "run", "gs://b/a b.py", "--name", "it's $HOME; x"],
    "status": NAMED,
    "stop": NAMED,
    "delete": NAMED,
}
FREEZE = "boostlm @ file:///x\njax==0.10.2\n"


class Cloud:
    """A Google Cloud with one TPU of some workers."""

    def __init__(self, root, workers=2):
        self.root, self.bin = root, root / "bin"
        self.bin.mkdir()
        source = (REPOSITORY / "tests" / "support" / "tpu_stand_in.py").read_text()
        write(self.bin / "gcloud", f"#!{sys.executable} -IS\n{source}")
        (self.bin / "gcloud").chmod(0o755)
        for name in ["curl", "sudo", "systemctl", "systemd-run", "uv", "python3"]:
            (self.bin / name).symlink_to(
                REPOSITORY / "tests" / "support" / "tpu_worker_stand_in.sh"
            )
        self.replies()
        self.workers = [root / "workers" / str(i) for i in range(workers)]
        for i, home in enumerate(self.workers):
            write(home / "metadata" / "agent-worker-number", str(i))
            write(home / "metadata" / "id", f"vm{i}")
            write(home / "freeze", FREEZE)
            (home / "root" / "proc" / "1" / "fd").mkdir(parents=True)
            (home / "root" / "tmp").mkdir()
        self.program('echo "args: $*"')

    def replies(self, *replies):
        write(self.root / "replies.json", json.dumps([("describe", "ACTIVE\n", "", 0), *replies]))

    def program(self, text):
        """What boostlm is on the workers set up from now on."""
        write(self.root / "boostlm", f"#!/usr/bin/env bash\n{text}\n")
        (self.root / "boostlm").chmod(0o755)

    def __call__(self, script, *arguments, **variables):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BOOSTLM_")}
        path = f"{self.bin}:{os.environ['PATH']}"
        return subprocess.run(
            [SCRIPTS / f"{script}.sh", *arguments],
            env=kept | {"PATH": path, "CLOUD": str(self.root)} | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def done(self, script, *arguments, **variables):
        """The output of a script that must succeed."""
        result = self(script, *arguments, **variables)
        assert result.returncode == 0, result.stderr
        return result.stdout

    @property
    def calls(self):
        """What gcloud was asked to on this machine (not on the workers)."""
        file = self.root / "calls"
        calls = (
            [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        )
        return [call for call in calls if call[:2] != ["storage", "cp"]]

    def logs(self):
        return sorted((self.root / "gs" / "b" / "logs" / "tpu-1").glob("*.log"))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path)
    yield made
    if list(tmp_path.glob("workers/*/unit")):
        made("stop", *NAMED)  # no test leaves a process


def installed(home):
    """What uv was last asked to install."""
    return (home / "uv-pip-install").read_text().splitlines()


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_shellcheck_finds_nothing():
    program = Path(sys.executable).with_name("shellcheck")
    scripts = sorted(SCRIPTS.glob("*.sh"))
    assert len(scripts) == 8
    out = subprocess.run([program, *scripts], cwd=SCRIPTS, capture_output=True, text=True)
    assert (out.returncode, out.stdout) == (0, "")
    for script in scripts:
        assert "set -euo pipefail" in script.read_text() or script.name == "common.sh"


# --- on this machine ----------------------------------------------------------------------------


@pytest.mark.parametrize("script", COMMANDS)
def test_a_dry_run_prints_what_is_executed_and_executes_nothing(cloud, script):
    if script in ("run", "status", "stop"):
        cloud.done("setup", *COMMANDS["setup"])
        (cloud.root / "calls").unlink()
    shown = cloud.done(script, "--dry-run", *COMMANDS[script])
    assert cloud.calls == []
    cloud.done(script, *COMMANDS[script])
    assert [shlex.split(line)[1:] for line in shown.splitlines()] == cloud.calls
    assert all(line.startswith("gcloud compute tpus ") for line in shown.splitlines())
    assert all("--project=my project" in call for call in cloud.calls)


def test_what_create_asks_for(cloud):
    more = ["--spot", "--", "--labels=a=b", "--network=n"]
    line = cloud.done("create", "--dry-run", *COMMANDS["create"], *more)
    assert line == (
        "gcloud compute tpus queued-resources create tpu-1 --node-id=tpu-1 '--project=my project' "
        "--zone=us-west4-a --accelerator-type=v5litepod-8 --runtime-version=v2-alpha-tpuv5-lite "
        "--spot --labels=a=b --network=n\n"
    )
    assert "--spot" not in cloud.done("create", "--dry-run", *COMMANDS["create"])


@pytest.mark.parametrize("script", COMMANDS)
def test_missing_values_are_asked_for_by_name(cloud, script):
    result = cloud(script)
    assert result.returncode == 2
    words = [w for w in COMMANDS[script] if w.startswith("--")]
    named = words[: words.index("--")] if "--" in words else words
    missing = result.stderr.partition("missing:\n")[2].splitlines()
    options = {name.partition("=")[0] for name in named}
    variable = {o: f"BOOSTLM_{o[2:].upper().replace('-', '_')}" for o in options}
    assert set(missing) == {f"  {o} (or {variable[o]})" for o in options}
    assert cloud.calls == []


def test_a_variable_stands_in_for_an_option_and_the_option_wins(cloud):
    values = {"BOOSTLM_PROJECT": "p", "BOOSTLM_ZONE": "z", "BOOSTLM_NAME": "n"}
    assert "describe n --project=p --zone=z" in cloud.done("status", "--dry-run", **values)
    assert "describe m " in cloud.done("status", "--dry-run", "--name=m", **values)


def test_delete_takes_the_name_from_the_command_line_only(cloud):
    result = cloud("delete", *WHERE, BOOSTLM_NAME="tpu-1")
    assert result.returncode == 2
    assert "missing:\n  --name" in result.stderr
    assert cloud.calls == []
    cloud.done("delete", *NAMED)
    assert cloud.calls[0][:5] == ["compute", "tpus", "queued-resources", "delete", "tpu-1"]


@pytest.mark.parametrize("script", COMMANDS)
def test_a_failure_of_gcloud_is_passed_on_with_its_message(cloud, script):
    write(
        cloud.root / "replies.json",
        json.dumps([("compute tpus", "", "ERROR: (gcloud) quota exceeded\n", 1)]),
    )
    result = cloud(script, *COMMANDS[script])
    assert result.returncode != 0
    assert "ERROR: (gcloud) quota exceeded" in result.stderr
    assert len(cloud.calls) == 1


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("status", ["--nmae", "x"], "--nmae is not an option"),
        ("status", ["--spot"], "--spot is not an option"),
        ("status", ["tpu-1"], "what is 'tpu-1'?"),
        ("status", ["--name"], "--name needs a value"),
        ("delete", [*NAMED, "--", "x"], "takes nothing after --"),
        ("run", [*NAMED, "--bucket", "gs://b"], "give the boostlm command after --"),
        ("run", [*NAMED, "--bucket", "b", "--", "run"], "'b' does not begin with gs://"),
        ("setup", [*NAMED, "--bucket=gs://b", "--package=boostlm"], "'boostlm' is not pinned"),
        ("setup", [*NAMED, "--bucket=gs://b", f"--package={COMMIT[:-1]}"], "is not pinned"),
    ],
)
def test_mistakes_are_named(cloud, script, arguments, message):
    result = cloud(script, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert cloud.calls == []


@pytest.mark.parametrize("script", COMMANDS)
def test_help_is_the_comment_at_the_top(cloud, script):
    text = cloud.done(script, "--help")
    assert f"{script}.sh --project P --zone Z --name N" in text
    assert "set -euo" not in text


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("CREATING", "waits for a TPU; nothing is billed yet"),
        ("ACCEPTED", "waits for a TPU; nothing is billed yet"),
        ("PROVISIONING", "waits for a TPU; nothing is billed yet"),
        ("WAITING_FOR_RESOURCES", "waits for a TPU; nothing is billed yet"),
        ("SUSPENDING", "preempted"),
        ("SUSPENDED", "preempted"),
        ("FAILED", "could not give the TPU"),
        ("DELETING", "is being deleted"),
        ("STATE_UNSPECIFIED", "does not know this state, so the TPU may be billed"),
        ("SOMETHING_NEW", "does not know this state, so the TPU may be billed"),
        ("", "does not know this state, so the TPU may be billed"),
    ],
)
def test_status_says_what_a_tpu_that_is_not_there_means(cloud, state, said):
    write(cloud.root / "replies.json", json.dumps([("describe", f"{state}\n", "", 0)]))
    text = cloud.done("status", *NAMED)
    assert text.startswith(f"tpu-1: {state}\n")
    assert said in text
    assert ("nothing is billed" in text) == ("nothing is billed" in said)
    assert len(cloud.calls) == 1


# --- on the workers -----------------------------------------------------------------------------


def test_from_set_up_to_the_log_in_the_bucket(cloud):
    cloud.program('echo "args:" "${@@Q}"; env | cut -d= -f1 | sort; exit 3')
    out = cloud.done("setup", *COMMANDS["setup"])
    assert [line[:13] for line in out.splitlines()] == ["ok: worker 0:", "ok: worker 1:"]
    text = cloud.done("run", *COMMANDS["run"], TPU_WORKER_ID="7", MEGASCALE_NUM_SLICES="3")
    assert "gs://b/logs/tpu-1/" in text
    until(
        lambda: (
            [p.read_text().splitlines()[-1:] for p in cloud.logs()]
            == [["boostlm ended with status 3"]] * 2
        )
    )
    for i, log in enumerate(cloud.logs()):
        assert log.name.endswith(f"Z-worker{i}.log")
        lines = log.read_text().splitlines()
        assert lines[0] == r"args: 'run' 'gs://b/a b.py' '--name' 'it'\''s $HOME; x'"
        assert not [line for line in lines if line.startswith(("TPU_", "MEGASCALE_"))]
    text = cloud.done("status", *NAMED)
    for i in range(2):
        assert f"worker {i}: boostlm is stopped\n" in text
        assert f"worker {i}: boostlm ended with status 3\n" in text


def test_stop_ends_the_program_with_sigterm_and_its_last_words_are_kept(cloud):
    cloud.program("trap 'echo committed; exit 75' TERM; echo begun; while :; do sleep 0.05; done")
    cloud.done("setup", *COMMANDS["setup"])
    cloud.done("run", *COMMANDS["run"])
    until(lambda: [p.read_text() for p in cloud.logs()] == ["begun\n"] * 2)
    assert "worker 1: boostlm is running\n" in cloud.done("status", *NAMED)
    again = cloud("run", *COMMANDS["run"])
    assert again.returncode == 2
    assert "worker 0: boostlm is running already" in again.stderr
    assert "boostlm is running: stop.sh first" in cloud("setup", *COMMANDS["setup"]).stderr
    assert cloud.done("stop", *NAMED) == "worker 0: stopped\nworker 1: stopped\n"
    ended = "begun\ncommitted\nboostlm ended with status 75\n"
    assert [p.read_text() for p in cloud.logs()] == [ended] * 2
    assert "worker 0: boostlm was not running" in cloud.done("stop", *NAMED)


def test_the_versions_of_the_first_set_up_are_those_of_every_later_one(cloud):
    cloud.done("setup", *COMMANDS["setup"])
    pins = cloud.root / "gs" / "b" / "pins" / f"{COMMIT[-40:]}.txt"
    assert pins.read_text() == "jax==0.10.2\n"
    first = installed(cloud.workers[0])
    assert first[-1] == f"boostlm[tpu] @ {COMMIT}"
    assert "--constraint" not in first
    for home in cloud.workers:
        write(home / "freeze", "jax==0.99\n")
    cloud.done("setup", *COMMANDS["setup"])
    assert pins.read_text() == "jax==0.10.2\n"
    for home in cloud.workers:
        words = installed(home)
        assert words[-3:-1] == ["--constraint", "pins.txt"]
        assert (home / "boostlm-tpu" / "pins.txt").read_text() == pins.read_text()


def test_a_wheel_comes_from_the_bucket(cloud):
    write(cloud.root / "gs" / "b" / "boostlm-0.1.0-py3-none-any.whl", "wheel")
    package = "gs://b/boostlm-0.1.0-py3-none-any.whl"
    cloud.done("setup", *NAMED, "--bucket=gs://b", "--package", package)
    assert (cloud.workers[1] / "boostlm-tpu" / "boostlm-0.1.0-py3-none-any.whl").exists()
    words = installed(cloud.workers[1])
    assert words[-1] == "./boostlm-0.1.0-py3-none-any.whl[tpu]"


def hold_the_tpu(home, device):
    (home / "root" / "proc" / "1" / "fd" / "5").symlink_to(device)


def foreign_lock(home):
    lock = home / "root" / "tmp" / "libtpu_lockfile"
    lock.write_text("")
    shutil.chown(lock, 12345)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda home: shutil.rmtree(home / "boostlm-tpu"), "worker.sh"),
        (lambda home: (home / "boostlm-tpu" / "stamp").unlink(), "worker 1: boostlm is not set up"),
        (
            lambda home: write(home / "metadata" / "id", "new"),
            "worker 1: this was set up on another",
        ),
        (lambda home: write(home / "freeze", "jax==1\n"), "worker 1: packages were changed since"),
        (lambda home: hold_the_tpu(home, "/dev/accel0"), "worker 1: process 1 (root"),
        (lambda home: hold_the_tpu(home, "/dev/vfio/0"), "holds the TPU: end it there"),
        pytest.param(
            foreign_lock,
            "libtpu_lockfile is another user's",
            marks=pytest.mark.skipif(os.getuid() != 0, reason="giving files away takes root"),
        ),
    ],
)
def test_an_environment_of_an_earlier_life_is_refused(cloud, spoil, message):
    cloud.done("setup", *COMMANDS["setup"])
    spoil(cloud.workers[1])
    result = cloud("run", *COMMANDS["run"])
    assert result.returncode == 2
    assert message in result.stderr
    assert "not started" in result.stderr
    assert not [call for call in cloud.calls if "worker.sh start" in " ".join(call)]
    if spoil is foreign_lock:
        cloud.done("stop", *NAMED)
        cloud.done("run", "--dry-run", *COMMANDS["run"])
        assert not (cloud.workers[1] / "root" / "tmp" / "libtpu_lockfile").exists()


def test_workers_with_different_packages_are_refused(cloud):
    write(cloud.workers[1] / "freeze", "jax==0.10.1\n")
    cloud.done("setup", *COMMANDS["setup"])
    result = cloud("run", *COMMANDS["run"])
    assert "the workers have different packages installed: run setup.sh again" in result.stderr
    assert not [call for call in cloud.calls if "worker.sh start" in " ".join(call)]
