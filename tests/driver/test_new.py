# SPDX-License-Identifier: GPL-2.0-only
"""What our driver has and 6.12's own does not: single devices, room, rights, reasons, counters.

Run on our driver only.
"""
import contextlib
import os
import signal
import socket
import time

import pytest

import nk
from nk import HEADROOM, HOOK_PEER, MODE, PAIRING, PEER_POLICY, PEER_SCRUB, POLICY, SCRUB, TAILROOM, attr, u16, u32

SINGLE = attr(PAIRING, u32(1))


@contextlib.contextmanager
def refused(name, text):
    with pytest.raises(nk.KernelError) as caught:
        yield
    assert caught.value.name == name, caught.value
    assert text in caught.value.text


def single(name="s0", data=b"", address="10.0.0.1/24"):
    ifindex = nk.create(name, SINGLE + data, peer=None)
    nk.run("ip", "addr", "add", address, "dev", name)
    nk.up(name)
    return ifindex


# The single device

def test_a_single_device_is_alone():
    nk.create("s0", SINGLE, peer=None)
    assert nk.interfaces() == ["s0"]
    data = nk.show("s0")[1]
    assert nk.number(data[PAIRING]) == 1 and nk.number(data[nk.PRIMARY]) == 1
    assert PEER_POLICY not in data and PEER_SCRUB not in data
    nk.up("s0")
    assert "LOWER_UP" in nk.run("ip", "link", "show", "s0")
    assert "s0@" not in nk.run("ip", "link", "show", "s0")
    nk.run("ip", "link", "set", "s0", "down")
    assert "LOWER_UP" not in nk.run("ip", "link", "show", "s0")
    nk.delete("s0")
    assert not nk.interfaces()


def test_a_pair_says_that_it_is_one():
    nk.create(data=attr(PAIRING, u32(0)))
    assert nk.number(nk.show("p0")[1][PAIRING]) == nk.number(nk.show("q0")[1][PAIRING]) == 0


@pytest.mark.parametrize("data, name", [
    (nk.peer_info("q0"), "IFLA_NETKIT_PEER_INFO"), (attr(PEER_POLICY, u32(0)), "IFLA_NETKIT_PEER_POLICY"),
    (attr(PEER_SCRUB, u32(0)), "IFLA_NETKIT_PEER_SCRUB")])
def test_a_single_device_refuses_what_is_a_peers(data, name):
    with refused("EOPNOTSUPP", f"{name}: a single device has no peer"):
        nk.create("s0", SINGLE + data, peer=None)
    assert not nk.interfaces()


def test_a_single_device_refuses_changes_of_a_peer(fds):
    ifindex = nk.create("s0", SINGLE, peer=None)
    program = fds(nk.load(nk.returns(0)))
    with refused("EOPNOTSUPP", "IFLA_NETKIT_PEER_POLICY: the device has no peer"):
        nk.change("s0", attr(PEER_POLICY, u32(2)))
    for how in nk.attach, nk.link:
        with refused("ENODEV", ""):
            how(program, ifindex, HOOK_PEER)
    with refused("ENODEV", ""):
        nk.query(ifindex, HOOK_PEER)
    nk.change("s0", attr(POLICY, u32(2)))
    assert nk.number(nk.show("s0")[1][POLICY]) == nk.DROP


@pytest.mark.parametrize("mode", [nk.L2, nk.L3])
def test_a_single_device_receives_what_it_passes(mode):
    """Packet by packet: what goes out comes in, byte for byte, at the same device, and reaches the socket it is for."""
    single(data=attr(MODE, u32(mode)))
    tap = nk.Tap("s0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("10.0.0.1", 2000))
        sock.settimeout(5)
        for turn in range(3):
            frame = nk.udp("10.0.0.2", "10.0.0.1", f"turn {turn}".encode(), destination=nk.show("s0")[0][nk.IFLA_ADDRESS])
            before = nk.stats("s0")
            nk.send("s0", frame)
            assert sock.recvfrom(100) == (f"turn {turn}".encode(), ("10.0.0.2", 1000))
            assert sorted(tap.frames(2)) == [(0, frame), (4, frame)]
            after = nk.stats("s0")
            assert all(after[key] - before[key] == 1 for key in ("rx", "tx"))
            assert all(after[key] - before[key] == len(frame) for key in ("rx_bytes", "tx_bytes"))
    tap.close()


@pytest.mark.parametrize("policy, verdict, passes", [
    (nk.PASS, None, 1), (nk.DROP, None, 0), (nk.DROP, nk.PASS, 1), (nk.DROP, nk.NEXT, 1), (nk.PASS, nk.DROP, 0)])
def test_a_single_device_asks_policy_and_programs(policy, verdict, passes, fds):
    ifindex = single(data=attr(POLICY, u32(policy)))
    if verdict is not None:
        fds(nk.link(fds(nk.load(nk.returns(verdict))), ifindex))
    tap = nk.Tap("s0")
    nk.send("s0", nk.udp("10.0.0.2", "10.0.0.1"))
    assert len(tap.received(1)) == passes
    assert nk.counters("s0")["tx_pass"] >= passes
    tap.close()


def test_a_single_device_redirects(fds):
    """As the host's side of Cilium does: out of the one device, by its program, into a container's pair."""
    ifindex = single()
    nk.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    nk.up("v0", "v1")
    fds(nk.link(fds(nk.load(nk.redirects(socket.if_nametoindex("v0")))), ifindex))
    tap, own = nk.Tap("v1"), nk.Tap("s0")
    frame = nk.udp("10.0.0.1", "10.0.0.99")
    nk.send("s0", frame)
    assert tap.received(1) == [frame]
    assert not own.received()
    assert nk.counters("s0")["tx_redirect"] >= 1
    tap.close()
    own.close()


def test_a_single_device_keeps_mark_and_priority(fds):
    """It never leaves its netns, so that nothing is scrubbed."""
    ifindex = single(data=attr(SCRUB, u32(1)))
    code = (nk.insn(0x61, 2, 1, 8) + nk.insn(0xb7, 0, imm=nk.DROP) + nk.insn(0x55, 2, off=1, imm=5) +
            nk.insn(0xb7, 0, imm=nk.PASS) + nk.insn(0x95))
    fds(nk.link(fds(nk.load(code)), ifindex))
    before = nk.counters("s0")["tx_pass"]
    nk.send("s0", nk.udp("10.0.0.2", "10.0.0.1"), mark=5)
    assert nk.counters("s0")["tx_pass"] == before + 1


@pytest.mark.parametrize("accept", [0, 1])
def test_a_single_device_between_two_sockets(accept, fds):
    """What a socket of this netns sends out of the device comes back with an address of this netns for its source.

    IPv4 takes that for a forgery unless accept_local allows it.
    """
    ifindex = single()
    fds(nk.link(fds(nk.load(nk.returns(nk.PASS))), ifindex))
    with open("/proc/sys/net/ipv4/conf/s0/accept_local", "w", encoding="ascii") as file:
        file.write(str(accept))
    group = socket.inet_aton("239.1.2.3") + socket.inet_aton("10.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        receiver.bind(("239.1.2.3", 2000))
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        receiver.settimeout(5 if accept else 0.5)
        sender.bind(("10.0.0.1", 1000))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.0.0.1"))
        # Without this the stack would deliver a copy by itself.
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        before = nk.counters("s0")["tx_pass"]
        sender.sendto(b"round", ("239.1.2.3", 2000))
        if accept:
            assert receiver.recvfrom(100) == (b"round", ("10.0.0.1", 1000))
        else:
            with pytest.raises(TimeoutError):
                receiver.recv(100)
        assert nk.counters("s0")["tx_pass"] > before


def test_a_single_device_has_ipv6_addresses():
    """It hears its own question for a duplicate of its address, if it asks at all, and knows that for its own."""
    nk.create("s0", SINGLE + attr(MODE, u32(nk.L2)), peer=None)
    for name, value in (("disable_ipv6", "0"), ("accept_dad", "1")):
        with open(f"/proc/sys/net/ipv6/conf/s0/{name}", "w", encoding="ascii") as file:
            file.write(value)
    nk.up("s0")
    nk.run("ip", "addr", "add", "fd00::1/64", "dev", "s0")
    for _ in range(100):
        shown = nk.run("ip", "-6", "addr", "show", "dev", "s0")
        if "fd00::1/64" in shown and "tentative" not in shown:
            break
        time.sleep(0.1)
    assert "fd00::1/64" in shown and "fe80::" in shown
    assert "tentative" not in shown and "dadfailed" not in shown, shown
    assert nk.stats("s0")["rx"] >= 2
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("fd00::1", 2000))


def test_redirect_peer_does_not_take_a_single_device(fds):
    ifindex = single()
    nk.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    nk.up("v0", "v1")
    fds(nk.link(fds(nk.load(nk.redirects(ifindex, 155), nk.TCX_INGRESS)), socket.if_nametoindex("v0"), nk.TCX_INGRESS))
    before = nk.stats("s0")["rx"]
    nk.send("v1", nk.udp("10.0.0.2", "10.0.0.1", destination=nk.show("v0")[0][nk.IFLA_ADDRESS]))
    assert nk.stats("s0")["rx"] == before


def test_a_single_device_moves_and_dies_with_its_netns(container, fds):
    ifindex = nk.create("s0", SINGLE, peer=None)
    made = fds(nk.link(fds(nk.load(nk.returns(0))), ifindex))
    nk.run("ip", "link", "set", "s0", "netns", f"/proc/{os.getpid()}/fd/{container.fd}")
    with container.entered():
        nk.up("s0")
        assert nk.link_info(made)["ifindex"] == socket.if_nametoindex("s0")
        nk.delete("s0")
    assert nk.link_info(made)["ifindex"] == 0


def test_the_last_messages_about_a_single_device():
    """They have its counters, and name no other device below it."""
    single()
    nk.send("s0", nk.udp("10.0.0.2", "10.0.0.1"))
    before, index, listener = nk.stats("s0"), socket.if_nametoindex("s0"), nk.Listener()
    assert before["rx"] == before["tx"] >= 1
    nk.delete("s0")
    messages = listener.messages(index)
    listener.close()
    assert messages[-1][0] == nk.RTM_DELLINK
    for _, link in messages:
        assert nk.link_stats(link) == before
        assert nk.IFLA_LINK not in link


@pytest.mark.parametrize("value", [2, 0xffffffff])
def test_pairing_out_of_range(value):
    with refused("ERANGE", "IFLA_NETKIT_PAIRING: must be 0 (pair) or 1 (single)"):
        nk.create(data=attr(PAIRING, u32(value)))


# Room

@pytest.mark.parametrize("headroom, tailroom", [(0, 0), (64, 32), (4096, 65535)])
@pytest.mark.parametrize("pairing", [0, 1])
def test_room(headroom, tailroom, pairing):
    data = attr(HEADROOM, u16(headroom)) + attr(TAILROOM, u16(tailroom)) + attr(PAIRING, u32(pairing))
    nk.create(data=data, peer=None if pairing else "q0")
    for name in ("p0",) if pairing else ("p0", "q0"):
        shown = nk.show(name)[1]
        assert nk.number(shown[HEADROOM]) == headroom and nk.number(shown[TAILROOM]) == tailroom


@pytest.mark.parametrize("headroom", [4097, 65535])
@pytest.mark.parametrize("pairing", [0, 1])
def test_headroom_has_a_limit(headroom, pairing):
    """An skb counts the places of its headers in 16 bits, so with 64 KiB before them a tap would read beside its buffer."""
    with refused("ERANGE", "IFLA_NETKIT_HEADROOM: must be at most 4096"):
        nk.create(data=attr(PAIRING, u32(pairing)) + attr(HEADROOM, u16(headroom)), peer=None)
    assert not nk.interfaces()


@pytest.mark.parametrize("size", [8, 1400, 60000])
def test_a_frame_with_all_the_room_there_is_crosses_whole(size, container):
    """At the limit, from a tap and from a socket, in a device that takes the largest packets."""
    more = attr(nk.IFLA_MTU, u32(65535))
    nk.create(data=attr(HEADROOM, u16(4096)) + attr(TAILROOM, u16(65535)), more=more,
              peer_more=more + attr(nk.IFLA_NET_NS_FD, u32(container.fd)))
    nk.run("ip", "addr", "add", "10.0.0.1/24", "dev", "p0")
    nk.up("p0")
    with container.entered():
        nk.run("ip", "addr", "add", "10.0.0.2/24", "dev", "q0")
        nk.up("q0")
        inside = nk.Tap("q0")
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("10.0.0.2", 2000))
        receiver.settimeout(5)
    nk.wait_until_running("p0")
    outside = nk.Tap("p0")
    payload = bytes(range(256)) * 256
    frame = nk.udp("10.0.0.1", "10.0.0.2", payload[:size])
    nk.send("p0", frame)
    assert outside.frames(1) == [(4, frame)]
    assert inside.received(1) == [frame]
    assert receiver.recv(1 << 16) == payload[:size]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(payload[:size], ("10.0.0.2", 2000))
    assert receiver.recv(1 << 16) == payload[:size]
    # Both ends see the same frame, with nothing before it and nothing behind.
    crossed = inside.received(1)
    assert crossed == [packet for _, packet in outside.frames(1)]
    assert len(crossed[0]) == len(frame)
    for sock in inside, outside, receiver:
        sock.close()


def test_headroom_is_what_either_end_needs():
    """A bridge whose other port needs more room gets it from both ends, while it has the port."""
    nk.create("p0", attr(MODE, u32(nk.L2)) + attr(HEADROOM, u16(40)))
    # A VLAN needs what the device below it needs.
    nk.create("p1", attr(MODE, u32(nk.L2)) + attr(HEADROOM, u16(200)), "q1")
    nk.run("ip", "link", "add", "link", "p1", "name", "p1.5", "type", "vlan", "id", "5")
    nk.run("ip", "link", "add", "br0", "type", "bridge")
    nk.run("ip", "link", "set", "p1.5", "master", "br0")

    def headroom():
        return [nk.number(nk.show(name)[1][HEADROOM]) for name in ("p0", "q0")]

    assert headroom() == [40, 40]
    nk.run("ip", "link", "set", "q0", "master", "br0")
    assert headroom()[0] == headroom()[1] >= 200
    nk.run("ip", "link", "set", "q0", "nomaster")
    assert headroom() == [40, 40]


@pytest.mark.parametrize("kind", [HEADROOM, TAILROOM, PAIRING])
def test_room_and_pairing_are_fixed(kind):
    nk.create()
    value = u32(1) if kind == PAIRING else u16(1)
    with refused("EACCES", "fixed at creation"):
        nk.change("p0", attr(kind, value))


@pytest.mark.parametrize("wrong", [attr(HEADROOM, b"\1"), attr(TAILROOM, b"\1"), attr(PAIRING, u16(1)), attr(PAIRING, b"")])
def test_room_and_pairing_of_a_wrong_length(wrong):
    with refused("ERANGE", ""):
        nk.create(data=wrong, peer=None)
    assert not nk.interfaces()


def test_what_is_behind_room_and_pairing_is_ignored():
    nk.create("s0", attr(HEADROOM, u16(64) + b"\xff" * 6) + attr(TAILROOM, u16(32) + b"\xff") + attr(PAIRING, u32(1) + b"\xff" * 4),
              peer=None)
    assert [nk.number(nk.show("s0")[1][kind]) for kind in (HEADROOM, TAILROOM, PAIRING)] == [64, 32, 1]


# Rights

def in_a_user_namespace(what):
    """Run what() in a child, root in new user and network namespaces; its exception's errno name, or None."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            os.setgid(65534)
            os.setuid(65534)
            os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
            what()
            os.write(writer, b"done")
        except OSError as error:
            os.write(writer, f"{getattr(error, 'name', error)} {getattr(error, 'text', '')}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def test_a_peer_needs_rights_in_its_netns(container):
    """An unprivileged user namespace can make a pair of its own, but put no end of it where it has no rights."""
    assert in_a_user_namespace(nk.create) == "done"
    before = None
    with container.entered():
        before = socket.if_nameindex()
    target = attr(nk.IFLA_NET_NS_FD, u32(container.fd))
    said = in_a_user_namespace(lambda: nk.create(peer_more=target))
    assert said.startswith("EPERM IFLA_NETKIT_PEER_INFO: needs CAP_NET_ADMIN in the peer's netns"), said
    target = attr(nk.IFLA_NET_NS_PID, u32(os.getpid()))
    assert in_a_user_namespace(lambda: nk.create(peer_more=target)).startswith("EPERM")
    with container.entered():
        assert socket.if_nameindex() == before


# Reasons and counters

@pytest.mark.parametrize("wrong", [
    attr(MODE, u32(2)), attr(POLICY, u32(1)), attr(PEER_POLICY, u32(3)), attr(SCRUB, u32(2)), attr(PEER_SCRUB, u32(2)),
    attr(PAIRING, u32(2)), attr(nk.PRIMARY, nk.u8(1)), attr(MODE, u16(1)), attr(HEADROOM, b""), attr(nk.PEER_INFO, b"")])
def test_a_refusal_points_at_its_attribute(wrong):
    body = nk.link_body(attr(nk.POLICY + 100, u32(0)) + wrong, "p0")
    with pytest.raises(nk.KernelError) as caught:
        nk.request(nk.RTM_NEWLINK, nk.NLM_F_CREATE, body)
    assert caught.value.text
    # The message begins with its header.
    assert caught.value.offset == 16 + body.index(wrong)


@pytest.mark.parametrize("wrong, name", [
    (attr(POLICY, u32(nk.DROP)), "IFLA_NETKIT_POLICY"), (attr(MODE, u32(9)), "IFLA_NETKIT_MODE"),
    (nk.peer_info("q1") + attr(POLICY, u32(0)), "IFLA_NETKIT_PEER_INFO"), (b"", "IFLA_INFO_DATA")])
def test_a_change_through_the_peer_points_at_its_first_attribute(wrong, name):
    nk.create()
    body = nk.link_body(wrong, index=socket.if_nametoindex("q0"))
    with pytest.raises(nk.KernelError) as caught:
        nk.request(nk.RTM_NEWLINK, 0, body)
    assert f"{name}: a peer can only be changed through its primary" in caught.value.text
    assert caught.value.offset == (16 + body.index(wrong) if wrong else None)


def test_of_two_namespaces_the_one_that_counts_is_named(container):
    """The core takes the process before the descriptor."""
    wrong = attr(nk.IFLA_NET_NS_PID, u32(0x7ffffff))
    body = nk.link_body(nk.peer_info("q0", attr(nk.IFLA_NET_NS_FD, u32(container.fd)) + wrong), "p0")
    with pytest.raises(nk.KernelError) as caught:
        nk.request(nk.RTM_NEWLINK, nk.NLM_F_CREATE, body)
    assert caught.value.name == "ESRCH" and "names no network namespace" in caught.value.text
    assert caught.value.offset == 16 + body.index(wrong)


def test_a_name_that_is_taken():
    with refused("EEXIST", "IFLA_IFNAME: taken"):
        nk.request(nk.RTM_NEWLINK, nk.NLM_F_CREATE | nk.NLM_F_EXCL, nk.link_body(None, "nk0"))


def test_counters(pair, container, fds):
    frame = nk.udp("10.0.0.1", "10.0.0.2")

    def counted(name, count=1):
        before, core = nk.counters("p0"), nk.stats("p0")
        for _ in range(count):
            nk.send("p0", frame)
        after, core_after = nk.counters("p0"), nk.stats("p0")
        changed = {key: after[key] - before[key] for key in after if after[key] != before[key]}
        assert changed == {name: count}
        dropped = name.startswith("tx_drop")
        assert core_after["tx_dropped"] - core["tx_dropped"] == dropped * count
        assert core_after["tx"] - core["tx"] == (not dropped) * count
        assert core_after["tx_bytes"] - core["tx_bytes"] == (not dropped) * count * len(frame)

    counted("tx_pass", 5)
    nk.change("p0", attr(POLICY, u32(nk.DROP)))
    counted("tx_drop_policy", 3)
    program = fds(nk.load(nk.returns(nk.DROP)))
    made = fds(nk.link(program, pair))
    counted("tx_drop_prog", 2)
    nk.link_update(made, fds(nk.load(nk.redirects(socket.if_nametoindex("lo")))))
    counted("tx_redirect", 4)
    with container.entered():
        rx = nk.stats("q0")["rx"]
    assert rx == nk.counters("p0")["tx_pass"]


def drop_reasons(what):
    """The reasons that the kernel's drop tracepoint gave while what() ran."""
    tracing = "/sys/kernel/tracing"

    def write(path, text):
        with open(f"{tracing}/{path}", "w", encoding="ascii") as file:
            file.write(text)

    write("trace", "")
    write("events/skb/kfree_skb/enable", "1")
    try:
        what()
    finally:
        write("events/skb/kfree_skb/enable", "0")
    with open(f"{tracing}/trace", encoding="ascii") as file:
        return [line.split("reason: ")[1].strip() for line in file if "reason: NETKIT" in line]


def test_drop_reasons(pair, container, fds):
    """Tools that trace drops see a reason for each kind of drop, by name."""
    def send():
        nk.send("p0", nk.udp("10.0.0.1", "10.0.0.2"))

    nk.change("p0", attr(POLICY, u32(nk.DROP)))
    assert "NETKIT_POLICY" in drop_reasons(send)
    fds(nk.link(fds(nk.load(nk.returns(nk.DROP))), pair))
    assert "NETKIT_PROG" in drop_reasons(send)


def test_the_drop_reason_without_a_peer(pair, container):
    """The moment in which the peer is down and the core has not noticed it yet: later it sends the device no packets."""
    child = os.fork()
    if not child:
        while True:
            nk.send("p0", nk.udp("10.0.0.1", "10.0.0.2"))

    def take_the_peer_down():
        for _ in range(200):
            with container.entered():
                nk.run("ip", "link", "set", "q0", "down")
                nk.up("q0")
                nk.wait_until_running("q0")
            if nk.counters("p0")["tx_drop_no_peer"]:
                return

    try:
        reasons = drop_reasons(take_the_peer_down)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert nk.counters("p0")["tx_drop_no_peer"]
    assert "NETKIT_NO_PEER" in reasons


def test_a_link_that_expects_a_revision_after_the_last_detach(fds):
    ifindex = nk.create()
    program = fds(nk.load(nk.returns(0)))
    os.close(nk.link(program, ifindex))
    while nk.query(ifindex)[0]:
        pass
    revision = nk.query(ifindex)[2]
    fds(nk.link(program, ifindex, revision=revision))
    assert nk.query(ifindex)[2] == revision + 1
