"""The frames between the host and the forking process inside the sandbox.

Host to sandbox: LENGTH, then that many bytes of JSON: first the limits, later [code, setup, calls].
Sandbox to host: READY once, then for each job REPLY followed by the candidate's bytes. They are
untrusted, and only the host parses them.
"""

import struct

READY = b"R"
LENGTH = struct.Struct(">I")
REPLY = struct.Struct(">BidI")  # how the check ended, wait status, CPU seconds, number of bytes
ENDED, OVER_CPU, OVER_WALL, OVER_WAIT, OVER_OUTPUT = range(5)
