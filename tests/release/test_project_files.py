"""Workflows, containers, templates and the citation name what there is."""

import re
from pathlib import Path

import pytest
import yaml

from itkit.criterion.cards import CARDS as LOSSES
from itkit.models.registry import list_models, model_card
from tools import citation, release

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job.get("steps", ())]


def test_there_is_a_workflow_for_each_duty():
    assert {path.stem for path in WORKFLOWS} == {"lint", "tests", "docs", "fuzz", "release"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_what_there_is_and_may_do_little(path):
    workflow = load(path)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    called = "\n".join(step.get("run", "") for step in steps(workflow))
    assert set(re.findall(r"\bmake ([a-z-]+)", called)) <= targets
    assert all((ROOT / f"{name.replace('.', '/')}.py").is_file() for name in re.findall(r"-m (tools\.\w+)", called))
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job.get("uses") or job["timeout-minutes"] for job in workflow["jobs"].values())
    assert "${{" not in called, "values of an event belong in env, where a shell can't run them"
    actions = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert all(re.fullmatch(r"[\w./-]+@(v\d+|release/v1)", action) for action in actions)


def test_the_site_s_search_is_tried_where_the_site_is_built():
    wanted = ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^docs = .*"playwright>=', wanted, re.MULTILINE)  # GitHub's machines have a browser, but not this
    assert any(step.get("run") == "make docs" for step in steps(load(ROOT / ".github/workflows/docs.yml")))


def test_tests_run_on_every_version_that_the_package_names():
    named = set(re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    tried = load(ROOT / ".github/workflows/tests.yml")["jobs"]["quick"]["strategy"]["matrix"]["python"]
    assert named == set(tried) == {f"3.{minor}" for minor in range(10, 15)}


def test_a_release_is_checked_tested_and_published_before_its_tag_is_seen():
    workflow = load(ROOT / ".github/workflows/release.yml")
    jobs = workflow["jobs"]
    assert workflow[True]["push"]["branches"] == ["v[0-9]+"]  # YAML reads the key "on" as true
    assert set(jobs["publish"]["needs"]) == {"check", "tests", "wheels"}
    assert jobs["tests"]["needs"] == jobs["sdist"]["needs"] == "check"
    done = [step.get("uses", "") + step.get("run", "") for step in jobs["publish"]["steps"]]
    words = ("tools.release tag", "pypi-publish", "git push", "gh release")
    order = [next(at for at, text in enumerate(done) if word in text) for word in words]
    assert order == sorted(order)
    assert len(set(order)) == len(words)


def test_the_image_of_the_commands_runs_them():
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    stages = re.findall(r"^FROM (\S+) AS (\S+)", text, re.MULTILINE)
    assert [name for _, name in stages] == ["build", "build-toolkit", "build-serve", "runtime", "toolkit", "serve"]
    toolkit = text.split("AS toolkit\n")[1].split("FROM")[0]
    assert 'ENTRYPOINT ["itkit"]' in toolkit
    assert "USER itkit" in toolkit
    extras = re.findall(r"EXTRAS=([\w,]+)$", text, re.MULTILINE)[0].split(",")
    table = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f"\n{extra} = [" in table for extra in extras)
    assert load(ROOT / "docker" / "compose.yaml")["services"]["itkit"]["build"]["target"] == "serve"


def test_templates_ask_for_the_doctor_and_warn_of_patients_data():
    bug = load(ROOT / ".github/ISSUE_TEMPLATE/bug.yml")
    assert {part["id"] for part in bug["body"] if "id" in part} >= {"command", "happened", "doctor"}
    assert "data of patients" in str(bug)
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        for name in re.findall(r"docs/[\w/.-]+\.md", path.read_text(encoding="utf-8")):
            assert (ROOT / name).is_file()


def test_the_citation_names_the_paper_of_every_network_and_loss():
    told = citation.TARGET.read_text(encoding="utf-8")
    assert told == citation.citation(), "run: python -m tools.citation"
    cited = {entry["doi"] for entry in yaml.safe_load(told)["references"]}
    assert {model_card(name).doi for name in list_models(plugins=False)} <= cited
    sources = " ".join(card.source for card in LOSSES)
    dois = set(re.findall(r"doi:([^\s;,]+)", sources)) | {
        f"10.48550/arXiv.{number}" for number in re.findall(r"arXiv:(\d+\.\d+)", sources)
    }
    of_networks = {"10.48550/arXiv.2004.08790"}  # under the DOI of its conference
    assert dois - of_networks <= cited
    assert "version" not in yaml.safe_load(told), "the version stands in itkit/core/version.py alone"


def test_rules_for_people_and_for_security_are_there():
    for name, word in (("CODE_OF_CONDUCT.md", "respect"), ("SECURITY.md", "Report a vulnerability")):
        assert word in (ROOT / name).read_text(encoding="utf-8")
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "make changelog" in contributing
    kinds = (ROOT / "changelog.d/README.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in kinds for kind in release.KINDS)
