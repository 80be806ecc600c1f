"""What goes wrong with data, each as one sentence that names the file and what to do."""


class DataError(Exception):
    """Data that is missing, damaged or cannot be written; the text is meant for the user."""


class UnreachableError(DataError):
    """No mirror answered, so it is the network and not the data that is missing."""
