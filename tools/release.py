"""Releases: the changelog of fragments, the next version, and the tag; ``python -m tools.release --help``.

The policy: every major version has a branch, ``v5`` for 5.x. A merge into it releases the next minor version: 5.0.0
first, then 5.1.0, and so on. It is refused unless version, changelog and tags agree. ``prepare``
makes them agree, on a branch that is then merged; ``check`` and ``tag`` run on the release branch.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION_FILE = Path("itkit/core/version.py")
CHANGELOG = Path("CHANGELOG.md")
FRAGMENTS = Path("changelog.d")
KINDS = {"feature": "New", "change": "Changed", "removal": "Removed", "fix": "Fixed"}
"""The kinds of fragments, and the headings under which they stand, in this order."""
_TITLE = (
    "# Changelog\n\nMade from the fragments in `changelog.d/` by `make changelog`; the newest version comes first.\n"
)
_ASSIGNMENT = re.compile(r'^VERSION = "([^"]*)"$', re.MULTILINE)
_NO_VERSION = f'{VERSION_FILE}: expected a line VERSION = "..."'
_SECTION = re.compile(r"^## (\d+\.\d+\.\d+)(?: — (.*))?$", re.MULTILINE)


class ReleaseError(Exception):
    """A release that is refused; the message says why and what to do."""


@dataclass(frozen=True, order=True)
class Version:
    """A version of three numbers."""

    major: int
    minor: int
    patch: int

    @classmethod
    def read(cls, text: str) -> Version:
        """Return the version that a text is.

        Raises
        ------
        ReleaseError
            When it is none, as with a suffix such as dev0.
        """
        found = re.fullmatch(r"([0-9]+)\.([0-9]+)\.([0-9]+)", text)
        if found is None:
            raise ReleaseError(f"version {text!r}: expected three numbers, such as 5.1.0")
        return cls(*(int(part) for part in found.groups()))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


@dataclass(frozen=True)
class Fragment:
    """A sentence for the changelog, and its kind."""

    kind: str
    text: str


def major_of(branch: str) -> int:
    """Return the major version of a release branch.

    Raises
    ------
    ReleaseError
        When it is no release branch.
    """
    found = re.fullmatch(r"v([1-9][0-9]*)", branch)
    if found is None:
        raise ReleaseError(f"branch {branch!r}: releases come from branches v1, v2, ...")
    return int(found[1])


def next_version(branch: str, tags: Iterable[str]) -> Version:
    """Return the version that the next merge into a release branch makes: the next minor one, or N.0.0.

    Parameters
    ----------
    branch
        The release branch, ``vN``.
    tags
        All tags of the repository; those that are no versions are left out.
    """
    major = major_of(branch)
    released = [Version.read(tag[1:]) for tag in tags if re.fullmatch(rf"v{major}\.[0-9]+\.[0-9]+", tag)]
    return Version(major, max(released).minor + 1, 0) if released else Version(major, 0, 0)


def version_in(text: str) -> Version:
    """Return the version that the source of the version states."""
    found = _ASSIGNMENT.search(text)
    if found is None:
        raise ReleaseError(_NO_VERSION)
    return Version.read(found[1])


def with_version(text: str, version: Version) -> str:
    """Return the source of the version with another version; what it states now may be any, such as 5.1.0.dev0."""
    if _ASSIGNMENT.search(text) is None:
        raise ReleaseError(_NO_VERSION)
    return _ASSIGNMENT.sub(f'VERSION = "{version}"', text)


def read_fragments(files: Mapping[str, str]) -> list[Fragment]:
    """Return the fragments of a folder, given its files by name; its README is none.

    Raises
    ------
    ReleaseError
        For a name that is not ``WORD.KIND.md``, an unknown kind, and an empty fragment; all of them are named.
    """
    fragments, wrong = [], []
    for name, text in sorted(files.items()):
        if name == "README.md":
            continue
        kind = name.split(".")[-2] if name.count(".") >= 2 and name.endswith(".md") else ""
        if kind not in KINDS:
            wrong.append(f"{name}: expected WORD.KIND.md with a kind of {', '.join(KINDS)}")
        elif not text.strip():
            wrong.append(f"{name}: is empty")
        else:
            fragments.append(Fragment(kind, " ".join(text.split())))
    if wrong:
        raise ReleaseError("\n".join(f"{FRAGMENTS}/{line}" for line in wrong))
    return fragments


def sections(changelog: str) -> dict[str, str]:
    """Return the texts of a changelog's versions, newest first.

    Raises
    ------
    ReleaseError
        For a heading that names no version, and for a version that has two: what stands there would be lost.
    """
    heads = [*_SECTION.finditer(changelog)]
    names = [head[1] for head in heads]
    for line in re.findall(r"^## .*$", changelog, re.MULTILINE):
        found = _SECTION.fullmatch(line)
        if found is None or names.count(found[1]) > 1:
            reason = "expected such as '## 5.1.0 — 2026-12-31'" if found is None else f"{found[1]} stands there twice"
            raise ReleaseError(f"{CHANGELOG}: heading {line!r}: {reason}")
    ends = [*(head.start() for head in heads[1:]), len(changelog)]
    return {head[1]: changelog[head.end() : end].strip("\n") for head, end in zip(heads, ends, strict=False)}


def date_of(changelog: str, version: Version) -> str:
    """Return the date that a changelog states for a version; empty if there is none."""
    return next((head[2] or "" for head in _SECTION.finditer(changelog) if head[1] == str(version)), "")


def assembled(changelog: str, version: Version, fragments: Sequence[Fragment], date: str) -> str:
    """Return a changelog with fragments in the section of a version, which is added on top if it is not there yet.

    Raises
    ------
    ReleaseError
        When a newer version stands in the changelog already.
    """
    parts = sections(changelog)
    newer = [name for name in parts if Version.read(name) > version]
    if newer:
        raise ReleaseError(f"{CHANGELOG}: {newer[0]} stands there already, and is newer than {version}")
    older = {name: text for name, text in parts.items() if name != str(version)}
    lines = _lines_by_kind(parts.get(str(version), ""))
    for fragment in fragments:
        line = f"- {fragment.text}"
        if line not in lines[fragment.kind]:  # it is there when preparing broke off before fragments were removed
            lines[fragment.kind].append(line)
    blocks = ["\n".join([f"### {KINDS[kind]}", "", *lines[kind]]) for kind in KINDS if lines[kind]]
    dates = {name: date_of(changelog, Version.read(name)) for name in older}
    written = [_head(str(version), date) + "\n\n" + "\n\n".join(blocks)]
    written += [f"{_head(name, dates[name])}\n\n{text.strip()}" for name, text in older.items()]
    return _TITLE + "\n" + "\n\n".join(written) + "\n"


def _head(version: str, date: str) -> str:
    return f"## {version} — {date}" if date else f"## {version}"


def _lines_by_kind(section: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    before, *blocks = re.split(r"^### ", section, flags=re.MULTILINE)
    if before.strip():
        raise ReleaseError(f"{CHANGELOG}: {before.strip().splitlines()[0]!r} stands under no heading of a kind")
    for block in blocks:
        title, _, body = block.partition("\n")
        kind = next((kind for kind, heading in KINDS.items() if heading == title.strip()), None)
        if kind is None:
            raise ReleaseError(f"{CHANGELOG}: heading {title.strip()!r}: expected one of {', '.join(KINDS.values())}")
        found[kind] += [line for line in body.splitlines() if line.strip()]
    return found


def disagreements(branch: str, tags: Iterable[str], version: Version, changelog: str, fragments: int) -> list[str]:
    """Return why a merge into a release branch can't be released; empty if everything agrees.

    Parameters
    ----------
    branch, tags
        The release branch, and all tags.
    version
        The version of the code.
    changelog
        The text of the changelog.
    fragments
        How many fragments wait in the folder.
    """
    expected = next_version(branch, tags)
    newest = next(iter(sections(changelog)), "")
    wrong = []
    if version != expected:
        wrong.append(f"{VERSION_FILE} says {version}; the next version of branch {branch} is {expected}")
    if newest != str(expected):
        wrong.append(f"{CHANGELOG} begins with {newest or 'no version'}; expected {expected}")
    elif not sections(changelog)[newest].strip():
        wrong.append(f"{CHANGELOG} says nothing about {expected}")
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", date_of(changelog, expected)):
        wrong.append(f"{CHANGELOG} has no date for {expected}")
    if fragments:
        wrong.append(f"{FRAGMENTS} holds fragments that are not in {CHANGELOG}: {fragments}")
    return wrong


class Repository:
    """A checkout: its files, and what git says of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *arguments: str) -> str:
        """Run git and return what it prints.

        Raises
        ------
        ReleaseError
            When git fails, with the last line that it says.
        """
        call = ["git", "-C", str(self.root), *arguments]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise ReleaseError(f"git {' '.join(arguments)}: {said[-1] if said else 'fails'}")
        return done.stdout.strip()

    @property
    def tags(self) -> list[str]:
        """Return all tags."""
        return self.git("tag", "--list").splitlines()

    @property
    def branch(self) -> str:
        """Return the name of the branch that is checked out."""
        return self.git("rev-parse", "--abbrev-ref", "HEAD")

    def text(self, path: Path) -> str:
        """Return the text of a file, empty if there is none."""
        file = self.root / path
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def write(self, path: Path, text: str) -> None:
        """Write a file."""
        (self.root / path).write_text(text, encoding="utf-8")

    @property
    def fragment_files(self) -> dict[str, str]:
        """Return the files of the folder of fragments, without its README."""
        found = sorted((self.root / FRAGMENTS).glob("*"))
        return {path.name: path.read_text(encoding="utf-8") for path in found if path.name != "README.md"}

    def check(self, branch: str) -> Version:
        """Return the version that is released from a branch.

        A commit that has its tag already is that release, so that one that broke off can be repeated.

        Raises
        ------
        ReleaseError
            When version, changelog and tags don't agree.
        """
        version = version_in(self.text(VERSION_FILE))
        if version.major == major_of(branch) and self._is_tagged(version):
            return version
        changelog = self.text(CHANGELOG)
        wrong = disagreements(branch, self.tags, version, changelog, len(self.fragment_files))
        if wrong:
            expected = next_version(branch, self.tags)
            is_ahead = version.major == expected.major and version > expected and str(expected) in sections(changelog)
            advice = (
                f"the merge of {expected} is not released yet: run its workflow again, and then this one"
                if is_ahead
                else f"run: python -m tools.release prepare --branch {branch}"
            )
            raise ReleaseError("\n".join([*wrong, advice]))
        return version

    def _is_tagged(self, version: Version) -> bool:
        return f"v{version}" in self.git("tag", "--points-at", "HEAD").splitlines()

    def prepare(self, branch: str, date: str) -> Version:
        """Set the next version of a branch, move the fragments into the changelog, and return the version."""
        version = next_version(branch, self.tags)
        files = self.fragment_files
        changelog = assembled(self.text(CHANGELOG), version, read_fragments(files), date)
        source = with_version(self.text(VERSION_FILE), version)
        self.write(CHANGELOG, changelog)
        self.write(VERSION_FILE, source)
        for name in files:
            (self.root / FRAGMENTS / name).unlink()
        return version

    def tag(self, branch: str) -> Version:
        """Check, and put an annotated tag with the changelog's section on the commit that is checked out.

        A commit that has its tag already keeps it.

        Raises
        ------
        ReleaseError
            When the check fails, or files are changed that no commit holds.
        """
        version = self.check(branch)
        if self._is_tagged(version):
            return version
        if self.git("status", "--porcelain", "--untracked-files=no"):
            raise ReleaseError("there are changes that no commit holds; commit them first")
        notes = sections(self.text(CHANGELOG))[str(version)]
        self.git("tag", "--annotate", f"v{version}", "--cleanup=verbatim", "--message", f"ITKIT {version}\n\n{notes}\n")
        return version


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run a step, and return the exit code: 1 if the release is refused."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("step", choices=("fragments", "prepare", "check", "tag", "notes"))
    parser.add_argument("--branch", default="", help="release branch (default: the one that is checked out)")
    parser.add_argument("--date", default=None, type=_date, help="date of the release (default: today)")
    options = parser.parse_args(argv)
    repository = Repository(root)
    try:
        print(_done(repository, options.step, options.branch, options.date))
    except (ReleaseError, OSError, UnicodeError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    return 0


def _date(text: str) -> str:  # argparse says what is wrong
    return datetime.date.fromisoformat(text).isoformat()


def _done(repository: Repository, step: str, branch: str, date: str | None) -> str:
    if step == "fragments":
        return f"{len(read_fragments(repository.fragment_files))} fragments"
    if step == "notes":
        version = version_in(repository.text(VERSION_FILE))
        return sections(repository.text(CHANGELOG)).get(str(version), "")
    branch = branch or repository.branch
    if step == "prepare":
        today = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
        return str(repository.prepare(branch, date or today))
    return str(repository.check(branch) if step == "check" else repository.tag(branch))


if __name__ == "__main__":
    raise SystemExit(main())
