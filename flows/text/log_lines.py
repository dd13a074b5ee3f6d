"""Log lines: records as a terminal and Prefect may show them, whatever words they were given."""

from __future__ import annotations

import logging

from rowmill.schemas.display_text import one_line, several_lines


class LogFormatter(logging.Formatter):
    """Shows control characters instead of sending them; a traceback keeps its lines."""

    def __init__(self, form: str, *, keeps_lines: bool = False) -> None:
        """`keeps_lines` where messages have line breaks of our own, such as a summary's."""
        super().__init__(form)
        self._shown = several_lines if keeps_lines else one_line

    def formatMessage(self, record: logging.LogRecord) -> str:
        return self._shown(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return several_lines(super().format(record))
