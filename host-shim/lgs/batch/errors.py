"""The one exception of this package."""


class BatchError(Exception):
    """What was expected, what came, and what to do; shown to the user without a traceback."""
