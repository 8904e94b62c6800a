"""Runs generated, possibly hostile Python and returns the values of its calls.

`Sandbox.check_many` runs jobs; `mbpp_check.check_responses` judges answers to MBPP problems.
"""

from boostlm.sandbox.jobs import Job, Limits, Outcome, SandboxError
from boostlm.sandbox.probe import require_sandbox
from boostlm.sandbox.runner import Sandbox

__all__ = ["Job", "Limits", "Outcome", "Sandbox", "SandboxError", "require_sandbox"]
