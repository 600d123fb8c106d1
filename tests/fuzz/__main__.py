"""Run: PYTHONPATH=tests python -m fuzz [--seed N] [--count N] [--first N] [--only readers|encoder|dicom]."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fuzz import encoder, watch

FINDINGS = Path("fuzz-findings")


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", choices=["readers", "encoder", "dicom"])
    given = parser.parse_args()
    findings = []
    print(f"seed {given.seed}, {given.count} cases from {given.first} on", flush=True)
    if given.only in (None, "readers"):
        tally = watch.watch(given.seed, given.count, first=given.first, keep=FINDINGS)
        print("readers: " + ", ".join(f"{count} {how}" for how, count in tally.ended.most_common()), flush=True)
        findings += tally.findings
    if given.only in (None, "dicom"):
        count = given.count if given.only else given.count // 10  # a case is a run of a command
        tally = watch.watch(given.seed, count, first=given.first, worker=watch.DICOM_WORKER)
        print("DICOM: " + ", ".join(f"{count} {how}" for how, count in tally.ended.most_common()), flush=True)
        findings += tally.findings
    if given.only in (None, "encoder"):
        findings += encoder.run(given.seed, given.count, first=given.first)
        print(f"encoder: {given.count} pieces")
    for finding in findings:
        print(finding)
    if findings:
        print(f"{len(findings)} findings; files of damaged volumes lie in {FINDINGS}/")
    return 1 if findings else 0


if sys.argv[1:2] == ["worker"]:
    watch.work(*map(int, sys.argv[3:6]), Path(sys.argv[2]))
elif sys.argv[1:2] == ["dicom-worker"]:
    watch.work_dicom(*map(int, sys.argv[3:6]), Path(sys.argv[2]))
else:
    sys.exit(main())
