# SPDX-License-Identifier: GPL-2.0-only
"""The benchmarks, inside the machine. Each figure is the time from sending a request to its converged answer, or from breaking something
to hearing that it is repaired, beside the time that bench-floor takes for the same kernel calls; with --icount both count
instructions, so the ratio repeats. Each is measured on fresh names, so that both do the same."""
import argparse
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "system"))
from tools import Rpc, SOCKET, VERDICT, run  # noqa: E402

FLOOR = "/usr/lib/netkitd-tests/bench-floor"
OUT = "/lab-out"
MANY = 1000
PINS = "/sys/fs/bpf/bench"
ROUNDS = 31
PHASE = 0.0011  # seconds: RCU ends its waits with the clock's tick of 4 ms, so each round begins at another place between two
REPAIRS = 200


def floor(*args):
    out = run(FLOOR, *args)
    return int(out) if out.strip() else 0


def ip_of(i, peer=False):
    n = 0x0A100000 + i * 4 + (2 if peer else 1)
    return ".".join(str(n >> s & 255) for s in (24, 16, 8, 0))


def device(i, links):
    return {"name": f"d{i}", "policy": "pass", "addresses": [f"{ip_of(i)}/32"], "routes": [{"to": f"{ip_of(i, True)}/32"}],
            "peer": {"name": "eth0", "netns": f"b{i}", "policy": "drop", "addresses": [f"{ip_of(i, True)}/32"],
                     "routes": [{"to": f"{ip_of(i)}/32"}, {"to": "default", "via": ip_of(i)}]},
            "attachments": [{"name": f"a{k}", "hook": "netkit/peer", "program": f"next{k + 1}"} for k in range(links)]}


class Daemon:
    def __init__(self):
        self.p = subprocess.Popen(["netkitd"], stderr=open("/tmp/netkitd.log", "a"))
        while not os.path.exists(SOCKET):
            time.sleep(0.05)
        self.rpc = Rpc()
        self.rpc.sock.settimeout(1000)
        self.rpc.converge(programs=[{"name": f"next{k + 1}", "object": VERDICT, "program": f"next{k + 1}"} for k in range(2)])

    def timed(self, method, params):
        """Nanoseconds from the request to its answer, which has to be that it converged."""
        data = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "wait_ms": 900000}}).encode() + b"\n"
        start = time.monotonic_ns()
        self.rpc.raw(data)
        reply = self.rpc.line()
        took = time.monotonic_ns() - start
        assert reply.get("result", {}).get("converged"), str(reply)[:2000]
        return took

    def memory(self):
        """Resident KiB: all, and what is the process's own."""
        status = dict(l.split(":", 1) for l in open(f"/proc/{self.p.pid}/status") if ":" in l)
        return int(status["VmRSS"].split()[0]), int(status["RssAnon"].split()[0])

    def tasks(self, file):
        return [open(f"/proc/{self.p.pid}/task/{t}/{file}").read() for t in os.listdir(f"/proc/{self.p.pid}/task")]

    def switches(self):
        """How often it was woken, or stopped on the way."""
        return sum(int(l.split()[1]) for text in self.tasks("status") for l in text.splitlines() if "ctxt_switches" in l)

    def processor_ns(self):
        return sum(int(text.split()[0]) for text in self.tasks("schedstat"))

    def stop(self):
        self.rpc.close()
        self.p.send_signal(signal.SIGTERM)
        self.p.wait()


def median(values):
    return sorted(values)[len(values) // 2]


def drop_floors_pins():
    subprocess.run(["rm", "-rf", "/sys/fs/bpf/floor"], check=True)
    time.sleep(1)


def one_device(links):
    """One device with `links` attachments by device.set, in a daemon that has run for a while; median of some rounds."""
    bare, ours = [], []
    for n in range(ROUNDS):
        time.sleep(n * PHASE)
        bare.append(floor("create", 1, links, *[f"{PINS}/next{k + 1}" for k in range(links)]))
        floor("delete")
        drop_floors_pins()
    d = Daemon()
    for n in range(ROUNDS + 1):
        ours.append(d.timed("device.set", {"device": device(0, links)}))
        d.timed("device.delete", {"name": "d0"})
        time.sleep(0.5 + n * PHASE)
    d.stop()
    return {"ours_ns": median(ours[1:]), "floor_ns": median(bare)}


def one_1():
    return one_device(1)


def one_2():
    return one_device(2)


def many():
    bare = floor("create", MANY, 1, f"{PINS}/next1")
    bare_delete = floor("delete")
    drop_floors_pins()
    d = Daemon()
    empty = d.memory()
    ours = d.timed("state.apply", {"document": {"devices": [device(i, 1) for i in range(MANY)]}})
    full = d.memory()
    ours_delete = d.timed("state.apply", {"document": {}, "mode": "replace"})
    d.stop()
    return {"thousand": {"ours_ns": ours, "floor_ns": bare, "each_us": ours / MANY / 1000},
            "delete": {"ours_ns": ours_delete, "floor_ns": bare_delete, "each_us": ours_delete / MANY / 1000},
            "memory": {"empty_rss_kib": empty[0], "empty_anon_kib": empty[1], "full_rss_kib": full[0], "full_anon_kib": full[1],
                       "device_bytes": (full[1] - empty[1]) * 1024 // MANY}}


def bpf(command, first):
    """bpf(2) with one argument: a number, or a path. The result."""
    attr = ctypes.create_string_buffer(128)
    path = ctypes.create_string_buffer(first.encode() + b"\0") if isinstance(first, str) else None
    attr[0:8] = (ctypes.addressof(path) if path else first).to_bytes(8, "little")
    r = LIBC.syscall(321, command, attr, 128)
    assert r >= 0, os.strerror(ctypes.get_errno())
    return r


LIBC = ctypes.CDLL(None, use_errno=True)
LINK_DETACH, OBJ_GET = 34, 7


def detach(i):
    """What takes the program of a device away; prepared, so that nothing but that is timed."""
    link = bpf(OBJ_GET, f"/sys/fs/bpf/netkitd/links/d{i}:peer:a0")

    def act():
        bpf(LINK_DETACH, link)
        os.close(link)
    return act


def delete(i):
    """What deletes a device: RTM_DELLINK."""
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    request = struct.pack("=IHHIIBxHiII", 32, 17, 5, 1, 0, 0, 0, socket.if_nametoindex(f"d{i}"), 0, 0)

    def act():
        s.send(request)
        assert struct.unpack("=i", s.recv(4096)[16:20]) == (0,)
        s.close()
    return act


def repaired(rpc, i):
    while True:
        e = rpc.next_event()
        if e["kind"] == "repaired" and e["object"] == f"device/d{i}":
            return


def repairs(name, act, bare):
    """Each of many devices is broken once. Median and 99th percentile of the time until netkitd tells that it is repaired."""
    floor("create", REPAIRS, 1, f"{PINS}/next1")
    base = sorted(int(n) for n in run(FLOOR, bare, REPAIRS, f"{PINS}/next1").split())
    floor("delete")
    drop_floors_pins()
    d = Daemon()
    d.timed("state.apply", {"document": {"devices": [device(i, 1) for i in range(REPAIRS)]}})
    d.rpc.call("event.subscribe")
    ours = []
    for i in range(REPAIRS):
        breaks = act(i)
        time.sleep(0.1)
        start = time.monotonic_ns()
        breaks()
        repaired(d.rpc, i)
        ours.append(time.monotonic_ns() - start)
    ours.sort()
    d.rpc.converge(mode="replace")
    d.stop()
    return {name: {"ours_ns": median(ours), "floor_ns": median(base)},
            f"{name}-99": {"ours_ns": ours[REPAIRS * 99 // 100 - 1], "floor_ns": base[REPAIRS * 99 // 100 - 1]}}


def watcher():
    """What others pay while netkitd runs, and what it does itself for requests that aren't its business; and how often it wakes in a
    minute in which nothing happens."""
    run("ip", "link", "add", "dummy-load", "type", "dummy")
    run("ip", "link", "add", "netkit-load", "type", "netkit", "peer", "name", "netkit-load1")
    loads = {"requests": ("requests", 1000), "attachments": ("attachments", 200, f"{PINS}/next2")}
    for load in loads.values():
        floor(*load)
    bare = {name: floor(*load) for name, load in loads.items()}
    d = Daemon()
    d.timed("state.apply", {"document": {"devices": [device(0, 1)]}})
    f = {}
    for name, load in loads.items():
        floor(*load)
        time.sleep(2)
        own = d.processor_ns()
        theirs = floor(*load)
        time.sleep(2)
        f[name] = {"n": load[1], "bare_ns": bare[name] // load[1], "theirs_ns": theirs // load[1],
                   "own_ns": (d.processor_ns() - own) // load[1]}
    time.sleep(10)
    before = d.switches()
    time.sleep(60)
    f["idle_switches"] = d.switches() - before
    d.timed("state.apply", {"document": {}, "mode": "replace"})
    d.stop()
    run("ip", "link", "del", "dummy-load")
    run("ip", "link", "del", "netkit-load")
    return {"watcher": f}


GOALS = {"one": 1.3, "one-2": 1.3, "thousand": 1.10, "delete": 1.3, "detached": 2, "detached-99": 2, "deleted": 2, "deleted-99": 2}
TEXT = {"one": "one device, one attachment, by RPC", "one-2": "one device, two attachments, by RPC",
        "thousand": "1,000 devices in one document", "delete": "deleting 1,000, against one delete by group",
        "detached": "program detached to put back, median of 200", "detached-99": "the same, 99th percentile",
        "deleted": "device deleted to put back, median of 200", "deleted-99": "the same, 99th percentile"}
# What is measured together.
GROUPS = {"one": lambda: {"one": one_1()}, "one-2": lambda: {"one-2": one_2()}, "thousand": many,
          "detached": lambda: repairs("detached", detach, "reattach"), "deleted": lambda: repairs("deleted", delete, "recreate"),
          "watcher": watcher}
OF_GROUP = {"delete": "thousand", "memory": "thousand", "detached-99": "detached", "deleted-99": "deleted"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", metavar="NAME", choices=[*GOALS, "memory", "watcher"])
    only = parser.parse_args().k
    group = OF_GROUP.get(only, only)
    run("mkdir", "-p", "/run/netkitd", "/var/lib/netkitd", "/etc/netkitd/state.d")
    # A disk takes the host's time, in which this clock runs on: the database is kept in memory.
    run("mount", "-t", "tmpfs", "tmpfs", "/var/lib/netkitd")
    run("bpftool", "prog", "loadall", VERDICT, PINS)
    floor("netns", {None: MANY, "thousand": MANY, "detached": REPAIRS, "deleted": REPAIRS}.get(group, 1))
    figures = {}
    for name, measure in GROUPS.items():
        if group in (None, name):
            figures.update(measure())
    if only and group == "thousand":
        figures = {only: figures[only]}
    if figures.keys() & GOALS.keys():
        print(f"{'figure':<48}{'netkitd':>12}{'floor':>12}{'ratio':>8}{'goal':>8}")
    for name, f in figures.items():
        if name not in GOALS:
            continue
        f["ratio"] = round(f["ours_ns"] / f["floor_ns"], 3)
        f["goal"] = GOALS[name]
        print(f"{TEXT[name]:<48}{f['ours_ns'] / 1e6:>9.2f} ms{f['floor_ns'] / 1e6:>9.2f} ms{f['ratio']:>8.2f}{f['goal']:>8.2f}")
    if "memory" in figures:
        m = figures["memory"]
        print(f"memory: {m['empty_rss_kib']} KiB resident empty ({m['empty_anon_kib']} KiB its own; goal 8192), "
              f"{m['device_bytes']} bytes a device at {MANY} (goal 2048)")
    if "watcher" in figures:
        w = figures["watcher"]
        for name, text in (("requests", "a foreign rtnetlink request"), ("attachments", "a foreign link made and detached")):
            f = w[name]
            print(f"watcher, {text}: {f['bare_ns'] / 1000:.1f} us without netkitd, {f['theirs_ns'] / 1000:.1f} us with it, "
                  f"and {f['own_ns'] / 1000:.1f} us of netkitd's own")
        print(f"watcher, idle: {w['idle_switches']} wake-ups in 60 s (goal 0)")
    with open(os.path.join(OUT, f"{only or 'netkitd'}.json"), "w") as f:
        json.dump(figures, f, indent=2)


main()
