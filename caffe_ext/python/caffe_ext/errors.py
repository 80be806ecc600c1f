"""The errors of the package; the text of each is one sentence that is meant for the user."""


class DataError(Exception):
    """Data that is missing or damaged, or cannot be written."""


class UnreachableError(DataError):
    """No mirror answered: the network is down, rather than the data missing."""


class RecordError(Exception):
    """Results that are damaged, or belong to something else."""


class DeviceError(OSError):
    """A GPU that cannot be used."""


class WorkerError(Exception):
    """A worker process that died unexpectedly."""
