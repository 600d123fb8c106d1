"""Who may reach a server."""

import socket

import pytest

from itkit.core.errors import LayoutError, ParamsError
from itkit.serving.sockets import access_for, bind, own_hosts, port_of

pytestmark = pytest.mark.net


def test_a_token_is_drawn_anew_each_time():
    first, second = access_for("127.0.0.1"), access_for("127.0.0.1")
    assert first.secret != second.secret
    assert len(first.secret) > 40
    assert access_for("localhost", token="mine").secret == "mine"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "ct.example.org"])
def test_other_machines_need_a_password_or_a_proxy(host, tmp_path):
    for token in ("", "a-long-token-of-mine"):
        with pytest.raises(ParamsError, match=r"other machines could use the server; give --password-file"):
            access_for(host, token=token)
    file = tmp_path / "password"
    file.write_text("correct horse battery\nsecond line\n")
    access = access_for(host, password_file=file)
    assert (access.secret, access.is_password) == ("correct horse battery", True)
    assert "without encryption" in access.notes[0]
    proxied = access_for(host, user_header="X-Forwarded-User")
    assert proxied.user_header == "x-forwarded-user"
    assert "firewall" in proxied.notes[0]


def test_a_password_is_long_and_stands_in_a_file(tmp_path):
    short = tmp_path / "short"
    short.write_text("hunter2\n")
    with pytest.raises(ParamsError, match="fewer than 12 characters"):
        access_for("0.0.0.0", password_file=short)
    with pytest.raises(ParamsError, match="can't be read"):
        access_for("0.0.0.0", password_file=tmp_path)
    with pytest.raises(ParamsError, match="exclude each other"):
        access_for("0.0.0.0", password_file=short, token="x")


def test_a_port_that_is_taken_and_an_address_that_is_not_ours_are_named():
    taken = bind("127.0.0.1", 0)
    try:
        with pytest.raises(LayoutError, match=r"can't be used .*choose another --port"):
            bind("127.0.0.1", port_of(taken))
    finally:
        taken.close()
    with pytest.raises(LayoutError, match=r"can't be used|no such address"):
        bind("203.0.113.7", 0)


def test_names_of_a_public_server_are_listed():
    hosts = own_hosts("0.0.0.0", 8123, ["CT.example.org", "ct.example.org:443"])
    assert {"ct.example.org", "ct.example.org:8123", "ct.example.org:443", "127.0.0.1:8123"} <= hosts
    assert f"{socket.gethostname().lower()}:8123" in hosts
    assert "127.0.0.1" not in hosts
    assert not any(host.startswith("0.0.0.0") for host in hosts)
