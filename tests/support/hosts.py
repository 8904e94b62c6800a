"""Several processes that join each other as the hosts of one run, with 8 devices in all."""

import socket
import subprocess

from support.runs import environment


def devices(count):
    return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def on_hosts(words, count=2, **options):
    """Processes that join each other; words(i) is the command of host i."""
    port = free_port()
    processes = []
    for index in range(count):
        joined = {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(index),
        }
        processes.append(
            subprocess.Popen(
                words(index),
                env=environment() | devices(8 // count) | joined,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                **options,
            )
        )
    return processes


def ended(processes, timeout=300):
    """(status, stdout, stderr) of each."""
    try:
        told = [p.communicate(timeout=timeout) for p in processes]
        return [(p.returncode, *said) for p, said in zip(processes, told, strict=True)]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
