"""Messages through the output folder, whole or not at all."""

from __future__ import annotations

from rowmill.schemas.termination import Termination, TerminationKind
from rowmill.tasks.cluster.mailbox import FolderMailbox, Heartbeat, LeaseGrants, Quota


def test_a_notice_comes_through_whole_or_not_at_all(tmp_path):
    """What is posted is read; what was cut, is being written, or is not there is no news."""
    board = FolderMailbox(tmp_path)
    board.open()
    halt = Termination(TerminationKind.SPEND_LIMIT, "spend_limit_exceeded", "stop", "wait")
    orders = LeaseGrants("run", 3, {"a": Quota(1.5, 0.0, 4, 10**13)}, True, halt, True)
    board.post("orders", LeaseGrants("run", 1, {name: Quota() for name in "abcdefgh"}))
    board.post("orders", orders)
    assert board.read("orders", LeaseGrants) == orders
    assert board.read("nobody", Heartbeat) is None
    path = tmp_path / ".board" / "orders"
    whole = path.read_bytes()
    for cut in (0, 5, 18, 40, len(whole) // 3):
        path.write_bytes(whole[:cut])
        assert board.read("orders", LeaseGrants) is None
    path.write_bytes(whole.replace(b"stop", b"step"))
    assert board.read("orders", LeaseGrants) is None
    path.write_bytes(whole)
    board.claim("token")
    assert board.is_open
    board.close()
    assert not board.is_open
    assert board.claim("token")


def test_a_lease_is_taken_up_once(tmp_path):
    """A second process that was given the same work finds it taken."""
    board = FolderMailbox(tmp_path)
    board.open()
    assert board.claim("a")
    assert not board.claim("a")
    assert board.claim("b")
