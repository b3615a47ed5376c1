# SPDX-License-Identifier: GPL-2.0-only
"""Ours alone: what netkitd did not make it never changes and never removes, byte for byte."""
import ctypes
import json
import os
import socket
import subprocess
import time

import pytest
from tools import PINS, Rpc, RpcError, VERDICT, addresses, chain, link, pair, program, run, until, wait_for_daemon


def world():
    """Everything foreign that the kernel can tell, without counters and clocks that move by themselves."""
    out = []
    for family in ("-4", "-6"):
        out.append(run("sh", "-c", f"ip {family} -d route show table all | sort"))
    out.append(run("sh", "-c", "ip -o -d addr | sed 's/valid_lft.*//' | sort"))
    out.append(run("ip", "-o", "-d", "link"))
    out.append(run("sh", "-c", "ip rule; ip -6 rule; ip neigh"))
    return out


@pytest.fixture
def strangers(netns):
    netns("their")
    run("ip", "link", "add", "their0", "type", "netkit", "mode", "l3", "peer", "name", "theirp")
    run("ip", "link", "set", "theirp", "netns", "their")
    run("ip", "addr", "add", "192.0.2.1/24", "dev", "their0")
    run("ip", "link", "set", "their0", "up", "alias", "theirs")
    run("ip", "route", "add", "198.51.100.0/24", "dev", "their0", "proto", "static")
    run("ip", "link", "add", "dummy7", "type", "dummy")
    run("ip", "link", "set", "dummy7", "up", "group", "42")
    run("ip", "addr", "add", "203.0.113.7/32", "dev", "dummy7")
    yield
    for name in ("their0", "dummy7"):
        subprocess.run(["ip", "link", "del", name], capture_output=True)


def settled_world():
    """The kernel tells of a link's carrier a while after the link came."""
    before = world()
    time.sleep(2)
    return before if before == world() else None


def test_the_rest_of_the_host(rpc, netns, strangers):
    before = until(settled_world, "the host to be still")
    netns("web-1")
    rpc.converge([pair(attachments=[{"name": "fw", "hook": "netkit/peer", "program": "next1"}])], [program("next1")])
    run("ip", "link", "del", "web-1")
    until(lambda: link("web-1"), "the repair")
    rpc.converge([pair(mtu=1400)])
    run("systemctl", "restart", "netkitd")
    Rpc().converge(mode="replace")
    assert world() == before


def test_foreign_addresses_and_routes_on_our_device(rpc, netns):
    netns("web-1")
    rpc.converge([pair()])
    run("ip", "addr", "add", "192.0.2.9/32", "dev", "web-1")
    run("ip", "route", "add", "198.51.100.0/24", "dev", "web-1")
    run("ip", "-n", "web-1", "addr", "add", "192.0.2.10/32", "dev", "eth0")
    run("ip", "-n", "web-1", "route", "add", "198.51.100.0/24", "dev", "eth0")
    foreign = run("ip", "route", "show", "198.51.100.0/24"), run("ip", "-n", "web-1", "route", "show", "198.51.100.0/24")
    rpc.converge([pair(mtu=1400)])
    rpc.converge([pair(addresses=["10.0.0.1/32", "10.0.0.5/32"])])
    rpc.converge([pair()])
    assert addresses("web-1") == {"10.0.0.1/32", "192.0.2.9/32"}
    assert addresses("eth0", "web-1") == {"10.0.0.2/32", "192.0.2.10/32"}
    assert (run("ip", "route", "show", "198.51.100.0/24"),
            run("ip", "-n", "web-1", "route", "show", "198.51.100.0/24")) == foreign


def test_foreign_programs_in_our_chain(rpc, netns):
    """Somebody attaches programs of his own to our device: they stay where they are when ours come, change and go."""
    netns("web-1")
    rpc.converge([pair(attachments=[{"name": "one", "hook": "netkit/peer", "program": "next1"}])], [program("next1")])
    run("mkdir", "-p", "/sys/fs/bpf/theirs")
    run("bpftool", "prog", "loadall", VERDICT, "/sys/fs/bpf/theirs")
    try:
        attach_foreign("web-1", "/sys/fs/bpf/theirs/next3")
        theirs = [c for c in chain("web-1", "netkit/peer") if c[1] not in our_link_ids()]
        assert len(theirs) == 1
        rpc.converge([pair(attachments=[{"name": "one", "hook": "netkit/peer", "program": "next1"},
                                        {"name": "two", "hook": "netkit/peer", "program": "next2"}])], [program("next2")])
        assert theirs[0] in chain("web-1", "netkit/peer") and len(chain("web-1", "netkit/peer")) == 3
        shown = [a for a in rpc.call("attachment.list", {"device": "web-1"})["attachments"] if a.get("foreign")]
        assert [a["prog_id"] for a in shown] == [theirs[0][0]]
        rpc.converge([pair()])
        assert chain("web-1", "netkit/peer") == theirs
    finally:
        run("rm", "-r", "/sys/fs/bpf/theirs")


def our_link_ids():
    return {json.loads(run("bpftool", "-j", "link", "show", "pinned", f"{PINS}/links/{p}", check=False))["id"]
            for p in os.listdir(f"{PINS}/links")}


def attach_foreign(device, pin):
    """Attach by descriptor to the peer's hook, as an application of somebody else's would: bpf(BPF_PROG_ATTACH)."""
    libc = ctypes.CDLL(None, use_errno=True)
    attr = ctypes.create_string_buffer(128)
    path = ctypes.create_string_buffer(pin.encode() + b"\0")
    attr[0:8] = ctypes.addressof(path).to_bytes(8, "little")
    prog = libc.syscall(321, 7, attr, 128)  # BPF_OBJ_GET
    assert prog >= 0, os.strerror(ctypes.get_errno())
    attr = ctypes.create_string_buffer(128)
    attr[0:4] = socket.if_nametoindex(device).to_bytes(4, "little")
    attr[4:8] = prog.to_bytes(4, "little")
    attr[8:12] = (55).to_bytes(4, "little")  # BPF_NETKIT_PEER
    r = libc.syscall(321, 8, attr, 128)  # BPF_PROG_ATTACH
    os.close(prog)
    assert r == 0, os.strerror(ctypes.get_errno())


def test_a_name_that_somebody_else_has(rpc, netns):
    netns("web-1")
    run("ip", "link", "add", "web-1", "type", "dummy")
    try:
        before = link("web-1")
        with pytest.raises(RpcError) as e:
            rpc.apply([pair()])
        assert e.value.code == 1 and e.value.pointers == ["/document/devices/0/name"]
        assert link("web-1") == before
    finally:
        run("ip", "link", "del", "web-1")


def test_a_name_taken_while_it_was_away_is_degraded_and_no_fight(rpc, netns):
    netns("web-1")
    rpc.converge([pair()])
    run("systemctl", "stop", "netkitd.socket", "netkitd")
    run("ip", "link", "del", "web-1")
    run("ip", "link", "add", "web-1", "type", "dummy")
    try:
        before = link("web-1")
        run("systemctl", "start", "netkitd.socket", "netkitd")
        c = wait_for_daemon()
        until(lambda: c.call("device.get", {"name": "web-1"})["condition"]["state"] == "Degraded", "the condition Degraded")
        assert link("web-1") == before
    finally:
        run("ip", "link", "del", "web-1")
    until(lambda: c.call("device.get", {"name": "web-1"})["condition"]["state"] == "Ready", "the device once the name is free")
    assert link("web-1")["linkinfo"]["info_kind"] == "netkit"


def test_somebody_elses_netkit_device_in_our_group_is_not_deleted_with_ours(rpc, netns):
    """The group in which deletions are collected holds a stranger: then nothing is deleted by group."""
    netns("web-1")
    rpc.converge([{"name": f"d{i}", "peer": {"name": f"p{i}", "netns": "web-1"}} for i in range(5)])
    ours = link("d0")["group"]
    run("ip", "link", "add", "dummy7", "type", "dummy")
    try:
        run("ip", "link", "set", "dummy7", "group", str(int(ours) + 1))
        rpc.converge(mode="replace")
        assert link("dummy7") is not None
        assert link("d0") is None
    finally:
        run("ip", "link", "del", "dummy7")
