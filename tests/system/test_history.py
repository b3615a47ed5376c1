# SPDX-License-Identifier: GPL-2.0-only
"""The history: what is kept of events, for whom it is sent again, and that it outlives the daemon."""
import json
import os
import signal
import sqlite3
import subprocess
import time

import pytest
from tools import DATABASE, Lines, Rpc, addresses, main_pid, pair, run, until, wait_for_daemon


def cli(*args):
    return subprocess.run(["netkitd-cli", *args], capture_output=True, text=True)


def kept(since=0):
    """The reply, and the kept events."""
    c = Rpc()
    try:
        reply = c.call("event.subscribe", {"since": since})
        return reply, [c.next_event() for _ in range(reply["kept"])]
    finally:
        c.close()


def seq():
    return kept()[0]["seq"]


@pytest.fixture
def web(rpc, netns):
    netns("web-1")
    rpc.converge([pair()])
    return rpc


def break_once(rpc):
    """One drift and its repair; its events as a subscriber hears them."""
    c = Rpc()
    c.call("event.subscribe")
    run("ip", "addr", "del", "10.0.0.1/32", "dev", "web-1")
    heard = []
    while not heard or heard[-1]["kind"] != "repaired":
        heard.append(c.next_event())
    c.close()
    return [e for e in heard if e["kind"] in ("drift", "repaired")]


def test_kept_events_are_sent_first_and_as_they_were(web):
    since = seq()
    told = break_once(web)
    reply, events = kept(since)
    assert events == told and reply["seq"] >= told[-1]["seq"]
    assert [e["seq"] for e in events] == sorted(e["seq"] for e in events)
    # From a number in between only the rest comes.
    assert kept(told[0]["seq"])[1] == told[1:]
    assert kept(told[-1]["seq"])[1] == []
    # And what happens afterwards is heard as well.
    c = Rpc()
    n = c.call("event.subscribe", {"since": since})["kept"]
    assert [c.next_event() for _ in range(n)] == told
    later = break_once(web)
    while True:
        e = c.next_event()
        assert e["seq"] > told[-1]["seq"]
        if e == later[-1]:
            break
    c.close()


def test_without_since_only_new_ones(web):
    break_once(web)
    c = Rpc()
    reply = c.call("event.subscribe")
    assert reply["kept"] == 0 and "from" not in reply
    c.close()


@pytest.mark.parametrize("end", ["restart", "SIGKILL"])
def test_it_outlives_the_daemon_and_numbers_go_on(web, end):
    since = seq()
    told = break_once(web)
    last = seq()  # which writes what waits
    if end == "restart":
        run("systemctl", "restart", "netkitd")
    else:
        pid = main_pid()
        os.kill(pid, signal.SIGKILL)
        until(lambda: main_pid() not in (0, pid), "systemd to start it again")
    wait_for_daemon().close()
    assert kept(since)[1][:2] == told
    until(lambda: "10.0.0.1/32" in addresses("web-1"), "the device")
    again = break_once(Rpc())
    assert again[0]["seq"] > last, "no number is used twice"
    events = kept(since)[1]
    assert events[:2] == told and events[-2:] == again


def test_it_is_written_by_itself(web):
    """Nobody asks, and the daemon is killed: a second after it happened it is on disk."""
    since = seq()
    told = break_once(web)
    time.sleep(3)
    pid = main_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: main_pid() not in (0, pid), "systemd to start it again")
    wait_for_daemon().close()
    assert kept(since)[1][:2] == told


def test_it_is_bounded_and_says_from_where_it_is_whole(web):
    run("systemctl", "stop", "netkitd.socket", "netkitd")
    db = sqlite3.connect(DATABASE)
    first = db.execute("SELECT value FROM meta WHERE key='event_seq'").fetchone()[0]
    db.executemany("INSERT INTO event VALUES(?, ?)", [(first + i, json.dumps(
        {"seq": first + i, "time": "2026-01-01T00:00:00.000000Z", "kind": "drift", "object": "device/old", "detail": {"message": f"{i}"}}))
        for i in range(1, 1001)])
    db.execute("UPDATE meta SET value=? WHERE key='event_seq'", (first + 1000,))
    db.commit()
    db.close()
    run("systemctl", "start", "netkitd.socket", "netkitd")
    wait_for_daemon().close()
    break_once(Rpc())
    reply, events = kept()
    assert len(events) == 1000 and [e["kind"] for e in events[-2:]] == ["drift", "repaired"]
    assert reply["from"] > first and all(e["seq"] >= reply["from"] for e in events)
    assert kept(reply["seq"])[1] == []
    # A flood of these does not make the daemon drop who reads them.
    c = Rpc()
    c.call("event.subscribe", {"since": 0})
    time.sleep(1)
    assert len([c.next_event() for _ in range(1000)]) == 1000
    c.close()


def test_bad_since(rpc):
    for bad in (-1, "1", 1.5, None):
        with pytest.raises(Exception) as e:
            Rpc().call("event.subscribe", {"since": bad})
        assert "/since" in str(e.value)
    # A number that was never reached: of another database. Nothing is sent, and the reply shows it.
    reply, events = kept(1 << 60)
    assert events == [] and reply["seq"] < 1 << 60


def test_netkitd_cli_history(web):
    told = break_once(web)
    r = cli("history", "-n", "2")
    assert r.returncode == 0, r.stderr
    lines = r.stdout.splitlines()
    assert len(lines) == 3 and lines[0].split() == ["TIME", "(UTC)", "OBJECT", "KIND", "WHAT"], r.stdout
    for line, event in zip(lines[1:], told):
        assert line.startswith(event["time"][:19].replace("T", " ")) and "device/web-1" in line and event["kind"] in line
        assert event["detail"]["message"] in line
    assert "put back after" in lines[2] and "\033[" not in r.stdout
    whole = json.loads(cli("history", "-o", "json", "-n", "0").stdout)
    assert whole["events"][-2:] == told and whole["seq"] >= told[-1]["seq"] and whole["from"] >= 1
    assert len(json.loads(cli("history", "-o", "json", "--last=1").stdout)["events"]) == 1
    assert cli("history", "-n", "many").returncode == 2
    assert "--last" in cli("history", "--help").stdout


def test_netkitd_cli_watch_since(web):
    since = seq()
    told = break_once(web)
    watching = Lines("netkitd-cli", "-o", "json", "watch", f"--since={since}")
    try:
        assert [json.loads(watching.next("a kept event")) for _ in told] == told
    finally:
        watching.close()
    assert cli("watch", "--since=x").returncode == 2


def written():
    """Bytes that the daemon has written to files."""
    return int(open(f"/proc/{main_pid()}/io").read().split("\nwrite_bytes: ")[1].split()[0])


def test_many_repairs_cost_few_commits(rpc, netns, no_udev):
    """Of a hundred devices that drift at once the events are written together."""
    netns("many")
    rpc.converge([{"name": f"d{i}", "addresses": [f"10.9.{i}.1/32"], "peer": {"name": f"p{i}", "netns": "many"}} for i in range(100)])
    repairs = rpc.call("daemon.status")["counts"]["repairs"]
    since = seq()
    before = written()
    run("sh", "-c", "for i in $(seq 0 99); do echo addr del 10.9.$i.1/32 dev d$i; done | ip -batch -")
    until(lambda: rpc.call("daemon.status")["counts"]["repairs"] >= repairs + 100, "all repairs")
    time.sleep(2)
    # A commit is two pages of 4 KiB at least; 200 events are 120 KB.
    assert written() - before < 800_000
    assert len([e for e in kept(since)[1] if e["kind"] == "repaired"]) == 100
