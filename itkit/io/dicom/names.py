"""Case names made from DICOM series that do not reveal the patient."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Iterable
from typing import TYPE_CHECKING

from itkit.core.errors import ParamsError

if TYPE_CHECKING:
    from itkit.io.dicom.find import Series

_HASHED = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_WORDS = re.compile(r"[^\W_]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_DEFAULT_KEY = "itkit"


def case_name(
    series: Series, template: str = "{PatientID}_{SeriesNumber}", *, keep_ids: bool = False, key: str = _DEFAULT_KEY
) -> str:
    """Return a name for the case that a series becomes.

    Parameters
    ----------
    series
        The series.
    template
        Fields: PatientID, StudyInstanceUID, SeriesInstanceUID, FrameOfReferenceUID, SeriesNumber, Modality,
        SeriesDescription. A missing PatientID is replaced by the study, a missing SeriesNumber by the series.
    keep_ids
        Keep identifiers unchanged. By default, each is replaced by a short keyed hash, so that a patient gets the same
        name in every run with the same key.
    key
        Key of the hash. With the default key, somebody who guesses an identifier can confirm the guess; if that
        matters, use your own secret key.

    Returns
    -------
    str
        A file name of letters, digits, ``.``, ``_`` and ``-``.

    Raises
    ------
    ParamsError
        When the template is malformed, contains an unknown field, or results in an empty name.
    """
    fields = {
        "PatientID": series.patient_id or series.study_uid,
        "StudyInstanceUID": series.study_uid,
        "SeriesInstanceUID": series.uid,
        "FrameOfReferenceUID": series.frame_of_reference_uid,
    }
    if not keep_ids:
        fields = {name: pseudonym(value, key=key) for name, value in fields.items()}
    fields["SeriesNumber"] = fields["SeriesInstanceUID"] if series.number is None else str(series.number)
    fields |= {"Modality": series.modality, "SeriesDescription": series.description}
    try:
        unknown = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None} - fields.keys()
        name = "" if unknown else template.format(**fields)
    except (ValueError, LookupError) as error:
        raise ParamsError(f"case name template {template!r}: {error}") from error
    if unknown:
        raise ParamsError(f"case name template {template!r}: unknown {sorted(unknown)}; known are {', '.join(fields)}")
    safe = _UNSAFE.sub("-", name).strip(".-_")
    if not safe:
        raise ParamsError(f"case name template {template!r} results in an empty name")
    return safe


def pseudonym(identifier: str, *, key: str = _DEFAULT_KEY) -> str:
    """Replace an identifier by ten hexadecimal digits of its keyed BLAKE2 hash (RFC 7693); empty stays empty.

    Examples
    --------
    >>> pseudonym("4MR1") == pseudonym("4MR1"), pseudonym("4MR1") == pseudonym("4MR1", key="another")
    (True, False)
    """
    if not identifier:
        return ""
    secret = hashlib.blake2b(key.encode()).digest()
    return hashlib.blake2b(identifier.encode(), key=secret, digest_size=5).hexdigest()


def without(private: Iterable[str], text: str) -> str:
    """Return a text, such as a path, with everything that identifies a patient replaced by ``***``.

    Parameters
    ----------
    private
        Values of identifying elements, as in `Series.private`. Each word of them is searched in any letter case; words
        of one or two characters must match whole words.

    Examples
    --------
    >>> without(["Doe^Jane", "4711"], "ward 3/doe_jane/4711-CT/IM1.dcm")
    'ward 3/***_***/***-CT/IM1.dcm'
    """
    words = {word for value in private for word in _WORDS.findall(value)}
    patterns = [
        re.escape(word) if len(word) > 2 else rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"
        for word in sorted(words, key=len, reverse=True)
    ]
    return re.sub("|".join(patterns), "***", text, flags=re.IGNORECASE) if patterns else text
