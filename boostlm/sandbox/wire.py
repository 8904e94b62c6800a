"""The frames between the host and the process inside that forks the checks.

Host to inside: LENGTH, then that many bytes of JSON: first the limits, later [code, setup, calls].
Inside to host: READY once, then for each job REPLY followed by the candidate's own bytes, which
only the host reads, and which may be anything.
"""

import struct

READY = b"R"
LENGTH = struct.Struct(">I")
REPLY = struct.Struct(">BidI")  # how it ended, wait status, CPU seconds, number of bytes
ENDED, OVER_CPU, OVER_WALL, OVER_OUTPUT = range(4)
