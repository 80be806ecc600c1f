"""How much memory this process has used."""

import re
import resource
from pathlib import Path


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
