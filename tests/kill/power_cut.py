"""What a power cut leaves of a folder, from the notes of power_cut.c.

A file system may keep back all that was not synced. So a file that was written after its last
fsync() loses its content, and, in the other case that there is, a rename in a folder that was not
synced afterwards has not happened. Removals and new folders count as done at once.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


def build(folder: Path) -> Path:
    """Compile what is preloaded."""
    library = folder / "power_cut.so"
    source = Path(__file__).with_suffix(".c")
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class PowerCut:
    """A power cut in what happens in a folder.

    folder  what is cut off
    notes   where power_cut.c writes, empty at first
    """

    folder: Path
    notes: Path

    def environment(self, at: int) -> dict[str, str]:
        """Return the environment variables for a cut before event number `at`; 0: for none."""
        return {
            "POWER_CUT_FOLDER": f"{self.folder.resolve()}",
            "POWER_CUT_NOTES": f"{self.notes}",
            "POWER_CUT_AT": f"{at}",
        }

    def events(self) -> int:
        """Return how many events there were."""
        return (self.notes / "events").stat().st_size

    def durable(self) -> list[Path]:
        """Return the names that files were given by a rename that is on the disk."""
        return [new for _, new, _, durable in self._renames() if durable]

    def lose(self, *, renames: bool) -> None:
        """Leave in the folder what a power cut leaves at worst.

        renames  those that are not on the disk have not happened; else they have
        """
        for old, new, before, durable in reversed(self._renames()):
            if renames and not durable and new.exists() and old.parent.exists():
                new.rename(old)
                if before.exists():
                    before.rename(new)
        synced = {
            int(line[1]): (int(line[2]), int(line[3])) for line in self._lines() if line[0] == "S"
        }
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                status = path.stat()
                if synced.get(status.st_ino) != (status.st_mtime_ns, status.st_size):
                    os.truncate(path, 0)

    def _renames(self) -> list[tuple[Path, Path, Path, bool]]:
        """Return old and new name, what had the new one before, and whether it is on the disk."""
        lines = self._lines()
        return [
            (
                Path(line[1]),
                Path(line[2]),
                self.notes / line[3],
                ["D", str(Path(line[2]).parent)] in lines[number:],
            )
            for number, line in enumerate(lines)
            if line[0] == "R"
        ]

    def _lines(self) -> list[list[str]]:
        log = self.notes / "log"
        # os.fsdecode, as names need not be UTF-8.
        text = os.fsdecode(log.read_bytes()) if log.exists() else ""
        return [line.split("\1") for line in text.split("\n")[:-1]]
