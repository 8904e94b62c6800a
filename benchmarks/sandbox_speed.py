"""Measures the sandbox: checks of small programs per second, and the time to start it.

    python benchmarks/sandbox_speed.py [--workers N] [--checks 300] [--repeats 5]

Every check is a new process with three calls. Prints medians with the slowest and fastest repeat.
Run it on an idle machine.
"""

import argparse
import os
import statistics
import time

from boostlm.sandbox import Job, Sandbox, require_sandbox

PROGRAM = """
import re

def words(text):
    # number {number}
    found = {{}}
    for word in re.findall(r"[a-z]+", text.lower()):
        found[word] = found.get(word, 0) + 1
    return sorted(found.items())
"""
CALLS = ("words('a b a')", "words('The cat saw the other cat')", "words('')")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--checks", type=int, default=300, help="checks per repeat")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    start = time.perf_counter()
    require_sandbox()
    print(f"test that the sandbox works: {1000 * (time.perf_counter() - start):.0f} ms, once")

    starts = []
    for _ in range(options.repeats):
        start = time.perf_counter()
        with Sandbox(workers=options.workers) as sandbox:
            sandbox.check_many([Job("", "", ("1",))] * options.workers)
            starts.append(1000 * (time.perf_counter() - start))
    report(f"from start of {options.workers} workers to their first outcomes", starts, "ms")

    jobs = [Job(PROGRAM.format(number=n), "", CALLS) for n in range(options.checks)]
    rates = []
    with Sandbox(workers=options.workers) as sandbox:
        sandbox.check_many(jobs[: 2 * options.workers])
        for _ in range(options.repeats):
            start = time.perf_counter()
            outcomes = sandbox.check_many(jobs)
            rates.append(len(jobs) / (time.perf_counter() - start))
            assert all(outcome.status == "ok" for outcome in outcomes)
    report(f"checks per second with {options.workers} workers", rates, "/s")


def report(name: str, values: list[float], unit: str) -> None:
    print(
        f"{name}: median {statistics.median(values):.0f} {unit} of {len(values)} repeats "
        f"(min {min(values):.0f}, max {max(values):.0f})"
    )


if __name__ == "__main__":
    main()
