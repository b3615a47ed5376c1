# SPDX-License-Identifier: GPL-2.0-only
"""Whatever somebody else breaks is put back, in both namespaces, by itself, and told."""
import contextlib
import json
import os
import re
import shlex
import subprocess
import time

import pytest
from tools import (Lines, PATIENCE, PINS, Rpc, addresses, chain, hears, ip, journal, journal_now, link, main_pid, pair, ping, program,
                   restart, routes, run, until, wait_for_netns)

FULL = dict(
    mtu=1400, txqueuelen=500, gso_max_size=100000, gro_max_size=100000,
    addresses=["10.0.0.1/32", "fd00::1/128"], routes=[{"to": "10.0.0.2/32"}, {"to": "fd00::2/128"}],
    attachments=[{"name": "one", "hook": "netkit/peer", "program": "next1"},
                 {"name": "two", "hook": "netkit/peer", "program": "next2"},
                 {"name": "in", "hook": "netkit/primary", "program": "next1"}],
    peer={"mtu": 1400, "gso_max_size": 100000, "gro_max_size": 100000, "addresses": ["10.0.0.2/32", "fd00::2/128"],
          "routes": [{"to": "10.0.0.1/32"}, {"to": "default", "via": "10.0.0.1"}, {"to": "fd00::1/128"}]})


@pytest.fixture
def web(rpc, netns):
    netns("web-1")
    rpc.converge([pair(**{k: (dict(v) if k == "peer" else v) for k, v in FULL.items()})], [program("next1"), program("next2")])
    return rpc


def whole():
    """All that can drift, as the kernel tells it."""
    a, b = link("web-1"), link("eth0", "web-1")
    if not a or not b:
        return None
    keep = ("ifname", "flags", "mtu", "txqlen", "gso_max_size", "gro_max_size", "group", "ifalias")
    return ({k: a.get(k) for k in keep}, {k: b.get(k) for k in keep}, a["linkinfo"]["info_data"], addresses("web-1"),
            addresses("eth0", "web-1"), routes("web-1"), routes("eth0", "web-1"),
            [p for p, _ in chain("web-1", "netkit/peer")], [p for p, _ in chain("web-1", "netkit/primary")])


def kernel():
    """All that ip says of both ends."""
    return [ip(*family, *what, "show", "dev", dev, ns=ns) for dev, ns in (("web-1", None), ("eth0", "web-1"))
            for family, *what in ((("-4",), "route"), (("-6",), "route"), ((), "addr"), ((), "link"))]


def without_numbers(value):
    if isinstance(value, dict):
        return {k: without_numbers(v) for k, v in value.items() if k not in ("ifindex", "link_index", "link_netnsid")}
    return [without_numbers(v) for v in value] if isinstance(value, list) else value


def test_what_rebuild_makes_changes_nothing(rpc, netns):
    """Of a device with every setting other than the kernel's, and the ends' different: it stays as it is, and made anew it is the same."""
    netns("web-1")
    sizes = {"gso_ipv4_max_size": 50000, "gro_ipv4_max_size": 40000}
    rpc.converge([pair(**{**FULL, **sizes, "mtu": 9000, "peer": {**FULL["peer"], **sizes, "mtu": 1500, "txqueuelen": 700}})],
                 [program("next1"), program("next2")])
    before, chains = kernel(), whole()[-2:]
    document = {"document": rpc.call("state.rebuild")["document"], "mode": "replace", "wait_ms": 1000 * PATIENCE}
    assert rpc.call("state.apply", document)["converged"]
    assert kernel() == before and whole()[-2:] == chains
    rpc.converge(mode="replace")
    assert rpc.call("state.apply", document)["converged"]
    until(lambda: without_numbers(kernel()) == without_numbers(before), f"the same device: {kernel()} != {before}")


HOST = {
    "link down": "ip link set web-1 down",
    "renamed": "ip link set web-1 name other",
    "mtu": "ip link set web-1 mtu 1300",
    "txqueuelen": "ip link set web-1 txqueuelen 9",
    "ifalias": "ip link set web-1 alias somebody",
    "group": "ip link set web-1 group 5",
    "GSO and GRO sizes": "ip link set web-1 gso_max_size 65536 gro_max_size 65536",
    "link down by ioctl": "busybox ifconfig web-1 down",
    "mtu by sysfs": "dd of=/sys/class/net/web-1/mtu if=/tmp/mtu",
    "policy": "ip link set dev web-1 type netkit blackhole",
    "peer policy": "ip link set dev web-1 type netkit peer blackhole",
    "an address of each family": "sh -c 'ip addr del 10.0.0.1/32 dev web-1; ip addr del fd00::1/128 dev web-1'",
    "addresses flushed": "ip addr flush dev web-1",
    "a route": "ip route del 10.0.0.2/32 dev web-1",
    "an IPv6 route": "ip -6 route del fd00::2/128 dev web-1",
    "routes flushed": "sh -c 'ip route flush dev web-1; ip -6 route flush dev web-1'",
    "deleted": "ip link del web-1",
}
PEER = {
    "link down": "ip link set eth0 down",
    "renamed": "ip link set eth0 name other",
    "mtu": "ip link set eth0 mtu 1300",
    "GSO and GRO sizes": "ip link set eth0 gso_max_size 65536 gro_max_size 65536",
    "link down by ioctl": "busybox ifconfig eth0 down",
    "an address of each family": "sh -c 'ip addr del 10.0.0.2/32 dev eth0; ip addr del fd00::2/128 dev eth0'",
    "addresses flushed": "ip addr flush dev eth0",
    "a route": "ip route del default dev eth0",
    "an IPv6 route": "ip -6 route del fd00::1/128 dev eth0",
    "routes flushed": "sh -c 'ip route flush dev eth0; ip -6 route flush dev eth0'",
    "deleted": "ip link del eth0",
}


def shell(command, ns=None):
    run(*(["ip", "netns", "exec", ns] if ns else []), *shlex.split(command))


def repaired(rpc):
    return next(d for d in rpc.call("device.list")["devices"] if d["name"] == "web-1").get("repairs", 0)


def told(rpc, command):
    """The drift that was told names the program that did it."""
    e = rpc.next_event()
    while e["kind"] != "drift":
        e = rpc.next_event()
    name = "ip" if command.startswith("sh ") else command.split()[0]
    assert e["object"] == "device/web-1"
    assert e["detail"]["culprit"]["comm"] == name and e["detail"]["culprit"]["uid"] == 0, e
    assert e["detail"]["culprit"]["cgroup"].endswith((".service", ".scope")), e


@pytest.mark.parametrize("what", HOST)
def test_host_side(web, what):
    want = whole()
    assert want[3] == {"10.0.0.1/32", "fd00::1/128"} and len(want[7]) == 2
    open("/tmp/mtu", "w").write("1300")
    web.call("event.subscribe")
    shell(HOST[what])
    told(web, HOST[what])
    until(lambda: repaired(web) >= 1, f"the repair of {what}")
    until(lambda: whole() == want, f"everything as before: {whole()} != {want}")
    assert ping("10.0.0.2") and ping("fd00::2")


@pytest.mark.parametrize("what", PEER)
def test_in_the_container(web, what):
    want = whole()
    web.call("event.subscribe")
    shell(PEER[what], "web-1")
    told(web, PEER[what])
    until(lambda: repaired(web) >= 1, f"the repair of {what}")
    until(lambda: whole() == want, f"everything as before: {whole()} != {want}")
    assert ping("10.0.0.2") and ping("fd00::2")


@pytest.mark.parametrize("ns,device,mac", [(None, "web-1", "02:00:00:00:00:0a"), ("web-1", "eth0", "02:00:00:00:00:0b")])
def test_mac_in_l2(rpc, netns, ns, device, mac):
    netns("web-1")
    rpc.converge([pair(mode="l2", mac="02:00:00:00:00:0a", peer={"mac": "02:00:00:00:00:0b"})])
    rpc.call("event.subscribe")
    shell(f"ip link set {device} address 02:00:00:00:00:0c", ns)
    told(rpc, "ip")
    until(lambda: link(device, ns)["address"] == mac, "the address")
    assert ping("10.0.0.2")


def test_peer_moved_to_another_namespace(web, netns):
    netns("thief")
    run("ip", "-n", "web-1", "link", "set", "eth0", "netns", "thief")
    until(lambda: link("eth0", "web-1"), "the peer in its own namespace again")
    until(lambda: link("eth0", "thief") is None, "nothing of it in the other one")
    until(lambda: ping("10.0.0.2"), "the container to answer")


@pytest.mark.parametrize("hook,name", [("netkit/peer", "one"), ("netkit/peer", "two"), ("netkit/primary", "in")])
def test_a_link_detached(web, hook, name):
    before = chain("web-1", hook)
    position = 1 if name == "two" else 0
    run("bpftool", "link", "detach", "id", before[position][1])
    until(lambda: [p for p, _ in chain("web-1", hook)] == [p for p, _ in before], "the same programs in the same order")
    until(lambda: repaired(web) == 1, "the repair to be counted")


def test_a_pin_removed(web):
    before = chain("web-1", "netkit/peer")
    pins = os.listdir(f"{PINS}/links")
    web.call("event.subscribe")
    run("rm", f"{PINS}/links/web-1:peer:one")
    told(web, "rm")
    until(lambda: sorted(os.listdir(f"{PINS}/links")) == sorted(pins), "the pin")
    until(lambda: [p for p, _ in chain("web-1", "netkit/peer")] == [p for p, _ in before], "the same chain")


def test_the_culprit_is_named(web):
    web.call("event.subscribe")
    began = journal_now()
    link_id = chain("web-1", "netkit/peer")[0][1]
    p = subprocess.Popen(["bpftool", "link", "detach", "id", str(link_id)])
    p.wait()
    drift = None
    while not drift:
        e = web.next_event()
        if e["kind"] == "drift":
            drift = e
    assert drift["object"] == "device/web-1"
    assert drift["detail"]["culprit"]["pid"] == p.pid
    assert drift["detail"]["culprit"]["comm"] == "bpftool"
    while web.next_event()["kind"] != "repaired":
        pass
    entry = until(lambda: [e for e in journal("NETKITD_DEVICE=web-1", after=began) if e.get("NETKITD_EVENT") == "drift"
                           and e.get("NETKITD_CULPRIT_PID") == str(p.pid)], "the journal to say who did it")[0]
    assert "bpftool" in entry["MESSAGE"]


def test_without_a_watcher_chains_are_read_from_time_to_time(reconfigured, netns):
    """A kernel that doesn't show its types (BTF) can't tell who changes a chain. It is put right all the same, and the status says
    that it takes longer, and why."""
    netns("web-1")
    rpc = reconfigured({"poll_s": 1}, ["InaccessiblePaths=/sys/kernel/btf"])
    status = rpc.call("daemon.status")
    assert status["watcher"] == "poll" and status["health"] == "degraded" and "BTF" in json.dumps(status["health_reasons"])
    found = {c["name"]: c for c in rpc.call("daemon.capabilities")["capabilities"]}
    assert found["bpf.tracing"]["state"] == "missing" and "BTF" in found["bpf.tracing"]["how"]
    assert [p for p in json.loads(run("bpftool", "-j", "prog", "show")) if p["type"] == "tracing"] == []
    rpc.converge([pair(attachments=[{"name": "one", "hook": "netkit/peer", "program": "next1"},
                                    {"name": "two", "hook": "netkit/peer", "program": "next2"}])], [program("next1"), program("next2")])
    before = chain("web-1", "netkit/peer")
    for _, link_id in before:
        run("bpftool", "link", "detach", "id", link_id)
        until(lambda: [p for p, _ in chain("web-1", "netkit/peer")] == [p for p, _ in before], "the same programs in the same order")


def test_a_required_program_closes_the_device_while_it_is_lost(rpc, netns):
    netns("web-1")
    rpc.converge([pair(attachments=[{"name": "fw", "hook": "netkit/peer", "program": "next1", "required": True}])],
                 [program("next1")])
    monitor = Lines("ip", "-o", "monitor", "link")
    run("ip", "link", "add", "mark", "type", "dummy")
    try:
        until(lambda: hears(monitor, "mark"), "the monitor to listen")
        run("bpftool", "link", "detach", "id", chain("web-1", "netkit/peer")[0][1])
        until(lambda: len(chain("web-1", "netkit/peer")) == 1, "the program again")
        until(lambda: ping("10.0.0.2", wait=1), "the device open again")
        run("ip", "link", "del", "mark")
        lines = monitor.until(lambda l: l.startswith("Deleted") and " mark:" in l, "the end of what was told")
    finally:
        monitor.close()
        subprocess.run(["ip", "link", "del", "mark"], capture_output=True)
    states = ["UP" in re.search("<(.*?)>", line).group(1).split(",") for line in lines if " web-1@" in line]
    assert False in states and states[-1] is True, states


def test_several_at_once(rpc, netns):
    for i in range(8):
        netns(f"n{i}")
    rpc.converge([pair(f"d{i}", f"n{i}", f"10.1.{i}.1", f"10.1.{i}.2") for i in range(8)])
    for i in range(8):
        run("ip", "link", "del", f"d{i}")
    until(lambda: all(link(f"d{i}") for i in range(8)), "all eight")
    until(lambda: all(ping(f"10.1.{i}.2") for i in range(8)), "all eight to answer")


def test_drift_while_the_daemon_is_away_is_put_right_at_its_start(web):
    want = whole()
    run("systemctl", "stop", "netkitd.socket", "netkitd")
    assert ping("10.0.0.2"), "stopping it stops nothing"
    run("ip", "addr", "flush", "dev", "web-1")
    run("ip", "-n", "web-1", "link", "set", "eth0", "down")
    run("bpftool", "link", "detach", "id", chain("web-1", "netkit/peer")[0][1])
    run("systemctl", "start", "netkitd.socket", "netkitd")
    until(lambda: whole() == want, f"everything as before: {whole()} != {want}")


@pytest.mark.parametrize("names", [70, 480])
def test_ends_with_many_other_names(rpc, netns, names):
    """The kernel's messages about them are up to 64 KiB long: they are as well looked after as any, and go."""
    netns("web-1")
    want = pair(mtu=1400, peer={"mtu": 1400})
    rpc.converge([want])
    for n, ns, name in ((0, [], "web-1"), (1, ["-n", "web-1"], "eth0")):
        run("ip", *ns, "-batch", "-", input="".join(f"link property add dev {name} altname n{n}{i:0125}\n" for i in range(names)))
        run("ip", *ns, "link", "set", name, "mtu", "1300")
    assert len(link("web-1")["altnames"]) == names

    def repaired():
        return link("web-1")["mtu"] == link("eth0", "web-1")["mtu"] == 1400
    until(repaired, "both mtu to be repaired")
    run("systemctl", "restart", "netkitd")
    rpc = Rpc()
    rpc.converge([want])
    run("ip", "link", "set", "web-1", "mtu", "1300")
    until(repaired, "the repair after the restart")
    assert rpc.call("device.delete", {"name": "web-1", "wait_ms": 1000 * PATIENCE})["converged"]
    assert link("web-1") is None


def condition(rpc):
    return rpc.call("device.get", {"name": "web-1"})["condition"]


def test_a_namespace_that_dies_releases_its_device(rpc, netns):
    netns("web-1")
    rpc.converge([pair()])
    began = journal_now()
    rpc.call("event.subscribe")
    run("ip", "netns", "del", "web-1")
    kinds = [rpc.next_event()["kind"]]
    while kinds[-1] != "device-released":
        kinds.append(rpc.next_event()["kind"])
    assert "drift" not in kinds, "an owner that went is no drift"

    def state():
        return condition(rpc)["state"]
    until(lambda: state() == "Released", "the condition Released")
    assert rpc.call("daemon.status")["health"] == "ok", "an owner that went is no fault"
    # Nor does another definition make one of it, or another daemon. Each tells of it once, whatever is mounted then.
    assert rpc.apply([pair(mtu=1400)])["converged"] and state() == "Released"
    rpc.close()
    rpc = restart()
    assert rpc.call("state.wait", {"timeout_ms": 1000 * PATIENCE})["converged"] and state() == "Released"
    netns("other")
    rpc.converge([pair("other", "other", "10.0.1.1", "10.0.1.2")])
    run("journalctl", "--sync")
    assert [e["NETKITD_EVENT"] for e in journal("NETKITD_DEVICE=web-1", after=began)] == ["device-released"] * 3
    # The name comes back, and with it the device.
    netns("web-1")
    until(lambda: state() == "Ready", "the device in the new namespace")
    assert ping("10.0.0.2")


@pytest.mark.parametrize("how", ["pid", "fd"])
def test_that_a_namespace_without_a_name_is_gone_is_told_once(rpc, how):
    p = subprocess.Popen(["unshare", "-n", "sleep", "9999"])
    wait_for_netns(p)
    with open(f"/proc/{p.pid}/ns/net") as passed:
        document = {"devices": [pair(peer={"netns": {"pid": p.pid} if how == "pid" else {"fd": 0}})]}
        assert rpc.call("state.apply", {"document": document, "wait_ms": 1000 * PATIENCE}, [passed.fileno()] if how == "fd" else [])["converged"]
    began = journal_now()
    p.kill()
    p.wait()
    until(lambda: condition(rpc)["state"] == "Released", "the condition Released")
    rpc.close()
    rpc = restart()
    for _ in range(2):
        before = rpc.call("daemon.status")["counts"]["resyncs"]
        run("systemctl", "reload", "netkitd")
        until(lambda: rpc.call("daemon.status")["counts"]["resyncs"] > before, "all to be read again")
        assert rpc.call("state.wait", {"timeout_ms": 1000 * PATIENCE})["converged"] and condition(rpc)["state"] == "Released"
    run("journalctl", "--sync")
    told = [e["NETKITD_EVENT"] for e in journal("NETKITD_DEVICE=web-1", after=began)]
    assert told == ["device-released"] * 2, "once by each daemon"


@contextlib.contextmanager
def linked(name):
    """A process's namespace under this name, as it is done where no mount is wanted."""
    p = subprocess.Popen(["unshare", "-n", "sleep", "9999"])
    try:
        wait_for_netns(p)
        os.symlink(f"/proc/{p.pid}/ns/net", f"/run/netns/{name}")
        yield
    finally:
        if os.path.lexists(f"/run/netns/{name}"):
            os.unlink(f"/run/netns/{name}")
        p.kill()
        p.wait()


def test_a_namespace_that_comes_back_as_a_link(rpc, netns):
    netns("web-1")
    rpc.converge([pair()])
    run("ip", "netns", "del", "web-1")
    until(lambda: condition(rpc)["state"] == "Released", "the condition Released")
    with linked("web-1"):
        until(lambda: condition(rpc)["state"] == "Ready", "the device in the new namespace")
        assert ping("10.0.0.2")


def test_a_namespace_that_comes_with_its_directory(rpc):
    """A file's device waits; that others come does not count against it."""
    path = "/etc/netkitd/state.d/10-web.json"
    run("umount", "/run/netns", check=False)
    if os.path.exists("/run/netns"):
        os.rmdir("/run/netns")
    try:
        with open(path, "w") as f:
            json.dump({"devices": [pair()]}, f)
        run("systemctl", "reload", "netkitd")
        assert condition(rpc)["reason"] == "NetnsMissing"
        os.mkdir("/run/netns")
        for i in range(8):
            tries = rpc.call("daemon.status")["counts"]["kernel_errors"]
            open(f"/run/netns/other{i}", "x").close()
            until(lambda: rpc.call("daemon.status")["counts"]["kernel_errors"] > tries, "the next try")
            os.unlink(f"/run/netns/other{i}")
        assert condition(rpc)["reason"] == "NetnsMissing"
        with linked("web-1"):
            until(lambda: condition(rpc)["state"] == "Ready", "the device")
    finally:
        os.unlink(path)
        run("systemctl", "reload", "netkitd")


def test_nothing_happens_when_nothing_happens(web):
    """Quiet: no journal entry, no wake-up but the watchdog's, which comes every 15 s."""
    pid = main_pid()

    def switches():
        total = 0
        for task in os.listdir(f"/proc/{pid}/task"):
            for line in open(f"/proc/{pid}/task/{task}/status"):
                if line.startswith("voluntary_ctxt_switches"):
                    total += int(line.split()[1])
        return total

    def quiet():
        entries, before = len(journal()), switches()
        time.sleep(20)
        return switches() - before <= 2 and len(journal()) == entries
    # The kernel may still have something to say of the devices that were just made.
    until(quiet, "20 s in which nothing happens")
