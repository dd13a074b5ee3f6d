"""Run report: the page that every run writes: one self-contained HTML file."""

from __future__ import annotations

import logging
from pathlib import Path

from rowmill.schemas.errors import RowmillError
from rowmill.tasks.output.manifest_file import manifest_of
from rowmill.tasks.report.run_history import nights_of, records_of
from rowmill.tasks.system.durable import write_file

REPORT = "report.html"
log = logging.getLogger("rowmill")


def leave_report(root: Path) -> None:
    """Write the page at a run's end. A page that cannot be written is a warning, never a failed run."""
    try:
        write_report(root)
    except (RowmillError, OSError) as error:
        log.warning("report.html could not be written: %s", error)


def write_report(root: Path) -> Path:
    """Make the page from the output's files alone. Raises OutputError, DamageError, StorageError."""
    from rowmill.flows.text.page_facts import page_facts
    from rowmill.tasks.output.prompts import Prompts
    from rowmill.tasks.report.figures import figures
    from rowmill.tasks.report.page import page

    manifest = manifest_of(root)
    path = root / REPORT
    facts = page_facts(manifest, nights_of({str(root): records_of(root, manifest)}))
    write_file(path, page(facts, figures(root / "results", Prompts(manifest, root))).encode())
    return path
