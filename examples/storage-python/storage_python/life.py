"""The life of a plugin: configured, perhaps again, drained and closed.

Calls of the relay come at the same time on several threads, those that change
the state among them. A store is never closed while a call uses it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .store import Store, Unavailable


class Life:
    """Holds the store, when there is one, and counts the calls that use it.

    Times are in seconds; None is as long as it takes. What takes longer raises
    TimeoutError. A life is over after shutdown, unless it is lasting, as for a
    debugger: then it begins anew."""

    def __init__(self, lasting: bool = False) -> None:
        self._lasting = lasting
        self._turn = threading.Lock()  # held by what opens or closes the store
        self._changed = threading.Condition()  # guards all that follows
        self._store: Store | None = None
        self._configuration: object = None  # that the store was opened with
        self._obstacle = "not configured"  # why no call may begin; empty: it may
        self._failed = False
        self._draining = False
        self._calls = 0

    @contextmanager
    def store(self) -> Iterator[Store]:
        """Gives the store to one call."""
        with self._changed:
            if self._obstacle or self._store is None:
                raise Unavailable(self._obstacle)
            store = self._store
            self._calls += 1
        try:
            yield store
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def configure(self, configuration: object, open_store: Callable[[], Store], time: float | None) -> None:
        """Opens the store, in place of the one that is open. With the
        configuration that it is open with already, nothing happens."""
        with self._turn:
            with self._changed:
                if self._draining:
                    raise Unavailable("draining")
                if self._store is not None and self._configuration == configuration:
                    return
            self._retire("being configured", time)
            try:
                store = open_store()
            except BaseException:
                with self._changed:
                    self._obstacle, self._failed = "the last configuration could not be used", True
                raise
            with self._changed:
                self._store, self._configuration, self._failed = store, configuration, False
                self._obstacle = "draining" if self._draining else ""

    def drain(self, time: float | None) -> None:
        """Lets no call begin any more and waits for those under way."""
        with self._changed:
            self._draining = True
            self._obstacle = "draining"
            self._idle(time)

    def shutdown(self, time: float | None) -> None:
        """Drains, and closes the store."""
        self.drain(time)
        with self._turn:
            self._retire("closed", time)
            if self._lasting:
                with self._changed:
                    self._obstacle, self._draining = "not configured", False

    def health(self) -> tuple[bool, str]:
        """Whether the plugin has to be started anew, and what the operator
        should know; nothing when all is well."""
        with self._changed:
            if self._store is None:
                return self._failed, self._obstacle
            return False, self._store.trouble

    def _retire(self, obstacle: str, time: float | None) -> None:
        """Closes the store when the calls under way are over."""
        with self._changed:
            before, self._obstacle = self._obstacle, obstacle
            try:
                self._idle(time)
            except TimeoutError:
                self._obstacle = before
                raise
            store, self._store = self._store, None
        if store is not None:
            store.close()

    def _idle(self, time: float | None) -> None:
        """Waits, with self._changed held, until no call is under way."""
        if not self._changed.wait_for(lambda: self._calls == 0, time):
            raise TimeoutError(f"{self._calls} calls are under way")
