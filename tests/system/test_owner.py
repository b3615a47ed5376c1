# SPDX-License-Identifier: GPL-2.0-only
"""Whose the programs of others in a chain are: where their links are pinned, and which processes hold them."""
import ctypes
import json
import os
import socket
import subprocess
import sys

import pytest
from tools import PINS, VERDICT, attach_link, bpf, bpf_objects, foreign, pair, program, run, shown, until

THEIRS = "/sys/fs/bpf/theirs"
PEER = "netkit/peer"
NETKIT_PRIMARY, NETKIT_PEER, TCX_INGRESS = 54, 55, 46  # enum bpf_attach_type


@pytest.fixture
def web(rpc, netns):
    """A device with a program of ours, and programs of somebody else to attach to it: next1 to next4."""
    netns("web-1")
    rpc.converge([pair(attachments=[{"name": "ours", "hook": PEER, "program": "ours"}])], [program("ours", "next1")])
    os.makedirs(THEIRS)
    run("bpftool", "prog", "loadall", VERDICT, THEIRS)
    yield rpc
    run("rm", "-r", THEIRS)


def attach(rpc, name, device="web-1", hook=NETKIT_PEER):
    """By a link, which lasts while somebody keeps it: its descriptor and its id, when netkitd has seen it."""
    fd, link_id = attach_link(os.path.join(THEIRS, name), device, hook)
    until(lambda: link_id in foreign(rpc, device, owners=False), f"link {link_id} to be seen")
    return fd, link_id


def column(link_id, device="web-1"):
    """The last one of `netkitd-cli chain`, for this link."""
    return [row[10] for row in sum(shown(device)[0].values(), []) if row[5] == str(link_id)][0]


def pinned(link_id):
    """What bpftool says of a link."""
    return next(sorted(o["pinned"]) for o in bpf_objects("link") if o["id"] == link_id)


def test_their_programs_are_listed_behind_ours(web):
    """Each once, however many of their links hold it. A program of ours that they attached is none of theirs."""
    web.converge(interfaces=[{"name": "lo", "attachments": [{"name": "in", "hook": "tcx/ingress", "program": "ours"}]}])
    places = [("next2", "web-1", NETKIT_PEER), ("next2", "web-1", NETKIT_PRIMARY), ("next3", "lo", TCX_INGRESS)]
    fds = [attach(web, *place)[0] for place in places]
    fds.append(attach(web, f"{PINS}/programs/ours", "web-1", NETKIT_PRIMARY)[0])
    try:
        want = [json.loads(run("bpftool", "-j", "prog", "show", "pinned", f"{THEIRS}/{name}")) for name in ("next2", "next3")]
        listed = web.call("program.list")["programs"]
        assert [p.get("name") for p in listed] == ["ours", None, None]
        assert [(p["id"], p["tag"], p["kernel_name"], p["users"]) for p in listed[1:]] == \
            sorted((p["id"], p["tag"], p["name"], users) for p, users in zip(want, (2, 1)))
        assert all(p["condition"]["reason"] == "Foreign" and "desired" not in p for p in listed[1:])
        rows = [line.split() for line in run("netkitd-cli", "list", "programs").splitlines()]
        assert [row[1] for row in rows[1:]] == ["Ready", "Foreign", "Foreign"]
    finally:
        for fd in fds:
            os.close(fd)
    until(lambda: len(web.call("program.list")["programs"]) == 1, "the list without theirs")


def test_pinned(web, tmp_path):
    """In a directory below, at a place of its own with a strange name, and at two places at once; nobody runs."""
    other = tmp_path / "b p\\f"
    other.mkdir()
    run("mount", "-t", "bpf", "bpf", other)
    try:
        (other / "agent").mkdir()
        os.makedirs(f"{THEIRS}/agent/v1")
        pins = {"next2": [f"{THEIRS}/agent/v1/fw"], "next3": [f"{other}/agent/fw"], "next4": [f"{other}/fw", f"{THEIRS}/fw"]}
        ids = {}
        for name, paths in pins.items():
            fd, ids[name] = attach(web, name)
            for path in paths:
                run("bpftool", "link", "pin", "id", ids[name], path)
            os.close(fd)
        for name, paths in pins.items():
            row = foreign(web)[ids[name]]
            assert sorted(row["pins"]) == sorted(paths) == pinned(ids[name])
            assert row["holders"] == [], "nothing but its pins keeps it"
            assert column(ids[name]) == ", ".join(sorted(paths))
        # A bpffs that hides another: what is pinned below may be there all the same.
        run("mount", "-t", "bpf", "bpf", other)
        try:
            assert "pins" not in foreign(web)[ids["next3"]] and column(ids["next3"]) == "-"
            assert foreign(web)[ids["next4"]]["pins"] == [f"{THEIRS}/fw"]
        finally:
            run("umount", other)
    finally:
        run("umount", other)


def test_held_by_processes(web):
    """One as root, one as nobody, which has it twice, among processes that have other things open; and in one a name that is no word."""
    fd, link_id = attach(web, "next2")
    again = os.dup(fd)
    name = "a\x1b[31m (x)"
    agent = [sys.executable, "-c", f"import ctypes, time; ctypes.CDLL(None).prctl(15, {name.encode()!r}); print(flush=True); time.sleep(9999)"]
    started = [subprocess.Popen(agent, pass_fds=[fd], stdout=subprocess.PIPE),
               subprocess.Popen(["sleep", "9999"], pass_fds=[fd, again], user=65534, group=65534)]
    try:
        started[0].stdout.readline()
        until(lambda: open(f"/proc/{started[1].pid}/comm").read() == "sleep\n", "sleep to run")
        os.close(fd)
        os.close(again)
        want = [{"pid": started[0].pid, "comm": name}, {"pid": started[1].pid, "comm": "sleep"}]
        want.sort(key=lambda h: h["pid"])
        row = foreign(web)[link_id]
        assert row["holders"] == want and row["pins"] == []
        assert column(link_id) == ", ".join(f"{h['comm']}({h['pid']})" for h in want).replace("\x1b", "\\x1b")
        # And one of them pins it.
        run("bpftool", "link", "pin", "id", link_id, f"{THEIRS}/fw")
        assert column(link_id).startswith(f"{THEIRS}/fw, ")
        for p in started:
            p.kill()
            p.wait()
        row = foreign(web)[link_id]
        assert (row["pins"], row["holders"]) == ([f"{THEIRS}/fw"], [])
    finally:
        for p in started:
            p.kill()
            p.wait()
        started[0].stdout.close()


def test_without_a_link(web):
    """A program that was attached by descriptor is nobody's; and ours are ours."""
    prog = bpf(7, {0: ctypes.create_string_buffer(f"{THEIRS}/next2".encode() + b"\0")})
    bpf(8, {0: socket.if_nametoindex("web-1"), 4: prog, 8: NETKIT_PEER})
    os.close(prog)
    until(lambda: len(shown()[0][PEER]) == 2, "the program to be seen")
    assert [(row[2], row[5] == "-", row[10]) for row in shown()[0][PEER]] == [("ours", False, "netkitd"), ("-", True, "no link")]
    for a in web.call("attachment.list", {"owners": True})["attachments"]:
        assert not {"pins", "holders"} & set(a)
        assert a["foreign"] == ("link_id" not in a)


def test_at_an_interface(web):
    fd = -1
    run("ip", "link", "add", "t0", "type", "dummy")
    try:
        web.converge(interfaces=[{"name": "t0", "attachments": [{"name": "in", "hook": "tcx/ingress", "program": "ours"}]}])
        fd, link_id = attach(web, "next2", "t0", TCX_INGRESS)
        assert foreign(web, "t0")[link_id]["holders"] == [{"pid": os.getpid(), "comm": open("/proc/self/comm").read().strip()}]
        # Of all at once, and only if it is asked for.
        listed = web.call("attachment.list", {"owners": True})["attachments"]
        assert [a["device"] for a in listed if "holders" in a] == ["t0"]
        assert "holders" not in foreign(web, "t0", owners=False)[link_id]
    finally:
        if fd >= 0:
            os.close(fd)
        run("ip", "link", "del", "t0")
