"""Hosts join, or say in time who is missing."""

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.runs import REPOSITORY, environment

from boostlm.errors import BoostError
from boostlm.runtime.join_hosts import Hosts, _answer, _call, configured_hosts

pytestmark = pytest.mark.slow

_JOIN = """
import sys
from boostlm.runtime.join_hosts import join_hosts
from boostlm.errors import BoostError
try:
    count = join_hosts(float(sys.argv[1]))
except BoostError as error:
    sys.exit(str(error))
import jax
print(count, jax.process_count(), jax.process_index())
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def process(port, count, index, timeout):
    variables = {
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(count),
        "JAX_PROCESS_ID": str(index),
    }
    return subprocess.Popen(
        [sys.executable, "-c", _JOIN, str(timeout)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=environment() | variables,
    )


def finish(running):
    """(status, stdout, last line of stderr) of each."""
    results = []
    for one in running:
        with one:
            try:
                out, err = one.communicate(timeout=90)
            finally:
                one.kill()
        results.append((one.returncode, out, err.strip().rpartition("\n")[2]))
    return results


def test_all_that_are_started_join():
    port = free_port()
    results = finish([process(port, 2, index, 60) for index in (1, 0)])
    assert [(status, out) for status, out, _ in results] == [(0, "2 2 1\n"), (0, "2 2 0\n")]


def test_one_of_two_that_is_started_says_who_is_missing_and_leaves():
    began = time.monotonic()
    results = finish([process(free_port(), 2, index, 1) for index in (0, 1)])  # two slices
    assert time.monotonic() - began < 60
    for (status, _, said), missing in zip(
        results, ("worker 1", "worker 0 (127.0.0.1:"), strict=True
    ):
        assert status == 1
        assert said.startswith("2 hosts were expected, and in 1 s no word came from " + missing)
        assert "has to be started on all of them" in said


def test_all_that_came_are_told_who_did_not():
    address, end = f"127.0.0.1:{free_port()}", time.monotonic() + 1.5
    with ThreadPoolExecutor() as pool:
        first = pool.submit(_call, Hosts(address, 5, 0), end)
        others = [pool.submit(_answer, Hosts(address, 5, i), end) for i in (1, 3)]
        assert [f.result(timeout=20) for f in (first, *others)] == ["worker 2, 4"] * 3


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        [(status, _, said)] = finish([process(port, 2, 0, 5)])
    assert status == 1
    assert f"port {port} of this host cannot be used (Address already in use)" in said


def nothing(name):
    return None


def test_one_host_is_nothing_to_join():
    assert configured_hosts({}, nothing) is None
    assert configured_hosts({}, {"worker-network-endpoints": "10.0.0.1"}.get) is None
    one = {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "1", "JAX_PROCESS_ID": "0"}
    assert configured_hosts(one, nothing) is None


@pytest.mark.parametrize("endpoints", ["10.0.0.1,10.0.0.2", "a:0:10.0.0.1,b:1:10.0.0.2"])
def test_a_slice_is_known_from_its_metadata_whatever_variables_an_earlier_life_left(endpoints):
    metadata = {"worker-network-endpoints": endpoints, "agent-worker-number": "1"}
    stale = {
        "TPU_WORKER_HOSTNAMES": "x,y,z",
        "MEGASCALE_COORDINATOR_ADDRESS": "z",
        "TPU_WORKER_ID": "2",
    }
    assert configured_hosts(stale, metadata.get) == Hosts("10.0.0.1:8482", 2, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ("h:1", "2", ""),
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES is set, and JAX_PROCESS_ID is not",
        ),
        (("h", "2", "0"), "JAX_COORDINATOR_ADDRESS=h "),
        (("h:1", "2", "2"), "JAX_PROCESS_ID=2 is wrong"),
        (("h:1", "two", "0"), "JAX_NUM_PROCESSES=two"),
    ],
)
def test_variables_that_make_no_sense_are_named(values, message):
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    with pytest.raises(BoostError) as caught:
        configured_hosts(dict(zip(names, values, strict=True)), nothing)
    assert message in str(caught.value)
