"""Compares the conformance suite's reports with the record: compare.py RECORD MODE REPORTS..."""

import json
import pathlib
import re
import sys


def seen(folders):
    """(suite, scenario) -> the checks that failed, by id."""
    found = {}
    for folder in map(pathlib.Path, folders):
        for report in sorted(folder.glob("server-*/checks.json")):
            scenario = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT.*", report.parent.name)[1]
            checks = json.loads(report.read_text())
            failed = {check["id"] for check in checks if check["status"] == "FAILURE"}
            found[folder.name, scenario] = failed
    return found


def recorded(path):
    """The same, from lines `suite scenario pass` and `suite scenario check,check: reason`."""
    found = {}
    for line in pathlib.Path(path).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            suite, scenario, rest = line.split(None, 2)
            checks = rest.split(":")[0]
            found[suite, scenario] = set() if checks == "pass" else set(checks.split(","))
            assert checks == "pass" or rest.partition(":")[2].strip(), f"no reason: {line}"
    return found


def main(record, mode, *folders):
    now = seen(folders)
    assert now, "the suite left no reports"
    if mode == "--record":
        for (suite, scenario), failed in now.items():
            print(suite, scenario, ",".join(sorted(failed)) + ": ?" if failed else "pass")
        return 0
    before = recorded(record)
    wrong = 0
    for key in sorted(now.keys() | before.keys()):
        told, is_now = before.get(key), now.get(key)
        if told != is_now:
            wrong += 1
            print("DIFFERS", *key, "recorded:", told, "now:", is_now)
    passed = sum(not failed for failed in now.values())
    print(f"{passed} scenarios pass whole, {len(now) - passed} do not apply whole, {wrong} differ")
    return 1 if wrong else 0


sys.exit(main(*sys.argv[1:]))
