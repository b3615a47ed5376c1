#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Everything at once: several processes that create, change, move and delete devices and namespaces, attach, update, detach and
query, while packets flow. Run by in_machine on the debug kernel, which finds what is wrong.

torture.py [--seconds S] [--seed N] [--workers N]: each worker draws its steps from its own generator, so that a seed repeats them,
as far as the scheduler lets it. A refusal is as good as a success here; what counts is that every worker comes to its end, that
each kind of step succeeded at times, and that nothing is left afterwards.
"""
import argparse
import collections
import contextlib
import errno
import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import time

import nk

NAMES = [f"t{number}" for number in range(5)]
NAMESPACES = [f"torture{number}" for number in range(3)]
HOOKS = nk.HOOK_PRIMARY, nk.HOOK_PEER


def quietly(*command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


class Worker:
    """One process. Its steps are the methods whose name begins with do_."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.done = collections.Counter()
        self.programs = [nk.load(nk.returns(verdict)) for verdict in (nk.NEXT, nk.NEXT, nk.PASS, nk.DROP, nk.NEXT)]
        self.programs.append(nk.load(nk.redirects(1)))
        self.links = []

    def name(self):
        return self.random.choice(NAMES)

    def index(self):
        return socket.if_nametoindex(self.name())

    def program(self):
        return self.random.choice(self.programs)

    def do_create(self):
        name = self.name()
        data = nk.attr(nk.MODE, nk.u32(self.random.randint(0, 1))) + nk.attr(nk.POLICY, nk.u32(self.random.choice((0, 2))))
        if self.random.random() < 0.3:
            nk.create(name, data + nk.attr(nk.PAIRING, nk.u32(1)), peer=None)
            return
        if self.random.random() < 0.3:
            data += nk.attr(nk.HEADROOM, nk.u16(self.random.randint(0, 300)))
        more = b""
        if self.random.random() < 0.6:
            fd = os.open(f"/run/netns/{self.random.choice(NAMESPACES)}", os.O_RDONLY)
            try:
                nk.create(name, data, f"{name}p", peer_more=nk.attr(nk.IFLA_NET_NS_FD, nk.u32(fd)))
            finally:
                os.close(fd)
            return
        nk.create(name, data, f"{name}p", more)

    def do_delete(self):
        nk.delete(self.name() + self.random.choice(("", "p")))

    def do_change(self):
        kind = self.random.choice((nk.POLICY, nk.PEER_POLICY))
        nk.change(self.name(), nk.attr(kind, nk.u32(self.random.choice((0, 2)))))

    def do_up(self):
        flag = self.random.choice((0, nk.IFF_UP, nk.IFF_UP))
        name = self.name() + self.random.choice(("", "p"))
        nk.request(nk.RTM_NEWLINK, 0, nk.ifinfo(socket.if_nametoindex(name), flag, nk.IFF_UP))

    def do_show(self):
        nk.show(self.name())

    def do_attach(self):
        flags = self.random.choice((0, nk.BEFORE, nk.AFTER))
        nk.attach(self.program(), self.index(), self.random.choice(HOOKS), flags)

    def do_replace(self):
        ifindex, hook = self.index(), self.random.choice(HOOKS)
        old, new = self.random.sample(self.programs, 2)
        with contextlib.suppress(OSError):
            nk.attach(old, ifindex, hook)
        nk.attach(new, ifindex, hook, nk.REPLACE, replace=old)

    def do_detach(self):
        nk.detach(self.random.choice((0, self.program())), self.index(), self.random.choice(HOOKS))

    def do_query(self):
        nk.query(self.index(), self.random.choice(HOOKS))

    def do_link(self):
        self.links.append(nk.link(self.program(), self.index(), self.random.choice(HOOKS)))

    def do_update(self):
        nk.link_update(self.random.choice(self.links), self.program())

    def do_info(self):
        made = self.random.choice(self.links)
        nk.link_info(made)
        with open(f"/proc/self/fdinfo/{made}", encoding="ascii") as fdinfo:
            fdinfo.read()

    def do_link_detach(self):
        nk.link_detach(self.random.choice(self.links))

    def do_close(self):
        made = self.random.choice(self.links)
        self.links.remove(made)
        os.close(made)

    def do_move(self):
        """From a namespace to another, or home; only then do programs of both meet."""
        source, target = self.random.sample(NAMESPACES, 2)
        end = f"{self.name()}p"
        if self.random.random() < 0.5:
            done = quietly("ip", "-n", source, "link", "set", end, "netns", target)
        elif self.random.random() < 0.5:
            done = quietly("ip", "link", "set", end, "netns", target)
        else:
            done = quietly("ip", "-n", source, "link", "set", end, "netns", "1")
        if not done:
            raise OSError(errno.ENODEV, end)

    def do_namespace(self):
        name = self.random.choice(NAMESPACES)
        quietly("ip", "netns", "del", name)
        if not quietly("ip", "netns", "add", name):
            raise OSError(errno.EEXIST, name)

    def do_send(self):
        frame = nk.udp("10.0.0.1", "10.0.0.2", bytes(self.random.randint(0, 1400)))
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((self.name() + self.random.choice(("", "p")), 0x0800))
            for _ in range(50):
                sock.send(frame)

    def do_redirect_to_each_other(self):
        program = nk.load(nk.redirects(self.index()))
        try:
            nk.attach(program, self.index(), self.random.choice(HOOKS))
        finally:
            os.close(program)

    def work(self, until):
        steps = [(getattr(self, name), name) for name in sorted(dir(self)) if name.startswith("do_")]
        # Namespaces are slow, and what has to be there must be made more often than it is deleted.
        weights = [{"do_create": 4, "do_up": 5, "do_send": 6, "do_link": 3, "do_namespace": 0.5}.get(name, 1.5) for _, name in steps]
        while time.monotonic() < until:
            step, name = self.random.choices(steps, weights)[0]
            try:
                step()
            except (OSError, IndexError):
                self.done["refused"] += 1
            else:
                self.done[name] += 1


def worker(seed, until, results):
    me = Worker(seed)
    try:
        me.work(until)
    finally:
        # Also after a step failed in a way that no refusal explains; the exit status tells that.
        results.put(dict(me.done))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=5)
    options = parser.parse_args()

    for name in NAMESPACES:
        quietly("ip", "netns", "add", name)
    results = multiprocessing.Queue()
    until = time.monotonic() + options.seconds
    workers = [multiprocessing.Process(target=worker, args=(options.seed * 1000 + number, until, results))
               for number in range(options.workers)]
    for process in workers:
        process.start()
    total = collections.Counter()
    for _ in workers:
        total.update(results.get(timeout=options.seconds + 120))
    for process in workers:
        process.join(60)

    for name in NAMESPACES:
        quietly("ip", "netns", "del", name)
    for _, name in socket.if_nameindex():
        if name in NAMES:
            nk.delete(name)
    print(f"seed {options.seed}, {options.workers} workers:", json.dumps(dict(sorted(total.items()))))

    missing = [name for name in dir(Worker) if name.startswith("do_") and not total[name]]
    left = [name for _, name in socket.if_nameindex() if name.startswith("t")]
    bad = [process.exitcode for process in workers if process.exitcode]
    if missing or left or bad:
        sys.exit(f"steps that never succeeded: {missing}; devices left: {left}; workers that failed: {bad}")


if __name__ == "__main__":
    main()
