"""Log lines for the relay: JSON on standard error, as hclog writes it.

The relay takes "@level", "@message" and up to 32 members more, cuts what is long
and leaves out what is too much. It passes lines on as they are, so no envelope,
signature or token belongs in one.
"""

import json
import sys
import traceback

LEVELS = ("debug", "info", "warn", "error")


class Log:
    """Writes lines of a level and above. It may be used by several threads."""

    def __init__(self, level: str) -> None:
        level = level.lower()
        self._lowest = LEVELS.index(level) if level in LEVELS else 1

    def debug(self, message: str, **fields: object) -> None:
        self._write("debug", message, fields)

    def info(self, message: str, **fields: object) -> None:
        self._write("info", message, fields)

    def warn(self, message: str, **fields: object) -> None:
        self._write("warn", message, fields)

    def error(self, message: str, **fields: object) -> None:
        self._write("error", message, fields)

    def exception(self, message: str) -> None:
        """Tells of the exception that is being handled, and where it arose."""
        error = sys.exception()
        self.error(message, error=f"{type(error).__name__}: {error}", stack=traceback.format_exc(limit=-5))

    def _write(self, level: str, message: str, fields: dict[str, object]) -> None:
        if LEVELS.index(level) < self._lowest:
            return
        line = json.dumps({"@level": level, "@message": message, **fields}, default=str)
        # One write, so that lines of several threads do not mix.
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
