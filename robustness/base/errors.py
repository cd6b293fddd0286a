"""The family of errors with a message for the user.

A message is one or two sentences: what was expected, what came, what to do. Pages show it verbatim,
so it names no server path and no command-line option; the command line prints it with its hint and
exits with status 2.
"""

from __future__ import annotations


class RobustnessError(Exception):
    """Base of all errors whose message is written for the user.

    ``hint`` is help for the command line only, in full sentences; it becomes a note of the error.
    """

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message)
        if hint:
            self.add_note(hint)

    @property
    def with_hint(self) -> str:
        """The message and the hints."""
        return " ".join([str(self), *getattr(self, "__notes__", ())])


class ImageError(RobustnessError):
    """The given bytes or file cannot be used as an image."""


class UnknownNameError(RobustnessError):
    """A name is not in a registry; the message lists the known ones."""


class ParameterError(RobustnessError):
    """A value is outside its valid range."""


class LabelError(ParameterError):
    """An image's label is not a class of any chosen model."""


class RunError(RobustnessError):
    """A saved run is missing, unfinished, damaged, or not a run at all."""


class RunLockedError(RunError):
    """Another process is writing the run."""


class WeightsError(RobustnessError):
    """A model's weight file is missing, damaged or not the published one."""


class NotInspectedError(WeightsError):
    """The machine was too busy to inspect a model file, which may be sound."""


class AnswerError(RobustnessError):
    """A model in Python gave no usable answer for an image."""


class PluginError(RobustnessError):
    """A plugin is missing, cannot be loaded, or returned something unusable."""


class GradientError(RobustnessError):
    """A model cannot be differentiated, and an attack needs its gradient."""


class DownloadError(WeightsError):
    """A weight file could not be fetched; its final name was not created."""


class AccessError(RobustnessError):
    """The user's role does not permit the action."""


class ExplanationError(RobustnessError):
    """A model does not expose what an explanation needs."""


class ModelWarning(UserWarning):
    """A model can be measured, but its figures mean less; the message is a sentence."""
