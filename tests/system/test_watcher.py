# SPDX-License-Identifier: GPL-2.0-only
"""The watcher itself: taken away, replaced, and what is noticed in between."""
import json
import os
import subprocess

import pytest
from tools import PINS, bpf_objects, chain, journal, journal_now, link, main_pid, pair, program, run, stopped, until, wait_for_daemon

TAKE = "/usr/lib/netkitd-tests/take_watcher"
FW = [{"name": "fw", "hook": "netkit/peer", "program": "next1"}]


def watchers():
    """The watcher's links as the daemon's descriptors hold them: number of the descriptor to kernel id."""
    pid, found = main_pid(), {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if "bpf" in os.readlink(f"/proc/{pid}/fd/{fd}"):
                info = dict(line.split(":", 1) for line in open(f"/proc/{pid}/fdinfo/{fd}") if ":" in line)
                if info.get("link_type", "").strip() == "tracing":
                    found[int(fd)] = int(info["link_id"])
        except FileNotFoundError:
            pass
    return found


def take(*fds):
    """Make the daemon close these; the process that did it."""
    p = subprocess.Popen([TAKE, str(main_pid()), *[str(fd) for fd in fds]], stdout=subprocess.PIPE, text=True)
    out = p.communicate()[0]
    assert p.returncode == 0 and all(line.endswith(": 0") for line in out.splitlines()), out
    return p.pid


def programs_of(links):
    """Names of the programs of these links."""
    names = {p["id"]: p.get("name", "") for p in bpf_objects("prog")}
    return {k["id"]: names.get(k["prog_id"], "") for k in bpf_objects("link") if k["id"] in links}


def reports_lost():
    """How many of the watcher's reports found no room."""
    name, = {m["name"] for m in bpf_objects("map") if m.get("name", "").startswith("watch_") and m["name"].endswith(".bss")}
    section = json.loads(run("bpftool", "-j", "map", "dump", "name", name))
    return next(v["lost"] for entry in section for v in entry["formatted"]["value"][".bss"] if "lost" in v)


def removals(began):
    return [e for e in journal(after=began) if e.get("NETKITD_EVENT") == "watcher-removed"]


@pytest.fixture
def web(rpc, netns):
    netns("web-1")
    rpc.converge([pair(attachments=FW)], [program("next1")])
    # One that was just replaced is not replaced again at once: begin with one that wasn't.
    run("systemctl", "restart", "netkitd")
    until(lambda: len(watchers()) > 5, "the watcher")
    return rpc


def detached_and_named(began):
    """A detached link is put back and told with its author."""
    p = subprocess.Popen(["bpftool", "link", "detach", "id", str(chain("web-1", "netkit/peer")[0][1])])
    p.wait()
    told = until(lambda: [e for e in journal("NETKITD_DEVICE=web-1", after=began) if e["NETKITD_EVENT"] == "repaired"], "the repair")
    assert told[0].get("NETKITD_CULPRIT_PID") == str(p.pid), told
    assert chain("web-1", "netkit/peer")


@pytest.mark.parametrize("which", ["all", "chains", "the guard"])
def test_a_watcher_that_is_taken_away_is_replaced(web, which):
    began = journal_now()
    before = watchers()
    names = programs_of(before.values())
    guard = {fd for fd, i in before.items() if names[i].startswith("own_link")}
    chains = {fd for fd, i in before.items() if names[i].startswith("link_")}
    assert len(guard) == 1 and len(chains) > 3, names
    pid = take(*{"all": before, "chains": chains, "the guard": guard}[which])
    told = until(lambda: removals(began), "the loss to be told")[0]
    assert told["NETKITD_CULPRIT_PID"] == str(pid) and told["NETKITD_CULPRIT_COMM"] == "take_watcher", told
    assert "another one is in its place" in told["MESSAGE"], told
    until(lambda: len(watchers()) == len(before) and not set(watchers().values()) & set(before.values()), "all of the new one")
    assert json.loads(run("netkitd-cli", "-o", "json", "status"))["watcher"] == "bpf"
    detached_and_named(began)
    assert len(removals(began)) == 1, "told once"


def test_interfaces_are_watched_once_there_are_any(web):
    """Nobody's use of tcx is traced for nothing. And then that part is replaced like the other."""

    def traced(prefix):
        links = watchers()
        names = programs_of(links.values())
        return {fd for fd, i in links.items() if names.get(i, "").startswith(prefix)}

    assert traced("link_") and not traced("tcx_")
    rpc = wait_for_daemon()
    rpc.converge([pair(attachments=FW)], [program("next1")], [{"name": "lo", "attachments": [
        {"name": "in", "hook": "tcx/ingress", "program": "next1"}]}])
    count = len(traced("tcx_"))
    assert count > 5, programs_of(watchers().values())
    take(*traced("tcx_"))
    until(lambda: len(traced("tcx_")) == count, "that part of the new one")
    began = journal_now()
    run("bpftool", "link", "detach", "id", str(chain("lo", "tcx/ingress")[0][1]))
    until(lambda: [e for e in journal(after=began) if e.get("NETKITD_EVENT") == "repaired"], "the repair")
    assert chain("lo", "tcx/ingress")


def test_one_that_is_taken_away_again_and_again_is_replaced_later(reconfigured, netns):
    netns("web-1")
    rpc = reconfigured({"poll_s": 15})
    rpc.converge([pair(attachments=FW)], [program("next1")])
    began = journal_now()
    count = len(watchers())
    # On a slow machine more time passes between two of these than counts as again and again.
    for n in range(1, 10):
        until(lambda: len(watchers()) == count, "the next one")
        take(*watchers())
        until(lambda: len(removals(began)) == n, "its loss to be told")
        status = rpc.call("daemon.status")
        if status["watcher"] == "poll":
            break
    assert n > 1 and status["watcher"] == "poll" and "again and again" in json.dumps(status["health_reasons"]), status
    # Meanwhile drift is found all the same, and then there is a third one.
    run("bpftool", "link", "detach", "id", chain("web-1", "netkit/peer")[0][1])
    until(lambda: chain("web-1", "netkit/peer"), "the program")
    until(lambda: rpc.call("daemon.status")["watcher"] == "bpf", "the third one")
    detached_and_named(journal_now())


def test_what_happened_while_there_was_none_is_found(web):
    """The watcher's programs go, and a link with them, before the daemon runs again."""
    link = chain("web-1", "netkit/peer")[0][1]
    began = journal_now()
    pid = main_pid()
    fds = list(watchers())
    os.kill(pid, 19)
    try:
        p = subprocess.Popen([TAKE, str(pid), *[str(fd) for fd in fds]])
        p.wait()
        run("bpftool", "link", "detach", "id", link)
    finally:
        os.kill(pid, 18)
    until(lambda: removals(began), "the loss to be told")
    until(lambda: chain("web-1", "netkit/peer"), "the program")


# ---- those who ask all the time ----

def switches():
    """How often the daemon's threads went to sleep."""
    tasks = f"/proc/{main_pid()}/task"
    return sum(int(line.split()[1]) for t in os.listdir(tasks) for line in open(f"{tasks}/{t}/status") if line.startswith("voluntary"))


def test_requests_in_other_namespaces_wake_nobody(web):
    asker = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urn", "sh", "-c"]
    before = switches()
    run(*asker, "yes 'link set lo alias x' | head -n 3000 | ip -batch -")
    assert switches() - before < 100


def test_who_sets_a_device_all_the_time_keeps_nobody_from_it(web):
    """What a container may do to its own end, netkitd inspects; it attaches, repairs and restarts in spite of it."""
    fw = [*FW, {"name": "next", "hook": "netkit/peer", "program": "next2"}]
    noise = subprocess.Popen(["sh", "-c", "yes 'link set eth0 alias x' | ip -n web-1 -batch -"], start_new_session=True)
    try:
        until(lambda: link("eth0", "web-1").get("ifalias") == "x", "the noise")
        wait_for_daemon().converge([pair(attachments=fw, gso_max_size=100000)], [program("next1"), program("next2")])
        assert len(chain("web-1", "netkit/peer")) == 2
        detached_and_named(journal_now())
        until(lambda: len(chain("web-1", "netkit/peer")) == 2, "the chain")
        # What no event tells is found too, between all that.
        run("ip", "link", "set", "web-1", "gso_max_size", "65536")
        until(lambda: link("web-1")["gso_max_size"] == 100000, "the setting")
        run("systemctl", "restart", "netkitd")
        assert noise.poll() is None, "it went on all the time"
    finally:
        os.killpg(noise.pid, 9)
        noise.wait()
    until(web_is_ready, "the device")


def test_reports_that_found_no_room(web, tmp_path):
    """While nobody reads them; then everything is looked at, since any of them may have been about a device."""
    wait_for_daemon().converge([pair(attachments=FW, gso_max_size=100000)])
    run("ip", "link", "add", "noise", "type", "dummy")
    noise = tmp_path / "noise"
    noise.write_text("link set noise gso_max_size 65536\n" * 2000)
    with stopped(main_pid()):
        run("ip", "-batch", noise)
        lost = reports_lost()
        assert lost > 0
        run("ip", "link", "set", "web-1", "gso_max_size", "65536")
        assert reports_lost() > lost, "that one too"
    until(lambda: link("web-1")["gso_max_size"] == 100000, "the setting")
    run("ip", "link", "del", "noise")


# ---- pins ----

def pins(where):
    return {p for p in os.listdir(f"{PINS}/{where}") if "%" not in p}


def holder(path):
    """A process that holds what is pinned there."""
    code = ("import ctypes, os, struct, sys, time\n"
            "path = sys.argv[1].encode() + b'\\0'\n"
            "libc = ctypes.CDLL(None, use_errno=True)\n"
            "name = ctypes.create_string_buffer(path)\n"
            "attr = ctypes.create_string_buffer(struct.pack('QII', ctypes.addressof(name), 0, 0) + bytes(104))\n"
            "number = {'x86_64': 321, 'aarch64': 280}[os.uname().machine]\n"
            "fd = libc.syscall(number, 7, attr, 120)\n"
            "assert fd >= 0, ctypes.get_errno()\n"
            "print('ready', flush=True)\n"
            "time.sleep(10000)\n")
    p = subprocess.Popen(["python3", "-c", code, path], stdout=subprocess.PIPE, text=True)
    assert p.stdout.readline() == "ready\n"
    return p


def test_a_pin_whose_link_somebody_holds(web):
    """The link stays attached, so that nothing is released: the pin comes back, for the same link."""
    before, want = chain("web-1", "netkit/peer"), pins("links")
    name, = want
    p = holder(f"{PINS}/links/{name}")
    try:
        run("rm", f"{PINS}/links/{name}")
        until(lambda: pins("links") == want, "the pin")
        assert chain("web-1", "netkit/peer") == before
    finally:
        p.kill()
        p.wait()
    assert chain("web-1", "netkit/peer") == before, "the pin holds it"


def test_a_programs_pin(web):
    """Its links hold the program, but the next start would not know it."""
    before, want = chain("web-1", "netkit/peer"), pins("programs")
    assert "next1" in want
    run("rm", f"{PINS}/programs/next1")
    until(lambda: pins("programs") == want, "the pin")
    run("systemctl", "restart", "netkitd")
    until(lambda: web_is_ready(), "the daemon")
    assert chain("web-1", "netkit/peer") == before, "the same program"


def web_is_ready():
    return "Ready" in run("netkitd-cli", "get", "web-1", check=False)


def test_a_pin_without_a_watcher(reconfigured, netns):
    """inotify tells without any tracing: long before everything is looked at."""
    netns("web-1")
    rpc = reconfigured({"poll_s": 3600}, ["InaccessiblePaths=/sys/kernel/btf"])
    rpc.converge([pair(attachments=FW)], [program("next1")])
    assert rpc.call("daemon.status")["watcher"] == "poll"
    want = pins("links")
    run("rm", f"{PINS}/links/{list(want)[0]}")
    until(lambda: not chain("web-1", "netkit/peer") or pins("links") == want, "the link to go")
    until(lambda: pins("links") == want and chain("web-1", "netkit/peer"), "the pin and its link")
    assert "device-degraded" not in [e["NETKITD_EVENT"] for e in journal("NETKITD_DEVICE=web-1")[-5:]]


def test_who_unmounted_the_pins(web):
    """They go to another bpffs, and are watched there."""
    before, want = chain("web-1", "netkit/peer"), pins("links")
    began = journal_now()
    p = subprocess.Popen(["umount", "-l", "/sys/fs/bpf"])
    assert p.wait() == 0
    told = until(lambda: [e for e in journal(after=began) if e.get("NETKITD_EVENT") == "resync"], "it to be told")[0]
    assert told.get("NETKITD_CULPRIT_PID") == str(p.pid) and f"unmounted by umount (pid {p.pid}, uid 0" in told["MESSAGE"], told
    until(lambda: os.path.isdir(f"{PINS}/links") and pins("links") == want, "the pins")
    assert chain("web-1", "netkit/peer") == before
    name, = want
    h = holder(f"{PINS}/links/{name}")
    try:
        run("rm", f"{PINS}/links/{name}")
        until(lambda: pins("links") == want, "the pin")
    finally:
        h.kill()
        h.wait()
