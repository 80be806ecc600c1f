"""runtime/memory.py: the peak memory is that of the process itself."""

import subprocess
import sys

from caffe_ext.runtime import memory

PARENT = """
import subprocess, sys
held = bytearray(b"x") * (400 << 20)
subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""
CHILD = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("memory", {memory.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
held = bytearray(b"x") * (100 << 20)
print(module.measure_peak_memory_mib())
"""


def test_a_large_parent_process_does_not_count() -> None:
    command = [sys.executable, "-c", PARENT, CHILD]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 100 <= int(done.stdout) < 250
