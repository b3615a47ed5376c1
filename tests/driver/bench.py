#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What one packet costs in this machine, through netkit and through veth, for each kind of work: JSON on standard output.

Run by tests/driver/bench in a machine that counts instructions. veth runs the same programs where it can: on tcx's egress hook.
"""
import json
import os
import subprocess
import sys

import nk

TCX_EGRESS = 47


def flood(interface, kind, destination="02:00:00:00:00:02"):
    return float(subprocess.check_output(["./flood", interface, kind, destination]))


def make(kind, container):
    """A pair, near and far, far in the container, both up: near's index, and the hook where its programs go."""
    if kind == "veth":
        nk.run("ip", "link", "add", "near", "type", "veth", "peer", "name", "far")
        nk.run("ip", "link", "set", "far", "netns", f"/proc/{os.getpid()}/fd/{container.fd}")
    else:
        mode = nk.L2 if kind == "netkit-l2" else nk.L3
        nk.create("near", nk.attr(nk.MODE, nk.u32(mode)), "far", peer_more=nk.attr(nk.IFLA_NET_NS_FD, nk.u32(container.fd)))
    nk.up("near")
    with container.entered():
        if kind != "netkit-l3":
            nk.run("ip", "link", "set", "far", "address", "02:00:00:00:00:02")
        nk.up("far")
        nk.wait_until_running("far")
    nk.wait_until_running("near")
    return nk.socket.if_nametoindex("near"), TCX_EGRESS if kind == "veth" else nk.HOOK_PRIMARY


def measure(kind):
    rows = {}
    target = "00:00:00:00:00:00" if kind == "netkit-l3" else "02:00:00:00:00:02"
    for size in "small", "gso":
        for work, verdicts in (("pass", []), ("one program", [nk.PASS]), ("eight programs", [nk.NEXT] * 7 + [nk.PASS]),
                               ("drop", [nk.DROP])):
            container = nk.Netns()
            ifindex, hook = make(kind, container)
            for verdict in verdicts:
                nk.attach(nk.load(nk.returns(verdict), hook), ifindex, hook)
            rows[f"{work}, {size}"] = flood("near", size, target)
            nk.delete("near")
            container.close()

        # From tcx's ingress of another device straight to far, past near.
        container = nk.Netns()
        ifindex, _ = make(kind, container)
        nk.run("ip", "link", "add", "in0", "type", "veth", "peer", "name", "in1")
        nk.up("in0", "in1")
        nk.wait_until_running("in1")
        nk.attach(nk.load(nk.redirects(ifindex, 155), nk.TCX_INGRESS), nk.socket.if_nametoindex("in0"), nk.TCX_INGRESS)
        rows[f"redirect_peer, {size}"] = flood("in1", size, target)
        nk.delete("in0")
        nk.delete("near")
        container.close()
    return rows


def main():
    with nk.Netns().entered():
        json.dump({kind: measure(kind) for kind in ("netkit-l3", "netkit-l2", "veth")}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
