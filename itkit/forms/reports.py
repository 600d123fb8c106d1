"""The pages that a job has written."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from itkit.forms.queue import Job

_MOST_FILES = 5000
_PAGE = ".html"


def reports_of(job: Job) -> list[Path]:
    """Return the pages in the destination of a job, and those that its command line names, as far as they are there."""
    base = job.folder or Path.cwd()
    named = [base / word for word in job.command.argv if word.lower().endswith(_PAGE)]
    try:
        inside = list(islice((base / job.view.dest).iterdir(), _MOST_FILES)) if job.view.dest else []
    except OSError:
        inside = []
    found = [path for path in (*named, *sorted(inside)) if path.suffix.lower() == _PAGE and path.is_file()]
    return list(dict.fromkeys(found))
