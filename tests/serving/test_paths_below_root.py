"""What a client names lies below the root, after links are resolved, and is a file or a folder."""

import os

import pytest

from itkit.core.errors import LayoutError, NotServedError
from itkit.serving.paths import Root


@pytest.fixture
def root(tmp_path):
    inside = tmp_path / "root"
    (inside / "image").mkdir(parents=True)
    (inside / "image" / "case.mha").write_bytes(b"x")
    (tmp_path / "root-secret").mkdir()
    (tmp_path / "root-secret" / "key").write_bytes(b"secret")
    (inside / "out").symlink_to(tmp_path / "root-secret")
    (inside / "loop").symlink_to("loop")
    (inside / "near").symlink_to("image")
    (inside / "file").symlink_to(tmp_path / "root-secret" / "key")
    os.mkfifo(inside / "pipe")
    return Root(inside)


def test_files_and_folders_below_the_root_are_found(root):
    assert root.file("image/case.mha") == root.folder / "image" / "case.mha"
    assert root.file("near/case.mha") == root.folder / "image" / "case.mha"
    assert root.file(str(root.folder / "image" / "case.mha")).is_file()
    assert root.subfolder("") == root.folder
    assert root.any("new/deep") == root.folder / "new" / "deep"
    assert root.shown(root.any("near/new.mha")) == "image/new.mha"


@pytest.mark.parametrize(
    "text",
    ["../root-secret/key", "image/../../root-secret/key", "out/key", "file", "loop", "loop/x", "pipe", "missing", "",
     "/etc/passwd", "image", "image/case.mha/..", "image/case.mha/x", "a\0b", "x" * 5000, "~/x", "../root-secret"],
)  # fmt: skip
def test_everything_else_is_not_there(root, text):
    with pytest.raises(NotServedError, match="no such file or folder"):
        root.file(text)


@pytest.mark.parametrize(
    "text", ["..", "out", "out/new", "/tmp", "pipe", "image/../..", "../root-secret", "near/../.."]
)
def test_outputs_stay_inside_too(root, text):
    with pytest.raises(NotServedError):
        root.any(text)


def test_a_root_is_a_folder(tmp_path):
    with pytest.raises(LayoutError, match="no such folder"):
        Root(tmp_path / "missing")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LayoutError, match="--root takes"):
        Root(tmp_path / "file")


def test_what_is_read_is_what_was_checked(root, tmp_path, monkeypatch):
    assert root.read("near/case.mha", 10) == b"x"
    assert root.read("image/case.mha", 0) is None
    for name in ("pipe", "file", "image", "nothing"):
        with pytest.raises(NotServedError):
            root.read(name, 10)
    checked = root.file

    def then_swapped(text):
        path = checked(text)
        if not path.is_symlink():
            path.unlink()
            path.symlink_to(tmp_path / "root-secret" / "key")
        return path

    monkeypatch.setattr(root, "file", then_swapped)
    with pytest.raises(NotServedError):
        root.read("image/case.mha", 10)
