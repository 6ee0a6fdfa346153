#!/usr/bin/env python3
"""Runs test files by pytest for Meson: exit 77 with a reason where something is missing."""
import importlib.util
import sys

missing = [name for name in ("numpy", "pytest") if importlib.util.find_spec(name) is None]
if missing:
    print(f"skipped: {' and '.join(missing)} not installed for {sys.executable}")
    sys.exit(77)

import pytest  # noqa: E402


class Skips:
    """Tells each skip's reason as the other tests do, so that ./dev test can list them."""

    def pytest_runtest_logreport(self, report):
        if report.skipped:
            print(f"\nskipped: {report.nodeid.split('::')[-1]}: {report.longrepr[2]}")


sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-s", *sys.argv[1:]], plugins=[Skips()]))
