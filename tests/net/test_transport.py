"""The transport on real sockets. Each trap of ZeroMQ it knows of has a test."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from crdtpubsub.errors import (
    BindError,
    ClosedError,
    ConfigError,
    ForkedError,
    PayloadTooLargeError,
)
from crdtpubsub.transport import (
    FRAME_BYTES_MAX,
    Connected,
    Disconnected,
    FrameIn,
    HandshakeFailed,
    Happening,
    Refused,
    Transport,
    Writable,
    ZmqTransport,
    is_endpoint,
)

pytestmark = pytest.mark.net

ANY = "tcp://127.0.0.1:*"
WAIT_S = 10.0

Make = Callable[[], ZmqTransport]


@pytest.fixture
def make() -> Iterator[Make]:
    """Make transports that are closed at the end."""
    made: list[ZmqTransport] = []

    def one() -> ZmqTransport:
        made.append(ZmqTransport())
        return made[-1]

    yield one
    for transport in made:
        transport.close()


def until(transport: Transport, *awaited: Happening, wait_s: float = WAIT_S) -> list[Happening]:
    """Poll until all of `awaited` happened, in that order; return everything that did."""
    seen: list[Happening] = []
    left = list(awaited)
    deadline_s = time.monotonic() + wait_s
    while left:
        assert time.monotonic() < deadline_s, f"{left[0]!r:.200} did not happen; {seen!r:.500} did"
        for happening in transport.poll(0.05):
            seen.append(happening)
            if left and happening == left[0]:
                left.pop(0)
    return seen


def fill(transport: Transport, endpoint: str, frame: bytes, wait_s: float = WAIT_S) -> int:
    """Send until there is no room; return how many frames were taken."""
    sent = 0
    deadline_s = time.monotonic() + wait_s
    while time.monotonic() < deadline_s:
        if not transport.try_send(endpoint, frame):
            # The kernel's buffers may still be filling: full is what stays full.
            if Writable(endpoint) not in transport.poll(0.3):
                return sent
        else:
            sent += 1
    raise AssertionError(f"never full: {sent} frames taken")


def quiet(transport: Transport, for_s: float) -> list[Happening]:
    """Everything that happens within `for_s`."""
    seen: list[Happening] = []
    deadline_s = time.monotonic() + for_s
    while (left_s := deadline_s - time.monotonic()) > 0:
        seen += transport.poll(left_s)
    return seen


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def peer_process(code: str) -> tuple[subprocess.Popen[str], str]:
    """Run `code` in another process; it prints its endpoint first."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


LISTENER = """
from crdtpubsub.transport import ZmqTransport
t = ZmqTransport()
print(t.bind({endpoint!r}), flush=True)
while True:
    t.poll(None)
"""


# ---------------------------------------------------------------- the ordinary


def test_a_frame_arrives_in_order_and_whole(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    assert is_endpoint(there)
    a.connect(there)
    a.connect(there)  # idempotent
    until(a, Connected(there))
    frames = [b"", b"x" * 100, b"y" * 100_000, b"z" * 1_000_000]
    for frame in frames:
        assert a.try_send(there, frame)
    seen = until(b, *map(FrameIn, frames))
    assert seen == [FrameIn(frame) for frame in frames]
    assert a.stats["frames_out"] == b.stats["frames_in"] == 4
    assert a.stats["bytes_out"] == b.stats["bytes_in"] == 1_100_100


def test_a_flood_is_handed_over_in_portions(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    a.connect(there)
    until(a, Connected(there))
    sent, got, largest = 0, 0, 0
    deadline_s = time.monotonic() + WAIT_S
    while got < 5000 and time.monotonic() < deadline_s:
        while sent < 5000 and a.try_send(there, b"%d" % sent):
            sent += 1
        a.poll(0)
        happened = b.poll(0.01)
        largest = max(largest, len(happened))
        for frame in happened:
            assert frame == FrameIn(b"%d" % got)
            got += 1
    assert got == 5000
    assert largest <= 256


def test_wake_from_another_thread_ends_a_poll(make: Make) -> None:
    a = make()
    for _ in range(200):
        waker = threading.Thread(target=a.wake)
        waker.start()
        start_s = time.monotonic()
        a.poll(WAIT_S)
        assert time.monotonic() - start_s < WAIT_S / 2
        waker.join()


def test_wakes_coalesce_and_none_is_lost(make: Make) -> None:
    a = make()
    box: list[int] = []

    def work() -> None:
        for number in range(20_000):
            box.append(number)
            a.wake()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    taken, polls = 0, 0
    while taken < 40_000:
        start_s = time.monotonic()
        a.poll(WAIT_S)
        assert time.monotonic() - start_s < WAIT_S / 2, "a wake was lost"
        polls += 1
        while box:
            box.pop()
            taken += 1
    for worker in workers:
        worker.join()
    assert polls <= 40_001


def test_no_send_before_the_handshake_then_writable(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    assert not a.try_send(there, b"not even dialled")
    a.connect(there)
    assert not a.try_send(there, b"too early")
    seen = until(a, Connected(there), Writable(there))
    assert seen == [Connected(there), Writable(there)]
    assert a.try_send(there, b"now")
    until(b, FrameIn(b"now"))
    assert quiet(a, 0.1) == []


def test_disconnect_is_silent_and_idempotent(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    a.disconnect(there)
    a.connect(there)
    until(a, Connected(there))
    a.disconnect(there)
    a.disconnect(there)
    assert not a.try_send(there, b"gone")
    assert quiet(a, 0.2) == []
    a.connect(there)
    until(a, Connected(there))


def test_redial_reports_the_end_of_the_old_link(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    a.redial(there)
    assert quiet(a, 0.1) == []
    a.connect(there)
    a.redial(there)
    until(a, Connected(there))
    a.redial(there)
    assert not a.try_send(there, b"dialling")
    seen = until(a, Disconnected(there), Connected(there), Writable(there))
    assert len(seen) == 3


def test_ipc(make: Make, tmp_path: Path) -> None:
    a, b, thief = make(), make(), make()
    there = f"ipc://{tmp_path}/node"
    assert b.bind(there) == there
    with pytest.raises(BindError):  # ZeroMQ would let the thief have it, and tell nobody
        thief.bind(there)
    a.connect(there)
    until(a, Connected(there))
    assert a.try_send(there, b"hello")
    until(b, FrameIn(b"hello"))
    b.close()
    until(a, Disconnected(there), Refused(there))
    assert thief.bind(there) == there
    until(a, Connected(there))
    thief.close()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_ipc_peer_is_refused_and_its_path_can_be_had_again(
    make: Make, tmp_path: Path
) -> None:
    a, b = make(), make()
    process, there = peer_process(LISTENER.format(endpoint=f"ipc://{tmp_path}/node"))
    with process:
        a.connect(there)
        until(a, Connected(there))
        process.kill()
        until(a, Disconnected(there), Refused(there), wait_s=2.0)
    b.bind(there)
    until(a, Connected(there))


# ---------------------------------------------------------------- links that break


def test_a_peer_that_comes_back_at_its_port(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    a.connect(there)
    until(a, Connected(there))
    for _ in range(5):
        b.close()
        until(a, Disconnected(there), Refused(there))
        assert not a.try_send(there, b"lost")
        b = make()
        b.bind(there)
        until(a, Connected(there), Writable(there))
        assert a.try_send(there, b"back")
        until(b, FrameIn(b"back"))
        assert b.stats["frames_in"] == 1


def test_sigkill_is_noticed_and_refused_at_once(make: Make) -> None:
    a = make()
    process, there = peer_process(LISTENER.format(endpoint=ANY))
    with process:
        a.connect(there)
        until(a, Connected(there))
        start_s = time.monotonic()
        process.kill()
        until(a, Disconnected(there), Refused(there))
        took_s = time.monotonic() - start_s
    print(f"SIGKILL -> Refused: {took_s * 1000:.1f} ms")
    assert took_s < 0.5
    assert quiet(a, 0.5) == [], "one Refused is enough"


def test_an_endpoint_that_was_never_reached_is_silent(make: Make) -> None:
    a = make()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        there = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
    a.connect(there)
    assert quiet(a, 1.0) == []


def test_the_refusal_check_does_no_harm_to_a_living_peer(make: Make) -> None:
    """A cut link to a live process: reconnected, not refused; its other links never notice."""
    a, b, c = make(), make(), make()
    there = b.bind(ANY)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        via = f"tcp://127.0.0.1:{proxy.getsockname()[1]}"
        a.connect(via)
        c.connect(there)
        until(c, Connected(there))
        pumps: list[socket.socket] = []
        threads: list[threading.Thread] = []

        def accept() -> None:
            """The link, the check after the cut, the link again; until the proxy closes."""
            with contextlib.suppress(OSError):
                while True:
                    near, _address = proxy.accept()
                    far = socket.create_connection(("127.0.0.1", port_of(there)))
                    pumps.extend((near, far))
                    for source, sink in ((near, far), (far, near)):
                        threads.append(threading.Thread(target=pump, args=(source, sink)))
                        threads[-1].start()

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        until(a, Connected(via))
        for end in pumps[:2]:
            with contextlib.suppress(OSError):  # cutting one end may have cut the other
                end.shutdown(socket.SHUT_RDWR)
        seen = until(a, Disconnected(via), Connected(via))
        assert Refused(via) not in seen
        assert c.try_send(there, b"undisturbed")
        until(b, FrameIn(b"undisturbed"))
        assert quiet(c, 0.1) == []
        a.disconnect(via)
        proxy.shutdown(socket.SHUT_RDWR)
        acceptor.join(WAIT_S)
        for end in pumps:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(WAIT_S)
        for end in pumps:
            end.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def test_a_check_that_is_reset_at_once_does_not_end_the_poll(make: Make) -> None:
    """A peer that dies while it is being asked: `getpeername` fails on what `connect` made."""
    a = make()
    checks = a._checks
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = (socket.AF_INET, listener.getsockname())
        out: list[Happening] = []
        checks.start("tcp://127.0.0.1:1", address, out)
        client, _address = listener.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()  # a reset
    assert Refused("tcp://127.0.0.1:1") in until(a, Refused("tcp://127.0.0.1:1"))


# ---------------------------------------------------------------- bounds


def test_a_peer_that_never_reads_costs_bounded_memory_and_harms_no_other(make: Make) -> None:
    a, lazy, busy = make(), make(), make()
    there, elsewhere = lazy.bind(ANY), busy.bind(ANY)
    a.connect(there)
    a.connect(elsewhere)
    until(a, Connected(there))
    assert a.try_send(elsewhere, b"") or until(a, Writable(elsewhere))
    before = _rss_bytes()
    frame = bytes(64 * 1024)
    taken = fill(a, there, frame)
    grown = _rss_bytes() - before
    print(f"never read: {taken} frames of 64 KiB taken, {grown / 2**20:.0f} MiB at both ends")
    # 128 at the sender, 256 at the receiver, and what the kernel holds in between.
    assert 384 <= taken < 384 + 256
    assert grown < 64 * 2**20
    assert a.try_send(elsewhere, b"fine")
    until(busy, FrameIn(b"fine"))

    got = 0
    deadline_s = time.monotonic() + WAIT_S
    happened: list[Happening] = []
    while (got < taken or Writable(there) not in happened) and time.monotonic() < deadline_s:
        got += len(lazy.poll(0.01))
        happened += a.poll(0)
    assert got == taken
    assert happened.count(Writable(there)) == 1
    assert a.try_send(there, b"room again")
    until(lazy, FrameIn(b"room again"))


def _rss_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_send_that_succeeds_after_a_refusal_keeps_the_promise_of_writable(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    a.connect(there)
    until(a, Connected(there))
    fill(a, there, bytes(64 * 1024))
    deadline_s = time.monotonic() + WAIT_S
    while not a.try_send(there, b"urgent"):
        assert time.monotonic() < deadline_s
        b.poll(0.01)
    seen = until(a, Writable(there))
    assert seen == [Writable(there)]
    assert Writable(there) not in quiet(a, 0.1)


def test_a_frame_that_is_too_long_is_not_sent(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    a.connect(there)
    until(a, Connected(there))
    with pytest.raises(PayloadTooLargeError):
        a.try_send(there, bytes(FRAME_BYTES_MAX + 1))
    assert a.stats["oversized"] == 1
    largest = bytes(FRAME_BYTES_MAX)
    assert a.try_send(there, largest)
    until(b, FrameIn(largest))


@pytest.fixture
def raw() -> Iterator[Callable[[str], zmq.Socket[bytes]]]:
    """A DEALER of a stranger who speaks ZMTP and nothing of ours."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets: list[zmq.Socket[bytes]] = []

    def dial(endpoint: str) -> zmq.Socket[bytes]:
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.connect(endpoint)
        sockets.append(dealer)
        return dealer

    yield dial
    for dealer in sockets:
        dealer.close(linger=0)
    context.term()


def test_a_strangers_oversized_message_is_not_taken(
    make: Make, raw: Callable[[str], zmq.Socket[bytes]]
) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    raw(there).send(bytes(FRAME_BYTES_MAX + 1))
    a.connect(there)
    until(a, Connected(there))
    assert quiet(b, 0.5) == []
    assert a.try_send(there, b"honest")
    assert until(b, FrameIn(b"honest")) == [FrameIn(b"honest")]


def test_multipart_messages_are_dropped_as_a_whole_and_counted(
    make: Make, raw: Callable[[str], zmq.Socket[bytes]]
) -> None:
    b = make()
    there = b.bind(ANY)
    stranger = raw(there)
    stranger.send(b"before")
    stranger.send_multipart([b"two", b"parts"])
    stranger.send_multipart([b"p"] * 1000)
    stranger.send(b"after")
    assert until(b, FrameIn(b"after")) == [FrameIn(b"before"), FrameIn(b"after")]
    assert b.stats["multipart_dropped"] == 2


def test_answers_of_a_hostile_listener_pile_up_nowhere(make: Make) -> None:
    """We never read an outbound socket: it may hold one small message and no more."""
    a = make()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.DEALER) as hostile:
        hostile.linger = 0
        port = hostile.bind_to_random_port("tcp://127.0.0.1")
        there = f"tcp://127.0.0.1:{port}"
        a.connect(there)
        until(a, Connected(there))
        before = _rss_bytes()
        hostile.sndtimeo = 100
        with contextlib.suppress(zmq.Again):
            for _ in range(100_000):
                hostile.send(bytes(4096))
        assert _rss_bytes() - before < 32 * 2**20
        assert a.try_send(there, b"still writing")
        assert hostile.recv() == b"still writing"
        a.disconnect(there)


# ---------------------------------------------------------------- strangers and nonsense


def _tls_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="example.org").do_handshake()
    return outgoing.read()


STRANGE = {
    "http": b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "zeros": bytes(300),
    "text": b"hello?\n" * 50,
    "zmtp 1.0": b"\x01\x00\x06\x00hello",
    "zmtp 2.0": b"\xff" + bytes(8) + b"\x7f\x01\x05\x00\x00\x00\x05hello",
    "ones": b"\xff" * 300,
    "tls": _tls_hello(),
}


@pytest.mark.parametrize("name", STRANGE)
def test_strangers_are_shown_the_door(name: str, make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    a.connect(there)
    until(a, Connected(there))
    with socket.create_connection(("127.0.0.1", port_of(there))) as stranger:
        stranger.settimeout(2.0)  # well under HANDSHAKE_IVL: it is the handler that closes
        stranger.sendall(STRANGE[name])
        try:
            while stranger.recv(4096):
                pass
        except ConnectionResetError:
            pass
    seen = quiet(b, 0.1)
    assert a.try_send(there, b"honest")
    seen += until(b, FrameIn(b"honest"))
    assert [h for h in seen if isinstance(h, FrameIn)] == [FrameIn(b"honest")]
    assert quiet(a, 0.05) == []


def test_half_open_connections_keep_nobody_out(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    idle = [socket.create_connection(("127.0.0.1", port_of(there))) for _ in range(200)]
    a.connect(there)
    until(a, Connected(there), wait_s=2.0)
    for stranger in idle:
        stranger.close()


def test_a_web_server_is_not_taken_for_a_peer(make: Make) -> None:
    a = make()
    with socket.create_server(("127.0.0.1", 0)) as web:
        there = f"tcp://127.0.0.1:{web.getsockname()[1]}"
        a.connect(there)
        client, _address = web.accept()
        with client:
            client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" * 10)
            no_node = HandshakeFailed(there, "what listens there is no node")
            assert set(until(a, no_node)) == {no_node}
        a.disconnect(there)


def test_where_a_web_server_was_a_node_is_found(make: Make) -> None:
    """ZeroMQ never dials again after what is not its protocol, and tells nobody."""
    a, b = make(), make()
    with socket.create_server(("127.0.0.1", 0)) as web:
        there = f"tcp://127.0.0.1:{web.getsockname()[1]}"
        a.connect(there)
        client, _address = web.accept()
        with client:
            client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" * 10)
            until(a, HandshakeFailed(there, "what listens there is no node"))
    b.bind(there)
    until(a, Connected(there))


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "nonsense",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:99999",
        "tcp://192.0.2.1:4000",
        "tcp://127.0.0.1:1\0",
        "udp://127.0.0.1:1",
        "inproc://here",
        "ipc:///no/such/place",
    ],
)
def test_binding_to_nonsense_is_a_bind_error(endpoint: str, make: Make) -> None:
    with pytest.raises(BindError):
        make().bind(endpoint)


def test_binding_to_a_port_in_use_is_a_bind_error(make: Make) -> None:
    there = make().bind(ANY)
    with pytest.raises(BindError, match="in use"):
        make().bind(there)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "nonsense",
        "tcp://",
        "tcp://h",
        "tcp://h:0",
        "tcp://h:65536",
        "tcp://127.0.0.1:*",
        "tcp://a;b:1",
        "tcp://h:1\0",
        "tcp://h:1\n",
        "tcp://h:\u0661",
        "tcp://\ud800:1",
        "inproc://x",
        "udp://h:1",
        "ipc://",
        "ipc://" + "x" * 200,
    ],
)
def test_dialling_nonsense_is_a_config_error(endpoint: str, make: Make) -> None:
    assert not is_endpoint(endpoint)
    with pytest.raises(ConfigError):
        make().connect(endpoint)


@pytest.mark.parametrize("endpoint", ["tcp://[::1]:7000", "tcp://localhost:1", "ipc://@abstract"])
def test_endpoints_that_make_sense(endpoint: str) -> None:
    assert is_endpoint(endpoint)


def test_ipv6(make: Make) -> None:
    a, b = make(), make()
    try:
        there = b.bind("tcp://[::1]:*")
    except BindError:
        pytest.skip("no IPv6 here")
    a.connect(there)
    until(a, Connected(there))
    b.close()
    until(a, Disconnected(there), Refused(there))


def test_too_many_links_are_refused_by_name(make: Make) -> None:
    a = make()
    a.links_max = 1  # type: ignore[misc]
    a.connect("tcp://127.0.0.1:1")
    a.connect("tcp://127.0.0.1:1")
    with pytest.raises(ConfigError, match="ulimit"):
        a.connect("tcp://127.0.0.1:2")


# ---------------------------------------------------------------- the end


def _fds() -> set[tuple[str, str]]:
    found = set()
    for fd in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # the one that listed the directory
            found.add((fd.name, str(fd.readlink())))
    return found


def test_close_lets_go_of_everything_and_does_not_hang() -> None:
    before = _fds()
    a, b, lazy = ZmqTransport(), ZmqTransport(), ZmqTransport()
    there, slow = b.bind(ANY), lazy.bind(ANY)
    a.connect(there)
    a.connect(slow)
    a.connect("tcp://127.0.0.1:1")  # refused for ever
    a.connect("tcp://192.0.2.1:4000")  # a black hole
    until(a, Connected(there))
    assert a.try_send(slow, b"") or until(a, Writable(slow))
    fill(a, slow, bytes(64 * 1024))
    b.close()
    until(a, Disconnected(there))  # with a refusal check under way
    start_s = time.monotonic()
    a.close()
    a.close()
    lazy.close()
    assert time.monotonic() - start_s < 1.0
    assert _fds() == before
    assert [t.name for t in threading.enumerate() if "zap" in t.name] == []


def test_close_with_linger_delivers_what_was_queued(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    a.connect(there)
    until(a, Connected(there))
    for number in range(100):
        assert a.try_send(there, b"%d" % number)
    a.close(linger_s=2.0)
    until(b, *(FrameIn(b"%d" % number) for number in range(100)))


def test_lingering_for_a_peer_that_never_reads_ends(make: Make) -> None:
    a, b = make(), make()
    there = b.bind(ANY)
    a.connect(there)
    until(a, Connected(there))
    fill(a, there, bytes(64 * 1024))
    start_s = time.monotonic()
    a.close(linger_s=0.3)
    assert time.monotonic() - start_s < 1.5


def test_a_closed_transport_says_so(make: Make) -> None:
    a = make()
    a.close()
    a.wake()
    a.disconnect("tcp://127.0.0.1:1")
    for call in (
        lambda: a.bind(ANY),
        lambda: a.connect("tcp://127.0.0.1:1"),
        lambda: a.redial("tcp://127.0.0.1:1"),
        lambda: a.try_send("tcp://127.0.0.1:1", b""),
        lambda: a.poll(0),
    ):
        with pytest.raises(ClosedError):
            call()


FORKER = """
import os
from crdtpubsub.errors import ForkedError
from crdtpubsub.transport import Connected, FrameIn, ZmqTransport
a, b = ZmqTransport(), ZmqTransport()
there = b.bind("tcp://127.0.0.1:*")
a.connect(there)
while Connected(there) not in a.poll(1): pass
if (child := os.fork()) == 0:
    refused = 0
    for call in (lambda: a.bind(there), lambda: a.connect(there), lambda: a.poll(0),
                 lambda: a.redial(there), lambda: a.disconnect(there),
                 lambda: a.try_send(there, b"lost")):
        try: call()
        except ForkedError: refused += 1
    a.wake(); a.close(); b.close()
    del a, b
    os._exit(refused)
status = os.waitpid(child, 0)[1]
assert a.try_send(there, b"parent")
while FrameIn(b"parent") not in b.poll(1): pass
a.close(); b.close()
print(os.waitstatus_to_exitcode(status))
"""


def test_a_child_of_fork_is_told_and_the_parent_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKER],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.strip() == "6", done.stderr
    assert ForkedError.__name__ not in done.stderr


@pytest.mark.soak
def test_three_hundred_unreachable_endpoints_are_cheap(make: Make) -> None:
    a = make()
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    for number in range(300):
        a.connect(f"tcp://127.1.{number // 200}.{1 + number % 200}:{port}")
    quiet(a, 15.0)  # until the back-off has reached its 5 s
    cpu_s, start_s = time.process_time(), time.monotonic()
    assert quiet(a, 20.0) == []
    percent = 100 * (time.process_time() - cpu_s) / (time.monotonic() - start_s)
    print(f"300 unreachable endpoints: {percent:.2f} % CPU")
    assert percent < 2.0
