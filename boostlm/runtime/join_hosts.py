"""Joining the hosts of a TPU slice, or saying in time which of them are missing."""

import glob
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from boostlm.errors import BoostError
from boostlm.runtime.host_watch import watch

_PORT = 8482  # that JAX uses on Cloud TPUs
_METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/attributes/"
_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


class Hosts(NamedTuple):
    """One process of several.

    Attributes:
      address: host:port of process 0.
      count: processes in all.
      index: the index of this one, from 0.
    """

    address: str
    count: int
    index: int


def join_hosts(timeout_s: float = 300.0) -> int:
    """Joins the processes that this one is configured with; to be called before any use of JAX.

    JAX itself ends a process with SIGABRT when another one does not come, so all answer a roll call
    first, at the port that JAX's coordinator then takes. A process that dies later is noticed by
    JAX's heartbeats within two minutes, and is named before that by `host_watch`.

    Args:
      timeout_s: seconds to wait for the others.

    Returns:
      The number of processes; 1 where only one is configured, and nothing is done.

    Raises:
      BoostError: some did not come, with their numbers.
    """
    hosts = configured_hosts(os.environ, _metadata)
    if hosts is None:
        return 1
    end = time.monotonic() + timeout_s
    missing = _call(hosts, end) if hosts.index == 0 else _answer(hosts, end)
    if missing:
        raise BoostError(
            f"{hosts.count} hosts were expected, and in {timeout_s:.0f} s no word came from "
            f"{missing}. The same command has to be started on all of them at once, as "
            "tpu_scripts/run.sh does"
        )
    jax.distributed.initialize(*hosts, cluster_detection_method="deactivate")
    watch()
    return hosts.count


def configured_hosts(
    environ: Mapping[str, str], metadata: Callable[[str], str | None]
) -> Hosts | None:
    """The processes to join, from three variables or else from the TPU VM; None for only one.

    Args:
      environ: may hold JAX_COORDINATOR_ADDRESS (host:port), JAX_NUM_PROCESSES and JAX_PROCESS_ID.
      metadata: a TPU VM's attribute by name; None if it has no such attribute. It is asked each
        time, because TPU_* and MEGASCALE_* variables may be from an earlier life of the slice.
    """
    if given := [name for name in _VARIABLES if environ.get(name)]:
        if len(given) < len(_VARIABLES):
            absent = [name for name in _VARIABLES if name not in given]
            raise BoostError(f"{', '.join(given)} is set, and {', '.join(absent)} is not")
        address, count, index = (environ[name] for name in _VARIABLES)
        host, _, port = address.rpartition(":")
        if not (host and port.isdecimal() and count.isdecimal() and index.isdecimal()) or not (
            int(index) < int(count)
        ):
            raise BoostError(
                f"JAX_COORDINATOR_ADDRESS={address} JAX_NUM_PROCESSES={count} JAX_PROCESS_ID="
                f"{index} is wrong: give host:port, a number, and a number from 0 to below that"
            )
        return Hosts(address, int(count), int(index)) if int(count) > 1 else None
    endpoints = (metadata("worker-network-endpoints") or "").split(",")
    if len(endpoints) == 1:
        return None
    address = endpoints[0].rpartition(":")[2]  # alone, or after a name and a number
    number = metadata("agent-worker-number")
    if number is None:
        raise BoostError("this TPU VM does not say which worker it is (agent-worker-number)")
    return Hosts(f"{address}:{_PORT}", len(endpoints), int(number))


def _metadata(name: str) -> str | None:
    if not (glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*")):
        return None  # no TPU here
    request = urllib.request.Request(_METADATA + name, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.URLError:  # not on Google Cloud, or no slice
        return None


def _call(hosts: Hosts, end: float) -> str:
    """Process 0: waits for all others, tells them how it went, and returns who is missing."""
    port = int(hosts.address.rpartition(":")[2])
    try:
        server = socket.create_server(("", port))
    except OSError as error:
        raise BoostError(
            f"port {port} of this host cannot be used ({os.strerror(error.errno or 0)}): another "
            "program that joined hosts runs here; end it first (tpu_scripts/stop.sh)"
        ) from None
    came: dict[int, socket.socket] = {}
    with server:
        while len(came) < hosts.count - 1 and (left := end - time.monotonic()) > 0:
            server.settimeout(left)
            try:
                connection, _ = server.accept()
                connection.settimeout(5)
                came[int(connection.makefile().readline())] = connection
            except (OSError, ValueError):  # time is up, or a stranger
                continue
    numbers = [str(i) for i in range(1, hosts.count) if i not in came]
    missing = f"worker {', '.join(numbers)}" if numbers else ""
    for connection in came.values():
        with connection:
            connection.sendall(f"missing: {missing}\n".encode())
    return missing


def _answer(hosts: Hosts, end: float) -> str:
    """Another process: reports to process 0, and returns who is missing by its word."""
    host, _, port = hosts.address.rpartition(":")
    while (left := end - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, int(port)), timeout=min(left, 5)) as connection:
                connection.sendall(f"{hosts.index}\n".encode())
                connection.settimeout(left + 5)
                word = connection.makefile().readline()
            if word.startswith("missing: "):
                return word.removeprefix("missing: ").strip()
        except OSError:
            pass  # not there yet
        time.sleep(0.2)
    return f"worker 0 ({hosts.address})"
