"""A merge into a release branch is tagged with the next minor version, or refused with a reason."""

import subprocess

import pytest

from tools import release
from tools.release import Fragment, ReleaseError, Version

ONE = "# Changelog\n\n## 5.0.0 — 2026-12-01\n\n### New\n\n- First.\n"


def git(folder, *arguments):
    done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with a version, two fragments and a release branch, and a remote to push to."""
    work, remote = tmp_path / "work", tmp_path / "remote.git"
    work.mkdir()
    git(tmp_path, "init", "-q", "--bare", str(remote))
    git(work, "init", "-q", "-b", "main")
    for name, value in (("user.name", "Test"), ("user.email", "test@example.org"), ("commit.gpgsign", "false")):
        git(work, "config", name, value)
    git(work, "remote", "add", "origin", str(remote))
    (work / release.VERSION_FILE).parent.mkdir(parents=True)
    (work / release.VERSION_FILE).write_text('"""The version."""\n\nVERSION = "4.9.0"\n')
    (work / release.FRAGMENTS).mkdir()
    (work / release.FRAGMENTS / "README.md").write_text("# Fragments\n")
    (work / release.FRAGMENTS / "12.feature.md").write_text("`itk_check` finds\nmore.\n")
    (work / release.FRAGMENTS / "12.fix.md").write_text("Nothing is lost.\n")
    commit(work, "first")
    git(work, "branch", "v5")
    return work


def commit(work, message):
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", message)


def merge(work, branch):
    git(work, "checkout", "-q", branch)
    git(work, "merge", "-q", "--no-ff", "-m", f"Merge main into {branch}", "main")


def run(work, *arguments):
    return release.main(arguments, root=work)


def test_a_merge_tags_the_next_minor_version(repository, capsys):
    assert run(repository, "prepare", "--branch", "v5", "--date", "2026-12-01") == 0
    commit(repository, "Prepare 5.0.0")
    merge(repository, "v5")
    assert run(repository, "tag") == 0
    assert capsys.readouterr().out.split() == ["5.0.0", "5.0.0"]
    told = git(repository, "tag", "-n99", "-l", "v5.0.0")
    assert "`itk_check` finds more." in told
    assert "### New" in told
    assert git(repository, "cat-file", "-t", "v5.0.0") == "tag"
    git(repository, "push", "-q", "origin", "v5", "v5.0.0")

    git(repository, "checkout", "-q", "main")
    (repository / release.FRAGMENTS / "13.change.md").write_text("Something is other than before.\n")
    commit(repository, "Change")
    assert run(repository, "prepare", "--branch", "v5", "--date", "2027-01-15") == 0
    commit(repository, "Prepare 5.1.0")
    merge(repository, "v5")
    assert run(repository, "check") == 0
    assert run(repository, "tag") == 0
    assert git(repository, "tag", "--list").split() == ["v5.0.0", "v5.1.0"]
    log = (repository / release.CHANGELOG).read_text()
    assert log.index("## 5.1.0 — 2027-01-15") < log.index("## 5.0.0 — 2026-12-01")
    assert log.count("Nothing is lost.") == 1
    assert 'VERSION = "5.1.0"' in (repository / release.VERSION_FILE).read_text()
    assert [path.name for path in (repository / release.FRAGMENTS).iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda work: (work / release.VERSION_FILE).write_text('VERSION = "5.0.1"\n'),
            "says 5.0.1; the next version",
        ),
        (lambda work: (work / release.VERSION_FILE).write_text('VERSION = "5.0.0.dev0"\n'), "expected three numbers"),
        (lambda work: (work / release.CHANGELOG).unlink(), "CHANGELOG.md begins with no version; expected 5.0.0"),
        (lambda work: (work / release.CHANGELOG).write_text("# Changelog\n\n## 5.0.0 — 2026-12-01\n"), "says nothing"),
        (lambda work: (work / release.CHANGELOG).write_text("## 5.0.0\n\n- x\n"), "has no date for 5.0.0"),
        (
            lambda work: (work / release.FRAGMENTS / "1.fix.md").write_text("Late."),
            "are not in CHANGELOG.md: 1",
        ),
    ],
)
def test_what_does_not_agree_is_refused_and_not_tagged(repository, capsys, spoil, reason):
    assert run(repository, "prepare", "--branch", "v5") == 0
    spoil(repository)
    commit(repository, "Prepare")
    merge(repository, "v5")
    assert run(repository, "tag") == 1
    assert reason in capsys.readouterr().err
    assert git(repository, "tag", "--list") == ""


def test_a_second_merge_without_a_new_version_is_refused(repository, capsys):
    run(repository, "prepare", "--branch", "v5")
    commit(repository, "Prepare")
    merge(repository, "v5")
    assert run(repository, "tag") == 0
    assert run(repository, "tag") == run(repository, "check") == 0  # a release that broke off is repeated
    assert run(repository, "check", "--branch", "v6") == 1  # but is none of another branch
    git(repository, "commit", "-q", "--allow-empty", "-m", "Another merge")
    assert run(repository, "tag") == 1
    assert "says 5.0.0; the next version of branch v5 is 5.1.0" in capsys.readouterr().err


def merges_at_once(work, versions):
    """Merge three times before any release has run, and return the commits."""
    made, ours = [], release.Repository(work)
    for number, version in enumerate(map(Version.read, versions)):
        git(work, "checkout", "-q", "main")
        (work / release.FRAGMENTS / f"{number}.fix.md").write_text(f"Mended {number}.\n")
        fragments = release.read_fragments(ours.fragment_files)
        changelog = release.assembled(ours.text(release.CHANGELOG), version, fragments, "2026-12-01")
        ours.write(release.CHANGELOG, changelog)
        ours.write(release.VERSION_FILE, release.with_version(ours.text(release.VERSION_FILE), version))
        for name in ours.fragment_files:
            (work / release.FRAGMENTS / name).unlink()
        commit(work, f"Prepare {version}")
        merge(work, "v5")
        made.append(git(work, "rev-parse", "HEAD"))
    return made


def test_of_merges_at_once_the_first_is_the_release_and_the_others_are_refused(repository, capsys):
    first, second, third = merges_at_once(repository, ["5.0.0"] * 3)
    for merged, code in ((first, 0), (third, 1), (second, 1), (first, 0)):
        git(repository, "checkout", "-q", merged)
        assert run(repository, "tag", "--branch", "v5") == code
    assert "says 5.0.0; the next version of branch v5 is 5.1.0" in capsys.readouterr().err
    assert git(repository, "tag", "--list") == "v5.0.0"
    assert git(repository, "rev-parse", "v5.0.0^{commit}") == first
    assert "Mended 1." not in git(repository, "tag", "-n99", "-l", "v5.0.0")


def test_merges_that_count_ahead_are_released_in_their_order(repository, capsys):
    first, second, third = merges_at_once(repository, ["5.0.0", "5.1.0", "5.2.0"])
    for merged, code in ((first, 0), (third, 1), (second, 0), (third, 0)):
        git(repository, "checkout", "-q", merged)
        assert run(repository, "tag", "--branch", "v5") == code
    assert (
        "the merge of 5.1.0 is not released yet: run its workflow again, and then this one" in capsys.readouterr().err
    )
    assert git(repository, "tag", "--list").split() == ["v5.0.0", "v5.1.0", "v5.2.0"]
    assert git(repository, "rev-parse", "v5.1.0^{commit}") == second


def test_only_release_branches_release_and_only_what_is_committed(repository, capsys):
    assert run(repository, "check", "--branch", "main") == 1
    assert "branch 'main': releases come from branches v1, v2, ..." in capsys.readouterr().err
    run(repository, "prepare", "--branch", "v5")
    assert run(repository, "tag", "--branch", "v5") == 1
    assert "changes that no commit holds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("branch", "tags", "expected"),
    [
        ("v5", [], "5.0.0"),
        ("v5", ["v4.0.0", "v4.12.0", "v50.1.0", "nightly", "v5"], "5.0.0"),
        ("v5", ["v5.0.0", "v5.9.0", "v5.10.0", "v6.0.0"], "5.11.0"),
        ("v4", ["v4.2.7", "v5.0.0"], "4.3.0"),
        ("v12", ["v1.2.0"], "12.0.0"),
    ],
)
def test_the_next_version(branch, tags, expected):
    assert str(release.next_version(branch, tags)) == expected


def test_fragments_are_named_if_they_are_wrong():
    files = {
        "README.md": "x",
        "a.feature.md": "Good.",
        "b.md": "x",
        "c.bug.md": "x",
        "d.fix.md": " \n",
        "e.fix.txt": "x",
    }
    with pytest.raises(ReleaseError) as told:
        release.read_fragments(files)
    assert [line.split(":")[0] for line in str(told.value).splitlines()] == [
        "changelog.d/b.md", "changelog.d/c.bug.md", "changelog.d/d.fix.md", "changelog.d/e.fix.txt",
    ]  # fmt: skip


def test_late_fragments_join_the_section_and_old_versions_are_kept():
    added = [Fragment("fix", "Mended."), Fragment("feature", "Second.")]
    first = release.assembled(ONE, Version(5, 0, 0), added, "2026-12-02")
    assert release.sections(first) == {"5.0.0": "### New\n\n- First.\n- Second.\n\n### Fixed\n\n- Mended."}
    assert release.date_of(first, Version(5, 0, 0)) == "2026-12-02"
    second = release.assembled(first, Version(5, 1, 0), [Fragment("removal", "Gone.")], "2027-01-01")
    assert list(release.sections(second)) == ["5.1.0", "5.0.0"]
    assert release.sections(second)["5.0.0"] == release.sections(first)["5.0.0"]
    assert release.date_of(second, Version(5, 0, 0)) == "2026-12-02"
    with pytest.raises(ReleaseError, match=r"5\.1\.0 stands there already, and is newer than 5\.0\.0"):
        release.assembled(second, Version(5, 0, 0), [], "2027-01-02")


def test_this_repository_is_ready():
    """Its fragments are sound, and its version is one that the policy knows."""
    repository = release.Repository(release.ROOT)
    release.read_fragments(repository.fragment_files)
    assert release.version_in(repository.text(release.VERSION_FILE)).patch == 0


def test_what_is_no_release_branch_is_refused():
    for branch in ("v1x", "v", "v05", "v0", "v-1", "V5", "v5.1", "v\u0665", "feature/v5", "v5\n"):
        with pytest.raises(ReleaseError, match="releases come from branches"):
            release.next_version(branch, [])
    assert release.major_of("v10") == 10


def test_a_development_version_is_prepared_to_the_release(repository):
    (repository / release.VERSION_FILE).write_text('VERSION = "5.0.0.dev0"\n')
    assert run(repository, "prepare", "--branch", "v5") == 0
    assert (repository / release.VERSION_FILE).read_text() == 'VERSION = "5.0.0"\n'


def test_preparing_writes_all_or_nothing_and_can_be_repeated(repository, capsys):
    source = (repository / release.VERSION_FILE).read_text()
    (repository / release.VERSION_FILE).write_text("nothing\n")
    assert run(repository, "prepare", "--branch", "v5") == 1
    assert 'expected a line VERSION = "..."' in capsys.readouterr().err
    assert not (repository / release.CHANGELOG).exists()
    (repository / release.VERSION_FILE).write_text(source)
    fragments = release.Repository(repository).fragment_files
    assert run(repository, "prepare", "--branch", "v5") == 0
    for name, text in fragments.items():  # as if it had been killed before it removed them
        (repository / release.FRAGMENTS / name).write_text(text)
    assert run(repository, "prepare", "--branch", "v5") == 0
    assert (repository / release.CHANGELOG).read_text().count("Nothing is lost.") == 1
    (repository / release.FRAGMENTS / "folder.fix.md").mkdir()
    assert run(repository, "fragments") == 1
    assert "folder.fix.md" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changelog", "reason"),
    [
        ("## Unreleased\n\n- x\n\n" + ONE, "heading '## Unreleased': expected such as"),
        ("## 5.1.0 - 2027-01-01\n\n- x\n\n" + ONE, "heading '## 5.1.0 - 2027-01-01': expected such as"),
        (ONE + "\n## 5.0.0\n\n- Other.\n", "5.0.0 stands there twice"),
        ("## 5.1.0\n\nWords of the release.\n\n### New\n\n- x\n", "'Words of the release.' stands under no heading"),
    ],
)
def test_a_changelog_of_which_a_part_would_be_lost_is_refused(changelog, reason):
    with pytest.raises(ReleaseError, match=reason.replace(".", r"\.")):
        release.assembled(changelog, Version(5, 1, 0), [Fragment("fix", "Mended.")], "2027-01-02")


def test_a_date_is_a_date(repository, capsys):
    with pytest.raises(SystemExit):
        run(repository, "prepare", "--branch", "v5", "--date", "soon")
    assert "invalid" in capsys.readouterr().err
