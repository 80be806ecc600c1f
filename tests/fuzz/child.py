"""Reads damaged files for test_fuzz.py, one after the other: a signal ends this process only.

Takes lines "FORMAT FOLDER" from its input; answers with a line of JSON each, what was wrong or "".
"""

import json
import os
import resource
import sys
import traceback
from pathlib import Path

ANSWERS = os.fdopen(os.dup(1), "w")
# What Caffe and OpenCV print goes to stderr, which the test shows if this process dies.
os.dup2(2, 1)
os.environ["GLOG_minloglevel"] = "2"  # noqa: SIM112  glog reads it
# A file that makes a reader ask for more is refused, and does not swap the machine to death.
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

from formats import FORMATS, outcome  # noqa: E402

for line in sys.stdin:
    name, _, folder = line.rstrip("\n").partition(" ")
    try:
        wrong = outcome(FORMATS[name].read, Path(folder))
    except BaseException:
        wrong = traceback.format_exc()
    print(json.dumps(wrong), file=ANSWERS, flush=True)
