#!/usr/bin/env python3
"""Install the system packages that the build needs and that are missing.

    python3 tools/system_packages.py

The list is tools/debian-packages.txt. Nothing happens if all of it is there; else the missing
packages are printed and then installed by apt-get, as root or through sudo. Needs nothing but
Python's standard library: it runs before anything else of the project does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

LIST = Path(__file__).with_name("debian-packages.txt")


def list_wanted_packages() -> list[str]:
    """Names in the list, without its comments."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    names = (line.partition("#")[0].strip() for line in lines)
    return [name for name in names if name]


def find_missing_packages(names: list[str]) -> list[str]:
    """Those of `names` that dpkg does not have installed."""
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n", *names]
    done = subprocess.run(query, check=False, capture_output=True, text=True)
    installed = {
        line.split()[0] for line in done.stdout.splitlines() if line.endswith(" installed")
    }
    return [name for name in names if name not in installed]


def find_administrator() -> list[str] | None:
    """What to put before a command that needs root's rights; None if they cannot be had."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo"):
        # With a terminal, sudo can ask for the password.
        if sys.stdin.isatty():
            return ["sudo"]
        done = subprocess.run(["sudo", "-n", "true"], check=False, capture_output=True)
        if done.returncode == 0:
            return ["sudo", "-n"]
    return None


def main() -> None:
    """Run the program."""
    names = list_wanted_packages()
    if not (shutil.which("apt-get") and shutil.which("dpkg-query")):
        print(
            "This system has no apt: if the build misses something, install your system's "
            f"counterparts of the packages in {LIST}."
        )
        return
    missing = find_missing_packages(names)
    if not missing:
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    print("These system packages are missing:\n  " + "\n  ".join(missing), flush=True)
    rights = find_administrator()
    if rights is None:
        sys.exit(
            "They can only be installed by an administrator. Ask one to run:\n  "
            + " ".join(install)
        )
    # An old list of packages names versions that the mirror has no longer.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update"], install):
        try:
            done = subprocess.run([*rights, *command], check=False, env=environment)
        except KeyboardInterrupt:
            sys.exit(130)
        if done.returncode != 0:
            sys.exit(
                f"`{' '.join([*rights, *command[:2]])}` failed, see above. Is the network there? "
                "Then run the same command again."
            )


if __name__ == "__main__":
    main()
