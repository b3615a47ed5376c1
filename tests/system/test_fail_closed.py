# SPDX-License-Identifier: GPL-2.0-only
"""Fail closed: no packet ever passes a half-built chain, at creation or re-creation. Shown by a capture on the host side while
containers send from their first instant."""
import subprocess
import time

import pytest
from tools import link, pair, ping, program, run, until

# Sends UDP to the host as fast as it may, from before the device is there, and never stops for an error.
SENDER = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
n = 0
while True:
    try:
        s.sendto(b"x" * 32, ("10.4.255.254", 4444)); n += 1
    except OSError:
        pass
    time.sleep(0.02)
"""
# The same through an AF_PACKET socket, which needs neither address nor route and not even an interface that is up.
RAW = """
import socket, struct, time
payload = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 17, 0, bytes([10, 4, 9, 9]), bytes([10, 4, 255, 254])) + struct.pack("!HHHH", 1, 4444, 8, 0)
while True:
    try:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        s.sendto(payload, ("eth0", 0x0800))
    except OSError:
        pass
    time.sleep(0.02)
"""


class Capture:
    """tcpdump on all host-side devices; counts what came from a container."""

    def __enter__(self):
        self.p = subprocess.Popen(["tcpdump", "-n", "-l", "-i", "any", "udp", "port", "4444"], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        self.p.stderr.readline()
        until(lambda: "listening" in self.p.stderr.readline(), "tcpdump to listen")
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        time.sleep(0.5)
        self.p.terminate()
        self.packets = [l for l in self.p.stdout.read().splitlines() if "4444" in l]


def senders(names, code):
    return [subprocess.Popen(["ip", "netns", "exec", n, "python3", "-c", code]) for n in names]


def stop(processes):
    for p in processes:
        p.kill()
    for p in processes:
        p.wait()


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
    running = senders(names[:40], SENDER) + senders(names[40:], RAW)
    try:
        time.sleep(2)
        with Capture() as capture:
            rpc.converge(devices(50, DROPPING), [program(p) for p in DROPPING], wait=200000)
            time.sleep(1)
            for i in range(0, 50, 5):
                run("ip", "link", "del", f"d{i}")
            until(lambda: all(link(f"d{i}") and "UP" in link(f"d{i}")["flags"] for i in range(50)), "all to be made again", 120)
            time.sleep(1)
        assert capture.packets == []
    finally:
        stop(running)


def test_the_capture_sees_packets_when_the_chain_lets_them_pass(rpc, netns, host_address):
    """The same set-up with a passing chain: the test above can fail."""
    names = [netns(f"n{i}") for i in range(4)]
    running = senders(names[:2], SENDER) + senders(names[2:], RAW)
    try:
        time.sleep(1)
        with Capture() as capture:
            rpc.converge(devices(4, ["next1", "next2"]), [program(p) for p in ("next1", "next2")])
            time.sleep(2)
        for i in range(4):
            assert any(f"d{i} " in l for l in capture.packets), f"nothing seen on d{i}"
    finally:
        stop(running)


def test_a_device_whose_program_does_not_load_stays_closed(rpc, netns, host_address):
    names = [netns("n0")]
    running = senders(names, SENDER) + senders(names, RAW)
    try:
        with Capture() as capture:
            result = rpc.apply(devices(1, ["next1", "absent"]), [program("next1"), program("absent", "no_such_function")])
            assert not result["converged"]
            time.sleep(2)
        assert capture.packets == []
        assert not ping("10.4.0.2", wait=1)
    finally:
        stop(running)


def test_the_container_cannot_open_a_closed_device(rpc, netns, host_address):
    """While the primary is down, what the container does to its own end changes nothing."""
    netns("n0")
    rpc.converge(devices(1, DROPPING), [program(p) for p in DROPPING])
    running = senders(["n0"], RAW)
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
