#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What one packet costs in this machine, through netkit and through veth, for each kind of work: JSON on standard output.

Run by tests/driver/bench in a machine that counts instructions. veth has no programs of its own; they run at tcx's hooks, and there are
two that can take the place of netkit's: egress of the sending end ("veth"), where a program sees the packet before the device does, and
ingress of the receiving end ("veth-ingress"), where it sees what netkit's programs see, the packet as it arrives.
"""
import json
import os
import subprocess
import sys

import nk

TCX_EGRESS = 47
KINDS = "netkit-l3", "netkit-l2", "veth", "veth-ingress"


def flood(interface, kind, destination="02:00:00:00:00:02"):
    return float(subprocess.check_output(["./flood", interface, kind, destination]))


def make(kind, container):
    """A pair, near and far, far in the container, both up: near's index."""
    if kind.startswith("veth"):
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
    return nk.socket.if_nametoindex("near")


def attach(kind, container, verdicts, at_tcx):
    """Programs that near's packets meet, one a verdict; of netkit in its own chain, or with at_tcx at near's tcx egress as veth's."""
    if kind == "veth-ingress" and not at_tcx:
        with container.entered():
            for verdict in verdicts:
                nk.attach(nk.load(nk.returns(verdict), nk.TCX_INGRESS), nk.socket.if_nametoindex("far"), nk.TCX_INGRESS)
        return
    hook = TCX_EGRESS if at_tcx or kind == "veth" else nk.HOOK_PRIMARY
    for verdict in verdicts:
        nk.attach(nk.load(nk.returns(verdict), hook), nk.socket.if_nametoindex("near"), hook)


def measure(kind):
    rows = {}
    target = "00:00:00:00:00:00" if kind == "netkit-l3" else "02:00:00:00:00:02"
    for size in "small", "gso":
        for work, verdicts, at_tcx in (("pass", [], False), ("one program", [nk.PASS], False),
                                       ("eight programs", [nk.NEXT] * 7 + [nk.PASS], False), ("drop", [nk.DROP], False),
                                       ("drop at tcx egress", [nk.DROP], True)):
            container = nk.Netns()
            make(kind, container)
            attach(kind, container, verdicts, at_tcx)
            rows[f"{work}, {size}"] = flood("near", size, target)
            nk.delete("near")
            container.close()

        # From tcx's ingress of another device straight to far, past near.
        container = nk.Netns()
        ifindex = make(kind, container)
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
        json.dump({kind: measure(kind) for kind in KINDS}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
