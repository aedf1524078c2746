"""New processes: what a user waits for before the first check begins."""

from __future__ import annotations

import statistics

from benchmarks import cold


class Cold:
    """The first check, with an empty kernel cache and with a warm one."""

    timeout = 300

    def setup_cache(self) -> tuple[cold.Start, list[cold.Start]]:
        return cold.cold_and_warm(5)

    def track_cold_overhead(self, starts: tuple[cold.Start, list[cold.Start]]) -> float:
        """Everything but the user's own compile and the check itself."""
        return starts[0].overhead

    def track_warm_overhead(self, starts: tuple[cold.Start, list[cold.Start]]) -> float:
        return statistics.median(start.overhead for start in starts[1])

    def track_users_compile(self, starts: tuple[cold.Start, list[cold.Start]]) -> float:
        return statistics.median(start.cost for start in starts[1])

    for _track in (track_cold_overhead, track_warm_overhead, track_users_compile):
        _track.unit = "s"


def timeraw_import() -> str:
    """``import fastgradcheck`` in a new interpreter."""
    return "import fastgradcheck"
