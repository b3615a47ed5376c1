# SPDX-License-Identifier: GPL-2.0-only
"""The order of chains: by name and priority, among programs of others, against others who change the chain at the same time, and
while packets pass."""
import ctypes
import itertools
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from tools import (PINS, VERDICT, RpcError, bpf, bpf_objects, chain, link, main_pid, pair, ping, program, run, shown, until,
                   wait_for_daemon)

ORDER = "/usr/lib/netkitd-tests/order.bpf.o"
THEIRS = "/sys/fs/bpf/theirs"
PEER = "netkit/peer"
BEFORE = 8  # BPF_F_BEFORE


def pinned(path):
    return bpf(7, {0: ctypes.create_string_buffer(path.encode() + b"\0")})


def attach_theirs(name, flags=0, device="web-1"):
    """Somebody else attaches one of his pinned programs to the peer's hook, by descriptor: at the end, or with BEFORE at the front."""
    fd = pinned(f"{THEIRS}/{name}")
    try:
        bpf(8, {0: socket.if_nametoindex(device), 4: fd, 8: 55, 12: flags})
    finally:
        os.close(fd)


def detach_theirs(name, device="web-1"):
    fd = pinned(f"{THEIRS}/{name}")
    try:
        bpf(9, {0: socket.if_nametoindex(device), 4: fd, 8: 55})
    finally:
        os.close(fd)


@pytest.fixture
def theirs():
    """Programs of somebody else, pinned by name: next1 to next4, pass, drop. Returns id and tag of one."""
    os.makedirs(THEIRS)
    run("bpftool", "prog", "loadall", VERDICT, THEIRS)
    yield lambda name: (lambda p: (p["id"], p["tag"]))(json.loads(run("bpftool", "-j", "prog", "show", "pinned", f"{THEIRS}/{name}")))
    run("rm", "-r", THEIRS)


@pytest.fixture
def web(rpc, netns):
    """A device, and programs one to four, each of them loaded by itself."""
    netns("web-1")
    rpc.converge([pair()], [program(n, "next1") for n in ("one", "two", "three", "four")])
    return rpc


def at(name, program=None, **place):
    return {"name": name, "hook": PEER, "program": program or name, **place}


def pins(kind, directory):
    """Kernel id to name of the programs or links that are pinned in a directory."""
    return {o["id"]: os.path.basename(p) for o in bpf_objects(kind) for p in o.get("pinned", ()) if os.path.dirname(p) == directory}


def names(device="web-1"):
    """The chain as packets meet it: our attachments by name, programs of others by what they are pinned as."""
    links, programs = pins("link", f"{PINS}/links"), pins("prog", THEIRS)
    prefix = f"{device}:peer:"
    return [links[i].removeprefix(prefix) if i in links else programs.get(p) for p, i in chain(device, PEER)]


def only(known, attachments):
    """Attachments without what they say of others that aren't there yet: an application names only those that are."""
    there = {a["name"] for a in attachments}
    return [{**a, **{k: [n for n in a[k] if n in there or isinstance(n, dict)] for k in ("before", "after") if k in a}}
            for a in attachments]


def condition(rpc, name="web-1"):
    return rpc.call("device.get", {"name": name})["condition"]


# ---- the order follows from what is said

def test_every_order_of_arrival_gives_one_chain(web):
    """Two applications with two programs each; each arrives on its own, in each of the 24 orders."""
    say = {"one": at("one", before=["two"]), "two": at("two", priority=-10), "three": at("three", after=["two"], before=["four"]),
           "four": at("four", last=True)}
    for arrival in itertools.permutations(say):
        for n in range(1, 5):
            web.converge([pair(attachments=only(say, [say[a] for a in arrival[:n]]))])
        assert names() == ["one", "two", "three", "four"], arrival
        web.converge([pair()])


def test_every_order_of_arrival_with_somebody_elses_programs(web, theirs):
    """Ours and those of somebody who attaches without asking us: one at the front, one at the end."""
    ours = {"one": at("one", before=[{"pin": f"{THEIRS}/next3"}]), "two": at("two", after=[{"id": theirs("next4")[0]}])}
    for arrival in itertools.permutations(["one", "two", "next3", "next4"]):
        there = []
        for who in arrival:
            if who in ours:
                there.append(ours[who])
                web.apply([pair(attachments=there)], wait=0)
                until(lambda: who in names(), f"{who} in the chain")
            else:
                attach_theirs(who, BEFORE if who == "next3" else 0)
        until(lambda: names() == ["one", "next3", "next4", "two"], f"the chain, after {arrival}: {names()}")
        until(lambda: condition(web)["state"] == "Ready", "the device to be ready")
        detach_theirs("next3")
        detach_theirs("next4")
        web.converge([pair()])


@pytest.mark.parametrize("attachments,want", [
    ([at("one"), at("two"), at("three")], "one two three"),
    ([at("one"), at("two", priority=-1), at("three", priority=5), at("four", priority=1)], "two one four three"),
    ([at("one"), at("two"), at("three", before=["one"])], "three one two"),
    ([at("one", after=["three"]), at("two"), at("three")], "two three one"),
    ([at("one", last=True), at("two"), at("three", first=True), at("four", priority=-9)], "three four two one"),
])
def test_what_is_said_is_what_stands(web, attachments, want):
    web.converge([pair(attachments=attachments)])
    assert names() == want.split()
    shown = [a["name"] for a in web.call("attachment.list", {"device": "web-1"})["attachments"]]
    assert shown == want.split()
    # And it is what comes back.
    desired = web.call("device.get", {"name": "web-1"})["desired"]["attachments"]
    assert desired == attachments


@pytest.mark.parametrize("attachments,pointer,words", [
    ([at("one", before=["one"])], "0/before/0", "itself"),
    ([at("one", after=["two"])], "0/after/0", "no attachment two"),
    ([at("one", first=True, last=True)], "0/last", "first"),
    ([at("one", before=["two"]), at("two", before=["three"]), at("three", before=["one"])], "0/before/0",
     "one before two before three before one"),
    ([at("one", last=True), at("two", after=["one"])], "1/after/0", "one before two before one"),
    ([at("one", before=[{"name": "two"}]), at("two")], "0/before/0", "none of these members"),
    ([at("one", before=[{"tag": "xyz"}])], "0/before/0/tag", "16 hexadecimal digits"),
])
def test_what_makes_no_order_is_refused(web, attachments, pointer, words):
    before = chain("web-1", PEER)
    with pytest.raises(RpcError) as e:
        web.apply([pair(attachments=attachments)])
    assert e.value.pointers[0] == f"/document/devices/0/attachments/{pointer}"
    assert words in json.dumps(e.value.data)
    assert chain("web-1", PEER) == before


# ---- programs of others

def test_programs_between_ours_keep_their_places(web, theirs):
    web.converge([pair(attachments=[at("one")])])
    attach_theirs("next3")
    web.converge([pair(attachments=[at("one"), at("two")])])
    attach_theirs("next4")
    web.converge([pair(attachments=[at("one"), at("two"), at("three")])])
    assert names() == ["one", "next3", "two", "next4", "three"]
    before = chain("web-1", PEER)

    # One of ours changes places; nobody else is touched.
    web.converge([pair(attachments=[at("one"), at("three"), at("two")])])
    after = chain("web-1", PEER)
    assert [n for n in names() if n in ("one", "two", "three")] == ["one", "three", "two"]
    assert [n for n in names() if n.startswith("next")] == ["next3", "next4"]
    assert {p for p, _ in after} == {p for p, _ in before}
    assert len(set(before) - set(after)) == 1, "one link is new, all others are the same"
    web.converge([pair()])
    assert names() == ["next3", "next4"]


@pytest.mark.parametrize("kind", ["id", "tag", "pin"])
def test_an_anchor_that_comes_and_goes(web, theirs, kind):
    number, tag = theirs("next3")
    anchor = {"id": number} if kind == "id" else {"tag": tag} if kind == "tag" else {"pin": f"{THEIRS}/next3"}
    result = web.apply([pair(attachments=[at("one"), at("two", after=[anchor])])])
    assert not result["converged"]
    assert names() == ["one", "two"], "it is attached, at its place without the anchor"
    c = condition(web)
    assert (c["state"], c["reason"]) == ("Degraded", "AnchorMissing")
    assert "two" in c["message"] and str(list(anchor.values())[0]) in c["message"]

    attach_theirs("next3")
    until(lambda: names() == ["one", "next3", "two"], "its place behind the anchor")
    until(lambda: condition(web)["state"] == "Ready", "the device to be ready")
    detach_theirs("next3")
    until(lambda: condition(web)["state"] == "Degraded", "the device to be degraded again")
    assert names() == ["one", "two"]
    # What is lost is put back all the same.
    run("bpftool", "link", "detach", "id", chain("web-1", PEER)[1][1])
    until(lambda: names() == ["one", "two"], "the lost program")


def test_a_link_of_somebody_elses_by_its_pin(web, theirs):
    """An application that pins its link, as ours does."""
    fd = pinned(f"{THEIRS}/next4")
    theirs_link = bpf(28, {0: fd, 4: socket.if_nametoindex("web-1"), 8: 55})
    os.close(fd)
    bpf(6, {0: ctypes.create_string_buffer(b"/sys/fs/bpf/their_link\0"), 8: theirs_link})
    os.close(theirs_link)
    try:
        web.converge([pair(attachments=[at("one", before=[{"pin": "/sys/fs/bpf/their_link"}]), at("two")])])
        assert names() == ["one", "two", "next4"] or names() == ["one", "next4", "two"]
        web.converge([pair(attachments=[at("one", after=[{"pin": "/sys/fs/bpf/their_link"}])])])
        assert names() == ["next4", "one"]
    finally:
        os.unlink("/sys/fs/bpf/their_link")


def test_a_full_chain(web, theirs):
    """63 programs, and the 64th."""
    many = [f"m{i}" for i in range(64)]
    programs = [program(n, "next1") for n in many]
    with pytest.raises(RpcError) as e:
        web.apply([pair(attachments=[at(n) for n in many])], programs)
    assert e.value.pointers == ["/document/devices/0/attachments/63"]

    attach_theirs("next3")
    web.converge([pair(attachments=[at(n) for n in many[:62]])], programs)
    assert names() == ["next3"] + many[:62]
    result = web.apply([pair(attachments=[at(n) for n in many[:63]])])
    assert not result["converged"]
    assert "full" in condition(web)["message"]
    assert names() == ["next3"] + many[:62], "nothing lost, nothing half done"
    detach_theirs("next3")
    web.call("state.wait", {"timeout_ms": 60000})
    until(lambda: names() == many[:63], "the last one, now that there is room")
    # There is no place to spare for a move: the device closes while the order is made.
    web.converge([pair(attachments=[at(many[62])] + [at(n) for n in many[:62]])])
    assert names() == many[62:63] + many[:62]
    assert "UP" in link("web-1")["flags"]


# ---- somebody else is at it at the same time

RACER = f"""
import sys
sys.path.insert(0, "/lab/system")
from test_chain import BEFORE, attach_theirs, detach_theirs
while True:
    attach_theirs("next4", BEFORE)
    detach_theirs("next4")
"""


def test_a_race_is_lost_cleanly_and_tried_again(web, theirs):
    """Another process attaches and detaches in a loop: sooner or later the chain changes between our reading it and writing."""
    attachments = [at("one"), at("two"), at("three")]
    web.converge([pair(attachments=attachments)])
    attach_theirs("next3")
    before = web.call("daemon.status")["counts"]["kernel_errors"]
    racer = subprocess.Popen([sys.executable, "-B", "-c", RACER])
    try:
        def lost():
            random.shuffle(attachments)
            web.apply([pair(attachments=attachments)])
            return web.call("daemon.status")["counts"]["kernel_errors"] > before
        until(lost, "a race to be lost", timeout=120)
        for _ in range(10):
            lost()
        assert racer.poll() is None
    finally:
        racer.kill()
        racer.wait()
    until(lambda: condition(web)["state"] == "Ready", "the device to be ready")
    assert [n for n in names() if n not in ("next3", "next4")] == [a["name"] for a in attachments]
    assert "next3" in names()


# ---- under traffic

class Traffic:
    """A container that sends without pause, and the count of its packets by how often they met the program `stamp`."""

    def __init__(self, rpc, *pace):
        self.rpc = rpc
        rpc.converge([pair(attachments=self.attachments(["stamp", "other1", "other2"]))],
                     [program(n, object=ORDER) for n in ("stamp", "other1", "other2", "witness")])
        witness = chain("web-1", PEER)[-1][0]
        self.map = json.loads(run("bpftool", "-j", "prog", "show", "id", witness))["map_ids"][0]
        self.ping = subprocess.Popen(["ip", "netns", "exec", "web-1", "ping", "-n", "-q", *pace, "10.0.0.1"], stdout=subprocess.PIPE,
                                     text=True)
        until(lambda: self.seen()[1] > 100, "traffic")

    @staticmethod
    def attachments(order):
        return [at("witness", last=True)] + [at(n, priority=i) for i, n in enumerate(order)]

    def seen(self):
        entries = json.loads(run("bpftool", "-j", "map", "dump", "id", self.map))
        return [e["formatted"]["value"] for e in entries]

    def end(self):
        """Sent and received."""
        self.ping.send_signal(signal.SIGINT)
        out = self.ping.communicate()[0]
        return [int(n) for n in re.search(r"(\d+) packets transmitted, (\d+) received", out).groups()]


def test_what_packets_meet_is_shown(web, theirs):
    """The chains of both hooks, ours and theirs, are those that bpftool shows, and the counts those of the kernel."""
    assert shown() == ({}, 0, "no program at any hook of web-1\n")
    attach_theirs("next3")
    web.converge([pair(attachments=[at("two", last=True), at("one", first=True),
                                    {"name": "in", "hook": "netkit/primary", "program": "three"}])])
    hooks, status, text = shown()
    assert status == 0 and "kernel.bpf_stats_enabled" in text
    assert list(hooks) == ["netkit/primary", PEER]
    assert [row[:5] for row in hooks[PEER]] == [["0", "Attached", "one", "one", "next1"], ["1", "Foreign", "-", "-", "next3"],
                                                ["2", "Attached", "two", "two", "next1"]]
    assert [row[:5] for row in hooks["netkit/primary"]] == [["0", "Attached", "in", "three", "next1"]]
    for hook, rows in hooks.items():
        assert [(int(row[6]), 0 if row[5] == "-" else int(row[5])) for row in rows] == chain("web-1", hook)
        for row in rows:
            assert row[7] == json.loads(run("bpftool", "-j", "prog", "show", "id", row[6]))["tag"] and row[8:10] == ["-", "-"]
    told = json.loads(run("netkitd-cli", "-o", "json", "chain", "web-1"))["attachments"]
    assert [(a["prog_id"], a.get("link_id", 0)) for a in told if a["hook"] == PEER] == chain("web-1", PEER)

    def counts_are_the_kernels():
        hooks, _, text = shown()
        assert "bpf_stats_enabled" not in text
        kernel = [json.loads(run("bpftool", "-j", "prog", "show", "id", row[6])) for row in hooks[PEER]]
        return all(int(row[8]) >= 3 and row[8:10] == [str(k["run_cnt"]), f"{k['run_time_ns'] // k['run_cnt']} ns"]
                   for row, k in zip(hooks[PEER], kernel))

    run("sysctl", "-q", "kernel.bpf_stats_enabled=1")
    try:
        assert ping("10.0.0.2", count=3)
        # What IPv6 sends by itself may pass between the two looks.
        until(counts_are_the_kernels, "a moment without packets")
    finally:
        run("sysctl", "-q", "kernel.bpf_stats_enabled=0")


def test_what_is_missing_from_a_chain_is_shown(web):
    web.apply([pair(attachments=[at("one"), at("x", "x")])], [program("x", "no_such_function")])
    hooks, status, _ = shown()
    assert status == 3
    assert [row[:4] for row in hooks[PEER]] == [["0", "Attached", "one", "one"], ["-", "Missing", "x", "x"]]


@pytest.fixture
def traffic(rpc, netns):
    """traffic(PACE…) starts it, with ping's options."""
    netns("web-1")
    started = []

    def start(*pace):
        started.append(Traffic(rpc, *pace))
        return started[0]
    yield start
    for t in started:
        if t.ping.poll() is None:
            t.ping.kill()
            t.ping.wait()


def test_no_packet_misses_a_program_that_moves(traffic):
    traffic = traffic("-f")
    order = ["stamp", "other1", "other2"]
    moved = 0
    for order in list(itertools.permutations(order)) * 3:
        before = chain("web-1", PEER)
        traffic.rpc.converge([pair(attachments=traffic.attachments(order))])
        assert names() == [*order, "witness"]
        moved += len(set(chain("web-1", PEER)) - set(before))
    sent, received = traffic.end()
    never, once, more = traffic.seen()
    print(f"{moved} moves, {sent} packets sent, {received} answered; stamped never {never}, once {once}, more often {more}")
    assert moved >= 15 and once > 1000
    assert never == 0
    assert sent - received <= 1, "the device was never closed; the last one may be on its way"


def test_killed_while_it_moves(traffic):
    traffic = traffic("-i", "0.01")
    orders = list(itertools.permutations(["stamp", "other1", "other2"]))
    # systemd lets the daemon wait longer each time it dies: begin at the beginning, and don't go far.
    run("systemctl", "restart", "netkitd")
    for i in range(5):
        order = orders[(i * 5 + 3) % 6]
        rpc = wait_for_daemon()
        rpc.apply([pair(attachments=traffic.attachments(order))], wait=0)
        time.sleep(random.random() * 0.06)
        os.kill(main_pid(), signal.SIGKILL)
        wait_for_daemon().close()
        until(lambda: names() == [*order, "witness"], f"the order that was accepted: {names()}")
        left = [p for p in os.listdir(f"{PINS}/links") if p.endswith(("%new", "%map"))]
        assert not left
    sent, received = traffic.end()
    never, once, more = traffic.seen()
    print(f"{sent} packets sent, {received} answered; stamped never {never}, once {once}, more often {more}")
    assert never == 0
    assert sent - received <= 1
