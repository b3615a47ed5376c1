# SPDX-License-Identifier: GPL-2.0-only
"""Single devices and room for headers, on kernels that have them (6.14 and 7.1 upstream, and our driver): conftest.py leaves this file out
elsewhere, where test_device.py sees them refused."""
import contextlib
import json
import socket
import struct

import pytest
from tools import RpcError, addresses, chain, link, pair, program, routes, run, until, wait_for_daemon

ALONE = {"name": "alone", "addresses": ["10.0.0.1/24"], "routes": [{"to": "10.9.0.0/16"}]}
FILTER = {"name": "in", "hook": "netkit/primary", "program": "next1"}


def attributes(data):
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3fff] = data[4:size]
        data = data[(size + 3) & ~3:]
    return found


def netkit(name):
    """What the kernel says about the device that iproute2 doesn't know yet: headroom, tailroom and whether it is single."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.send(struct.pack("=IHHIIBxHiII", 32, 18, 1, 1, 0, 0, 0, socket.if_nametoindex(name), 0, 0))
        answer = attributes(sock.recv(1 << 16)[32:])
    data = attributes(attributes(answer[18])[2])
    return tuple(int.from_bytes(data[kind], "little") for kind in (8, 9, 10))


def counted(name, direction, what):
    return json.loads(run("ip", "-j", "-s", "link", "show", "dev", name))[0]["stats64"][direction][what]


def send(count=5):
    """Packets through the single device, to nobody."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(count):
            sock.sendto(b"hello", ("10.0.0.77", 9))


def test_a_device_without_a_peer_is_single(rpc):
    rpc.converge([ALONE])
    assert netkit("alone")[2] == 1
    assert "UP" in link("alone")["flags"] and "LOWER_UP" in link("alone")["flags"]
    assert "link" not in link("alone"), "no other end"
    assert addresses("alone") == {"10.0.0.1/24"}
    assert {r[0] for r in routes("alone")} == {"10.9.0.0/16"}
    rpc.call("device.delete", {"name": "alone", "wait_ms": 20000})
    assert link("alone") is None


def test_its_programs_decide(rpc):
    """What passes comes in at the same device; what is dropped does not."""
    rpc.converge([{**ALONE, "attachments": [FILTER]}], [program("next1")])
    assert len(chain("alone", "netkit/primary")) == 1
    before = counted("alone", "rx", "packets")
    send()
    assert counted("alone", "rx", "packets") >= before + 5
    rpc.converge([{**ALONE, "attachments": [{**FILTER, "program": "drop"}]}], [program("next1"), program("drop")])
    before, dropped = counted("alone", "rx", "packets"), counted("alone", "tx", "dropped")
    for _ in range(5):
        with contextlib.suppress(OSError):
            send(1)
    assert counted("alone", "rx", "packets") == before
    assert counted("alone", "tx", "dropped") >= dropped + 5


@pytest.mark.parametrize("what", ["ip link del alone", "ip link set alone down", "ip addr flush dev alone",
                                  "ip link set alone type netkit blackhole", "ip link set alone name stolen"])
def test_what_somebody_breaks_is_put_back(rpc, what):
    rpc.converge([{**ALONE, "attachments": [FILTER]}], [program("next1")])

    def whole():
        now = link("alone")
        return now and (now["linkinfo"]["info_data"]["policy"], "UP" in now["flags"], addresses("alone"), routes("alone"),
                        len(chain("alone", "netkit/primary")))

    want = whole()
    run(*what.split())
    until(lambda: rpc.call("device.get", {"name": "alone"}).get("repairs"), f"the repair of: {what}")
    until(lambda: whole() == want, f"everything as before: {whole()} != {want}")
    assert netkit("alone")[2] == 1


def test_a_lost_program_is_put_back(rpc):
    rpc.converge([{**ALONE, "attachments": [FILTER]}], [program("next1")])
    [(prog, held)] = chain("alone", "netkit/primary")
    run("bpftool", "link", "detach", "id", held)
    until(lambda: [p for p, _ in chain("alone", "netkit/primary")] == [prog], "the program at its hook again")


def test_a_restart_adopts_it(rpc):
    rpc.converge([{**ALONE, "headroom": 64, "attachments": [FILTER]}], [program("next1")])
    before = link("alone")["ifindex"], chain("alone", "netkit/primary")
    run("systemctl", "restart", "netkitd")
    assert wait_for_daemon().call("state.wait", {"timeout_ms": 20000})["converged"]
    assert (link("alone")["ifindex"], chain("alone", "netkit/primary")) == before


def test_single_becomes_pair_and_back(rpc, netns):
    netns("web-1")
    rpc.converge([{"name": "web-1"}])
    assert netkit("web-1")[2] == 1
    rpc.converge([pair()])
    assert netkit("web-1")[2] == 0 and link("eth0", "web-1")
    rpc.converge([{"name": "web-1"}])
    assert netkit("web-1")[2] == 1
    until(lambda: link("eth0", "web-1") is None, "the peer to be gone")


def test_a_single_device_has_no_hook_of_a_peer(rpc):
    with pytest.raises(RpcError) as e:
        rpc.apply([{**ALONE, "attachments": [{**FILTER, "hook": "netkit/peer"}]}], [program("next1")])
    assert e.value.pointers == ["/document/devices/0/attachments/0/hook"]
    assert link("alone") is None


def test_room(rpc, netns):
    netns("web-1")
    rpc.converge([pair(headroom=100, tailroom=40)])
    assert netkit("web-1") == (100, 40, 0)
    index = link("web-1")["ifindex"]
    rpc.converge([pair(headroom=200, tailroom=40)])
    assert netkit("web-1") == (200, 40, 0)
    assert link("web-1")["ifindex"] != index, "room is for life"


def test_more_room_than_asked_for_is_left_alone(rpc):
    """Both ends reserve what a bridge's ports need, while one is a port of it."""
    bridged = {"name": "web-1", "mode": "l2", "headroom": 40, "peer": {"name": "port"}}
    rpc.converge([bridged, {"name": "roomy", "mode": "l2", "headroom": 200}])
    index = link("web-1")["ifindex"]
    run("ip", "link", "add", "link", "roomy", "name", "roomy.5", "type", "vlan", "id", "5")
    run("ip", "link", "add", "br0", "type", "bridge")
    try:
        run("ip", "link", "set", "roomy.5", "master", "br0")
        run("ip", "link", "set", "port", "master", "br0")
        assert netkit("web-1")[0] >= 200
        run("systemctl", "reload", "netkitd")
        run("systemctl", "restart", "netkitd")
        assert wait_for_daemon().call("state.wait", {"timeout_ms": 20000})["converged"]
        assert link("web-1")["ifindex"] == index and netkit("web-1")[0] >= 200
    finally:
        run("ip", "link", "del", "br0")
    assert netkit("web-1")[0] == 40


def test_a_rebuilt_document_knows_it(rpc):
    rpc.converge([{**ALONE, "headroom": 64, "tailroom": 32}])
    [device] = json.loads(run("netkitd-cli", "rebuild"))["devices"]
    assert "peer" not in device and (device["headroom"], device["tailroom"]) == (64, 32)
