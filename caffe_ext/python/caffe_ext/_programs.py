"""Caffe's programs, as the wheel installs them: run by the Python that they are installed for.

libcaffe runs layers written in Python, so it needs an interpreter. A build links that of the system
into each program. A wheel cannot know whether a machine has it as a library, so there the programs
are libraries, in caffe_ext/lib/programs, and the console commands (`caffe`, `convert_imageset` ...)
load them into Python and call their main().
"""

import ctypes
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    """Run the program named like this command; does not return."""
    command, *arguments = map(os.fsencode, sys.argv)
    name = Path(sys.argv[0]).name
    # As in a program that Python did not start: Control-C ends it, and so does a closed pipe.
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    # PyDLL: as in the program itself, the thread of main() holds Python's lock.
    program = ctypes.PyDLL(str(Path(__file__).parent / "lib" / "programs" / f"{name}.so"))
    argv = (ctypes.c_char_p * (len(arguments) + 2))(command, *arguments, None)
    status = program.main(len(arguments) + 1, argv)
    ctypes.PyDLL(None).exit(status)  # as C does after main(); Python has nothing to clean up
