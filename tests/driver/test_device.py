# SPDX-License-Identifier: GPL-2.0-only
"""What a device is and does, the same with our driver and with the tree's own, also for iproute2, ethtool and bpftool."""
import contextlib
import json
import os
import socket

import pytest

import nk
from nk import HOOK_PEER, HOOK_PRIMARY, MODE, PEER_POLICY, PEER_SCRUB, POLICY, PRIMARY, SCRUB, attr, u32


def flags(name):
    return set(json.loads(nk.run("ip", "-j", "link", "show", name))[0]["flags"])


def operstate(name):
    return json.loads(nk.run("ip", "-j", "link", "show", name))[0]["operstate"]


def test_defaults():
    nk.create()
    for name, primary in ("p0", 1), ("q0", 0):
        link, data = nk.show(name)
        assert nk.number(data[PRIMARY]) == primary
        assert nk.number(data[MODE]) == nk.L3
        assert nk.number(data[POLICY]) == nk.number(data[PEER_POLICY]) == nk.PASS
        assert nk.number(data[SCRUB]) == nk.number(data[PEER_SCRUB]) == 1
        assert link[nk.IFLA_ADDRESS] == b"\0" * 6
        assert nk.number(link[nk.IFLA_MTU]) == 1500
        assert flags(name) >= {"NOARP", "BROADCAST", "MULTICAST"}


def test_l2():
    nk.create(data=attr(MODE, u32(nk.L2)), more=attr(nk.IFLA_ADDRESS, b"\x02\0\0\0\0\x09"))
    assert nk.show("p0")[0][nk.IFLA_ADDRESS] == b"\x02\0\0\0\0\x09"
    address = nk.show("q0")[0][nk.IFLA_ADDRESS]
    assert address != b"\0" * 6 and address[0] & 3 == 2
    assert "NOARP" not in flags("p0") | flags("q0")
    # Nobody else can have an address of theirs, so that nobody is asked.
    for name in ("p0", "q0"):
        with open(f"/proc/sys/net/ipv6/conf/{name}/accept_dad", encoding="ascii") as file:
            assert file.read() == "-1\n"


def test_each_end_has_its_own_policy_and_scrub():
    nk.create(data=attr(POLICY, u32(nk.DROP)) + attr(PEER_SCRUB, u32(0)))
    primary, peer = nk.show("p0")[1], nk.show("q0")[1]
    assert nk.number(primary[POLICY]) == nk.number(peer[PEER_POLICY]) == nk.DROP
    assert nk.number(primary[PEER_POLICY]) == nk.number(peer[POLICY]) == nk.PASS
    assert nk.number(primary[SCRUB]) == nk.number(peer[PEER_SCRUB]) == 1
    assert nk.number(primary[PEER_SCRUB]) == nk.number(peer[SCRUB]) == 0


def test_names():
    """Without names the peer comes first."""
    nk.request(nk.RTM_NEWLINK, nk.NLM_F_CREATE, nk.link_body(None))
    assert nk.interfaces() == ["nk0", "nk1"]
    assert nk.number(nk.show("nk1")[1][PRIMARY]) == 1
    with pytest.raises(nk.KernelError) as caught:
        nk.request(nk.RTM_NEWLINK, nk.NLM_F_CREATE | nk.NLM_F_EXCL, nk.link_body(None, "nk2"))
    assert caught.value.name == "EEXIST"
    assert len(nk.interfaces()) == 2


def test_a_peer_is_created_down():
    nk.create(data=nk.peer_info("q0", flags=nk.IFF_UP, change=nk.IFF_UP), peer=None)
    assert "UP" not in flags("q0")


def test_indexes():
    body = nk.link_body(attr(nk.PEER_INFO, nk.ifinfo(index=700) + attr(nk.IFLA_IFNAME, "q0")), "p0", index=600)
    nk.request(nk.RTM_NEWLINK, nk.NLM_F_CREATE | nk.NLM_F_EXCL, body)
    assert (socket.if_nametoindex("p0"), socket.if_nametoindex("q0")) == (600, 700)


def test_carrier():
    """Both ends have a carrier while both are up, also when they are in two namespaces."""
    nk.create()
    assert operstate("p0") == "DOWN"
    nk.up("p0")
    assert "LOWER_UP" not in flags("p0")
    nk.up("q0")
    assert "LOWER_UP" in flags("p0") & flags("q0")
    nk.run("ip", "link", "set", "p0", "down")
    assert "LOWER_UP" not in flags("p0") | flags("q0")


def test_mtu():
    nk.create(more=attr(nk.IFLA_MTU, u32(65535)), peer_more=attr(nk.IFLA_MTU, u32(68)))
    assert nk.number(nk.show("p0")[0][nk.IFLA_MTU]) == 65535
    assert nk.number(nk.show("q0")[0][nk.IFLA_MTU]) == 68
    for wrong in 67, 65536:
        with pytest.raises(nk.KernelError) as caught:
            nk.request(nk.RTM_NEWLINK, 0, nk.ifinfo(socket.if_nametoindex("p0")) + attr(nk.IFLA_MTU, u32(wrong)))
        assert caught.value.name == "EINVAL"


def test_namespaces(container):
    """A peer moves, and comes back; deleting its namespace deletes the pair, and so does deleting either end."""
    nk.create(peer_more=attr(nk.IFLA_NET_NS_FD, u32(container.fd)))
    with pytest.raises(OSError):
        socket.if_nametoindex("q0")
    with container.entered():
        assert nk.number(nk.show("q0")[1][PRIMARY]) == 0
        nk.delete("q0")
    with pytest.raises(OSError):
        socket.if_nametoindex("p0")

    nk.create()
    nk.run("ip", "link", "set", "q0", "netns", f"/proc/{os.getpid()}/fd/{container.fd}")
    with container.entered():
        nk.show("q0")
    nk.delete("p0")
    with container.entered(), pytest.raises(OSError):
        socket.if_nametoindex("q0")


def test_offloads():
    """The same as veth's, to the flag; tests of the stack rely on nothing less."""
    nk.create()
    nk.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")

    def offloads(name):
        lines = [line.strip().split(":") for line in nk.run("ethtool", "-k", name).splitlines()[1:]]
        return {key: value.strip() for key, value in lines}

    ours, veth = offloads("p0"), offloads("v0")
    # veth turns GRO off because it receives without NAPI; netkit leaves it to the user, and it has no XDP.
    different = {key for key in ours if ours[key] != veth[key]}
    assert different <= {"generic-receive-offload"}, different
    assert offloads("q0") == ours


def test_big_tcp(pair, container):
    for name in "p0", "q0":
        scope = container.entered() if name == "q0" else _nowhere()
        with scope:
            link = json.loads(nk.run("ip", "-j", "-d", "link", "show", name))[0]
            assert link["tso_max_size"] == 524280
            nk.run("ip", "link", "set", name, "gso_max_size", "200000", "gro_max_size", "200000")
            assert json.loads(nk.run("ip", "-j", "-d", "link", "show", name))[0]["gso_max_size"] == 200000


class _nowhere:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


def test_iproute2(container):
    nk.run("ip", "link", "add", "p0", "type", "netkit", "mode", "l2", "blackhole", "peer", "forward", "name", "q0")
    shown = nk.run("ip", "-d", "link", "show", "p0")
    assert "netkit mode l2 type primary policy blackhole peer policy forward" in shown
    assert "scrub default peer scrub default" in shown
    nk.run("ip", "link", "set", "p0", "type", "netkit", "forward", "peer", "blackhole")
    assert "policy forward peer policy blackhole" in nk.run("ip", "-d", "link", "show", "p0")
    assert "type peer policy blackhole peer policy forward" in nk.run("ip", "-d", "link", "show", "q0")
    shown = json.loads(nk.run("ip", "-j", "-d", "link", "show", "p0"))[0]["linkinfo"]
    assert shown["info_kind"] == "netkit" and shown["info_data"]["mode"] == "l2"
    nk.run("ip", "link", "del", "p0")


def test_ethtool():
    nk.create()
    shown = dict(line.split(": ", 1) for line in nk.run("ethtool", "-i", "p0").splitlines() if ": " in line)
    assert shown["driver"] == "netkit"
    if nk.DRIVER:
        assert shown["version"] == os.uname().release


def test_ethtool_promises_no_timestamps_of_its_own():
    """Packets are stamped when they are received, as on every device; nothing stamps those that are sent."""
    nk.create()
    shown = nk.run("ethtool", "-T", "p0")
    assert "software-receive" in shown
    assert "transmit" not in shown and "hardware-receive" not in shown, shown


def test_bpftool(fds):
    ifindex = nk.create()
    program = fds(nk.load(nk.returns(nk.NEXT)))
    nk.attach(fds(nk.load(nk.returns(nk.NEXT))), ifindex)
    made = fds(nk.link(program, ifindex, HOOK_PEER))
    shown = json.loads(nk.run("bpftool", "-j", "link", "show"))
    shown = next(link for link in shown if link["id"] == nk.link_info(made)["id"])
    assert shown["type"] == "netkit" and shown["attach_type"] == "netkit_peer" and shown["devname"] == "q0"
    net = json.loads(nk.run("bpftool", "-j", "net", "show"))[0]["tc"]
    assert {(entry["devname"], entry["kind"]) for entry in net} >= {("p0", "netkit/primary"), ("p0", "netkit/peer")}


def test_multicast_groups():
    nk.create()
    nk.up("p0", "q0")
    nk.run("ip", "maddr", "add", "01:00:5e:01:02:03", "dev", "p0")
    assert "01:00:5e:01:02:03" in nk.run("ip", "maddr", "show", "dev", "p0")


def test_ping(pair, container):
    nk.run("ping", "-q", "-c", "3", "-i", "0.1", "10.0.0.2")
    with container.entered():
        nk.run("ping", "-q", "-c", "2", "-s", "20000", "-i", "0.1", "10.0.0.1")


def test_a_frame_for_another_station_is_nobodys(container):
    nk.create(data=attr(MODE, u32(nk.L2)), peer_more=attr(nk.IFLA_NET_NS_FD, u32(container.fd)) + attr(nk.IFLA_ADDRESS, b"\x02\0\0\0\0\x02"))
    with container.entered():
        nk.run("ip", "addr", "add", "10.0.0.2/24", "dev", "q0")
        nk.up("q0")
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("10.0.0.2", 2000))
        receiver.settimeout(5)
    nk.up("p0")
    nk.wait_until_running("p0")
    # One after the other through one queue: when the second has come, the first one won't.
    for station, payload in (b"\x02\0\0\0\0\x03", b"theirs!!"), (b"\x02\0\0\0\0\x02", b"for us!!"):
        nk.send("p0", nk.udp("10.0.0.1", "10.0.0.2", payload, destination=station))
    assert receiver.recv(100) == b"for us!!"
    receiver.close()


@pytest.mark.parametrize("policy, verdict, passes", [
    (nk.PASS, None, True), (nk.DROP, None, False),
    (nk.DROP, nk.PASS, True), (nk.PASS, nk.DROP, False),
    # A chain that ends in NEXT passes, whatever the policy.
    (nk.DROP, nk.NEXT, True),
    # A verdict that the interface doesn't define drops.
    (nk.PASS, 1, False), (nk.PASS, 4, False), (nk.PASS, 1000, False),
])
@pytest.mark.parametrize("hook", [HOOK_PRIMARY, HOOK_PEER])
def test_verdicts(pair, container, policy, verdict, passes, hook, fds):
    nk.change("p0", attr(POLICY if hook == HOOK_PRIMARY else PEER_POLICY, u32(policy)))
    if verdict is not None:
        fds(nk.link(fds(nk.load(nk.returns(verdict))), pair, hook))
    forth = nk.udp("10.0.0.1", "10.0.0.2"), "p0", "q0"
    back = nk.udp("10.0.0.2", "10.0.0.1"), "q0", "p0"
    frame, sender, receiver = forth if hook == HOOK_PRIMARY else back
    inside = container.entered if hook == HOOK_PEER else _nowhere
    outside = _nowhere if hook == HOOK_PEER else container.entered
    with outside():
        tap = nk.Tap(receiver)
    with inside():
        before = nk.stats(sender)
        nk.send(sender, frame)
        after = nk.stats(sender)
    assert (tap.received(1) == [frame]) == passes
    tap.close()
    assert after["tx"] - before["tx"] == passes
    assert after["tx_dropped"] - before["tx_dropped"] == (not passes)
    assert after["tx_bytes"] - before["tx_bytes"] == passes * len(frame)


def test_the_first_verdict_ends_the_chain(pair, container, fds):
    nk.attach(fds(nk.load(nk.returns(nk.NEXT))), pair)
    passes = fds(nk.load(nk.returns(nk.PASS)))
    nk.attach(passes, pair)
    nk.attach(fds(nk.load(nk.returns(nk.DROP))), pair)
    with container.entered():
        tap = nk.Tap("q0")
    nk.send("p0", nk.udp("10.0.0.1", "10.0.0.2"))
    assert len(tap.received(1)) == 1
    # NEXT is none: it ends nothing.
    nk.detach(passes, pair)
    nk.send("p0", nk.udp("10.0.0.1", "10.0.0.2"))
    assert not tap.received()
    tap.close()


def test_a_primary_that_is_down_closes_its_container(pair, container):
    nk.run("ip", "link", "set", "p0", "down")
    tap = nk.Tap("p0")
    with container.entered():
        nk.send("q0", nk.udp("10.0.0.2", "10.0.0.1"))
        assert nk.stats("q0")["tx"] == 0
    assert not tap.received()
    tap.close()


def test_redirect(pair, container, fds):
    """bpf_redirect() from a program: the target is looked up in the receiving end's netns."""
    nk.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    nk.up("v0", "v1")
    fds(nk.link(fds(nk.load(nk.redirects(socket.if_nametoindex("v0")))), pair, HOOK_PEER))
    tap, past = nk.Tap("v1"), nk.Tap("p0")
    frame = nk.udp("10.0.0.2", "10.0.0.77")
    with container.entered():
        before = nk.stats("q0")
        nk.send("q0", frame)
        after = nk.stats("q0")
    assert tap.received(1) == [frame]
    assert not past.received()
    assert after["tx"] - before["tx"] == 1 and after["tx_dropped"] == before["tx_dropped"]
    tap.close()
    past.close()


def test_redirect_neigh(pair, container, fds):
    """bpf_redirect_neigh() from a program: the frame gets the addresses that the receiving end's netns has for the next hop."""
    nk.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    nk.run("ip", "addr", "add", "10.0.1.1/24", "dev", "v0")
    nk.up("v0", "v1")
    neighbour = b"\x02\0\0\0\0\x77"
    nk.run("ip", "neigh", "add", "10.0.1.9", "lladdr", neighbour.hex(":"), "dev", "v0", "nud", "permanent")
    # Ifindex, no parameters, their length, no flags.
    code = (nk.insn(0xb7, 1, imm=socket.if_nametoindex("v0")) + b"".join(nk.insn(0xb7, r) for r in (2, 3, 4)) +
            nk.insn(0x85, imm=152) + nk.insn(0x95))
    fds(nk.link(fds(nk.load(code)), pair, HOOK_PEER))
    tap, past = nk.Tap("v1"), nk.Tap("p0")
    frame = nk.udp("10.0.0.2", "10.0.1.9")
    with container.entered():
        before = nk.stats("q0")
        nk.send("q0", frame)
        after = nk.stats("q0")
    assert tap.received(1) == [neighbour + nk.show("v0")[0][nk.IFLA_ADDRESS] + frame[12:]]
    assert not past.received()
    assert after["tx"] - before["tx"] == 1 and after["tx_dropped"] == before["tx_dropped"]
    tap.close()
    past.close()


@pytest.mark.parametrize("code, length", [
    (nk.calls(38, 3000, 0), 3000),  # bpf_skb_change_tail(), which moves the packet to a larger buffer
    (nk.calls(38, 44, 0), 44),
    (nk.calls(39, 8000), 8000),     # bpf_skb_pull_data(), of a packet that is mostly in fragments
], ids=["longer", "shorter", "linear"])
def test_a_program_sees_what_the_one_before_it_changed(code, length, pair, container, fds):
    """The data pointers of the second program are those of the packet that the first one left."""
    nk.run("ip", "link", "set", "p0", "mtu", "9000")
    frame = nk.udp("10.0.0.1", "10.0.0.2", b"x" * (8000 - 42 if length == 8000 else 8))
    checker = fds(nk.load(nk.passes_linear(length)))
    with container.entered():
        tap = nk.Tap("q0")
    # The packet as it comes is another one.
    nk.attach(checker, pair)
    nk.send("p0", frame)
    assert not tap.received()
    nk.attach(fds(nk.load(code)), pair, flags=nk.BEFORE)
    nk.send("p0", frame)
    found = tap.received(1)
    tap.close()
    assert [len(packet) for packet in found] == [length]
    assert found[0] == frame[:length].ljust(length, b"\0")


@contextlib.contextmanager
def backlog(limit):
    """Let a processor queue this many packets that it has received; the first netns has the setting, for all."""
    path = "/proc/sys/net/core/netdev_max_backlog"
    first, own = (os.open(f"/proc/{who}/ns/net", os.O_RDONLY | os.O_CLOEXEC) for who in (1, "thread-self"))

    def write(value):
        os.setns(first, os.CLONE_NEWNET)
        try:
            with open(path, "r+", encoding="ascii") as file:
                before = file.read()
                file.seek(0)
                file.write(str(value))
            return before
        finally:
            os.setns(own, os.CLONE_NEWNET)

    before = write(limit)
    try:
        yield
    finally:
        write(before)
        os.close(first)
        os.close(own)


def test_a_full_backlog_drops(pair, container):
    """What the receiver's queue has no place for is dropped, counted as that, and not as passed."""
    # One call that becomes forty packets in a row, for the device can't take them as one.
    nk.run("ethtool", "-K", "p0", "tx-udp-segmentation", "off")
    with container.entered():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("10.0.0.2", 2000))
        receiver.settimeout(0.5)
        received = nk.stats("q0")
    sent = nk.stats("p0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(17, 103, 100)  # SOL_UDP, UDP_SEGMENT
        with backlog(0):
            for _ in range(20):
                with contextlib.suppress(OSError):
                    sender.sendto(b"x" * 4000, ("10.0.0.2", 2000))
    arrived = 0
    with contextlib.suppress(TimeoutError):
        while receiver.recv(200):
            arrived += 1
    receiver.close()
    sent = {key: value - sent[key] for key, value in nk.stats("p0").items()}
    with container.entered():
        received = {key: value - received[key] for key, value in nk.stats("q0").items()}
    assert arrived >= 20 and received["rx"] == sent["tx"] == arrived
    assert sent["tx_dropped"] == 20 * 40 - arrived > 0
    if nk.DRIVER:
        counters = nk.counters("p0")
        assert counters["tx_drop_backlog"] == sent["tx_dropped"]
        assert counters["tx_pass"] == nk.stats("p0")["tx"]


def test_redirect_peer(pair, container, fds):
    """From tc ingress of another device straight into the container, past the primary; the peer counts it."""
    nk.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    nk.up("v0", "v1")
    fds(nk.link(fds(nk.load(nk.redirects(pair, 155), nk.TCX_INGRESS)), socket.if_nametoindex("v0"), nk.TCX_INGRESS))
    with container.entered():
        tap = nk.Tap("q0")
        before = nk.stats("q0")
    frame = nk.udp("10.0.0.77", "10.0.0.2", destination=nk.show("v0")[0][nk.IFLA_ADDRESS])
    nk.send("v1", frame)
    assert len(tap.received(1)) == 1
    with container.entered():
        after = nk.stats("q0")
    assert after["rx"] - before["rx"] == 1
    assert nk.stats("p0")["tx"] == 0
    tap.close()


@pytest.mark.parametrize("end", ["p0", "q0"])
def test_the_last_messages_have_the_counters(end, pair, container):
    """Whichever end is deleted, what is said about either while it goes has all that it sent and received."""
    nk.run("ping", "-q", "-c", "3", "-i", "0.1", "10.0.0.2")
    listeners = {}
    for name, inside in ("p0", _nowhere), ("q0", container.entered):
        with inside():
            listeners[name] = nk.Listener(), socket.if_nametoindex(name), nk.stats(name)
    with (container.entered if end == "q0" else _nowhere)():
        nk.delete(end)
    for name, (listener, index, before) in listeners.items():
        messages = listener.messages(index)
        listener.close()
        assert messages[-1][0] == nk.RTM_DELLINK
        assert before["rx"] >= 3 and before["tx"] >= 3
        for _, link in messages:
            assert nk.link_stats(link) == before, name


def marks(hook_value):
    """A program that passes what has mark and priority hook_value, and drops the rest."""
    load_mark = nk.insn(0x61, 2, 1, 8)       # r2 = skb->mark
    load_priority = nk.insn(0x61, 3, 1, 32)  # r3 = skb->priority
    return (load_mark + load_priority + nk.insn(0xb7, 0, imm=nk.DROP) + nk.insn(0x55, 2, off=2, imm=hook_value) +
            nk.insn(0x55, 3, off=1, imm=hook_value) + nk.insn(0xb7, 0, imm=nk.PASS) + nk.insn(0x95))


@pytest.mark.parametrize("scrub, crosses, kept", [(1, True, False), (0, True, True), (1, False, True), (0, False, True)])
@pytest.mark.parametrize("end", ["p0", "q0"])
def test_scrub(scrub, crosses, kept, end, container, fds):
    """Mark and priority are cleared on the way to another netns, before the programs run, unless scrubbing is off."""
    more = attr(nk.IFLA_NET_NS_FD, u32(container.fd)) if crosses else b""
    ifindex = nk.create(data=attr(SCRUB if end == "p0" else PEER_SCRUB, u32(scrub)), peer_more=more)
    nk.up("p0")
    inside = container.entered if crosses else _nowhere
    with inside():
        nk.up("q0")
    fds(nk.link(fds(nk.load(marks(5 if kept else 0))), ifindex, HOOK_PRIMARY if end == "p0" else HOOK_PEER))
    with (inside if end == "q0" else _nowhere)():
        before = nk.stats(end)
        nk.send(end, nk.udp("10.0.0.1", "10.0.0.2"), mark=5, priority=5)
        after = nk.stats(end)
    assert after["tx"] - before["tx"] == 1
    assert after["tx_dropped"] == before["tx_dropped"]


def test_vlan_crosses_as_it_is(container):
    nk.create(data=attr(MODE, u32(nk.L2)), peer_more=attr(nk.IFLA_NET_NS_FD, u32(container.fd)))
    nk.up("p0")
    nk.run("ip", "link", "add", "link", "p0", "name", "p0.7", "type", "vlan", "id", "7")
    nk.run("ip", "addr", "add", "10.7.0.1/24", "dev", "p0.7")
    nk.up("p0.7")
    with container.entered():
        nk.up("q0")
        nk.run("ip", "link", "add", "link", "q0", "name", "q0.7", "type", "vlan", "id", "7")
        nk.run("ip", "addr", "add", "10.7.0.2/24", "dev", "q0.7")
        nk.up("q0.7")
    nk.run("ping", "-q", "-c", "2", "-i", "0.2", "10.7.0.2")
