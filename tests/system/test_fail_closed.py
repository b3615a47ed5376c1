# SPDX-License-Identifier: GPL-2.0-only
"""Fail closed: no packet ever passes a half-built chain, at creation or re-creation. Shown by a capture on the host side while
containers send from their first instant."""
import socket
import subprocess
import time

import pytest
from tools import Lines, link, pair, ping, program, run, until

# Sends to the host from all the namespaces it is given, from before a device is there, and never stops for an error. Says so when it
# begins. One process for all: as many processes as containers leave nothing of the processors to whoever makes the devices.
SENDER = """
import os, socket, struct, sys, time
kind, names = sys.argv[1], sys.argv[2:]
# With kind raw, through sockets that need neither address nor route and not even an interface that is up.
payload = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 17, 0, bytes([10, 4, 9, 9]), bytes([10, 4, 255, 254])) + struct.pack("!HHHH", 1, 4444, 8, 0)
sockets = []
for name in names:
    with open("/run/netns/" + name) as f:
        os.setns(f.fileno(), os.CLONE_NEWNET)
    sockets.append(socket.socket(socket.AF_PACKET if kind == "raw" else socket.AF_INET, socket.SOCK_DGRAM))
print("begun", flush=True)
while True:
    for s in sockets:
        try:
            if kind == "raw":
                s.sendto(payload, ("eth0", 0x0800))
            else:
                s.sendto(b"x" * 32, ("10.4.255.254", 4444))
        except OSError:
            pass
    time.sleep(0.02)
"""
HOST = "10.4.255.254"


class Capture:
    """tcpdump on all host-side devices: what came from a container. The host's own packets are marks: what the capture shows before
    one was there before it was sent, so nobody has to guess how long to wait."""

    def __init__(self):
        self.marks = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.packets = []

    def __enter__(self):
        self.dump = Lines("tcpdump", "-n", "-l", "-i", "any", "udp", "port", "4444", stderr=subprocess.DEVNULL)
        until(self.listens, "tcpdump to listen")
        return self

    def listens(self):
        self.marks.sendto(b"early", (HOST, 4444))
        return not self.dump.queue.empty()

    def seen(self):
        """All packets of containers until now."""
        self.marks.sendto(b"m" * 99, (HOST, 4444))
        lines = self.dump.until(lambda l: f"IP {HOST}." in l and "length 99" in l, "the capture to show what is sent")
        # A packet through lo is shown twice, leaving and arriving.
        self.packets += [l for l in lines if f"IP {HOST}." not in l]
        return self.packets

    def __exit__(self, *_):
        try:
            self.seen()
        finally:
            self.dump.close()
            self.marks.close()


def sender(kind, names):
    """Running."""
    started = Lines("python3", "-I", "-S", "-c", SENDER, kind, *names)
    started.next("the sender to begin")
    return started


def still_sending(running):
    """Nobody gave up, so that what was not seen was not let through."""
    return all(s.p.poll() is None for s in running)


def stop(running):
    for s in running:
        s.close()


def devices(n, programs):
    """Chains of three that end in a drop: half built, they would let pass (next, or policy pass)."""
    attachments = [{"name": f"a{i}", "hook": "netkit/peer", "program": p} for i, p in enumerate(programs)]
    return [pair(f"d{i}", f"n{i}", f"10.4.{i}.1", f"10.4.{i}.2", policy="pass",
                 peer={"policy": "pass", "routes": [{"to": "10.4.0.0/16"}]}, attachments=attachments) for i in range(n)]


@pytest.fixture
def host_address():
    run("ip", "link", "add", "sink", "type", "dummy")
    run("ip", "addr", "add", "10.4.255.254/32", "dev", "sink")
    run("ip", "link", "set", "sink", "up")
    yield
    run("ip", "link", "del", "sink")


DROPPING = ["next1", "next2", "drop"]


def test_fifty_containers_send_from_their_first_instant(rpc, netns, host_address):
    names = [netns(f"n{i}") for i in range(50)]
    running = [sender("udp", names[:40]), sender("raw", names[40:])]
    try:
        with Capture() as capture:
            rpc.converge(devices(50, DROPPING), [program(p) for p in DROPPING])
            time.sleep(1)
            for i in range(0, 50, 5):
                run("ip", "link", "del", f"d{i}")
            until(lambda: all(link(f"d{i}") and "UP" in link(f"d{i}")["flags"] for i in range(50)), "all to be made again")
            time.sleep(1)
            assert still_sending(running)
        assert capture.packets == []
    finally:
        stop(running)


def test_the_capture_sees_packets_when_the_chain_lets_them_pass(rpc, netns, host_address):
    """The same set-up with a passing chain: the test above can fail."""
    names = [netns(f"n{i}") for i in range(4)]
    running = [sender("udp", names[:2]), sender("raw", names[2:])]
    try:
        with Capture() as capture:
            rpc.converge(devices(4, ["next1", "next2"]), [program(p) for p in ("next1", "next2")])
            for i in range(4):
                until(lambda: any(f"d{i} " in l for l in capture.seen()), f"a packet on d{i}")
    finally:
        stop(running)


def test_a_device_whose_program_does_not_load_stays_closed(rpc, netns, host_address):
    names = [netns("n0")]
    running = [sender("udp", names), sender("raw", names)]
    try:
        with Capture() as capture:
            result = rpc.apply(devices(1, ["next1", "absent"]), [program("next1"), program("absent", "no_such_function")])
            assert not result["converged"]
            time.sleep(2)
            assert still_sending(running)
        assert capture.packets == []
        assert not ping("10.4.0.2", wait=1)
    finally:
        stop(running)


def test_the_container_cannot_open_a_closed_device(reconfigured, netns, host_address):
    """While the primary is down, what the container does to its own end changes nothing. Repairs of such a fight wait, here not long."""
    netns("n0")
    rpc = reconfigured({"retry_min_ms": 10, "retry_max_ms": 100})
    rpc.converge(devices(1, DROPPING), [program(p) for p in DROPPING])
    running = [sender("udp", ["n0"]), sender("raw", ["n0"])]
    try:
        with Capture() as capture:
            for _ in range(20):
                run("ip", "-n", "n0", "link", "set", "eth0", "down", check=False)
                run("ip", "-n", "n0", "link", "set", "eth0", "up", check=False)
                run("ip", "link", "del", "d0", check=False)
                until(lambda: link("d0") and "UP" in link("d0")["flags"], "the device")
        assert capture.packets == []
    finally:
        stop(running)
