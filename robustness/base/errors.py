"""The one family of errors meant for a person.

Each message is a single sentence or two: what was expected, what came, and what to do about it.
A page shows it as it is, so it names no path of the server and no option of a command; the command
line prints it, with its hint if it has one, and exits with status 2.
"""


class RobustnessError(Exception):
    """Base of every error whose message is written for the user.

    ``hint`` is what helps on the command line alone, as whole sentences: a note of the error.
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
    """The bytes or the file given as a picture cannot be used."""


class UnknownNameError(RobustnessError):
    """A name is not in a registry; the message lists the known ones."""


class ParameterError(RobustnessError):
    """A value lies outside the range in which it means something."""


class LabelError(ParameterError):
    """What is written beside a picture is no class of any model that is asked."""


class RunError(RobustnessError):
    """A saved run is missing, unfinished, damaged, or not a run at all."""


class WeightsError(RobustnessError):
    """A model's weight file is missing, damaged or not the published one."""


class GradientError(RobustnessError):
    """A model cannot be differentiated, and an attack needs its gradient."""


class DownloadError(WeightsError):
    """A weight file could not be fetched; nothing was left under its final name."""


class AccessError(RobustnessError):
    """Something is asked for by somebody who may not have it done."""


class ExplanationError(RobustnessError):
    """A model gives no access to what an explanation of its answer needs."""
