# SPDX-License-Identifier: GPL-2.0-only
"""Every field of a device, read back with iproute2 and bpftool."""
import json
import os
import select
import subprocess

import pytest
from tools import (ACCT, PATIENCE, VERDICT, Rpc, RpcError, addresses, chain, ip, journal, journal_now, link, main_pid, pair, ping, program,
                   routes, run, until, wait_for_netns)

with_udev = True
BIG = 185000  # a BIG TCP size that is no default


def netkit(name, ns=None):
    info = link(name, ns)
    assert info["linkinfo"]["info_kind"] == "netkit"
    return info["linkinfo"]["info_data"]


def netkits():
    """Names of all netkit devices of the host's namespace."""
    return [l["ifname"] for l in ip("link", "show", "type", "netkit") if l]


def test_the_example_of_the_readme(rpc, netns):
    """Two containers, each with a device as in the README: they reach the host and each other."""
    netns("web-1")
    netns("web-2")
    run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    rpc.converge([pair("web-1", "web-1", "10.0.0.1", "10.0.0.2"), pair("web-2", "web-2", "10.0.1.1", "10.0.1.2")])
    assert ping("10.0.0.2") and ping("10.0.1.2")
    assert ping("10.0.0.1", "web-1") and ping("10.0.1.1", "web-2")
    assert ping("10.0.1.2", "web-1") and ping("10.0.0.2", "web-2")


def test_both_ends_and_their_names(rpc, netns):
    netns("web-1")
    rpc.converge([pair(peer={"name": "net0"})])
    assert "UP" in link("web-1")["flags"]
    assert "UP" in link("net0", "web-1")["flags"]
    assert link("eth0", "web-1") is None
    assert addresses("web-1") == {"10.0.0.1/32"}
    assert addresses("net0", "web-1") == {"10.0.0.2/32"}


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_mode(rpc, netns, mode):
    netns("web-1")
    rpc.converge([pair(mode=mode)])
    assert netkit("web-1")["mode"] == mode
    assert ("NOARP" in link("web-1")["flags"]) == (mode == "l3")


@pytest.mark.parametrize("primary", ["pass", "drop"])
@pytest.mark.parametrize("peer", ["pass", "drop"])
def test_policies(rpc, netns, primary, peer):
    netns("web-1")
    rpc.converge([pair(policy=primary, peer={"policy": peer})])
    data = netkit("web-1")
    kernel = {"pass": "forward", "drop": "blackhole"}  # iproute2's words
    assert data["policy"] == kernel[primary]
    assert data["peer_policy"] == kernel[peer]
    if primary == peer == "pass":
        assert ping("10.0.0.2")
    else:
        assert not ping("10.0.0.2", wait=1)


def test_policies_change_in_place(rpc, netns):
    netns("web-1")
    rpc.converge([pair(policy="pass", peer={"policy": "drop"})])
    before = link("web-1")["ifindex"]
    assert not ping("10.0.0.2", wait=1)
    rpc.converge([pair(policy="pass", peer={"policy": "pass"})])
    assert ping("10.0.0.2")
    assert link("web-1")["ifindex"] == before


@pytest.mark.parametrize("primary,peer", [("none", "default"), ("default", "none")])
def test_scrub(rpc, netns, primary, peer):
    netns("web-1")
    rpc.converge([pair(scrub=primary, peer={"scrub": peer})])
    data = netkit("web-1")
    assert data["scrub"] == primary
    assert data["peer_scrub"] == peer


def test_mtu_of_both_ends(rpc, netns):
    netns("web-1")
    rpc.converge([pair(mtu=1400)])
    assert link("web-1")["mtu"] == 1400
    assert link("eth0", "web-1")["mtu"] == 1400
    rpc.converge([pair(mtu=1450, peer={"mtu": 1300})])
    assert link("web-1")["mtu"] == 1450
    assert link("eth0", "web-1")["mtu"] == 1300


def udev(name):
    """What udev has noted of a device of the host: nothing until it is done with it."""
    out = run("udevadm", "info", "--query=property", f"/sys/class/net/{name}")
    return dict(line.split("=", 1) for line in out.splitlines())


def test_mac_in_l2(rpc, netns):
    netns("web-1")
    rpc.converge([pair(mode="l2", mac="02:00:00:00:00:0a", peer={"mac": "02:00:00:00:00:0b"})])
    assert link("web-1")["address"] == "02:00:00:00:00:0a"
    assert link("eth0", "web-1")["address"] == "02:00:00:00:00:0b"
    assert ping("10.0.0.2")


def test_udev_keeps_off_a_mac_that_nobody_gave(rpc, netns):
    """The kernel draws one, which the container has learnt before udev comes to see the device."""
    netns("web-1")
    run("udevadm", "control", "--stop-exec-queue")
    try:
        rpc.converge([pair(mode="l2")])
        drawn = link("web-1")["address"]
    finally:
        run("udevadm", "control", "--start-exec-queue")
    until(lambda: "ID_NET_LINK_FILE" in udev("web-1"), "udev to be done with the device")
    assert udev("web-1")["ID_NET_LINK_FILE"].endswith("/60-netkit.link")
    assert link("web-1")["address"] == drawn


def test_txqueuelen(rpc, netns):
    netns("web-1")
    rpc.converge([pair(txqueuelen=77, peer={"txqueuelen": 0})])
    assert link("web-1")["txqlen"] == 77
    assert link("eth0", "web-1").get("txqlen", 0) == 0


def test_big_tcp(rpc, netns):
    netns("web-1")
    sizes = {"gso_max_size": BIG, "gro_max_size": BIG + 1, "gso_ipv4_max_size": BIG + 2, "gro_ipv4_max_size": BIG + 3}
    rpc.converge([pair(**sizes, peer=sizes)])
    for info in (link("web-1"), link("eth0", "web-1")):
        assert {k: info[k] for k in sizes} == sizes
    changed = dict(sizes, gso_max_size=BIG + 9)
    rpc.converge([pair(**changed, peer=changed)])
    assert link("web-1")["gso_max_size"] == BIG + 9
    assert link("eth0", "web-1")["gso_max_size"] == BIG + 9


def test_addresses_and_routes_of_both_families(rpc, netns):
    netns("web-1")
    device = pair(
        addresses=["10.0.0.1/32", "fd00::1/128"],
        routes=[{"to": "10.0.0.2/32"}, {"to": "fd00::2/128"}, {"to": "10.9.0.0/16", "via": "10.0.0.2", "metric": 50}],
        peer={"addresses": ["10.0.0.2/32", "fd00::2/128"],
              "routes": [{"to": "10.0.0.1/32"}, {"to": "fd00::1/128"}, {"to": "default", "via": "10.0.0.1"},
                         {"to": "::/0", "via": "fd00::1", "metric": 7}]})
    rpc.converge([device])
    assert addresses("web-1") == {"10.0.0.1/32", "fd00::1/128"}
    assert addresses("eth0", "web-1") == {"10.0.0.2/32", "fd00::2/128"}
    on_host, inside = routes("web-1"), routes("eth0", "web-1")
    assert ("10.0.0.2", None, None) in on_host
    assert ("10.9.0.0/16", "10.0.0.2", 50) in on_host
    assert ("fd00::2", None, 1024) in on_host
    assert ("default", "10.0.0.1", None) in inside
    assert ("default", "fd00::1", 7) in inside
    assert ping("10.0.0.2") and ping("fd00::2")
    assert ping("fd00::1", "web-1")


def test_addresses_and_routes_that_are_no_longer_wanted_go(rpc, netns):
    netns("web-1")
    rpc.converge([pair(addresses=["10.0.0.1/32", "10.0.0.9/32"], routes=[{"to": "10.0.0.2/32"}, {"to": "10.8.0.0/16"}],
                       peer={"addresses": ["10.0.0.2/32", "fd00::5/128"]})])
    rpc.converge([pair()])
    assert addresses("web-1") == {"10.0.0.1/32"}
    assert addresses("eth0", "web-1") == {"10.0.0.2/32"}
    assert routes("web-1") == {("10.0.0.2", None, None)}


@pytest.mark.parametrize("how", ["name", "path", "pid", "fd"])
def test_netns_by(rpc, netns, how):
    netns("web-1")
    fds = []
    child = None
    if how == "name":
        ref = "web-1"
    elif how == "path":
        ref = "/run/netns/web-1"
    elif how == "pid":
        child = subprocess.Popen(["ip", "netns", "exec", "web-1", "sleep", "600"])
        wait_for_netns(child)
        ref = {"pid": child.pid}
    else:
        fds = [os.open("/run/netns/web-1", os.O_RDONLY)]
        ref = {"fd": 0}
    device = pair()
    device["peer"]["netns"] = ref
    result = rpc.call("state.apply", {"document": {"devices": [device]}, "wait_ms": 1000 * PATIENCE}, fds)
    for fd in fds:
        os.close(fd)
    assert result["converged"], result
    assert addresses("eth0", "web-1") == {"10.0.0.2/32"}
    assert ping("10.0.0.2")
    if child:
        child.kill()
        child.wait()


def test_a_passed_descriptor_does_not_keep_its_namespace_alive(rpc, netns):
    netns("web-1")
    fd = os.open("/run/netns/web-1", os.O_RDONLY)
    device = pair()
    device["peer"]["netns"] = {"fd": 0}
    assert rpc.call("state.apply", {"document": {"devices": [device]}, "wait_ms": 1000 * PATIENCE}, [fd])["converged"]
    os.close(fd)
    run("ip", "netns", "del", "web-1")
    until(lambda: link("web-1") is None, "the device to go with its namespace")


def holds(pid, what):
    """Has the process a descriptor of this? Those that come and go meanwhile are none."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}") == what:
                return True
        except FileNotFoundError:
            pass
    return False


def test_nor_does_a_request_that_waits(reconfigured, netns):
    """It waits since a route is refused, until that was tried again twice."""
    rpc = reconfigured({"retry_min_ms": 20000, "retry_max_ms": 20000})
    netns("web-1")
    inode, pid = os.stat("/run/netns/web-1").st_ino, main_pid()
    run("ip", "route", "add", "198.51.100.0/24", "dev", "lo")
    try:
        device = pair(routes=[{"to": "10.0.0.2/32"}, {"to": "198.51.100.0/24"}])
        device["peer"]["netns"] = {"fd": 0}
        request = {"jsonrpc": "2.0", "id": 1, "method": "device.set", "params": {"device": device, "wait_ms": 3600000}}
        fd = os.open("/run/netns/web-1", os.O_RDONLY)
        rpc.raw(json.dumps(request).encode() + b"\n", [fd])
        os.close(fd)
        other = Rpc()
        until(lambda: link("web-1") and other.call("device.get", {"name": "web-1"})["condition"]["state"] == "Degraded", "the refusal")
        until(lambda: not holds(pid, f"net:[{inode}]"), "the daemon to have no descriptor of it")
        assert not select.select([rpc.sock], [], [], 0)[0], "before the answer"
        run("ip", "netns", "del", "web-1")
        until(lambda: link("web-1") is None, "the device to go with its namespace")
        other.close()
    finally:
        run("ip", "route", "del", "198.51.100.0/24", "dev", "lo")


def test_peer_in_the_hosts_namespace(rpc):
    rpc.converge([{"name": "left", "addresses": ["10.7.0.1/32"], "peer": {"name": "right", "addresses": ["10.7.0.2/32"]}}])
    assert link("left")["link"] == "right"
    assert addresses("right") == {"10.7.0.2/32"}


def test_programs_on_both_hooks_in_their_order(rpc, netns):
    netns("web-1")
    rpc.converge([pair(attachments=[
        {"name": "a", "hook": "netkit/peer", "program": "next1"},
        {"name": "acct", "hook": "netkit/peer", "program": "acct"},
        {"name": "b", "hook": "netkit/peer", "program": "next2"},
        {"name": "c", "hook": "netkit/primary", "program": "next2"}])],
        [program("next1"), program("next2"), program("acct", "pod_egress", ACCT)])
    names = {p["id"]: p["name"] for p in bpftool_programs()}
    assert [names[prog] for prog, _ in chain("web-1", "netkit/peer")] == ["next1", "pod_egress", "next2"]
    assert [names[prog] for prog, _ in chain("web-1", "netkit/primary")] == ["next2"]
    assert ping("10.0.0.2")


def bpftool_programs():
    return json.loads(run("bpftool", "-j", "prog", "show"))


def test_a_dropping_program_drops(rpc, netns):
    netns("web-1")
    rpc.converge([pair(attachments=[{"name": "fw", "hook": "netkit/peer", "program": "drop"}])], [program("drop")])
    assert not ping("10.0.0.2", wait=1)
    rpc.converge([pair()])
    assert ping("10.0.0.2")
    assert chain("web-1", "netkit/peer") == []


def test_attachments_come_go_and_change_program_on_a_live_device(rpc, netns):
    netns("web-1")
    programs = [program(n) for n in ("next1", "next2", "next3")]
    one = {"name": "one", "hook": "netkit/peer", "program": "next1"}
    two = {"name": "two", "hook": "netkit/peer", "program": "next2"}
    rpc.converge([pair(attachments=[one])], programs)
    first = chain("web-1", "netkit/peer")
    rpc.converge([pair(attachments=[two, one])])
    now = chain("web-1", "netkit/peer")
    assert len(now) == 2 and now[1] == first[0], "the new one stands before the old one, which was not touched"
    rpc.converge([pair(attachments=[two, dict(one, program="next3")])])
    after = chain("web-1", "netkit/peer")
    assert after[0] == now[0] and after[1][1] == now[1][1] and after[1][0] != now[1][0], "the program changed within its link"
    rpc.converge([pair(attachments=[dict(one, program="next3")])])
    assert chain("web-1", "netkit/peer") == [after[1]]


def test_a_program_from_a_pin(rpc, netns):
    netns("web-1")
    run("mkdir", "-p", "/sys/fs/bpf/other")
    run("bpftool", "prog", "loadall", VERDICT, "/sys/fs/bpf/other")
    try:
        rpc.converge([pair(attachments=[{"name": "fw", "hook": "netkit/peer", "program": "mine"}])],
                     [{"name": "mine", "pin": "/sys/fs/bpf/other/drop"}])
        assert not ping("10.0.0.2", wait=1)
    finally:
        run("rm", "-r", "/sys/fs/bpf/other")


def test_what_cannot_be_changed_is_made_anew(rpc, netns):
    netns("web-1")
    netns("web-2")
    rpc.converge([pair(mode="l3")])
    before = link("web-1")["ifindex"]
    rpc.converge([pair(mode="l2")])
    assert link("web-1")["ifindex"] != before and netkit("web-1")["mode"] == "l2"
    rpc.converge([pair(mode="l2", ns="web-2")])
    assert link("eth0", "web-1") is None
    assert addresses("eth0", "web-2") == {"10.0.0.2/32"}


def test_the_peers_name_changes_in_place(rpc, netns):
    netns("web-1")
    rpc.converge([pair()])
    before = link("web-1")["ifindex"]
    rpc.converge([pair(peer={"name": "eth9"})])
    assert link("web-1")["ifindex"] == before
    assert addresses("eth9", "web-1") == {"10.0.0.2/32"}


def test_deletion_takes_device_links_and_pins(rpc, netns):
    netns("web-1")
    rpc.converge([pair(attachments=[{"name": "fw", "hook": "netkit/peer", "program": "next1"}])], [program("next1")])
    ids = [l for _, l in chain("web-1", "netkit/peer")]
    result = rpc.call("device.delete", {"name": "web-1", "wait_ms": 1000 * PATIENCE})
    assert result["converged"]
    assert link("web-1") is None and link("eth0", "web-1") is None
    assert subprocess.run(["bpftool", "link", "show", "id", str(ids[0])], capture_output=True).returncode != 0
    assert os.listdir("/sys/fs/bpf/netkitd/links") == []


def test_fifty_devices_deleted_at_once(no_udev, rpc, netns):
    netns("web-1")
    run("ip", "link", "add", "bystander", "type", "dummy")
    try:
        rpc.converge([{"name": f"d{i}", "peer": {"name": f"p{i}", "netns": "web-1"}} for i in range(50)])
        assert len(netkits()) == 50
        rpc.converge(mode="replace")
        assert netkits() == []
        assert link("bystander")
    finally:
        run("ip", "link", "del", "bystander")


def test_one_of_many_whose_peers_name_is_taken(no_udev, rpc, netns):
    """It alone is refused, and what the kernel said of the others is heard."""
    netns("web-1")
    netns("web-2")
    run("ip", "-n", "web-1", "link", "add", "eth0", "type", "dummy")
    began = journal_now()
    devices = [{"name": f"d{i:02}", "peer": {"name": f"p{i:02}", "netns": "web-2"}} for i in range(1, 30)]
    result = rpc.apply([{"name": "d00", "peer": {"name": "eth0", "netns": "web-1"}}, *devices])
    assert not result["converged"]
    conditions = {d["name"]: d["condition"] for d in rpc.call("device.list")["devices"]}
    assert len(conditions) == 30 and [n for n, c in conditions.items() if c["state"] != "Ready"] == ["d00"]
    assert conditions["d00"]["state"] == "Degraded" and "has a link eth0 already" in conditions["d00"]["message"]
    told = [e["MESSAGE"] for e in journal(after=began)]
    assert [t for t in told if "d00" in t and "has a link eth0 already" in t]
    assert {t.split(":")[0] for t in told if t.startswith("device ")} == {"device d00"}, "nothing was amiss with another one"


@pytest.mark.parametrize("member", ["headroom", "tailroom"])
def test_room_is_refused_where_the_kernel_has_none(rpc, netns, member):
    """Linux 6.12 ignores these attributes silently: netkitd has to know."""
    netns("web-1")
    present = {c["name"]: c["state"] for c in rpc.call("daemon.capabilities")["capabilities"]}
    device = pair(**{member: 64})
    if present["netkit.headroom"] == "present":
        rpc.converge([device])
    else:
        with pytest.raises(RpcError) as e:
            rpc.apply([device])
        assert e.value.code == 7 and e.value.pointers == [f"/document/devices/0/{member}"]
        assert link("web-1") is None


def test_single_mode_is_refused_where_the_kernel_has_none(rpc):
    present = {c["name"]: c["state"] for c in rpc.call("daemon.capabilities")["capabilities"]}
    if present["netkit.single"] == "present":
        rpc.converge([{"name": "alone"}])
        assert link("alone")
    else:
        with pytest.raises(RpcError) as e:
            rpc.apply([{"name": "alone"}])
        assert e.value.code == 7
        assert link("alone") is None


def test_dry_run_changes_nothing_and_tells_the_order(rpc, netns):
    netns("web-1")
    before = rpc.call("state.get")
    result = rpc.apply([pair(attachments=[{"name": "fw", "hook": "netkit/peer", "program": "next1"}])], [program("next1")],
                       dry_run=True)
    ops = [(o["phase"], o["op"]) for o in result["plan"]["ops"]]
    kinds = [o for _, o in ops]
    assert kinds.index("load") < kinds.index("create") < kinds.index("attach") < kinds.index("open")
    assert ops[-1] == ("route", "add route"), "the primary's routes come when it is up"
    assert link("web-1") is None
    assert rpc.call("state.get") == before
