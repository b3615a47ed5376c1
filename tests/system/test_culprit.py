# SPDX-License-Identifier: GPL-2.0-only
"""Who is blamed: he who did it, however he asked for it, and nobody else, however hard he tries."""
import subprocess
import textwrap

import pytest
from tools import Lines, addresses, journal, journal_now, link, pair, run, until

# A request by hand: raw rtnetlink, since ip looks up the number of a device first and has no rights to ask for what it may not.
RAW = textwrap.dedent("""
    import os, socket, struct, sys, time

    SETLINK, DELLINK, DELADDR = 19, 17, 21
    IFNAME, MTU = 3, 4

    def attribute(kind, value):
        return struct.pack("HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)

    def ask(s, kind, body):
        s.send(struct.pack("IHHII", 16 + len(body), kind, 5, 1, 0) + body)
        return struct.unpack_from("i", s.recv(65536), 16)[0]

    def link(index, *attributes):
        return struct.pack("BxHiII", 0, 0, index, 0, 0) + b"".join(attributes)

    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.bind((0, 0))
""")


def raw(code, *args):
    return ["python3", "-c", RAW + textwrap.dedent(code), *[str(a) for a in args]]


def drift(rpc):
    e = rpc.next_event()
    while e["kind"] != "drift":
        e = rpc.next_event()
    return e


@pytest.fixture
def web(rpc, netns):
    netns("web-1")
    rpc.converge([pair(mtu=1400)])
    rpc.call("event.subscribe")
    return rpc


@pytest.mark.parametrize("what,code", [
    ("MTU", "assert ask(s, SETLINK, link(0, attribute(IFNAME, b'web-1\\0'), attribute(MTU, struct.pack('I', 1300)))) == 0"),
    ("device", "assert ask(s, DELLINK, link(0, attribute(IFNAME, b'web-1\\0'))) == 0"),
])
def test_a_request_that_names_its_device_by_name(web, what, code):
    p = subprocess.Popen(raw(code))
    assert p.wait() == 0
    e = drift(web)
    assert e["detail"]["culprit"]["pid"] == p.pid and e["detail"]["message"].startswith(what), e
    until(lambda: link("web-1") and link("web-1")["mtu"] == 1400, "the repair")


# What is asked for all the time by somebody without rights, and refused.
NOISE = """
    index, command = int(sys.argv[1]), sys.argv[2]
    requests = [(SETLINK, link(index, attribute(MTU, struct.pack("I", 1300)))),
                (SETLINK, link(0, attribute(IFNAME, b"web-1\\0"), attribute(MTU, struct.pack("I", 1300)))),
                (DELADDR, struct.pack("BBBBI", socket.AF_INET, 32, 0, 0, index) + attribute(2, bytes([10, 0, 0, 1])))]
    open("/proc/self/comm", "w").write("noise")
    assert all(ask(s, *r) == -1 for r in requests), "these are refused"
    print("ready", flush=True)
    while True:
        for r in requests:
            ask(s, *r)
"""


@pytest.mark.parametrize("prefix", [["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
                                    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-U", "-r"]],
                         ids=["a user", "root of a user namespace"])
def test_who_may_not_change_anything_is_not_blamed(web, prefix):
    index = link("web-1")["ifindex"]
    noise = Lines(*prefix, *raw(NOISE, index, "x"))
    try:
        noise.until(lambda l: l == "ready", "the noise")
        for command in (["ip", "link", "set", "web-1", "mtu", "1300"], ["ip", "addr", "del", "10.0.0.1/32", "dev", "web-1"],
                        ["ip", "route", "del", "10.0.0.2/32", "dev", "web-1"]):
            p = subprocess.Popen(command)
            assert p.wait() == 0
            e = drift(web)
            assert e["detail"]["culprit"]["pid"] == p.pid and e["detail"]["culprit"]["comm"] == "ip", e
            until(lambda: web.call("device.get", {"name": "web-1"})["condition"]["state"] == "Ready", "the repair")
    finally:
        noise.close()
    assert link("web-1")["ifindex"] == index and "10.0.0.1/32" in addresses("web-1")


@pytest.mark.parametrize("asked", ["link(socket.if_nametoindex('web-1'), attribute(MTU, struct.pack('I', 9)))",
                                   "link(0, attribute(IFNAME, b'web-1\\0'), attribute(MTU, struct.pack('I', 9)))"],
                         ids=["by number", "by name"])
def test_what_fails_is_nobodys_deed(web, asked):
    """A request that is refused changes nothing: what another one does later is his, and what nobody asked for is nobody's."""
    fails = raw(f"assert ask(s, SETLINK, {asked}) == -22")
    web.converge([pair(mtu=1400, addresses=["10.0.0.1/32", "fd00::1/128"])])
    run(*fails)
    other = subprocess.Popen(["busybox", "ifconfig", "web-1", "mtu", "1300"])
    assert other.wait() == 0
    e = drift(web)
    assert e["detail"]["culprit"]["pid"] == other.pid, e
    until(lambda: web.call("device.get", {"name": "web-1"})["condition"]["state"] == "Ready", "the repair")
    # A sysctl is no request about a device: the kernel takes the address away as if by itself.
    run(*fails)
    run("sysctl", "-q", "net.ipv6.conf.web-1.disable_ipv6=1")
    e = drift(web)
    run("sysctl", "-q", "net.ipv6.conf.web-1.disable_ipv6=0")
    assert e["detail"]["message"] == "address fd00::1/128 on web-1 was removed; it is put back" and "culprit" not in e["detail"], e
    until(lambda: web.call("device.get", {"name": "web-1"})["condition"]["state"] == "Ready", "the repair")


def test_a_peer_moved_to_where_nobody_looks(web, netns):
    """A namespace without an id in the daemon's: no event tells of the peer any more."""
    netns("thief")
    p = subprocess.Popen(["ip", "-n", "web-1", "link", "set", "eth0", "netns", "thief"])
    assert p.wait() == 0
    e = drift(web)
    assert e["detail"]["culprit"]["pid"] == p.pid, e
    until(lambda: link("eth0", "web-1") and link("eth0", "thief") is None, "the peer in its own namespace again")


@pytest.mark.parametrize("comm,shown", [(b"", "a process without a name"), ("a\x1b[2J\né".encode() + b"\xff", "a?[2J?é?")],
                         ids=["no name", "a terminal's commands"])
def test_who_chose_a_name_that_hides_him(web, comm, shown):
    began = journal_now()
    code = "import ctypes; ctypes.CDLL(None).prctl(15, %r); open('/sys/class/net/web-1/mtu', 'w').write('1300')" % comm
    p = subprocess.Popen(["python3", "-c", code])
    assert p.wait() == 0
    e = drift(web)
    assert e["detail"]["culprit"]["pid"] == p.pid, e
    until(lambda: link("web-1")["mtu"] == 1400, "the repair")
    run("journalctl", "--sync")
    told = [e["MESSAGE"] for e in journal("NETKITD_DEVICE=web-1", after=began) if e["NETKITD_EVENT"] == "drift"]
    assert len(told) == 1 and f"MTU of web-1 was changed by {shown} (pid {p.pid}, uid 0" in told[0], told


def test_who_asks_inside_the_container(web):
    p = subprocess.Popen(["ip", "netns", "exec", "web-1", "busybox", "ifconfig", "eth0", "down"])
    assert p.wait() == 0
    e = drift(web)
    assert e["detail"]["culprit"]["pid"] == p.pid and e["detail"]["culprit"]["comm"] == "busybox", e
    assert e["detail"]["message"].startswith("the peer of web-1 was taken down by busybox ("), e
