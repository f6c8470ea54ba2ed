"""The errors that users see, each written as: what happened, the figures, what to do.

Every error of the package derives from `PPN2VError`, so the command line and the
viewer can show its message as it is and treat anything else as a fault of ours.
"""

from __future__ import annotations


class PPN2VError(Exception):
    """Base of all errors that are meant to be read by the user.

    Attributes
    ----------
    is_resumable : whether the run that failed goes on where it was, with its settings,
        once the cause is mended
    """

    is_resumable = False


class BadData(PPN2VError):
    """The pixels themselves cannot be used (NaN, constant, complex, too small...)."""


class BadAxes(PPN2VError):
    """The axes given or found do not fit the array."""


class BadFile(PPN2VError):
    """A file is missing, empty, truncated, foreign or of an unknown version."""


class CannotWrite(PPN2VError):
    """A result could not be written; nothing is left under the final name."""


class CannotDownload(PPN2VError):
    """A file of the internet could not be had; nothing half-loaded is left."""


class BadSetting(PPN2VError):
    """A setting is outside its allowed range, or two settings contradict."""


class FitFailed(PPN2VError):
    """A noise model could not be fitted to the given pairs."""


class OutOfMemory(PPN2VError):
    """Memory ran out even after retrying with smaller pieces."""


class RunFailed(PPN2VError):
    """Something went wrong that no check foresaw; the message names it."""


class Busy(PPN2VError):
    """Another run is going on and must end first."""
