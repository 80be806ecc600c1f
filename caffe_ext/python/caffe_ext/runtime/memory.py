"""How much memory this process has used, and how it returns what it no longer uses."""

import ctypes
import re
import resource
from pathlib import Path

_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 20


def map_large_blocks() -> None:
    """Let malloc return blocks of 1 MiB and more to the system as soon as they are freed.

    glibc raises that limit to the largest block freed so far, up to 32 MiB; a network of real size
    and the arrays of its images then leave gaps between each other. Other C libraries do without.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
    except (AttributeError, OSError):
        return


def measure_peak_memory_mib() -> int:
    """Return the peak memory of this process, in MiB.

    Linux passes ru_maxrss on through fork and exec, so it may be the parent's; VmHWM is the
    process's own.
    """
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    except OSError:
        found = None
    kib = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib // 1024
