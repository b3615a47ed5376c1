# SPDX-License-Identifier: GPL-2.0-only
"""The tcx hooks of interfaces that netkitd doesn't own: present now or later, among what others attached there."""
import ctypes
import json
import os
import socket
import subprocess

import pytest
from tools import (PINS, RpcError, VERDICT, bpf, bpf_objects, chain, journal, journal_now, link, main_pid, pair, ping, program, restart,
                   run, stopped, until, wait_for_daemon)

V1, V2 = ("/usr/lib/netkitd-tests/upgrade%d.bpf.o" % n for n in (1, 2))
THEIRS = "/sys/fs/bpf/theirs"
IN, OUT = "tcx/ingress", "tcx/egress"
TYPES = {IN: 46, OUT: 47}  # enum bpf_attach_type
BEFORE = 8  # BPF_F_BEFORE


@pytest.fixture
def links():
    """Make links of somebody else: links("t0", "type", "dummy"). All go at the end."""
    made = []

    def make(name, *how):
        run("ip", "link", "add", name, *(how or ("type", "dummy")))
        run("ip", "link", "set", name, "up")
        made.append(name)
        return name

    yield make
    for name in made:
        subprocess.run(["ip", "link", "del", name], capture_output=True)


@pytest.fixture
def theirs():
    """Programs of somebody else, pinned by name: next1 to next4, pass, drop. Returns the id of one."""
    os.makedirs(THEIRS)
    run("bpftool", "prog", "loadall", VERDICT, THEIRS)
    yield lambda name: json.loads(run("bpftool", "-j", "prog", "show", "pinned", f"{THEIRS}/{name}"))["id"]
    run("rm", "-r", THEIRS)


def their_program(name):
    return bpf(7, {0: ctypes.create_string_buffer(f"{THEIRS}/{name}".encode() + b"\0")})


def attach_theirs(name, interface, hook, flags=0):
    """By descriptor, without a link."""
    fd = their_program(name)
    bpf(8, {0: socket.if_nametoindex(interface), 4: fd, 8: TYPES[hook], 12: flags})
    os.close(fd)


def link_theirs(name, interface, hook, flags=0):
    """By a link of his own, which lasts while the descriptor that comes back is open."""
    fd = their_program(name)
    made = bpf(28, {0: fd, 4: socket.if_nametoindex(interface), 8: TYPES[hook], 12: flags})
    os.close(fd)
    return made


def at(name, hook=IN, program=None, **place):
    return {"name": name, "hook": hook, "program": program or name, **place}


def interface(name, *attachments, **more):
    return {"name": name, "attachments": list(attachments), **more}


def get(rpc, name):
    return rpc.call("device.get", {"name": name})


def condition(rpc, name):
    return get(rpc, name)["condition"]


def pins(name):
    """The pins of an interface, without its name, and the kernel ids of their links."""
    return {os.path.basename(p).removeprefix(f"{name}:"): o["id"] for o in bpf_objects("link") for p in o.get("pinned", ())
            if os.path.dirname(p) == f"{PINS}/links" and os.path.basename(p).startswith(f"{name}:")}


def files(name):
    """The same from the directory alone."""
    return {f.removeprefix(f"{name}:") for f in os.listdir(f"{PINS}/links") if f.startswith(f"{name}:")}


def values(map_id):
    return [int.from_bytes(bytes(int(b, 16) for b in e["value"]), "little")
            for e in json.loads(run("bpftool", "-j", "map", "dump", "id", map_id))]


def seen(prog_id):
    """What a version of the program `counts` has counted: by version."""
    ids = json.loads(run("bpftool", "-j", "prog", "show", "id", prog_id)).get("map_ids", [])
    maps = {m["name"]: m["id"] for m in (json.loads(run("bpftool", "-j", "map", "show", "id", i)) for i in ids)}
    return values(maps["seen"])


def events_until(rpc, *kinds):
    """All events up to the first of one of these kinds."""
    events = [rpc.next_event()]
    while events[-1]["kind"] not in kinds:
        events.append(rpc.next_event())
    return events


def only_error(rpc, code, pointer, *words, **document):
    with pytest.raises(RpcError) as e:
        rpc.apply(**document)
    assert e.value.code == code and e.value.pointers == [pointer], (e.value, e.value.pointers)
    text = json.dumps([e.value.message, e.value.data])
    assert all(w in text for w in words), text


# ---- what they do

def test_both_hooks_see_packets(rpc, links, netns):
    """On a veth whose other end lives in a container, and the interface itself stays as it was."""
    netns("t")
    links("t0", "type", "veth", "peer", "name", "eth0", "netns", "t")
    run("ip", "addr", "add", "10.9.0.1/24", "dev", "t0")
    run("ip", "-n", "t", "addr", "add", "10.9.0.2/24", "dev", "eth0")
    run("ip", "-n", "t", "link", "set", "eth0", "up")
    before = run("ip", "-4", "-d", "addr", "show", "dev", "t0").replace("LOWERLAYERDOWN", "UP")
    rpc.converge(programs=[program("in", "counts", V1), program("out", "counts", V1)],
                 interfaces=[interface("t0", at("in", IN), at("out", OUT))])
    (received, _), = chain("t0", IN)
    (sent, _), = chain("t0", OUT)
    assert pins("t0") == {"ingress:in": chain("t0", IN)[0][1], "egress:out": chain("t0", OUT)[0][1]}
    until(lambda: ping("10.9.0.1", "t"), "the container to reach the host")
    n = [seen(received)[1], seen(sent)[1]]
    assert ping("10.9.0.1", "t", count=5)
    assert seen(received)[1] >= n[0] + 5 and seen(sent)[1] >= n[1] + 5
    assert run("ip", "-4", "-d", "addr", "show", "dev", "t0") == before

    shown = get(rpc, "t0")
    assert shown["condition"]["state"] == "Ready" and not shown["unclaimed"] and "desired" not in shown
    assert shown["interface"]["desired"] == interface("t0", at("in", IN), at("out", OUT))
    assert shown["interface"]["observed"]["ifindex"] == link("t0")["ifindex"]
    assert [p["name"] for p in shown["interface"]["observed"]["chains"][IN]] == ["in"]
    listed = rpc.call("attachment.list", {"device": "t0"})["attachments"]
    assert [(a["hook"], a["name"], a["position"], a["prog_id"]) for a in listed] == [(IN, "in", 0, received), (OUT, "out", 0, sent)]
    assert [d["name"] for d in rpc.call("device.list", {"interfaces": True})["devices"]] == ["t0"]
    assert rpc.call("device.list")["devices"] == []
    counts = rpc.call("daemon.status")["counts"]
    assert (counts["devices"], counts["interfaces"], counts["interfaces_ready"], counts["attachments"]) == (0, 1, 1, 2)
    assert counts["devices_unclaimed"] == 0
    # What netkitd tells can be given back to it.
    document = rpc.call("state.get")["document"]
    assert rpc.call("state.apply", {"document": document, "mode": "replace", "wait_ms": 100000})["plan"]["unchanged"] == 1


def test_it_says_what_it_would_do(rpc, links):
    links("t0")
    plan = rpc.apply(programs=[program("a", "next1")], interfaces=[interface("t0", at("a"))], dry_run=True)["plan"]
    assert plan["create"] == 1 and plan["ops"][0]["op"] == "load", plan
    rpc.converge(programs=[program("a", "next1"), program("b", "next2")], interfaces=[interface("t0", at("a"))])
    plan = rpc.apply(interfaces=[interface("t0", at("b"))], dry_run=True)["plan"]
    assert [(o["op"], o["device"]) for o in plan["ops"]] == [("attach", "t0"), ("detach", "t0")], plan
    plan = rpc.apply(programs=[program("a", "next1")], mode="replace", dry_run=True)["plan"]
    assert plan["delete"] == 1 and ("unpin", "t0") in [(o["op"], o.get("device")) for o in plan["ops"]], plan
    assert len(chain("t0", IN)) == 1


def test_merge_replace_and_delete(rpc, links):
    links("t0"), links("t1")
    programs = [program("a", "next1"), program("b", "next2")]
    rpc.converge(programs=programs, interfaces=[interface("t0", at("a"), at("b")), interface("t1", at("a", OUT))])
    rpc.converge(interfaces=[interface("t0", at("b"))])
    assert files("t0") == {"ingress:b"} and files("t1") == {"egress:a"}
    rpc.converge(programs=programs, interfaces=[interface("t1", at("a", OUT))], mode="replace")
    until(lambda: not chain("t0", IN) and not files("t0"), "nothing of ours on t0")
    assert len(chain("t1", OUT)) == 1
    rpc.call("device.delete", {"name": "t1", "wait_ms": 100000})
    until(lambda: not chain("t1", OUT) and not files("t1"), "nothing of ours on t1")
    assert rpc.call("state.get")["document"].get("interfaces", []) == [] and link("t0") and link("t1")


# ---- they come and go

def test_one_that_comes_later(rpc, links):
    result = rpc.apply(programs=[program("a", "next1")], interfaces=[interface("t0", at("a"))])
    assert not result["converged"]
    assert [(p["object"], p["condition"]["state"], p["condition"]["reason"]) for p in result["pending"]] == [
        ("interface/t0", "Pending", "InterfaceMissing")]
    assert rpc.call("daemon.status")["counts"]["interfaces_pending"] == 1
    links("t0")
    until(lambda: chain("t0", IN), "the program on the new link")
    assert rpc.call("state.wait", {"timeout_ms": 100000})["converged"]


def test_deleted_by_its_owner_and_made_again(rpc, links):
    """No drift: it is his to delete. What we had pinned for it goes."""
    links("t0")
    rpc.converge(programs=[program("a", "next1")], interfaces=[interface("t0", at("a"))])
    after = journal_now()
    run("ip", "link", "del", "t0")
    until(lambda: condition(rpc, "t0")["state"] == "Pending", "its condition")
    until(lambda: not files("t0"), "no pin of it")
    links("t0")
    until(lambda: chain("t0", IN), "the program on the new link")
    until(lambda: condition(rpc, "t0")["state"] == "Ready", "its condition")
    assert pins("t0") == {"ingress:a": chain("t0", IN)[0][1]}
    # So fast that nobody can see it gone in between.
    for _ in range(5):
        run("ip", "-batch", "-", input="link del t0\nlink add t0 type dummy\n")
    until(lambda: chain("t0", IN), "the program on the newest link")
    until(lambda: condition(rpc, "t0")["state"] == "Ready", "its condition")
    assert journal("NETKITD_EVENT=drift", after=after) == [] and get(rpc, "t0")["repairs"] == 0


def test_renamed(rpc, links):
    """The document goes by name: what was attached there goes, and whatever has the name gets it."""
    links("t0"), links("t1")
    rpc.converge(programs=[program("a", "next1")], interfaces=[interface("t0", at("a", IN), at("b", OUT, "a"))])
    after = journal_now()
    run("ip", "link", "set", "t0", "name", "t9")
    try:
        until(lambda: not chain("t9", IN) and not chain("t9", OUT), "nothing of ours where it was")
        until(lambda: not files("t0"), "no pin of it")
        assert condition(rpc, "t0")["reason"] == "InterfaceMissing"
        run("ip", "link", "set", "t1", "name", "t0")
        until(lambda: chain("t0", IN) and chain("t0", OUT), "the programs on what has the name now")
        until(lambda: condition(rpc, "t0")["state"] == "Ready", "its condition")
        # Both at once, while an attachment is taken out of the document: nothing but its pin tells where that is.
        with stopped(main_pid()):
            run("ip", "-batch", "-", input="link set t0 name t8\nlink set t9 name t0\n")
            params = {"document": {"interfaces": [interface("t0", at("a", IN))]}, "wait_ms": 100000}
            rpc.raw(json.dumps({"jsonrpc": "2.0", "id": "both", "method": "state.apply", "params": params}).encode() + b"\n")
        assert rpc.line()["result"]["converged"]
        assert len(chain("t0", IN)) == 1 and not chain("t0", OUT) and files("t0") == {"ingress:a"}
        until(lambda: not chain("t8", IN) and not chain("t8", OUT), "nothing of ours where it was")
        assert journal("NETKITD_EVENT=drift", after=after) == []
    finally:
        for name in ("t8", "t9"):
            subprocess.run(["ip", "link", "del", name], capture_output=True)


def test_into_a_container_and_back(rpc, links, netns):
    """The kernel would take the programs along."""
    netns("t")
    links("t0")
    rpc.converge(programs=[program("a", "next1")], interfaces=[interface("t0", at("a"))])
    after = journal_now()
    run("ip", "link", "set", "t0", "netns", "t")

    def inside():
        return [p for group in json.loads(run("ip", "netns", "exec", "t", "bpftool", "-j", "net", "show")) for p in group.get("tc", [])]
    until(lambda: not inside(), "nothing of ours in the container")
    until(lambda: condition(rpc, "t0")["reason"] == "InterfaceMissing" and not files("t0"), "its condition")
    run("ip", "-n", "t", "link", "set", "t0", "netns", "1")
    until(lambda: condition(rpc, "t0")["state"] == "Ready", "its condition")
    assert len(chain("t0", IN)) == 1 and journal("NETKITD_EVENT=drift", after=after) == []


def test_away_while_netkitd_is_down(rpc, links):
    """Renamed, and another one in its place, when nobody looked."""
    links("t0"), links("t1")
    rpc.converge(programs=[program("a", "next1")], interfaces=[interface("t0", at("a"))])
    run("systemctl", "stop", "netkitd.socket", "netkitd")
    run("ip", "-batch", "-", input="link set t0 name t9\nlink set t1 name t0\n")
    try:
        run("systemctl", "start", "netkitd.socket", "netkitd")
        c = wait_for_daemon()
        assert c.call("state.wait", {"timeout_ms": 100000})["converged"]
        assert len(chain("t0", IN)) == 1 and not chain("t9", IN)
        c.close()
    finally:
        run("ip", "link", "del", "t9")


# ---- others

def test_what_others_attached_stays(rpc, links, theirs):
    """Classic filters, a link of somebody else, and a program without one: the same before and after, by their own tools."""
    links("t0")
    run("tc", "qdisc", "add", "dev", "t0", "clsact")
    run("tc", "filter", "add", "dev", "t0", "ingress", "protocol", "ip", "pref", "7", "u32", "match", "u32", "0", "0", "flowid", "1:1")
    run("tc", "filter", "add", "dev", "t0", "egress", "bpf", "da", "pinned", f"{THEIRS}/pass")
    attach_theirs("next3", "t0", IN)
    fd = link_theirs("next4", "t0", IN)

    def shown():
        return (run("tc", "filter", "show", "dev", "t0", "ingress"), run("tc", "filter", "show", "dev", "t0", "egress"),
                run("tc", "qdisc", "show", "dev", "t0"), run("bpftool", "net", "show", "dev", "t0"))
    try:
        before, foreign = shown(), chain("t0", IN)
        assert [p for p, _ in foreign] == [theirs("next3"), theirs("next4")]
        rpc.converge(programs=[program("a", "next1"), program("b", "next2")],
                     interfaces=[interface("t0", at("a", IN, before=[{"id": theirs("next4")}], after=[{"id": theirs("next3")}]),
                                           at("b", IN, first=True), at("c", OUT, "a"))])
        mine = {i: n for n, i in pins("t0").items()}
        assert [mine.get(i, p) for p, i in chain("t0", IN)] == ["ingress:b", theirs("next3"), "ingress:a", theirs("next4")]
        assert shown()[:3] == before[:3]
        listed = rpc.call("attachment.list", {"device": "t0"})["attachments"]
        assert [a["foreign"] for a in listed if a["hook"] == IN] == [False, True, False, True]
        # Another order, and back.
        rpc.converge(interfaces=[interface("t0", at("a", IN, first=True), at("b", IN, last=True))])
        assert [p for p, i in chain("t0", IN)][1:3] == [theirs("next3"), theirs("next4")]
        assert [(p, i) for p, i in chain("t0", IN) if (p, i) in foreign] == foreign
        rpc.converge(mode="replace")
        until(lambda: shown() == before, "all as it was before netkitd came")
    finally:
        os.close(fd)


def test_a_name_that_a_device_gets(rpc, links, netns):
    """A name is a device's or an interface's."""
    netns("web-1")
    links("t0")
    rpc.converge([pair()], [program("a", "next1")], [interface("t0", at("a"))])
    only_error(rpc, 1, "/document/interfaces/0/name", "web-1", "a device", interfaces=[interface("web-1", at("a"))])
    only_error(rpc, 1, "/document/devices/0/name", "t0", "an interface", devices=[pair("t0", "web-1", "10.0.1.1", "10.0.1.2")])
    only_error(rpc, -32602, "/document/interfaces/0/name", "named twice", devices=[pair("x")], interfaces=[interface("x")])
    assert condition(rpc, "web-1")["state"] == condition(rpc, "t0")["state"] == "Ready"
    # Once the one is gone, the name is free for the other.
    rpc.call("device.delete", {"name": "web-1", "wait_ms": 100000})
    until(lambda: link("web-1") is None, "the device to go")
    links("web-1")

    def taken():
        try:
            return rpc.apply(interfaces=[interface("web-1", at("a"))])
        except RpcError:
            return None
    assert until(taken, "the name to be free")["converged"] and len(chain("web-1", IN)) == 1


# ---- drift

def test_drift_that_is_only_told(rpc, links):
    links("t0")
    want = interface("t0", at("a", IN), on_drift="report")
    rpc.converge(programs=[program("a", "next1")], interfaces=[want])
    p = subprocess.Popen(["bpftool", "link", "detach", "id", str(chain("t0", IN)[0][1])])
    p.wait()
    until(lambda: condition(rpc, "t0").get("reason") == "Drifted", "the drift to be noticed")
    assert f"attachment a on t0 was detached by bpftool (pid {p.pid}, " in condition(rpc, "t0")["message"]
    assert chain("t0", IN) == [] and get(rpc, "t0")["repairs"] == 0
    rpc.converge(interfaces=[want])
    assert chain("t0", IN)


@pytest.mark.parametrize("hook", [IN, OUT])
@pytest.mark.parametrize("how", ["detach", "rm"])
def test_a_lost_attachment_comes_back(rpc, links, how, hook):
    """And it is told who took it."""
    links("t0")
    rpc.converge(programs=[program("a", "next1"), program("b", "next2")], interfaces=[interface("t0", at("a", hook), at("b", hook))])
    (first, lost), (second, kept) = chain("t0", hook)
    rpc.call("event.subscribe")
    if how == "detach":
        p = subprocess.Popen(["bpftool", "link", "detach", "id", str(lost)])
    else:
        p = subprocess.Popen(["rm", f"{PINS}/links/t0:{hook.removeprefix('tcx/')}:a"])
    assert p.wait() == 0
    events = events_until(rpc, "repaired")
    drift = next(e for e in events if e["kind"] == "drift")
    assert drift["object"] == "interface/t0" and events[-1]["object"] == "interface/t0"
    assert drift["detail"]["culprit"]["pid"] == p.pid and drift["detail"]["culprit"]["uid"] == 0, drift
    assert drift["detail"]["culprit"]["comm"] == ("bpftool" if how == "detach" else "rm")
    assert [q for q, _ in chain("t0", hook)] == [first, second] and chain("t0", hook)[1][1] == kept
    assert get(rpc, "t0")["repairs"] == 1 and pins("t0")[f"{hook.removeprefix('tcx/')}:a"] == chain("t0", hook)[0][1]


def test_a_lost_attachment_is_left_where_that_is_said(rpc, links):
    """Told once, until the definition is applied again; a link that is made anew begins anew."""
    links("t0")
    desired = {**interface("t0", at("a"), at("b")), "on_drift": "report"}
    rpc.converge(programs=[program("a", "next1"), program("b", "next2")], interfaces=[desired])
    (first, lost), (second, kept) = chain("t0", IN)
    run("bpftool", "link", "detach", "id", lost)
    until(lambda: condition(rpc, "t0").get("reason") == "Drifted", "its condition")
    assert chain("t0", IN) == [(second, kept)] and rpc.call("daemon.status")["counts"]["interfaces_degraded"] == 1
    rpc.converge(interfaces=[desired])
    assert [p for p, _ in chain("t0", IN)] == [first, second]
    run("bpftool", "link", "detach", "id", kept)
    until(lambda: condition(rpc, "t0").get("reason") == "Drifted", "its condition")
    run("ip", "link", "del", "t0")
    links("t0")
    until(lambda: condition(rpc, "t0")["state"] == "Ready", "its condition")
    assert [p for p, _ in chain("t0", IN)] == [first, second]


def test_a_program_exchanged_in_our_link(rpc, links, theirs):
    links("t0")
    rpc.converge(programs=[program("a", "next1")], interfaces=[interface("t0", at("a"))])
    before = chain("t0", IN)
    rpc.call("event.subscribe")
    fd, link_fd = their_program("next3"), bpf(30, {0: before[0][1]})
    bpf(29, {0: link_fd, 4: fd})
    os.close(fd), os.close(link_fd)
    drift = next(e for e in events_until(rpc, "repaired") if e["kind"] == "drift")
    assert drift["detail"]["culprit"]["pid"] == os.getpid() and chain("t0", IN) == before


def test_what_others_do_elsewhere_is_no_news(rpc, links, theirs, netns):
    """Programs on links that the document doesn't name, and on one of the same number in another namespace."""
    links("t0"), links("t1")
    rpc.converge(programs=[program("a", "next1")], interfaces=[interface("t0", at("a"))])
    rpc.call("event.subscribe")
    attach_theirs("next3", "t1", IN)
    attach_theirs("next3", "t0", OUT)
    assert until(lambda: len(get(rpc, "t0")["interface"].get("observed", {}).get("chains", {}).get(OUT, [])) == 1,
                 "the program of somebody else to be seen")
    assert get(rpc, "t0")["repairs"] == 0 and condition(rpc, "t0")["state"] == "Ready"
    rpc.converge(programs=[program("c", "next2")])
    assert not [e for e in events_until(rpc, "program-loaded") if e["kind"] == "drift"]


# ---- netkitd itself

def test_a_restart_changes_nothing(rpc, links, netns):
    netns("web-1")
    links("t0")
    rpc.converge([pair(attachments=[at("a", "netkit/peer")])], [program("a", "next1")],
                 [interface("t0", at("a", IN), at("b", OUT, "a"))])
    before = chain("t0", IN), chain("t0", OUT), pins("t0")
    for how in ("kill", "restart", "reload"):
        if how == "kill":
            rpc = restart()
        else:
            run("systemctl", how, "netkitd")
            rpc = wait_for_daemon()
        assert rpc.call("state.wait", {"timeout_ms": 100000})["converged"]
        assert (chain("t0", IN), chain("t0", OUT), pins("t0")) == before
        assert get(rpc, "t0")["repairs"] == 0
        rpc.close()


def test_killed_while_it_lets_go(rpc, links):
    """A deletion that was accepted is finished by the next one."""
    links("t0")
    programs = [program(f"p{i}", f"next{i}") for i in (1, 2, 3, 4)]
    rpc.converge(programs=programs, interfaces=[interface("t0", *[at(f"p{i}") for i in (1, 2, 3, 4)])])
    rpc.call("device.delete", {"name": "t0"})
    c = restart()
    until(lambda: not chain("t0", IN) and not files("t0"), "nothing of ours on t0")
    assert c.call("state.wait", {"timeout_ms": 100000})["converged"]
    c.close()


def test_an_upgrade_of_a_program_at_devices_and_interfaces(rpc, links, netns, tmp_path):
    netns("web-1")
    links("t0")
    path = tmp_path / "counts.bpf.o"
    path.write_bytes(open(V1, "rb").read())
    rpc.converge([pair(attachments=[at("c", "netkit/peer", "counts")])], [program("counts", object=str(path))],
                 [interface("t0", at("c", IN, "counts"), at("c2", OUT, "counts"))])
    hooks = [("web-1", "netkit/peer"), ("t0", IN), ("t0", OUT)]
    before = [chain(*h)[0] for h in hooks]
    assert len({p for p, _ in before}) == 1
    path.write_bytes(open(V2, "rb").read())
    run("systemctl", "reload", "netkitd")
    c = wait_for_daemon()
    until(lambda: chain("t0", IN)[0][0] != before[0][0], "the new version")
    assert c.call("state.wait", {"timeout_ms": 100000})["converged"]
    after = [chain(*h)[0] for h in hooks]
    assert len({p for p, _ in after}) == 1 and [i for _, i in after] == [i for _, i in before]
    assert get(c, "t0")["repairs"] == 0
    c.close()


@pytest.mark.parametrize("where", ["web-1", "t0"])
def test_an_upgrade_that_fails_in_one_chain(rpc, links, netns, theirs, where):
    """A device's or an interface's, which holds the new version already and does not take it twice: all chains keep the old one."""
    netns("web-1")
    links("t0")
    old, new = theirs("next1"), theirs("next2")
    mine, blocks = {"web-1": at("a", "netkit/peer"), "t0": at("a")}, {"web-1": at("b", "netkit/peer"), "t0": at("b")}

    def apply(blocked, *programs):
        lists = {name: [mine[name], *([blocks[name]] if blocked == name else [])] for name in mine}
        return rpc.apply([pair(attachments=lists["web-1"])], programs, [interface("t0", *lists["t0"])])

    def programs_of_a():
        return chain("web-1", "netkit/peer")[0][0], chain("t0", IN)[0][0]
    assert apply(where, {"name": "a", "pin": f"{THEIRS}/next1"}, {"name": "b", "pin": f"{THEIRS}/next2"})["converged"]
    assert programs_of_a() == (old, old)
    found = rpc.apply([], [{"name": "a", "pin": f"{THEIRS}/next2"}])["pending"][0]["condition"]
    assert found["reason"] == "NotUpgraded" and f"'a' of {where}" in found["message"], found
    assert programs_of_a() == (old, old)
    # It isn't in the way any more.
    apply(None)
    until(lambda: programs_of_a() == (new, new), "the next try")


def test_the_database_is_lost(rpc, links):
    """What is pinned goes on working; rebuild makes a document of it, which claims it; replace removes it."""
    links("t0")
    document = {"programs": [program("a", "next1"), program("b", "next2")],
                "interfaces": [interface("t0", at("b", IN), at("a", IN), at("c", OUT, "a"))]}
    rpc.converge(programs=document["programs"], interfaces=document["interfaces"])
    before = chain("t0", IN), chain("t0", OUT)
    for what in ("claimed", "removed"):
        run("systemctl", "stop", "netkitd.socket", "netkitd")
        run("sh", "-c", "rm /var/lib/netkitd/netkitd.db*")
        run("systemctl", "start", "netkitd.socket", "netkitd")
        c = wait_for_daemon()
        rebuilt = c.call("state.rebuild")["document"]
        assert rebuilt["interfaces"] == document["interfaces"]
        if what == "claimed":
            assert c.call("state.apply", {"document": rebuilt, "wait_ms": 100000})["converged"]
            assert (chain("t0", IN), chain("t0", OUT)) == before
            assert c.call("state.rebuild", {"unclaimed": True})["document"].get("interfaces", []) == []
        else:
            c.converge(mode="replace")
            until(lambda: not chain("t0", IN) and not chain("t0", OUT) and not files("t0"), "nothing of ours on t0")
        c.close()


# ---- bad input

def test_bad_input(rpc, links, netns):
    netns("web-1")
    links("t0")
    programs, where = [program("a", "next1")], "/document/interfaces/0/attachments/0"
    rpc.converge(programs=programs)
    for hook in ("netkit/primary", "netkit/peer"):
        only_error(rpc, -32602, f"{where}/hook", "tcx/ingress or tcx/egress", interfaces=[interface("t0", at("a", hook))])
    for hook in (IN, OUT):
        only_error(rpc, -32602, "/document/devices/0/attachments/0/hook", "netkit/primary or netkit/peer",
                   devices=[pair(attachments=[at("a", hook)])])
    only_error(rpc, -32602, f"{where}/required", "close", interfaces=[interface("t0", at("a", required=True))])
    only_error(rpc, -32602, f"{where}/hook", interfaces=[interface("t0", at("a", "tcx/sideways"))])
    only_error(rpc, -32602, "/document/interfaces/1/name", "named twice", interfaces=[interface("t0"), interface("t0")])
    only_error(rpc, -32602, "/document/interfaces/0/attachments/1/name", "this interface",
               interfaces=[interface("t0", at("a"), at("a", OUT))])
    only_error(rpc, -32602, "/document/interfaces/0/mtu", interfaces=[{"name": "t0", "mtu": 1400}])
    only_error(rpc, -32602, "/document/interfaces/0/name", interfaces=[interface("a/b")])
    only_error(rpc, -32602, f"{where}/program", "no program b", interfaces=[interface("t0", at("b"))])
    with pytest.raises(RpcError):
        rpc.call("device.set", {"device": interface("t0", at("a"))})
    with pytest.raises(RpcError) as e:
        rpc.call("device.get", {"name": "t0"})
    assert e.value.code == 2
    assert rpc.call("state.get")["document"].get("interfaces", []) == [] and not chain("t0", IN)


def test_the_name_of_a_peer(rpc, links):
    """A peer beside its primary has a name of ours as well."""
    rpc.converge([{"name": "d0", "peer": {"name": "d1"}}], [program("a", "next1")])
    only_error(rpc, -32602, "/document/interfaces/0/name", "the peer of device d0", interfaces=[interface("d1", at("a"))])
    rpc.apply(interfaces=[interface("t5")])
    only_error(rpc, -32602, "/document/devices/0/peer/name", "t5", devices=[{"name": "d2", "peer": {"name": "t5"}}])
