#!/usr/bin/env python3
"""Says which tests of a meson log (JSON, one test a line) failed, with the ends of what they printed.

usage: failures.py testlog.json
"""
import json
import sys

LINES = 30  # of each test's output


def failures(log):
    for line in log:
        test = json.loads(line)
        if test["result"] not in ("OK", "EXPECTEDFAIL", "SKIP"):
            printed = (test.get("stdout") or "") + (test.get("stderr") or "")
            yield test["name"], test["result"], test["duration"], printed.splitlines()[-LINES:]


def main():
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        for name, result, seconds, printed in failures(log):
            print(f"    {name}: {result} after {seconds:.1f} s")
            for line in printed:
                print(f"        {line}")


if __name__ == "__main__":
    main()
