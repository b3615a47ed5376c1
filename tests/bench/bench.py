# SPDX-License-Identifier: GPL-2.0-only
"""The benchmarks, inside the machine. Each figure is the time from sending a request to its converged answer, beside the time that
bench-floor takes for the same kernel calls; with --icount both count instructions, so the ratio repeats. Each is measured on
fresh names, so that both do the same."""
import argparse
import json
import os
import signal
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
ROUNDS = 5


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
    for _ in range(ROUNDS):
        bare.append(floor("create", 1, links, *[f"{PINS}/next{k + 1}" for k in range(links)]))
        floor("delete")
        drop_floors_pins()
    d = Daemon()
    for _ in range(ROUNDS + 1):
        ours.append(d.timed("device.set", {"device": device(0, links)}))
        d.timed("device.delete", {"name": "d0"})
        time.sleep(0.5)
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


GOALS = {"one": 1.3, "one-2": 1.3, "thousand": 1.10, "delete": 1.3}
TEXT = {"one": "one device, one attachment, by RPC", "one-2": "one device, two attachments, by RPC",
        "thousand": "1,000 devices in one document", "delete": "deleting 1,000, against one delete by group"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-k", metavar="NAME", choices=[*GOALS, "memory"])
    only = parser.parse_args().k
    run("mkdir", "-p", "/run/netkitd", "/var/lib/netkitd", "/etc/netkitd/state.d")
    run("bpftool", "prog", "loadall", VERDICT, PINS)
    floor("netns", MANY if only in (None, "thousand", "delete", "memory") else 1)
    figures = {}
    if only in (None, "one"):
        figures["one"] = one_1()
    if only in (None, "one-2"):
        figures["one-2"] = one_2()
    if only in (None, "thousand", "delete", "memory"):
        figures.update(many())
    if only:
        figures = {only: figures[only]}
    print(f"{'figure':<48}{'netkitd':>12}{'floor':>12}{'ratio':>8}{'goal':>8}")
    for name, f in figures.items():
        if name == "memory":
            continue
        f["ratio"] = round(f["ours_ns"] / f["floor_ns"], 3)
        f["goal"] = GOALS[name]
        print(f"{TEXT[name]:<48}{f['ours_ns'] / 1e6:>9.2f} ms{f['floor_ns'] / 1e6:>9.2f} ms{f['ratio']:>8.2f}{f['goal']:>8.2f}")
    if "memory" in figures:
        m = figures["memory"]
        print(f"memory: {m['empty_rss_kib']} KiB resident empty ({m['empty_anon_kib']} KiB its own; goal 8192), "
              f"{m['device_bytes']} bytes a device at {MANY} (goal 2048)")
    with open(os.path.join(OUT, f"{only or 'netkitd'}.json"), "w") as f:
        json.dump(figures, f, indent=2)


main()
