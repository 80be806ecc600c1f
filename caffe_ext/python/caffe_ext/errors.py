"""The errors of the package; the text of each is one sentence that is meant for the user."""


class DataError(Exception):
    """Data that is missing, damaged or cannot be written."""


class UnreachableError(DataError):
    """No mirror answered: the network is missing, and not the data."""


class RecordError(Exception):
    """Results that are damaged, or are those of something else."""


class DeviceError(OSError):
    """A GPU that cannot be used."""


class WorkerError(Exception):
    """A worker process that died unexpectedly."""
