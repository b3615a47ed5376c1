# SPDX-License-Identifier: GPL-2.0-only
"""What goes on while nobody gets RTNL: changes are accepted, and the search for the owners of links waits; what it does to a link to be
looked at."""
import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import threading

import pytest
from tools import VERDICT, Rpc, RpcError, attach_link, chain, foreign, main_pid, pair, program, run, until

THEIRS = "/sys/fs/bpf/theirs"
PEER, NETKIT_PEER = "netkit/peer", 55  # enum bpf_attach_type


@pytest.fixture
def web(rpc, netns):
    """A device with a program of ours."""
    netns("web-1")
    rpc.converge([pair(attachments=[{"name": "ours", "hook": PEER, "program": "ours"}])], [program("ours", "next1")])
    return rpc


@pytest.fixture
def theirs(web):
    """A link of somebody else's there, kept by its descriptor only: this and its id."""
    os.makedirs(THEIRS)
    run("bpftool", "prog", "loadall", VERDICT, THEIRS)
    fd, link_id = attach_link(f"{THEIRS}/next2", "web-1", NETKIT_PEER)
    run("rm", "-r", THEIRS)
    until(lambda: link_id in foreign(web, owners=False), "the link to be seen")
    return fd, link_id


@contextlib.contextmanager
def held_rtnl():
    """Nobody gets RTNL: an ethtool request has it, of which the second half isn't there yet (userfaultfd)."""
    libc = ctypes.CDLL(None, use_errno=True)
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    second = base + mmap.PAGESIZE
    memory[mmap.PAGESIZE - 4:mmap.PAGESIZE] = struct.pack("I", 0x24)  # ETHTOOL_SGSO; what it is set to comes in the second page
    uffd = libc.syscall(323, os.O_CLOEXEC)
    assert uffd >= 0, os.strerror(ctypes.get_errno())
    fcntl.ioctl(uffd, 0xc018aa3f, bytearray(struct.pack("QQQ", 0xaa, 0, 0)))  # UFFDIO_API
    fcntl.ioctl(uffd, 0xc020aa00, bytearray(struct.pack("QQQQ", second, mmap.PAGESIZE, 1, 0)))  # UFFDIO_REGISTER, missing pages
    run("ip", "link", "add", "slow0", "type", "dummy")
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    request = bytearray(struct.pack("16sQ16x", b"slow0", second - 4))
    asks = threading.Thread(target=lambda: fcntl.ioctl(s, 0x8946, request))  # SIOCETHTOOL
    asks.start()
    assert os.read(uffd, 32)[0] == 0x12, "the kernel waits for the page"
    try:
        yield
    finally:
        fcntl.ioctl(uffd, 0xc020aa04, bytearray(struct.pack("QQQQ", second, mmap.PAGESIZE, 0, 0)))  # UFFDIO_ZEROPAGE
        asks.join()
        os.close(uffd)
        s.close()
        run("ip", "link", "del", "slow0")


def executor_waits():
    """Is the executor in the kernel, asking of a link what it is?"""
    tasks = f"/proc/{main_pid()}/task"
    for task in os.listdir(tasks):
        if open(f"{tasks}/{task}/comm").read() == "netkitd-exec\n":
            return "fdinfo" in open(f"{tasks}/{task}/stack").read()
    raise AssertionError("no executor")


def ask(connection, number, method, params=None):
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}).encode() + b"\n"


def test_a_new_device_is_accepted_meanwhile(rpc, netns):
    """Whether its name is free is known without asking the kernel."""
    netns("web-1")
    run("ip", "link", "add", "theirs0", "type", "dummy")
    try:
        with held_rtnl():
            rpc.call("state.apply", {"document": {"devices": [pair()]}})
            with pytest.raises(RpcError) as e:
                rpc.call("device.set", {"device": pair("theirs0")})
            assert e.value.pointers == ["/device/name"] and "did not make" in str(e.value)
            assert rpc.call("device.get", {"name": "web-1"})["condition"]["state"] == "Pending"
        rpc.converge([pair()])
    finally:
        run("ip", "link", "del", "theirs0")


def test_the_loop_goes_on_and_no_link_is_lost(web, theirs):
    """A search that waits for the kernel: others are served meanwhile. The process that is being looked at ends, so that the search is the
    last one who has its link: netkitd sees that the link went all the same."""
    fd, link_id = theirs
    holder = subprocess.Popen(["sleep", "9999"], pass_fds=[fd])
    os.close(fd)
    asking, another = Rpc(), Rpc()
    try:
        with held_rtnl():
            asking.raw(ask(asking, 1, "attachment.list", {"device": "web-1", "owners": True}))
            until(executor_waits, "the search to wait for the kernel")
            # A second one waits for the next search, and what is asked behind it is answered.
            asking.raw(ask(asking, 2, "attachment.list", {"device": "web-1", "owners": True}) + ask(asking, 3, "daemon.status"))
            assert asking.line()["id"] == 3
            assert another.call("attachment.list", {"device": "web-1"})["attachments"]
            holder.send_signal(signal.SIGKILL)
            until(lambda: holder.poll() is not None, "the process to end: its link is the search's now")
        replies = {r["id"]: r["result"]["attachments"] for r in (asking.line(), asking.line())}
        assert set(replies) == {1, 2}
        assert not [a for a in replies[2] if a.get("link_id") == link_id and a.get("holders")], "the second search found who had gone before it began"
        until(lambda: link_id not in foreign(web, owners=False), "the link to be gone")
        assert [i for _, i in chain("web-1", PEER)] == [a["link_id"] for a in web.call("attachment.list", {"device": "web-1"})["attachments"]]
    finally:
        holder.kill()
        holder.wait()
        asking.close()
        another.close()


def test_who_asks_leaves_during_a_search(web, theirs):
    """One for whom it is searched and one who waits for the next search: others, who ask then, get the next search all the same."""
    fd, link_id = theirs
    first, second, asking = Rpc(), Rpc(), Rpc()
    pid, clients = main_pid(), asking.call("daemon.status")["counts"]["clients"]
    try:
        with held_rtnl():
            first.raw(ask(first, 1, "attachment.list", {"device": "web-1", "owners": True}))
            until(executor_waits, "the search to wait for the kernel")
            second.raw(3 * ask(second, 2, "attachment.list", {"device": "web-1", "owners": True}))
            second.call("daemon.status")
            first.close()
            second.close()
            until(lambda: asking.call("daemon.status")["counts"]["clients"] == clients - 2, "both to be gone")
            asking.raw(ask(asking, 3, "attachment.list", {"device": "web-1", "owners": True}) + ask(asking, 4, "daemon.status"))
            assert asking.line()["id"] == 4
        row = [a for a in asking.line()["result"]["attachments"] if a.get("link_id") == link_id][0]
        assert row["holders"][0]["pid"] == os.getpid() and main_pid() == pid
    finally:
        asking.close()
        os.close(fd)


def test_stopped_during_a_search(web, theirs):
    """Who waits is answered, without what wasn't found."""
    fd, link_id = theirs
    asking = Rpc()
    try:
        with held_rtnl():
            asking.raw(ask(asking, 1, "attachment.list", {"device": "web-1", "owners": True}))
            until(executor_waits, "the search to wait for the kernel")
            run("systemctl", "stop", "--no-block", "netkitd")
            row = [a for a in asking.line()["result"]["attachments"] if a.get("link_id") == link_id][0]
            assert not {"pins", "holders"} & set(row)
        until(lambda: run("systemctl", "show", "-P", "ActiveState", "netkitd").strip() == "inactive", "the daemon to stop")
    finally:
        asking.close()
        os.close(fd)
