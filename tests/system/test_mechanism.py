# SPDX-License-Identifier: GPL-2.0-only
"""daemon/kernel by itself, with the program that runs it against the kernel: what it writes is read back with ip, what ip does is
what it must see."""
import json
import os
import subprocess

import pytest
from tools import Lines, PATIENCE, addresses, link, run, stopped, until

MECHANISM = "/usr/lib/netkitd-tests/mechanism"


@pytest.fixture
def device(netns):
    """mech-1 with its peer in namespace mech-a, as `mechanism create` makes it; its output."""
    netns("mech-a")
    out = run(MECHANISM, "create", "mech-a")
    yield out
    subprocess.run(["ip", "link", "del", "mech-1"], capture_output=True)


class Follower:
    """`mechanism follow`, line by line."""

    def __init__(self, *args):
        self.told = Lines(MECHANISM, "follow", *args, stdin=subprocess.PIPE)
        self.lines = []
        self.until("snapshot")

    def until(self, start):
        """Read to a line that begins so."""
        self.lines += self.told.until(lambda line: line.startswith(start), start)

    def sync(self):
        """All that was told until now, up to what the kernel has said already."""
        self.told.p.stdin.write("\n")
        self.told.p.stdin.flush()
        self.until("synced")
        told, self.lines = self.lines, []
        return told

    def last(self):
        """The device as it was told last; None: gone."""
        told = [line for line in self.sync() if "mech-1" in line]
        assert told, "nothing was told of the device"
        if told[-1].startswith("gone"):
            return None
        state = {}
        for word in told[-1].split()[2:]:
            for key in ("primary=", "peer="):
                if word.startswith(key):
                    parts = word.split("=", 1)[1].split(",")
                    state[key[:-1]] = {
                        "name": parts[0], "up": parts[2] == "up", "known": parts[3] == "known",
                        "addrs": {p[5:] for p in parts if p.startswith("addr:")},
                        "routes": {p[6:] for p in parts if p.startswith("route:")},
                        "mtu": int(next(p[4:] for p in parts if p.startswith("mtu:"))),
                        "gro": int(next(p[4:] for p in parts if p.startswith("gro:"))),
                        "policy": int(next(p[7:] for p in parts if p.startswith("policy:"))),
                    }
            if word.split(":")[0] in ("grouped", "aliased", "nsid"):
                state[word.split(":")[0]] = int(word.split(":")[1])
        return state

    def close(self):
        self.told.p.stdin.close()
        assert self.told.p.wait(PATIENCE) == 0
        self.told.close()


@pytest.fixture
def follower(device):
    f = Follower()
    f.sync()
    yield f
    f.close()


def test_create(device):
    assert "created" in device and " up 0\n" in device
    assert [line.split()[1] for line in device.splitlines() if line[0].isdigit()] == ["ok"] * 10
    for name, ns, n in (("mech-1", None, 0), ("eth0", "mech-a", 1)):
        got = link(name, ns)
        data = got["linkinfo"]["info_data"]
        assert got["linkinfo"]["info_kind"] == "netkit"
        assert (data["mode"], data["policy"]) == ("l2", ("forward", "blackhole")[n])
        assert data["scrub"] == ("none", "default")[n]
        assert got["address"] == f"02:00:00:00:00:0{n + 1}"
        assert (got["mtu"], got["txqlen"]) == (9000 + n, 100 + n)
        assert (got["gso_max_size"], got["gro_max_size"]) == (50000 + n, 51000 + n)
        assert (got["gso_ipv4_max_size"], got["gro_ipv4_max_size"]) == (52000 + n, 53000 + n)
        assert "UP" in got["flags"]
    assert link("mech-1")["group"] == "77000" and link("mech-1")["ifalias"] == "netkitd:mech-1"
    assert addresses("mech-1") == {"10.0.0.1/32"}
    assert addresses("eth0", "mech-a") == {"10.0.0.2/32", "fd00::2/128"}
    for a in json.loads(run("ip", "-n", "mech-a", "-j", "addr", "show", "dev", "eth0"))[0]["addr_info"]:
        # The kernel looks for a second whether its own one is taken.
        assert a.get("protocol") == "kernel_ll" or a.get("protocol") in ("0x6e", "110") and not a.get("tentative")
    routes = json.loads(run("ip", "-n", "mech-a", "-j", "-d", "route", "show", "dev", "eth0"))
    default = next(r for r in routes if r["dst"] == "default")
    assert (default["gateway"], default["prefsrc"], default["metric"]) == ("10.0.0.1", "10.0.0.2", 5)
    assert default["protocol"] == "110" and "onlink" in default["flags"]
    assert any(r["dst"] == "default" for r in json.loads(run("ip", "-n", "mech-a", "-6", "-j", "route", "show", "dev", "eth0")))


def test_refusals(netns):
    told = dict(line.split(" ", 1) for line in run(MECHANISM, "refuse").splitlines())
    assert told["1"].startswith("EINVAL: mtu less than device minimum")
    assert told["2"].startswith("EOPNOTSUPP")
    assert told["3"] == "ok"
    assert told["4"].startswith("EEXIST") and "Address already assigned" in told["4"]
    assert told["5"].startswith("ENETUNREACH") or told["5"].startswith("EINVAL"), told["5"]
    assert ": " in told["5"]
    assert told["6"] == "ok"
    assert told["7"].startswith("ENODEV")
    assert told["8"].startswith("EOPNOTSUPP") or told["8"].startswith("EINVAL"), told["8"]
    assert told["1000"] == "in order"


def test_lost_answers():
    """Each request is told of once and in order, the lost ones as such, and nobody waits for them."""
    assert run(MECHANISM, "lose").strip() == "1000 told, 0 other, some ok, some lost"


def test_follow_drift(follower):
    def ip(*args):
        run("ip", *args)

    ip("link", "set", "mech-1", "mtu", "1400")
    assert follower.last()["primary"]["mtu"] == 1400
    ip("-n", "mech-a", "addr", "del", "fd00::2/128", "dev", "eth0")
    assert follower.last()["peer"]["addrs"] == {"10.0.0.2/32"}
    # IPv4's routes go without a word when the link goes down, or its last address.
    ip("-n", "mech-a", "link", "set", "eth0", "down")
    state = follower.last()
    assert not state["peer"]["up"] and not state["peer"]["routes"]
    assert not run("ip", "-n", "mech-a", "-4", "route").strip()
    ip("-n", "mech-a", "link", "set", "eth0", "up")
    ip("-n", "mech-a", "route", "add", "10.0.0.1/32", "dev", "eth0", "proto", "110")
    assert follower.last()["peer"]["routes"] == {"10.0.0.1/32"}
    ip("-n", "mech-a", "addr", "del", "10.0.0.2/32", "dev", "eth0")
    assert not run("ip", "-n", "mech-a", "-4", "route").strip()
    assert not follower.last()["peer"]["routes"]
    # A route that another link's takes the place of.
    ip("-n", "mech-a", "route", "add", "10.0.0.1/32", "dev", "eth0", "proto", "110")
    assert follower.last()["peer"]["routes"] == {"10.0.0.1/32"}
    ip("-n", "mech-a", "route", "replace", "10.0.0.1/32", "dev", "lo")
    assert not follower.last()["peer"]["routes"]
    ip("-n", "mech-a", "route", "replace", "10.0.0.1/32", "dev", "eth0", "proto", "110")
    assert follower.last()["peer"]["routes"] == {"10.0.0.1/32"}
    ip("-n", "mech-a", "route", "replace", "blackhole", "10.0.0.1/32")
    assert not follower.last()["peer"]["routes"]
    ip("link", "set", "mech-1", "name", "taken")
    assert follower.last()["primary"]["name"] == "taken"
    ip("link", "set", "taken", "name", "mech-1")
    ip("link", "set", "mech-1", "group", "default")
    assert follower.last()["grouped"] == 0
    ip("link", "set", "mech-1", "group", "77000")
    ip("link", "set", "mech-1", "alias", "somebody's")
    assert follower.last()["aliased"] == 0
    ip("link", "set", "mech-1", "type", "netkit", "peer", "forward")
    assert follower.last()["peer"]["policy"] == 0
    # The kernel says nothing of these by itself: the request asks it to.
    run(MECHANISM, "sizes", "mech-a")
    state = follower.last()
    assert (state["primary"]["gro"], state["peer"]["gro"]) == (40000, 40000)
    ip("link", "set", "mech-1", "down")
    assert not follower.last()["primary"]["up"]
    ip("-n", "mech-a", "link", "del", "eth0")
    assert follower.last() is None


def test_follow_moves(follower, netns):
    netns("mech-b")
    run("ip", "-n", "mech-a", "link", "set", "eth0", "netns", "mech-b")
    assert not follower.last()["peer"]["addrs"]
    # Something makes the primary speak, and it says where its peer is.
    run("ip", "link", "set", "mech-1", "mtu", "1300")
    there = follower.last()["nsid"]
    assert there >= 0
    # To and fro between two that are heard of. The primary has no carrier already, and says nothing.
    run("ip", "-n", "mech-b", "link", "set", "eth0", "netns", "mech-a")
    assert follower.last()["peer"]["known"]
    run("ip", "-n", "mech-a", "link", "set", "eth0", "netns", "mech-b")
    state = follower.last()
    assert state["peer"]["known"] and state["nsid"] == there
    run("ip", "-n", "mech-b", "link", "set", "eth0", "netns", str(os.getpid()))
    state = follower.last()
    assert state["peer"]["known"]
    run("ip", "link", "set", "eth0", "name", "mech-eth0")
    assert follower.last()["peer"]["name"] == "mech-eth0"
    assert follower.sync()[-1].startswith("synced")
    run("ip", "link", "set", "mech-eth0", "netns", "mech-a")
    state = follower.last()
    assert state["peer"]["known"] and state["peer"]["name"] == "mech-eth0"


def test_follow_namespace(follower):
    run("ip", "netns", "del", "mech-a")
    told = []

    def is_told():
        told.extend(follower.sync())
        return any(line.startswith("gone mech-1") for line in told)
    until(is_told, "the kernel to have cleaned the namespace up")
    gone = [line.split()[0] for line in told if line.startswith(("netns-gone", "gone"))]
    assert gone == ["netns-gone", "gone"]


def test_follow_names(follower):
    run("ip", "link", "add", "mech-x", "up", "type", "dummy")
    try:
        run("ip", "link", "set", "mech-x", "name", "mech-y")
        assert "free mech-x" in follower.sync()
        run("ip", "link", "set", "mech-y", "group", "77001")
        assert follower.sync()[-1] == "synced 1 0"
    finally:
        run("ip", "link", "del", "mech-y")
    told = follower.sync()
    assert "free mech-y" in told and told[-1] == "synced 0 0"


def test_overrun(device):
    run("ip", "addr", "add", "10.78.0.1/32", "dev", "mech-1", "proto", "110")  # as ours are marked: it tells of no others
    f = Follower("4096")
    f.sync()
    batch = "addr add 10.77.0.1/32 dev mech-1\naddr del 10.77.0.1/32 dev mech-1\n" * 3000
    with stopped(f.told.p.pid):
        run("ip", "-batch", "-", input=batch)
        run("ip", "-n", "mech-a", "addr", "del", "10.0.0.2/32", "dev", "eth0")
        run("ip", "addr", "del", "10.0.0.1/32", "dev", "mech-1")
    f.until("overrun")
    f.until("snapshot")
    told = [line for line in f.sync() if line.startswith("changed mech-1")]
    assert told and "addr:10.0.0" not in told[-1] and "addr:10.78.0.1/32" in told[-1] and "addr:fd00::2/128" in told[-1]
    # And it hears on.
    run("ip", "link", "set", "mech-1", "mtu", "1234")
    assert f.last()["primary"]["mtu"] == 1234
    f.close()


def test_namespaces(netns, tmp_path):
    netns("mech-a")
    told = run(MECHANISM, "netns", "mech-a").splitlines()
    assert told[0] == "accepted name mech-a"
    assert told[1].endswith("found name mech-a")
    assert run(MECHANISM, "netns", "/run/netns/mech-a").startswith("accepted path /run/netns/mech-a")
    # A passed descriptor becomes the name where there is one.
    assert run(MECHANISM, "netns", "fd:/run/netns/mech-a").startswith("accepted name mech-a")
    p = subprocess.Popen(["unshare", "-n", "sleep", "100"])
    try:
        until(lambda: os.stat(f"/proc/{p.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino, "a namespace of its own")
        told = run(MECHANISM, "netns", f"fd:/proc/{p.pid}/ns/net").splitlines()
        assert told[0].startswith("accepted id")
        assert "found pid" in told[1]
        told = run(MECHANISM, "netns", f"pid:{p.pid}").splitlines()
        assert told[0].startswith("accepted pid") and "found pid" in told[1]
    finally:
        p.kill()
        p.wait()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for ref, error, text in (("web-9", "ENOENT", 'no network namespace \\"web-9\\" under /run/netns'),
                             ("/etc/passwd", "EINVAL", '\\"/etc/passwd\\" is not a network namespace'),
                             ("/proc/self/ns/mnt", "EINVAL", "is not a network namespace"),
                             (str(fifo), "EINVAL", "is not a network namespace"),
                             (f"pid:{p.pid}", "ESRCH", f"no process {p.pid}")):
        told = run(MECHANISM, "netns", ref)
        assert told.startswith(f"refused {error} ") and text in told, told
