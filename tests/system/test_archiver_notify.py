"""The archiver as a process wakes somebody: a server that goes away and comes back, and the test of the command."""

from pathlib import Path

from tests.processes import Process, wait_for
from tests.system.test_archiver_samples import Logbook


def test_a_server_that_is_lost_and_comes_back_is_told(tmp_path: Path) -> None:
    letters = tmp_path / "letters"
    book = Logbook(tmp_path, "PV0")
    book.site.write_text(
        book.site.read_text() + f'[notify]\ncommand = ["tee", "-a", "{letters}"]\nlost_minutes = 0.01\n'
    )
    try:
        first = book.counting(20)
        archiver = book.archiver()
        wait_for(lambda: book.values().get("PV0"), "values")
        first.kill()
        wait_for(lambda: letters.exists() and f"{book.prefix}PV0 is lost" in letters.read_text(), "the letter")
        book.counting(20)
        wait_for(lambda: "over: " in letters.read_text(), "the second letter")
        assert archiver.stop() == 0
        with Process("archiver", "notify", str(book.site), "--test") as tried:
            tried.line("sent by tee")
            assert tried.popen.wait(20) == 0
        assert "test: a test message of the archiver" in letters.read_text()
    finally:
        book.close()
