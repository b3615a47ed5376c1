# SPDX-License-Identifier: GPL-2.0-only
"""Durable before acknowledged; nothing stops when netkitd stops; the kernel's truth after a lost database."""
import ctypes
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time
import uuid

import pytest
from tools import (DATABASE, Lines, PATIENCE, PINS, Rpc, RpcError, VERDICT, addresses, bpf, chain, hears, ip, journal, journal_now, link,
                   main_pid, pair, ping, program, run, stopped, traced, until, wait_for_daemon, wait_for_netns)

# enum bpf_cmd, and a type of maps.
BPF_MAP_CREATE, BPF_MAP_LOOKUP_ELEM, BPF_MAP_UPDATE_ELEM, BPF_OBJ_PIN, BPF_OBJ_GET = 0, 1, 2, 6, 7
BPF_MAP_TYPE_ARRAY = 2


def netkits():
    return sorted(l["ifname"] for l in ip("link", "show", "type", "netkit") if l)


def kill_daemon():
    pid = main_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: main_pid() not in (0, pid), "systemd to start it again")


def freeze_when(pid, fits):
    """Stop the daemon when fits() is true of how many of its devices d0, d1… there are: looked at without a pause, since a fast kernel has
    a hundred of them made or gone while systemd is asked for the daemon's number."""
    end = time.monotonic() + PATIENCE
    while not fits(sum(bool(re.fullmatch(r"d\d+", name)) for name in os.listdir("/sys/class/net"))):
        assert time.monotonic() < end, "the devices never were so many"
    os.kill(pid, signal.SIGSTOP)


def snapshot():
    """Devices, chains and their kernel ids: equal only if nothing was made anew."""
    return {n: (link(n)["ifindex"], chain(n, "netkit/peer"), chain(n, "netkit/primary")) for n in netkits()}


def test_sigkill_loses_no_packet_and_detaches_nothing(rpc, netns):
    netns("web-1")
    rpc.converge([pair(attachments=[{"name": "a", "hook": "netkit/peer", "program": "next1"},
                                    {"name": "b", "hook": "netkit/primary", "program": "next1"}])], [program("next1")])
    before = snapshot()
    traffic = subprocess.Popen(["ping", "-n", "-q", "-i", "0.02", "-c", "250", "10.0.0.2"], stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    kill_daemon()
    out, _ = traffic.communicate()
    assert "250 packets transmitted, 250 received" in out, out
    wait_for_daemon().call("state.wait", {"timeout_ms": 1000 * PATIENCE})
    assert snapshot() == before


def test_restart_touches_nothing_that_is_right(rpc, netns):
    for i in range(5):
        netns(f"n{i}")
    rpc.converge([pair(f"d{i}", f"n{i}", f"10.1.{i}.1", f"10.1.{i}.2",
                       attachments=[{"name": "a", "hook": "netkit/peer", "program": "next1"}]) for i in range(5)],
                 [program("next1")])
    before = snapshot()
    monitor = Lines("ip", "monitor", "all-nsid", "link", "address", "route")
    run("ip", "link", "add", "mark", "type", "dummy")
    try:
        until(lambda: hears(monitor, "mark"), "the monitor to listen")
        run("systemctl", "restart", "netkitd")
        assert wait_for_daemon().call("state.wait", {"timeout_ms": 1000 * PATIENCE})["converged"]
        run("ip", "link", "del", "mark")
        lines = monitor.until(lambda l: "Deleted" in l and " mark:" in l, "the end of what was told")
    finally:
        monitor.close()
        subprocess.run(["ip", "link", "del", "mark"], capture_output=True)
    # The lines with hardware addresses name nobody, but may look like it.
    told = [l for l in lines if "link/" not in l and re.search(r"\b(d[0-4]|eth0)\b", l)]
    assert told == [], "no write at all"
    assert snapshot() == before


def test_sigkill_in_the_middle_of_200_devices(rpc, netns):
    """Wherever it was, after the restart there are exactly the 200, whole, and nothing else."""
    netns("many")
    devices = [{"name": f"d{i}", "addresses": [f"10.2.{i}.1/32"],
                "attachments": [{"name": "a", "hook": "netkit/peer", "program": "next1"}],
                "peer": {"name": f"p{i}", "netns": "many", "addresses": [f"10.2.{i}.2/32"]}} for i in range(200)]
    pid = main_pid()
    reply = rpc.call("state.apply", {"document": {"programs": [program("next1")], "devices": devices}})
    freeze_when(pid, lambda n: n > 20)
    assert len(netkits()) < 200, "the kill has to come in the middle"
    kill_daemon()
    c = wait_for_daemon()
    assert c.call("state.get")["revision"] == reply["revision"], "acknowledged is durable"
    result = c.call("state.wait", {"timeout_ms": 1000 * PATIENCE})
    assert result["converged"], result["pending"][:3]
    assert netkits() == sorted(f"d{i}" for i in range(200))
    for i in (0, 57, 199):
        assert addresses(f"d{i}") == {f"10.2.{i}.1/32"}
        assert len(chain(f"d{i}", "netkit/peer")) == 1
    assert len(os.listdir(f"{PINS}/links")) == 200


def test_sigkill_in_the_middle_of_a_deletion_leaves_no_orphan(rpc, netns):
    """Devices with programs, because these take the kernel a while each."""
    netns("many")
    attachments = [{"name": "a", "hook": "netkit/peer", "program": "next1"}, {"name": "b", "hook": "netkit/primary", "program": "next1"}]
    rpc.converge([{"name": f"d{i}", "peer": {"name": f"p{i}", "netns": "many"}, "attachments": attachments} for i in range(100)],
                 [program("next1")])
    pid = main_pid()
    rpc.call("state.apply", {"document": {}, "mode": "replace"})
    freeze_when(pid, lambda n: n < 100)
    assert netkits() != [], "the kill has to come in the middle"
    kill_daemon()
    c = wait_for_daemon()
    until(lambda: netkits() == [], "all to be deleted")
    until(lambda: os.listdir(f"{PINS}/links") == [], "their pins to go")
    assert c.call("device.list")["devices"] == []


def stop():
    run("systemctl", "stop", "netkitd.socket", "netkitd")


def start():
    run("systemctl", "start", "netkitd.socket", "netkitd")
    return wait_for_daemon()


def lose_database():
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(DATABASE + suffix):
            os.unlink(DATABASE + suffix)


@pytest.fixture
def orphans(rpc, netns):
    """Two devices of which the database knows nothing any more."""
    netns("web-1")
    netns("web-2")
    devices = [pair("web-1", "web-1", "10.0.0.1", "10.0.0.2", attachments=[{"name": "a", "hook": "netkit/peer", "program": "next1"}]),
               pair("web-2", "web-2", "10.0.1.1", "10.0.1.2")]
    rpc.converge(devices, [program("next1")])
    before = snapshot()
    stop()
    lose_database()
    c = start()
    return c, devices, before


def test_database_lost_devices_stay_up_and_are_unclaimed(orphans):
    c, _, before = orphans
    assert snapshot() == before and ping("10.0.0.2")
    listed = {d["name"]: d for d in c.call("device.list")["devices"]}
    assert set(listed) == {"web-1", "web-2"} and all(d["unclaimed"] for d in listed.values())
    assert c.call("daemon.status")["counts"]["devices_unclaimed"] == 2
    assert told_unclaimed() == ["device/web-1", "device/web-2"]
    run("systemctl", "reload", "netkitd")
    assert told_unclaimed() == ["device/web-1", "device/web-2"], "once, however often it looks"
    assert snapshot() == before


def told_unclaimed():
    """Of which devices that was told since the database began."""
    c = Rpc()
    events = [c.next_event() for _ in range(c.call("event.subscribe", {"since": 0})["kept"])]
    c.close()
    return sorted(e["object"] for e in events if e["kind"] == "device-unclaimed")


def test_database_lost_a_document_claims(orphans):
    c, devices, before = orphans
    c.converge(devices, [program("next1")])
    assert snapshot() == before, "claimed as they are, nothing made anew"
    assert not any(d.get("unclaimed") for d in c.call("device.list")["devices"])


def test_database_lost_replace_removes(orphans):
    c, devices, _ = orphans
    c.converge(devices[1:], mode="replace")
    assert netkits() == ["web-2"]


def test_database_lost_rebuild_makes_a_document(orphans):
    c, devices, before = orphans
    document = json.loads(run("netkitd-cli", "rebuild"))
    made = {d["name"]: d for d in document["devices"]}
    for d in devices:
        m = made[d["name"]]
        assert m["addresses"] == d["addresses"] and m["peer"]["addresses"] == d["peer"]["addresses"]
        assert m["peer"]["netns"] == d["peer"]["netns"] and m["peer"]["name"] == "eth0"
        assert sorted(r["to"] for r in m["peer"]["routes"]) in (sorted(r["to"] for r in d["peer"]["routes"]),
                                                                sorted(["0.0.0.0/0", *(r["to"] for r in d["peer"]["routes"] if r["to"] != "default")]))
    assert [(a["name"], a["hook"]) for a in made["web-1"]["attachments"]] == [("a", "netkit/peer")]
    assert document["programs"] == [program("next1")], "by its object file, which is there after a reboot as well"
    c.converge(document["devices"], document["programs"])
    assert snapshot() == before


def recover():
    """As the man page says: the document that was rebuilt, and applied to a daemon that knows nothing."""
    stop()
    document = json.loads(run("netkitd-cli", "rebuild"))
    lose_database()
    start().close()
    run("netkitd-cli", "apply", f"--wait={PATIENCE}", "-", input=json.dumps(document))
    return document


def test_recovery_states_programs_as_they_were(rpc, netns):
    """Also what no link holds, which the start removes; with the maps that they share, and what becomes of drift is not their source's."""
    netns("web-1")
    run("bpftool", "map", "create", "/sys/fs/bpf/total", "type", "array", "key", "4", "value", "8", "entries", "1", "name", "total")
    shared = {**program("counts", object="/usr/lib/netkitd-tests/upgrade1.bpf.o"), "maps": {"total": "/sys/fs/bpf/total"}}
    try:
        programs = [shared, {**program("next1"), "on_drift": "report"}, program("next2")]
        rpc.converge([pair(attachments=[{"name": "a", "hook": "netkit/peer", "program": "next1"},
                                        {"name": "b", "hook": "netkit/peer", "program": "counts"}])], programs)
        before = snapshot()
        document = recover()
        assert sorted(document["programs"], key=lambda p: p["name"]) == [shared, program("next1"), program("next2")]
        assert snapshot() == before
        assert {p["name"] for p in wait_for_daemon().call("program.list")["programs"]} == {"counts", "next1", "next2"}
    finally:
        os.unlink("/sys/fs/bpf/total")


def forget_how_stated(name):
    """Write what is kept of a program as netkitd did at first: its number, a line that says what was loaded, and the object file."""
    pin, key = f"{PINS}/programs/{name}%origin", ctypes.create_string_buffer(4)
    kept = bpf(BPF_OBJ_GET, {0: ctypes.create_string_buffer(pin.encode())})
    size = json.loads(run("bpftool", "-j", "map", "show", "pinned", pin))["bytes_value"]
    value = ctypes.create_string_buffer(size)
    bpf(BPF_MAP_LOOKUP_ELEM, {0: kept, 8: key, 16: value})
    os.close(kept)
    text, content = value.raw[4:].split(b"\0", 1)
    assert b"\n" in text and VERDICT.encode() in text
    old = value.raw[:4] + text.split(b"\n")[0] + b"\0" + content
    made = bpf(BPF_MAP_CREATE, {0: BPF_MAP_TYPE_ARRAY, 4: 4, 8: len(old), 12: 1})
    bpf(BPF_MAP_UPDATE_ELEM, {0: made, 8: key, 16: ctypes.create_string_buffer(old, len(old)), 24: 0})
    bpf(BPF_OBJ_PIN, {0: ctypes.create_string_buffer(f"{PINS}/programs/fresh".encode()), 8: made})
    os.close(made)
    os.rename(f"{PINS}/programs/fresh", pin)


def test_recovery_after_a_netkitd_that_did_not_keep_that(rpc, netns):
    """Its programs are found by their pins. Those that no link holds would be gone when the document is applied, so it leaves them out."""
    netns("web-1")
    device = pair(attachments=[{"name": "a", "hook": "netkit/peer", "program": "next1"}])
    rpc.converge([device], [program("next1"), program("next2")])
    before = snapshot()
    stop()
    forget_how_stated("next1")
    forget_how_stated("next2")
    assert recover()["programs"] == [{"name": "next1", "pin": f"{PINS}/programs/next1"}]
    assert snapshot() == before
    c = wait_for_daemon()
    c.converge([device], [program("next1")])
    assert snapshot() == before
    assert c.call("state.rebuild")["document"]["programs"] == [program("next1")], "from now on it is known"


def damage(kind):
    data = bytearray(open(DATABASE, "rb").read())
    if kind == "garbage":
        return b"this is no database" * 100
    if kind == "truncated":
        return bytes(data[: len(data) // 2])
    if kind == "flipped":
        for i in range(100, min(len(data), 60000), 7):
            data[i] ^= 0xFF
        return bytes(data)
    raise AssertionError(kind)


@pytest.mark.parametrize("kind", ["garbage", "truncated", "flipped", "newer"])
def test_a_damaged_or_newer_database_is_refused_and_untouched(rpc, netns, kind):
    netns("web-1")
    rpc.converge([pair()])
    stop()
    shutil.copy(DATABASE, "/tmp/netkitd.db.good")
    try:
        if kind == "newer":
            with sqlite3.connect(DATABASE) as db:
                db.execute("PRAGMA user_version = 9999")
            db.close()
            content = open(DATABASE, "rb").read()
        else:
            content = damage(kind)
            open(DATABASE, "wb").write(content)
        began = journal_now()
        r = subprocess.run(["systemctl", "start", "netkitd"], capture_output=True, text=True)
        assert r.returncode != 0
        until(lambda: any(DATABASE in e["MESSAGE"] for e in journal(after=began)), "the journal to name the database")
        assert open(DATABASE, "rb").read() == content
        assert link("web-1") and ping("10.0.0.2")
        document = json.loads(run("netkitd-cli", "rebuild"))
        assert [d["name"] for d in document["devices"]] == ["web-1"]
    finally:
        stop()
        run("systemctl", "reset-failed", "netkitd", "netkitd.socket", check=False)
        lose_database()
        shutil.copy("/tmp/netkitd.db.good", DATABASE)
        c = start()
    assert c.call("device.get", {"name": "web-1"})["condition"]["state"] == "Ready"


def test_a_number_from_before_a_reboot_is_another_process(rpc, netns):
    """After it, what an orchestrator sends may have the same number for the same device's new container."""
    netns("web-1")
    child = subprocess.Popen(["ip", "netns", "exec", "web-1", "sleep", "600"])
    wait_for_netns(child)
    device = pair(ns={"pid": child.pid})
    rpc.converge([device])
    stop()
    run("ip", "link", "del", "web-1")
    with sqlite3.connect(DATABASE) as db:
        boot = open("/proc/sys/kernel/random/boot_id").read().strip()
        assert db.execute("UPDATE device SET json = replace(json, ?, ?)", (boot, str(uuid.uuid4()))).rowcount == 1
    db.close()
    c = start()
    until(lambda: c.call("device.get", {"name": "web-1"})["condition"]["state"] == "Released", "it to be of a boot that is over")
    assert link("web-1") is None
    c.converge([device])
    assert addresses("eth0", "web-1") == {"10.0.0.2/32"} and ping("10.0.0.2")
    child.kill()
    child.wait()


def test_requests_that_wait_share_a_commit(rpc):
    """Twenty clients ask while the daemon is away: few syncs for all of them, and after SIGKILL all is there."""
    clients = [Rpc() for _ in range(20)]
    for c in clients:
        c.call("daemon.status")
    trace = traced("-f", "-c", "-e", "trace=fsync,fdatasync", out="/tmp/syncs")
    with stopped(main_pid()):
        for i, c in enumerate(clients):
            request = {"jsonrpc": "2.0", "id": 1, "method": "device.set", "params": {"device": {"name": f"d{i}", "peer": {"name": f"p{i}"}}}}
            c.raw(json.dumps(request).encode() + b"\n")
    replies = [c.line() for c in clients]
    trace.send_signal(signal.SIGINT)
    trace.wait()
    assert all("result" in r for r in replies), replies
    syncs = sum(int(l.split()[3]) for l in open("/tmp/syncs") if "sync" in l and l.split()[0][0].isdigit())
    revision = rpc.call("state.get")["revision"]
    kill_daemon()
    c = wait_for_daemon()
    state = c.call("state.get")
    assert state["revision"] == revision
    assert {d["name"] for d in state["document"]["devices"]} == {f"d{i}" for i in range(len(clients))}
    assert 0 < syncs <= len(clients) / 4
    for x in clients:
        x.close()


def test_the_disk_is_full(reconfigured):
    """A change that can't be written is refused and undone, said in the status, and the next one works."""
    run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt")
    try:
        c = reconfigured({"state_dir": "/mnt"}, ["ReadWritePaths=/mnt"])
        devices = [{"name": f"d{i}", "peer": {"name": f"p{i}", "addresses": [f"10.3.{i}.{j}/32" for j in range(1, 40)]}} for i in range(200)]
        with pytest.raises(RpcError) as e:
            c.call("state.apply", {"document": {"devices": devices}})
        assert "full" in str(e.value)
        assert c.call("state.get")["document"].get("devices", []) == []
        assert c.call("daemon.status")["health"] == "degraded"
        c.converge([{"name": "d0", "peer": {"name": "p0"}}])
        assert c.call("daemon.status")["health"] == "ok"
        c.converge(mode="replace")
    finally:
        stop()
        run("umount", "/mnt")
