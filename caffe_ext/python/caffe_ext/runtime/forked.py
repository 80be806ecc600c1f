"""Try something in a forked process first: a crash there would have been a crash here."""

import faulthandler
import os
import resource
import signal
import warnings
from collections.abc import Callable


def fork_child(work: Callable[[], object]) -> int:
    """Do something in a forked process, which then exits without clean-up; return its PID.

    Its exceptions are lost, and it leaves no core dump; it must not take locks of other threads.
    Raises OSError if no further process can be created.
    """
    with warnings.catch_warnings():
        # Other threads do no harm: the child takes none of their locks, and soon ends.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        try:
            faulthandler.disable()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            work()
        finally:
            os._exit(0)
    return child


def find_fatal_signal(action: Callable[[], object]) -> signal.Signals | None:
    """Return the signal that kills a process that does this, None if it ends in another way.

    The action's result and its exceptions are lost; it must not take locks of other threads.
    Also None if no further process can be created.
    """

    def work() -> None:
        for number in (signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE):
            signal.signal(number, signal.SIG_DFL)
        action()  # an exception comes out again where it can be told

    try:
        child = fork_child(work)
    except OSError:
        return None
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:  # where SIGCHLD is ignored, nobody is told
        return None
    return signal.Signals(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else None
