"""The one exception that is meant for people."""


class UserError(ValueError):
    """A mistake a person can mend: the message says what, got, allowed, next step.

    A script prints it as a single `error:` line and exits with status 2; every other exception is a bug and keeps its
    traceback.
    """


def unknown_name(what: str, got: object, allowed: object) -> UserError:
    """The error for a name that is not in a list: it shows the list."""
    return UserError(f"unknown {what} {str(got)!r}; choose one of: {', '.join(map(str, allowed))}")  # type: ignore[call-overload]


def first_line(error: Exception) -> str:
    """An exception's text, short enough for one line."""
    return " ".join(str(error).split())[:200]
