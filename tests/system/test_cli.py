# SPDX-License-Identifier: GPL-2.0-only
"""netkitd-cli against the running daemon: output for people and programs, exit statuses, completion, man pages."""
import json
import os
import pty
import select
import socket
import subprocess
import threading
import time

import pytest
from tools import PATIENCE, Lines, addresses, link, pair, program, run, until


def cli(*args, input=None):
    return subprocess.run(["netkitd-cli", *args], capture_output=True, text=True, input=input)


@pytest.fixture
def document(netns, tmp_path):
    netns("web-1")
    path = tmp_path / "web.json"
    path.write_text(json.dumps({"programs": [program("next1")],
                                "devices": [pair(attachments=[{"name": "fw", "hook": "netkit/peer", "program": "next1"}])]}))
    return str(path)


def test_apply_from_a_file_and_from_standard_input(rpc, document):
    r = cli("apply", "--wait", document)
    assert r.returncode == 0, r.stderr
    assert link("web-1")
    again = cli("apply", "--wait", "-", input=open(document).read())
    assert again.returncode == 0, again.stderr


def test_plan_and_dry_run_change_nothing(rpc, document):
    for args in (("plan", document), ("apply", "--dry-run", document)):
        r = cli(*args)
        assert r.returncode == 0, r.stderr
        assert "create web-1" in r.stdout and "open web-1" in r.stdout
        assert r.stdout.index("create web-1") < r.stdout.index("open web-1")
    assert link("web-1") is None


def test_list_get_and_status_for_people_and_programs(rpc, document):
    assert cli("apply", "--wait", document).returncode == 0
    table = cli("list")
    assert table.returncode == 0 and "web-1" in table.stdout and "\033[" not in table.stdout
    assert [d["name"] for d in json.loads(cli("-o", "json", "list").stdout)["devices"]] == ["web-1"]
    assert json.loads(cli("-o", "json", "get", "web-1").stdout)["name"] == "web-1"
    assert "fw" in cli("list", "attachments").stdout and "next1" in cli("list", "programs").stdout
    assert json.loads(cli("-o", "json", "status").stdout)["health"] == "ok"
    assert cli("status").returncode == 0


def test_interfaces(rpc):
    text = json.dumps({"programs": [program("next1")],
                       "interfaces": [{"name": "t0", "attachments": [{"name": "fw", "hook": "tcx/ingress", "program": "next1"}]}]})
    try:
        missing = cli("apply", "--wait=1", "-", input=text)
        assert missing.returncode == 3 and "interface/t0" in missing.stderr + missing.stdout and "InterfaceMissing" in missing.stderr + missing.stdout
        run("ip", "link", "add", "t0", "type", "dummy")
        assert cli("wait").returncode == 0
        table = cli("list", "interfaces").stdout
        assert "t0" in table and "Ready" in table and "t0" not in cli("list").stdout
        assert cli("list", "--names", "interfaces").stdout.split() == ["t0"]
        shown = cli("get", "t0")
        assert shown.returncode == 0 and "fw" in shown.stdout and "ifindex" in shown.stdout
        assert "fw" in cli("list", "attachments", "t0").stdout
        assert "tcx/ingress" in cli("chain", "t0").stdout
        assert complete("get", "") == complete("chain", "") == complete("list", "attachments", "") == {"t0"}
        assert "1: 1 ready" in cli("status").stdout
        refused = cli("set", "t0", "mtu=1400")
        assert refused.returncode == 2 and "apply" in refused.stderr
        assert cli("delete", "--wait", "t0").returncode == 0
        assert cli("get", "t0").returncode == 1 and cli("list", "interfaces", "--names").stdout == "" and link("t0")
    finally:
        cli("delete", "--wait", "t0")
        run("ip", "link", "del", "t0", check=False)


def test_set_delete_and_wait(rpc, netns):
    netns("web-1")
    r = cli("set", "-", input=json.dumps(pair()))
    assert r.returncode == 0, r.stderr
    assert cli("wait").returncode == 0
    assert addresses("web-1") == {"10.0.0.1/32"}
    assert cli("set", "web-1", "mtu=1400").returncode == 0
    until(lambda: link("web-1")["mtu"] == 1400, "the MTU")
    r = cli("delete", "web-1")
    assert r.returncode == 0, r.stderr
    until(lambda: link("web-1") is None, "the device to go")


def test_watch_tells_events(rpc, document):
    told = Lines("netkitd-cli", "-o", "json", "watch")
    try:
        until(lambda: rpc.call("daemon.status")["counts"]["subscribers"] == 1, "the subscription")
        assert cli("apply", "--wait", document).returncode == 0
        run("ip", "link", "del", "web-1")
        kinds = [json.loads(l)["kind"] for l in told.until(lambda l: json.loads(l)["kind"] == "repaired", "the repair to be told")]
    finally:
        told.close()
    assert "document-changed" in kinds and kinds.index("drift") < kinds.index("repaired")


def test_a_thousand_devices_in_one_go(rpc, netns):
    netns("many")
    devices = [{"name": f"d{i}", "addresses": [f"10.{32 + i // 250}.{i % 250}.1/32"],
                "peer": {"name": f"p{i}", "netns": "many", "addresses": [f"10.{32 + i // 250}.{i % 250}.2/32"]}} for i in range(1000)]
    r = cli("apply", "--wait=300", "-", input=json.dumps({"devices": devices}))
    assert r.returncode == 0, r.stderr
    assert sum(1 for l in run("ip", "-o", "link", "show", "type", "netkit", "up").splitlines()) == 1000
    assert addresses("d999") == {"10.35.249.1/32"} and addresses("p999", "many") == {"10.35.249.2/32"}


@pytest.mark.parametrize("args,status,said", [
    (("apply", "/no/such/file"), 1, "/no/such/file"),
    (("get", "nobody"), 1, "nobody"),
    (("delete", "nobody"), 1, "nobody"),
    (("-s", "/run/no-such.sock", "status"), 1, "/run/no-such.sock"),
    (("nonsense",), 2, "nonsense"),
    (("delete",), 2, "delete"),
    (("apply", "--nonsense"), 2, "--nonsense"),
    (("wait", "--revision", "999999999"), 1, "999999999"),
])
def test_errors_and_exit_statuses(rpc, args, status, said):
    r = cli(*args)
    assert r.returncode == status, r.stderr
    assert said in r.stderr and r.stderr.startswith("netkitd-cli: ")


def test_a_refused_document_names_the_line(rpc, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text('{\n  "devices": [\n    {"name": "web-1",\n     "mtu": "large"}\n  ]\n}\n')
    r = cli("apply", str(path))
    assert r.returncode == 1
    assert "/devices/0/mtu" in r.stderr and f"{path}:4" in r.stderr


def test_degraded_is_exit_status_3(rpc, netns):
    netns("web-1")
    doc = {"programs": [program("x", "no_such_function")],
           "devices": [pair(attachments=[{"name": "fw", "hook": "netkit/peer", "program": "x"}])]}
    r = cli("apply", "--wait", "-", input=json.dumps(doc))
    assert r.returncode == 3
    assert "no_such_function" in r.stdout + r.stderr
    assert cli("status").returncode == 3


def test_waiting_on_a_terminal_ends_when_nothing_is_under_way(rpc, netns):
    """One device that will not be ready: said as soon as it has settled, not when the time is up."""
    netns("web-1")
    doc = {"programs": [program("x", "no_such_function")],
           "devices": [pair(attachments=[{"name": "fw", "hook": "netkit/peer", "program": "x"}])]}
    assert not rpc.apply(doc["devices"], doc["programs"])["converged"]
    terminal, side = pty.openpty()
    end = time.monotonic() + PATIENCE
    p = subprocess.Popen(["netkitd-cli", "apply", "--wait=600", "-"], stdin=subprocess.PIPE, stdout=side, stderr=side)
    p.stdin.write(json.dumps(doc).encode())
    p.stdin.close()
    said, ended = b"", False
    # The other side stays open: once nobody has it, a read may fail while there is something left to be read.
    while not ended:
        ended = p.poll() is not None
        while select.select([terminal], [], [], 0 if ended else 0.1)[0]:
            said += os.read(terminal, 4096)
        if time.monotonic() > end:
            p.kill()
    os.close(terminal)
    os.close(side)
    assert p.wait() == 3 and b"no_such_function" in said


def test_the_verifiers_log_can_be_read(rpc):
    doc = {"programs": [program("reads_too_far", object="/usr/lib/netkitd-tests/reject.bpf.o")]}
    for r in (cli("apply", "--wait", "-", input=json.dumps(doc)), cli("list", "programs")):
        lines = [line.strip() for line in (r.stdout + r.stderr).splitlines()]
        assert any(line.startswith("invalid access to packet") for line in lines), lines
        assert any(line.startswith("processed ") for line in lines), lines


def test_a_reader_without_rights_is_told_what_to_do(rpc):
    r = subprocess.run(["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "netkitd-cli", "status"],
                       capture_output=True, text=True)
    assert r.returncode == 1 and "netkitd" in r.stderr and "group" in r.stderr


def test_check_schema_and_help(rpc):
    assert cli("check").returncode == 0
    assert json.loads(cli("schema").stdout)["$defs"]
    commands = [line.split()[0] for line in cli("--help").stdout.splitlines() if line.startswith("  ") and line.split()]
    for command in ("status", "apply", "plan", "get", "list", "set", "delete", "wait", "watch", "check", "schema"):
        assert command in commands
        assert cli(command, "--help").returncode == 0


@pytest.mark.parametrize("state,needed,status", [("present", True, 0), ("missing", True, 1), ("unknown", True, 1), ("missing", False, 0),
                                                 ("unknown", False, 0)])
def test_check_fails_where_netkitd_does(tmp_path, state, needed, status):
    """What is needed has to be there; that nobody could find out is no yes."""
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(tmp_path / "socket"))
        daemon.listen()
        daemon.settimeout(100)

        def answer():
            client, _ = daemon.accept()
            request = json.loads(client.makefile().readline())
            one = {"name": "netkit", "text": "netkit devices", "state": state, "needed": needed, "how": "said so"}
            client.sendall(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {"capabilities": [one]}}).encode() + b"\n")
            client.close()
        served = threading.Thread(target=answer)
        served.start()
        r = cli("-s", str(tmp_path / "socket"), "check")
        served.join()
    assert r.returncode == status and state in r.stdout, r.stderr


@pytest.mark.parametrize("page", ["man8/netkitd.8", "man1/netkitd-cli.1", "man5/netkitd.json.5"])
def test_man_pages_are_installed(page):
    text = open(f"/usr/share/man/{page}").read()
    assert text.count(".TH ") == 1 and "DESCRIPTION" in text


def complete(*words):
    """What bash offers for the last of these words."""
    script = """
        . /usr/share/bash-completion/completions/netkitd-cli
        complete -p netkitd-cli | grep -q ' -F _netkitd_cli ' || exit 1
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _netkitd_cli
        printf '%s\n' "${COMPREPLY[@]}"
    """
    return set(run("bash", "-c", script, "bash", "netkitd-cli", *words).split())


def test_completion(rpc, netns, tmp_path):
    netns("web-1")
    rpc.converge([pair(), {"name": "left", "peer": {"name": "right"}}])
    commands = complete("")
    assert {"status", "apply", "plan", "get", "list", "set", "delete", "wait", "watch", "check", "schema"} <= commands
    for command in commands:
        assert cli(command, "--help").returncode == 0, command
    assert complete("sta") == {"status"}
    assert complete("apply", "--dr") == {"--dry-run"}
    assert {"--wait", "--replace", "--help", "--socket"} <= complete("apply", "--")
    assert "--wait" not in complete("--")
    assert complete("-o", "") == {"table", "json"} == complete("--output", "=", "")
    assert complete("list", "") == {"devices", "interfaces", "programs", "attachments"}
    assert complete("get", "") == {"web-1", "left"} == complete("list", "attachments", "") == complete("chain", "")
    assert complete("delete", "web-1", "l") == {"left"}
    assert complete("get", "web-1", "") == set()
    assert complete("-s", "/run/no-such.sock", "get", "") == set()
    assert complete("apply", f"{tmp_path}/") == set()
    (tmp_path / "web.json").write_text("{}")
    assert complete("apply", f"{tmp_path}/") == {f"{tmp_path}/web.json"}
    for what in complete("schema", ""):
        assert cli("schema", what).returncode == 0, what
