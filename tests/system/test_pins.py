# SPDX-License-Identifier: GPL-2.0-only
"""Pins are all that holds the programs while netkitd is away: they are found again whatever happens to the mount of their bpffs, no
program is lost or attached twice for it, and nothing is left of what nobody wants."""
import json
import os
import random
import signal
import subprocess
import time

import pytest
from tools import (DATABASE, PATIENCE, PINS, VERDICT, chain, journal, journal_now, link, main_pid, pair, ping, program, run, stopped, until,
                   wait_for_daemon)

BPFFS = "/sys/fs/bpf"
PEER, PRIMARY = "netkit/peer", "netkit/primary"


def mounts():
    """How many bpffs the host has at the usual place, one over another."""
    return sum(1 for l in open("/proc/1/mountinfo") if l.split()[4] == BPFFS and " - bpf " in l)


def mount():
    run("mount", "-t", "bpf", "bpf", BPFFS)


def unmount():
    run("umount", "-l", BPFFS)


def held():
    """The device and its chains, as the kernel shows them: equal only if nothing was attached anew."""
    return link("web-1")["ifindex"], chain("web-1", PEER), chain("web-1", PRIMARY)


def pinned(directory):
    try:
        return sorted(os.listdir(f"{PINS}/{directory}"))
    except FileNotFoundError:
        return []


def links():
    """Link ids by the names of their pins; without those that are taken away between one look and the other."""
    shown = {p: json.loads(run("bpftool", "-j", "link", "show", "pinned", f"{PINS}/links/{p}", check=False)) for p in pinned("links")}
    return {p: s["id"] for p, s in shown.items() if "id" in s}


def in_place():
    """Do the pins at the usual place name just the links in the chains?"""
    _, peer, primary = held()
    return sorted(links().values()) == sorted(l for _, l in peer + primary) and "next1" in pinned("programs")


@pytest.fixture(scope="module", autouse=True)
def enabled(service):
    """As on a real host: systemd forgets a unit that is stopped and that nothing wants, and what it keeps for it."""
    run("systemctl", "enable", "netkitd.service")
    yield
    run("systemctl", "disable", "netkitd.service")


@pytest.fixture
def web(rpc, netns):
    netns("web-1")
    assert mounts() == 1
    attachments = [{"name": "a", "hook": PEER, "program": "next1"}, {"name": "b", "hook": PEER, "program": "next2"},
                   {"name": "c", "hook": PRIMARY, "program": "next1"}]
    rpc.converge([pair(attachments=attachments)], [program("next1"), program("next2")])
    assert len(held()[1]) == 2 and len(held()[2]) == 1 and in_place()
    yield rpc
    # However the test ended, the next one finds one bpffs.
    while mounts() > 1:
        unmount()
    run("systemctl", "start", "netkitd.socket", "netkitd")
    until(in_place, "the pins where they belong")


def stop():
    run("systemctl", "stop", "netkitd.socket", "netkitd")


def start():
    run("systemctl", "start", "netkitd.socket", "netkitd")
    c = wait_for_daemon()
    assert c.call("state.wait", {"timeout_ms": 1000 * PATIENCE})["converged"]
    return c


def kill():
    pid = main_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: main_pid() not in (0, pid), "systemd to start it again")
    assert wait_for_daemon().call("state.wait", {"timeout_ms": 1000 * PATIENCE})["converged"]


def test_unmounted_while_it_runs(web):
    before, traffic = held(), subprocess.Popen(["ping", "-n", "-q", "-i", "0.02", "-c", "150", "10.0.0.2"], stdout=subprocess.PIPE, text=True)
    assert subprocess.run(["umount", BPFFS], capture_output=True).returncode != 0, "busy: only force takes it away"
    unmount()
    until(lambda: mounts() == 1 and in_place(), "a new bpffs for the host, with the pins")
    assert held() == before, "nothing was attached anew"
    out, _ = traffic.communicate()
    assert "150 packets transmitted, 150 received" in out, out
    assert web.call("daemon.status")["health"] == "ok"
    kill()
    stop()
    assert held() == before and in_place()
    start()
    assert held() == before and in_place()


def test_that_could_not_follow_try_again(web):
    """Where they are to go is something else of this name. When it goes, no mount changes."""
    before, elsewhere = held(), "/run/elsewhere"
    os.mkdir(elsewhere)
    run("mount", "-t", "bpf", "bpf", elsewhere)
    run("bpftool", "map", "create", f"{elsewhere}/netkitd", "type", "array", "key", 4, "value", 4, "entries", 1, "name", "stranger")
    run("mount", "--bind", elsewhere, BPFFS)
    until(lambda: web.call("daemon.status")["health"] == "degraded", "netkitd to say so")
    assert web.call("daemon.status")["health_reasons"] == [
        f"programs would go with netkitd: cannot make the directories of pins in {PINS}: Not a directory"]
    assert held() == before
    os.unlink(f"{elsewhere}/netkitd")
    until(in_place, "the pins in the uppermost bpffs")
    until(lambda: web.call("daemon.status")["health"] == "ok", "netkitd to say so")
    assert held() == before
    run("umount", "-l", elsewhere)
    os.rmdir(elsewhere)


def test_a_bpffs_that_cannot_be_written(web):
    """A program whose pin can't be put back, or taken away, isn't right until it is."""
    def states():
        return {p["name"]: (p["condition"]["state"], p["condition"].get("reason")) for p in web.call("program.list")["programs"]}

    web.converge([], [program("next3")])
    pin = f"{PINS}/programs/next1"
    try:
        with stopped(main_pid()):
            os.unlink(pin)
            run("mount", "-o", "remount,ro", BPFFS)
        until(lambda: states()["next1"] == ("Degraded", "NotPinned"), "netkitd to say so")
        document = web.call("state.get")["document"]
        document["programs"] = [p for p in document["programs"] if p["name"] != "next3"]
        assert not web.call("state.apply", {"document": document, "mode": "replace", "wait_ms": 3000})["converged"]
        assert states()["next1"] == ("Degraded", "NotPinned"), "it is said for as long as it is so"
    finally:
        run("mount", "-o", "remount,rw", BPFFS)
    until(lambda: os.path.exists(pin) and not os.path.exists(f"{PINS}/programs/next3"), "one pin to be put back, the other to go")
    until(lambda: states() == {"next1": ("Ready", None), "next2": ("Ready", None)}, "netkitd to say so")


def test_hidden_while_it_runs(web):
    """Another bpffs is mounted over ours, and taken away again: each time the pins go to where they are seen."""
    before, began = held(), journal_now()
    mount()
    until(in_place, "the pins in the uppermost bpffs")
    assert held() == before and mounts() == 2
    kill()
    assert held() == before and in_place()
    unmount()
    until(in_place, "the pins in the bpffs that was below")
    assert held() == before and mounts() == 1
    kill()
    assert held() == before and in_place()
    assert not journal("NETKITD_EVENT=drift", after=began), "that pins go elsewhere is netkitd's doing"


def test_hidden_again_and_again(web):
    before = held()
    for _ in range(5):
        mount()
        unmount()
        unmount()
    until(lambda: mounts() == 1 and in_place(), "the pins where they are seen")
    assert held() == before
    # A new link has its pin there as well, and one that goes takes it along.
    run("ip", "link", "del", "web-1")
    until(lambda: link("web-1") and len(chain("web-1", PEER)) == 2 and len(chain("web-1", PRIMARY)) == 1, "the device anew")
    until(in_place, "its pins")
    web.converge(mode="replace")
    until(lambda: pinned("links") == [] and pinned("programs") == [], "the pins to go")
    web.converge([pair()], [program("next1")])


def test_killed_while_pins_move(web):
    """At whichever moment: each link has a pin in the one bpffs or the other, and the next start brings together what it finds."""
    before, chance = held(), random.Random(4)
    for what in (mount, unmount, unmount, mount, unmount):
        run("systemctl", "restart", "netkitd")  # systemd waits longer each time a daemon dies: begin at the beginning
        assert wait_for_daemon().call("state.wait", {"timeout_ms": 1000 * PATIENCE})["converged"]
        pid = main_pid()
        what()
        time.sleep(chance.uniform(0, 0.15))
        os.kill(pid, signal.SIGKILL)
        assert held() == before
        until(lambda: main_pid() not in (0, pid), "systemd to start it again")
        assert wait_for_daemon().call("state.wait", {"timeout_ms": 1000 * PATIENCE})["converged"]
        until(in_place, "the pins where they are seen")
        assert held() == before
        assert "%fresh" not in pinned("links") + pinned("programs")


def programs_held():
    return [[prog for prog, _ in c] for c in held()[1:]]


@pytest.mark.parametrize("what", ["links", "programs", ""], ids=["links", "programs", "all"])
def test_a_directory_is_removed(web, what):
    """What was pinned there is pinned anew: links that went with their pins are attached again, programs stay the same."""
    before, programs, names, began = held(), programs_held(), [pinned("links"), pinned("programs")], journal_now()
    p = subprocess.Popen(["rm", "-rf", f"{PINS}/{what}"])
    assert p.wait() == 0
    until(lambda: [pinned("links"), pinned("programs")] == names, "the pins")
    until(in_place, "the links that they hold")
    assert programs_held() == programs and (what != "programs" or held() == before)
    told = journal("NETKITD_EVENT=resync", after=began)
    assert told and all(e.get("NETKITD_CULPRIT_PID") == str(p.pid) and f"removed by rm (pid {p.pid}" in e["MESSAGE"] for e in told), told
    assert web.call("state.wait", {"timeout_ms": 1000 * PATIENCE})["converged"]
    until(lambda: journal("NETKITD_EVENT=repaired", after=began), "the repair to be told")
    before = held()
    kill()
    assert held() == before and in_place() and [pinned("links"), pinned("programs")] == names
    # It is watched like the one before it.
    os.unlink(f"{PINS}/programs/next1")
    until(lambda: "next1" in pinned("programs"), "the pin")


def test_the_directory_is_moved(web):
    before, names = held(), [pinned("links"), pinned("programs")]
    os.rename(PINS, PINS + "-elsewhere")
    until(lambda: [pinned("links"), pinned("programs")] == names, "the pins")
    assert held() == before and in_place()
    run("find", PINS + "-elsewhere", "-depth", "-delete")
    assert held() == before and in_place()


@pytest.mark.parametrize("what", ["gone", "another", "hidden"])
def test_mounts_change_while_it_is_stopped(web, what):
    before = held()
    stop()
    if what == "hidden":
        mount()
    else:
        run("umount", BPFFS)
        assert mounts() == 0
    if what == "another":
        mount()
    assert held() == before and ping("10.0.0.2"), "systemd keeps the bpffs"
    start()
    assert held() == before and in_place(), "found again, and no program attached twice"
    assert mounts() == (2 if what == "hidden" else 1)
    kill()
    assert held() == before and in_place()


def test_hidden_and_nobody_knows_by_what(web):
    """Without what systemd keeps, an empty bpffs over another is refused: to begin anew would attach every program twice."""
    before = held()
    stop()
    run("systemctl", "clean", "--what=fdstore", "netkitd")
    mount()
    began = journal_now()
    r = subprocess.run(["systemctl", "start", "netkitd"], capture_output=True, text=True)
    assert r.returncode != 0
    until(lambda: any("mounted over one another" in e["MESSAGE"] for e in journal(after=began)), "the journal to say why")
    assert held() == before and ping("10.0.0.2")
    stop()
    unmount()
    run("systemctl", "reset-failed", "netkitd", "netkitd.socket", check=False)
    start()
    assert held() == before and in_place()


def test_no_bpffs_to_be_had(reconfigured, netns):
    """Where netkitd can't mount one, programs work on, and the status says what would become of them."""
    netns("web-1")
    rpc = reconfigured(unit=["SystemCallFilter=~mount"])
    rpc.converge([pair(attachments=[{"name": "a", "hook": PEER, "program": "next1"}])], [program("next1")])
    before = held()
    unmount()
    status = until(lambda: (lambda s: s["health"] == "degraded" and s)(rpc.call("daemon.status")), "the status to say so")
    assert "mount -t bpf" in json.dumps(status["health_reasons"])
    assert held() == before and ping("10.0.0.2")
    mount()
    until(lambda: rpc.call("daemon.status")["health"] == "ok", "the status to say that it is over")
    assert held() == before and in_place()


def test_what_nobody_wants_is_collected_at_start(web):
    stop()
    for name in ("orphan", "%fresh", "half%origin"):
        run("bpftool", "prog", "load", VERDICT, f"{PINS}/programs/fresh")
        os.rename(f"{PINS}/programs/fresh", f"{PINS}/programs/{name}")
    run("bpftool", "prog", "load", VERDICT, f"{PINS}/links/fresh")
    os.rename(f"{PINS}/links/fresh", f"{PINS}/links/%fresh")
    before = held()
    start()
    until(lambda: pinned("programs") == ["next1", "next1%origin", "next2", "next2%origin"], "what nobody names to go")
    assert in_place() and held() == before


def test_rebuild_only_looks(web):
    """Whatever a netkitd at work has half done, or what one that was killed left: it is as it was."""
    stop()
    for directory, names in (("programs", ("%fresh", "half%origin")), ("links", ("%fresh", "web-1:peer:b%new", "web-1:peer:b%map"))):
        for name in names:
            run("bpftool", "prog", "load", VERDICT, f"{PINS}/{directory}/fresh")
            os.rename(f"{PINS}/{directory}/fresh", f"{PINS}/{directory}/{name}")
    run("bpftool", "link", "detach", "pinned", f"{PINS}/links/web-1:peer:a")
    before, pins = held(), (pinned("programs"), pinned("links"))
    assert len(before[1]) == 1 and len(pins[0]) == 6 and len(pins[1]) == 6
    [device] = json.loads(run("netkitd", "--rebuild"))["devices"]
    assert {a["name"] for a in device["attachments"]} == {"b", "c"}
    assert (pinned("programs"), pinned("links")) == pins and held() == before
    start()
    assert len(held()[1]) == 2 and in_place()


def test_rebuild_makes_no_directory(rpc):
    until(lambda: pinned("links") == [] and pinned("programs") == [], "the pins to go")
    stop()
    for directory in ("links", "programs", "passed", ""):
        os.rmdir(f"{PINS}/{directory}")
    try:
        assert json.loads(run("netkitd", "--rebuild")).get("devices", []) == []
        assert not os.path.exists(PINS)
    finally:
        start()


def test_what_stands_in_the_place_of_a_link_is_replaced(web):
    stop()
    os.unlink(f"{PINS}/links/web-1:peer:a")
    until(lambda: len(held()[1]) == 1, "the program to be detached")
    run("bpftool", "prog", "load", VERDICT, f"{PINS}/links/fresh")
    os.rename(f"{PINS}/links/fresh", f"{PINS}/links/web-1:peer:a")
    start()
    assert len(held()[1]) == 2 and in_place()


def test_what_is_unclaimed_is_kept_until_it_goes(web):
    """With the database lost no document names anything: the pins of devices that stand are kept, and go with them."""
    stop()
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(DATABASE + suffix):
            os.unlink(DATABASE + suffix)
    run("bpftool", "prog", "load", VERDICT, f"{PINS}/programs/orphan")
    before, programs = held(), [p for p in pinned("programs") if p != "orphan"]
    c = start()
    until(lambda: pinned("programs") == programs, "only the orphan to go")
    assert held() == before and in_place()
    document = json.loads(run("netkitd-cli", "rebuild"))
    assert len(document["devices"][0]["attachments"]) == 3 and {p["name"] for p in document["programs"]} == {"next1", "next2"}
    run("ip", "link", "del", "web-1")
    until(lambda: pinned("links") == [] and pinned("programs") == [], "the pins to go with the device")
    assert c.call("device.list")["devices"] == []
    c.converge([pair()], [program("next1")])


def test_what_was_unclaimed_and_is_replaced_leaves_nothing(web):
    stop()
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(DATABASE + suffix):
            os.unlink(DATABASE + suffix)
    c = start()
    assert pinned("links") and pinned("programs")
    c.converge(mode="replace")
    until(lambda: pinned("links") == [] and pinned("programs") == [], "the pins to go with the device")
    c.converge([pair()], [program("next1")])
