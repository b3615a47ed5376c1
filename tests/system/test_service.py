# SPDX-License-Identifier: GPL-2.0-only
"""The units, the journal, the files under state.d, and the limits that the service runs under."""
import json
import os
import re
import signal
import socket
import subprocess
import time

import jsonschema
import pytest
from tools import (PATIENCE, PINS, Rpc, RpcError, attach_link, chain, foreign, ip, journal, journal_now, link, main_pid, pair, ping, program, run, until,
                   wait_for_daemon)

with_udev = True
STATE_D = "/etc/netkitd/state.d"
TCX_EGRESS = 47  # enum bpf_attach_type


def test_start_returns_when_the_state_is_reconciled(no_udev, rpc, netns):
    """So many, each with a program, that they take longer than a look right after the command."""
    names = {f"d{i}" for i in range(60)}
    netns("many")
    attachments = [{"name": "a", "hook": "netkit/peer", "program": "next1"}]
    rpc.converge([{"name": n, "peer": {"name": f"p-{n}", "netns": "many"}, "attachments": attachments} for n in names], [program("next1")])
    run("systemctl", "stop", "netkitd.socket", "netkitd")
    run("ip", "-batch", "-", input="".join(f"link del {n}\n" for n in names))
    run("systemctl", "start", "netkitd")
    assert {l["ifname"] for l in ip("link", "show", "type", "netkit") if "UP" in l["flags"]} == names, "all are there when the command returns"


def test_a_start_with_nothing_to_do_is_converged(rpc):
    """An empty document is of a revision, too."""
    rpc.converge([{"name": "d0", "peer": {"name": "p-d0"}}])
    revision = rpc.converge(mode="replace")["revision"]
    run("systemctl", "restart", "netkitd")
    c = wait_for_daemon()
    until(lambda: c.call("daemon.status")["revisions"] == {"desired": revision, "attempted": revision, "converged": revision}, "the revision")


def test_a_start_that_takes_long_asks_for_time(no_udev, rpc, netns, tmp_path):
    """Before it is ready it tells its service manager, which is the test here, that it gets on; not at every step of it."""
    netns("many")
    attachments = [{"name": "a", "hook": "netkit/peer", "program": "next1"}]
    names = [f"d{i}" for i in range(60)]
    rpc.converge([{"name": n, "peer": {"name": f"p-{n}", "netns": "many"}, "attachments": attachments} for n in names], [program("next1")])
    run("systemctl", "stop", "netkitd.socket", "netkitd")
    run("ip", "-batch", "-", input="".join(f"link del {n}\n" for n in names))
    told, daemon = [], None
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE)
        try:
            began = time.monotonic()
            daemon = subprocess.Popen(["netkitd"], env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")})
            while not any(line == "READY=1" for line in told):
                told += manager.recv(4096).decode().splitlines()
            took = time.monotonic() - began
        finally:
            if daemon:
                daemon.terminate()
                daemon.wait()
            run("systemctl", "start", "netkitd.socket", "netkitd")
    asked = [line for line in told if line.startswith("EXTEND_TIMEOUT_USEC=")]
    assert 1 <= len(asked) <= 1 + took and int(asked[0].split("=")[1]) > 10e6, told


def test_socket_activation(rpc):
    run("systemctl", "stop", "netkitd.socket", "netkitd")
    run("systemctl", "start", "netkitd.socket")
    assert run("systemctl", "is-active", "netkitd", check=False).strip() == "inactive"
    assert Rpc().call("daemon.status")["health"] == "ok"
    assert run("systemctl", "is-active", "netkitd").strip() == "active"


def test_reload_reads_state_d(rpc, netns):
    netns("web-1")
    path = f"{STATE_D}/10-web.json"
    try:
        with open(path, "w") as f:
            json.dump({"programs": [program("next1")],
                       "devices": [pair(attachments=[{"name": "a", "hook": "netkit/peer", "program": "next1"}])]}, f)
        looks = rpc.call("daemon.status")["counts"]["resyncs"]
        run("systemctl", "reload", "netkitd")
        assert rpc.call("daemon.status")["counts"]["resyncs"] == looks + 1, "a reload looks at everything"
        assert ping("10.0.0.2") and len(chain("web-1", "netkit/peer")) == 1
        view = rpc.call("device.get", {"name": "web-1"})
        assert view["source"] == path
        # The socket can't take it away, and says where it stands.
        with pytest.raises(RpcError) as e:
            rpc.call("device.delete", {"name": "web-1"})
        assert e.value.code == 1 and path in json.dumps(e.value.data)
        rpc.apply(mode="replace")
        assert link("web-1")
        # A bad file keeps what the good one said.
        good = open(path).read()
        with open(path, "w") as f:
            f.write('{"devices": [{"name": "web-1", "polcy": 1}]}')
        run("systemctl", "reload", "netkitd")
        assert link("web-1")
        status = rpc.call("daemon.status")
        assert status["health"] == "degraded" and path in json.dumps(status) and "did you mean" in json.dumps(status)
        with open(path, "w") as f:
            f.write(good)
        run("systemctl", "reload", "netkitd")
        assert rpc.call("daemon.status")["health"] == "ok"
    finally:
        os.unlink(path)
        run("systemctl", "reload", "netkitd")
    until(lambda: link("web-1") is None, "the device to go with its file")


@pytest.fixture
def state_d(rpc):
    """state_d({name: document}): these are the files, and they are read: on reload, or at a start. Its status then."""
    def write(files, restart=False):
        for name in os.listdir(STATE_D):
            os.unlink(f"{STATE_D}/{name}")
        for name, document in files.items():
            with open(f"{STATE_D}/{name}", "w") as f:
                f.write(document if isinstance(document, str) else json.dumps(document))
        run("systemctl", "restart" if restart else "reload", "netkitd")
        c = wait_for_daemon()
        c.call("state.wait", {"timeout_ms": 1000 * PATIENCE})
        status = c.call("daemon.status")
        c.close()
        return status
    yield write
    write({})


def sources():
    """Of all objects: where they are stated, the file's name; None: over the socket."""
    c = Rpc()
    objects = c.call("device.list")["devices"] + c.call("program.list")["programs"]
    c.close()
    return {o["name"]: os.path.basename(o["source"]) if "source" in o else None for o in objects}


@pytest.mark.parametrize("restart", (False, True), ids=("reload", "start"))
def test_an_object_moves_to_another_file(state_d, netns, restart):
    """Whichever is read first, it is the other file's afterwards, and the kernel's device is the same."""
    netns("web-1")
    web, other = pair(attachments=[{"name": "a", "hook": "netkit/peer", "program": "next1"}]), {"name": "d0", "peer": {"name": "p-d0"}}
    state_d({"20-b.json": {"programs": [program("next1")], "devices": [web, other]}})
    was = link("web-1")["ifindex"], chain("web-1", "netkit/peer"), link("d0")["ifindex"]
    assert len(was[1]) == 1
    for name, mtu in (("10-a.json", None), ("30-c.json", None), ("10-a.json", 1400), ("30-c.json", 1300)):
        if mtu:
            web = {**web, "mtu": mtu}
        status = state_d({"20-b.json": {"devices": [other]}, name: {"programs": [program("next1")], "devices": [web]}}, restart)
        assert status["health"] == "ok", status
        assert (link("web-1")["ifindex"], chain("web-1", "netkit/peer"), link("d0")["ifindex"]) == was
        assert link("web-1")["mtu"] == (mtu or link("d0")["mtu"])
        assert sources() == {"web-1": name, "next1": name, "d0": "20-b.json"}
    # One that is stated twice is the first one's, and then the other's, which stays.
    state_d({"10-a.json": {"devices": [other]}, "20-b.json": {"devices": [other]}}, restart)
    assert link("web-1") is None and sources()["d0"] == "20-b.json"
    assert state_d({"10-a.json": {"devices": [other]}, "20-b.json": {}}, restart)["health"] == "ok"
    assert link("d0")["ifindex"] == was[2] and sources()["d0"] == "10-a.json"


def test_a_file_of_programs_gets_another_name(rpc, state_d, netns):
    """Devices of another file and of the socket use them: they are the new file's, which can be edited."""
    netns("web-1")
    netns("web-2")
    use = {"attachments": [{"name": "a", "hook": "netkit/peer", "program": "next1"}]}
    devices = {"devices": [pair(**use)]}
    state_d({"10-programs.json": {"programs": [program("next1")]}, "15-devices.json": devices})
    rpc.converge([pair("web-2", "web-2", "10.0.1.1", "10.0.1.2", **use)])
    was = chain("web-1", "netkit/peer"), chain("web-2", "netkit/peer")
    for name in ("20-programs.json", "05-programs.json"):
        status = state_d({name: {"programs": [program("next1")]}, "15-devices.json": devices})
        assert status["health"] == "ok", status
        assert (chain("web-1", "netkit/peer"), chain("web-2", "netkit/peer")) == was and len(was[0]) == 1
        assert sources()["next1"] == name
    status = state_d({"05-programs.json": {"programs": [program("next1", "next2")]}, "15-devices.json": devices})
    assert status["health"] == "ok", status
    assert chain("web-1", "netkit/peer")[0][0] != was[0][0][0], "another version"
    rpc.converge(mode="replace")
    # The file goes, and in the same reload the one that is read after it lets go of the program.
    assert state_d({"15-devices.json": {"devices": [pair()]}})["health"] == "ok"
    assert rpc.call("program.list")["programs"] == [] and ping("10.0.0.2")


def test_what_two_state_is_refused(rpc, state_d):
    """Two files that don't agree, a file that can't be read any more and another one, a file and the socket."""
    def d0(**more):
        return {"devices": [{"name": "d0", "peer": {"name": "p-d0"}, **more}]}

    def refused(status, file, *why):
        said = [r for r in status["health_reasons"] if r.startswith(f"{STATE_D}/{file} was refused: ")]
        assert status["health"] == "degraded" and len(said) == 1 and all(w in said[0] for w in why), status
    state_d({"20-b.json": d0()})
    was = link("d0")["ifindex"]
    refused(state_d({"10-a.json": d0(mtu=1400), "20-b.json": d0()}), "10-a.json", "device d0 is stated in", "20-b.json")
    refused(state_d({"10-a.json": d0(mtu=1400), "20-b.json": "{"}), "10-a.json", "device d0 is stated in", "20-b.json")
    refused(state_d({"10-a.json": d0(), "20-b.json": "{"}), "20-b.json")
    assert link("d0")["ifindex"] == was and sources()["d0"] == "20-b.json"
    # One that is refused keeps what moved into it as it was.
    use = {"attachments": [{"name": "a", "hook": "netkit/peer", "program": "absent"}]}
    refused(state_d({"10-a.json": d0(**use)}), "10-a.json", "absent")
    assert link("d0")["ifindex"] == was and sources()["d0"] == "10-a.json"
    state_d({})
    until(lambda: link("d0") is None, "the device to go with its file")
    rpc.converge(d0()["devices"])
    refused(state_d({"10-a.json": d0(mtu=1400)}), "10-a.json", "device d0 was set through the socket")
    assert sources()["d0"] is None


def test_a_file_may_name_a_namespace_that_comes_later(rpc, netns):
    path = f"{STATE_D}/30-later.json"
    with open(path, "w") as f:
        json.dump({"devices": [pair(ns="later")]}, f)

    def condition():
        return rpc.call("device.get", {"name": "web-1"})["condition"]
    try:
        run("systemctl", "reload", "netkitd")
        assert (condition()["state"], condition()["reason"]) == ("Pending", "NetnsMissing")
        assert not rpc.call("state.wait", {"timeout_ms": 1000 * PATIENCE})["converged"]
        netns("later")
        until(lambda: condition()["state"] == "Ready", "the device in its namespace")
        assert ping("10.0.0.2")
    finally:
        os.unlink(path)
        run("systemctl", "reload", "netkitd")


def test_sighup_is_a_reload(rpc):
    """By hand, as people do it who have not heard of systemctl reload: the same daemon reads the files."""
    pid = main_pid()
    path = f"{STATE_D}/20-hup.json"
    with open(path, "w") as f:
        json.dump({"devices": [{"name": "hup", "peer": {"name": "hup-peer"}}]}, f)
    try:
        os.kill(pid, signal.SIGHUP)
        until(lambda: link("hup"), "the device of the file")
    finally:
        os.unlink(path)
        os.kill(pid, signal.SIGHUP)
    until(lambda: link("hup") is None, "the device to go with its file")
    assert main_pid() == pid


def test_sigterm_stops_cleanly(rpc, netns):
    netns("web-1")
    rpc.converge([pair()])
    run("systemctl", "stop", "netkitd.socket", "netkitd")
    assert run("systemctl", "show", "-P", "Result", "netkitd").strip() == "success"
    assert ping("10.0.0.2")


def test_journal_fields_and_catalogue(rpc, netns):
    netns("web-1")
    revision = rpc.converge([pair()])["revision"]
    entries = until(lambda: [e for e in journal() if e.get("NETKITD_REVISION") == str(revision)], "an entry of that revision")
    assert all(len(e["MESSAGE_ID"]) == 32 for e in entries)
    began = journal_now()
    run("ip", "link", "del", "web-1")
    until(lambda: link("web-1"), "the repair")
    drift = until(lambda: [e for e in journal("NETKITD_DEVICE=web-1", after=began) if e["NETKITD_EVENT"] == "drift"], "the drift")[0]
    explained = run("journalctl", "-x", "--no-pager", f"MESSAGE_ID={drift['MESSAGE_ID']}", "-n", "1")
    assert "Subject: device/web-1 was changed by somebody else" in explained, "the catalogue explains it"


def test_a_refusal_of_the_kernel_is_told_with_its_errno(rpc, netns):
    """A foreign route is in the way: Degraded with the kernel's errno, in the journal as well; gone, all is well."""
    netns("web-1")
    run("ip", "route", "add", "198.51.100.0/24", "dev", "lo")
    try:
        began = journal_now()
        device = pair(routes=[{"to": "10.0.0.2/32"}, {"to": "198.51.100.0/24"}])
        result = rpc.apply([device])
        assert not result["converged"]
        condition = result["pending"][0]["condition"]
        assert condition["state"] == "Degraded" and condition["errno"] == "EEXIST" and "198.51.100.0/24" in condition["message"]
        until(lambda: [e for e in journal("NETKITD_DEVICE=web-1", after=began) if e.get("ERRNO") == "17"], "the journal to tell of it")
        assert ping("10.0.0.2"), "what can be done is done"
        # Who says the same again changes nothing, and hears the same.
        for mode in ("merge", "replace"):
            again = rpc.apply([device], mode=mode)
            assert again["plan"]["unchanged"] == 1 and again["revision"] == result["revision"]
            assert not again["converged"] and [p["object"] for p in again["pending"]] == ["device/web-1"]
        assert not rpc.call("state.apply", {"document": {"devices": [device]}})["converged"]
        assert not rpc.call("device.set", {"device": device})["converged"]
    finally:
        run("ip", "route", "del", "198.51.100.0/24", "dev", "lo")
    until(lambda: rpc.call("device.get", {"name": "web-1"})["condition"]["state"] == "Ready", "the device to be ready")
    until(lambda: rpc.call("device.set", {"device": device})["converged"], "that to be said without waiting, since it is so already")
    # The same goes for programs.
    for _ in range(2):
        broken = rpc.apply([device], [program("absent", "none")])
        assert not broken["converged"] and [p["object"] for p in broken["pending"]] == ["program/absent"]
    assert rpc.apply([device], mode="replace")["converged"], "without that program"


def test_settings_that_name_no_group_stop_it_for_good(reconfigured):
    """Another start would only say the same again: systemd is told, and so are people."""
    began = journal_now()
    with pytest.raises(AssertionError):
        reconfigured({"admin_groups": ["no-such-group"]})
    show = dict(l.split("=", 1) for l in run("systemctl", "show", "netkitd").splitlines() if "=" in l)
    assert show["ExecMainStatus"] == "78" and show["ActiveState"] == "failed" and show["NRestarts"] == "0"
    assert any("no group no-such-group" in e["MESSAGE"] for e in journal(after=began))


def test_hardening(rpc):
    show = dict(l.split("=", 1) for l in run("systemctl", "show", "netkitd").splitlines() if "=" in l)
    status = dict(l.split(":\t", 1) for l in open(f"/proc/{main_pid()}/status").read().splitlines() if ":\t" in l)
    # By their numbers: dac_read_search, net_broadcast, net_admin, sys_chroot, sys_ptrace, sys_admin, perfmon, bpf.
    allowed = sum(1 << n for n in (2, 11, 12, 18, 19, 21, 38, 39))
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == allowed and int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert show["MemoryMax"] not in ("infinity", "")
    assert show["Type"] == "notify-reload" and int(show["WatchdogUSec"] != "0")
    assert show["NoNewPrivileges"] == "yes" and show["ProtectSystem"] in ("strict", "full")


def test_check(rpc):
    r = subprocess.run(["netkitd", "--check"], capture_output=True, text=True)
    assert r.returncode == 0, r.stdout
    # A daemon that runs says the same; how it found out may be another way.
    said = {c["name"]: c["state"] for c in rpc.call("daemon.capabilities")["capabilities"]}
    assert re.findall(r"^(?:found|missing|unknown) +(\S+)", r.stdout, re.MULTILINE) == list(said)
    assert re.findall(r"^found +(\S+)", r.stdout, re.MULTILINE) == [n for n, state in said.items() if state == "present"]
    for word in ("netkit", "tcx", "jit", "btf", "bpf.fs", "CONFIG_NETKIT", "cap_net_admin"):
        assert word.lower() in r.stdout.lower(), word
    poor = subprocess.run(["setpriv", "--bounding-set=-net_admin,-sys_admin,-bpf", "--inh-caps=-all", "netkitd", "--check"],
                          capture_output=True, text=True)
    assert poor.returncode == 1, poor.stdout
    assert "missing" in poor.stdout or "unknown" in poor.stdout


def test_a_daemon_that_dies_is_started_again(rpc, netns):
    netns("web-1")
    rpc.converge([pair()])
    pid = main_pid()
    os.kill(pid, signal.SIGABRT)  # what systemd's watchdog sends
    until(lambda: main_pid() not in (0, pid), "a new daemon")
    wait_for_daemon().call("state.wait", {"timeout_ms": 1000 * PATIENCE})
    assert ping("10.0.0.2")


def test_the_watchdog_ends_a_daemon_that_hangs(reconfigured, netns):
    """Stopped, it tells systemd nothing any more: it is killed and started again, and packets pass all the while."""
    netns("web-1")
    reconfigured(unit=["WatchdogSec=10s"]).converge([pair()])
    pid, began = main_pid(), journal_now()
    os.kill(pid, signal.SIGSTOP)
    assert ping("10.0.0.2"), "while it hangs"
    until(lambda: main_pid() not in (0, pid), "a new daemon")
    until(lambda: any("Watchdog timeout" in e["MESSAGE"] for e in journal(after=began)), "systemd to say why")
    assert wait_for_daemon().call("state.wait", {"timeout_ms": 1000 * PATIENCE})["converged"]
    assert ping("10.0.0.2")
    pid, began = main_pid(), journal_now()
    time.sleep(25)
    assert main_pid() == pid, "one that turns lives on"


def test_replies_match_the_published_schema(rpc, netns):
    """Of every method, with what not every reply has: a condition with an error, an interface, a foreign link and who holds it. And events."""
    netns("web-1")
    fd = -1
    rpc.apply([pair(attachments=[{"name": "a", "hook": "netkit/peer", "program": "next1"}])], [program("next1"), program("absent", "none")],
              [{"name": "lo", "attachments": [{"name": "in", "hook": "tcx/ingress", "program": "next1"}]}])
    calls = [("daemon.status", {}), ("daemon.capabilities", {}), ("event.subscribe", {"since": 1 << 60}), ("state.get", {}),
             ("state.wait", {"timeout_ms": 1000}), ("state.rebuild", {}), ("state.apply", {"document": {}, "dry_run": True}),
             ("device.set", {"device": {"name": "other", "peer": {"name": "other-peer"}}}), ("device.delete", {"name": "other"}),
             ("device.get", {"name": "web-1"}), ("device.get", {"name": "lo"}), ("device.list", {}), ("device.list", {"interfaces": True}),
             ("program.list", {}), ("attachment.list", {"owners": True})]
    assert {method for method, _ in calls} == set(re.findall(r"^### ([a-z]+\.[a-z]+)$", run("netkitd-cli", "reference"), re.MULTILINE))
    whole = json.loads(run("netkitd-cli", "schema"))
    try:
        fd, link_id = attach_link(f"{PINS}/programs/next1", "lo", TCX_EGRESS)
        until(lambda: link_id in foreign(rpc, "lo", owners=False), "the link to be seen")
        for method, params in calls:
            validate(whole, RESULTS.get(method, f"{method}.result"), rpc.call(method, params))
    finally:
        if fd >= 0:
            os.close(fd)
    run("ip", "addr", "del", "10.0.0.1/32", "dev", "web-1")
    event = {"kind": "none"}
    while event["kind"] != "repaired":
        event = rpc.next_event()
        validate(whole, "event", event)


# What is defined under a name of its own, because it stands in other replies as well.
RESULTS = {"daemon.status": "status", "device.get": "device_state", "device.set": "state.apply.result", "device.delete": "state.apply.result"}


def validate(whole, name, value):
    jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": whole["$defs"]}).validate(value)
