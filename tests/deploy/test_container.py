"""The files for a container of the server: no root, a health check, and a command that the server understands."""

import json
import re
from pathlib import Path

import yaml

from itkit.cli.adapter import parse_tool
from itkit.cli.serve import TOOL

FOLDER = Path(__file__).parents[2] / "docker"


def instructions():
    text = re.sub(r"\\\n\s*", "", (FOLDER / "Dockerfile").read_text())
    return [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]


def test_it_serves_as_a_user_without_rights_and_says_whether_it_lives():
    last = instructions()[[name for name, _ in instructions()].index("FROM", 1) :]
    found = dict(last)
    assert found["USER"] == "itkit"
    assert "/health" in found["HEALTHCHECK"]
    assert f":{found['EXPOSE']}/" in found["HEALTHCHECK"]


def test_its_command_is_one_of_the_server():
    found = dict(instructions())
    program, verb = json.loads(found["ENTRYPOINT"])
    assert f"{program} {verb}" == TOOL.name
    params = parse_tool(TOOL, json.loads(found["CMD"]), prog=TOOL.name)
    assert (str(params.port), params.host) == (found["EXPOSE"], "0.0.0.0")
    assert params.password_file is not None


def test_compose_opens_it_to_this_machine_alone():
    service = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]["itkit"]
    assert service["ports"] == ["127.0.0.1:8123:8123"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert {"secrets", "models", ".git"} <= set(ignored)
