"""Runs generated, possibly hostile Python code and returns the values of its calls.

`Sandbox.check_many` runs jobs. `tasks.mbpp.check.check_responses` grades MBPP responses with it.
"""

from boostlm.sandbox.jobs import Job, Limits, Outcome, SandboxError
from boostlm.sandbox.probe import require_sandbox
from boostlm.sandbox.runner import Sandbox

__all__ = ["Job", "Limits", "Outcome", "Sandbox", "SandboxError", "require_sandbox"]
