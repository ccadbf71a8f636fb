#!/usr/bin/env python3
"""How hundi fares on Postgres: one node against two, and both against a naive broker on a slow disk.

    cargo build --release && python3 tests/bench/postgres.py target/release/hundi
    python3 tests/bench/postgres.py target/release/hundi --flush-ms 1 --naive

Starts a Postgres of its own in a temporary folder (as `nobody` when run by root), and on it, turn by turn,
one node with all callers and two nodes with half of them each; each turn has a new database, so
that neither inherits the other's rows. Prints each turn, and the medians. `--flush-ms` makes every
fdatasync of the server last so much longer, by a small library that is compiled here (needs gcc) and
loaded into the server alone. `--naive` also measures what `hundi bench --naive` measures.
"""
import argparse, json, os, shutil, socket, statistics, subprocess, sys, tempfile, time
from pathlib import Path

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int done = real(fd);
    struct timespec more = {0, FLUSH_NS};
    nanosleep(&more, 0);
    return done;
}
"""
KEYS = {name: f"{byte:02x}" * 16 + "0123456789abcdef" * 2
        for name, byte in [("HUNDI_TOKEN_KEY", 0xA1), ("HUNDI_AUDIT_KEY", 0xB2), ("HUNDI_MASTER_KEY", 0xC3)]}
NOBODY = 65534


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """A server of this run's own, until the block ends."""

    def __init__(self, flush_ms, settings):
        self.flush_ms, self.settings = flush_ms, settings

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hundi-bench-pg-"))
        self.programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
        env = {"PATH": os.environ["PATH"]}
        if self.flush_ms:
            source = self.folder / "slow.c"
            source.write_text(SHIM.replace("FLUSH_NS", str(int(self.flush_ms * 1_000_000))))
            library = self.folder / "slow.so"
            subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
            env["LD_PRELOAD"] = str(library)
        if os.getuid() == 0:
            os.chmod(self.folder, 0o755)
            os.chown(self.folder, NOBODY, NOBODY)
        self.port, data = free_port(), self.folder / "data"
        self.run("initdb", "-D", data, "-U", "hundi", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", env=env)
        settings = " ".join(f"-c {setting}" for setting in [
            "listen_addresses=127.0.0.1", "max_connections=300", "wal_sync_method=fdatasync",
            f"unix_socket_directories={self.folder}", *self.settings])
        self.run("pg_ctl", "-D", data, "-w", "-l", self.folder / "log", "-o", f"-p {self.port} {settings}", "start", env=env)
        return self

    def __exit__(self, *_):
        self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop", env={"PATH": os.environ["PATH"]})
        shutil.rmtree(self.folder)

    def run(self, program, *args, env):
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
        subprocess.run([self.programs / program, *args], check=True, stdout=subprocess.DEVNULL, env=env, cwd="/", **who)

    def sql(self, text, database="postgres"):
        return subprocess.run(
            [self.programs / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "hundi", "-Atq", database, "-c", text],
            check=True, capture_output=True, text=True).stdout

    def database(self, name):
        self.sql(f"CREATE DATABASE {name}")
        return f"postgres://hundi@127.0.0.1:{self.port}/{name}"

    def cpu(self):
        """CPU seconds of all processes of the server that live now."""
        of = subprocess.run(["pgrep", "-P", self.pid()], capture_output=True, text=True).stdout.split()
        return sum(cpu(pid) for pid in of)

    def pid(self):
        return (self.folder / "data/postmaster.pid").read_text().split()[0]


def cpu(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Node:
    """`hundi serve` on a database, until the block ends."""

    def __init__(self, program, database, key=None, settings=()):
        self.program, self.database, self.key, self.settings = program, database, key, settings

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hundi-bench-node-"))
        env = {"PATH": os.environ["PATH"], "HUNDI_LISTEN": "127.0.0.1:0", "HUNDI_SANDBOX_LISTEN": "127.0.0.1:0",
               "HUNDI_DATABASE_URL": self.database, **KEYS}
        sets = [arg for setting in self.settings for arg in ("--set", setting)]
        self.process = subprocess.Popen(
            [self.program, "serve", "--bootstrap", "keys.json", *sets],
            cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=open(self.folder / "err", "w"), text=True)
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                break
        else:
            sys.exit((self.folder / "err").read_text())
        if not self.key:
            self.key = json.loads((self.folder / "keys.json").read_text())["agent_key"]
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)
        shutil.rmtree(self.folder)

    def bench(self, callers, seconds, amount=None, more=()):
        amount = ["--amount", str(amount)] if amount else []
        return subprocess.Popen(
            [self.program, "bench", "--url", self.url, "--concurrency", str(callers), "--seconds", str(seconds), "--json", *amount, *more],
            env={"HUNDI_API_KEY": self.key, "PATH": os.environ["PATH"], **KEYS, "HUNDI_DATABASE_URL": self.database},
            stdout=subprocess.PIPE, text=True)


def told(run):
    text = run.communicate()[0]
    if run.returncode:
        sys.exit(f"bench failed: {text}")
    return json.loads(text)


def one(program, server, database, args, settings=()):
    with Node(program, database, settings=settings) as node:
        told(node.bench(args.callers, 1, args.amount))
        before, broker = server.cpu(), cpu(node.process.pid)
        got = told(node.bench(args.callers, args.seconds, args.amount, ["--naive"] if args.naive else []))
        return spell([got], server.cpu() - before, cpu(node.process.pid) - broker)


def two(program, server, database, args):
    with Node(program, database) as a, Node(program, database, key=a.key) as b:
        nodes = [a, b]
        all_of = lambda seconds: [told(run) for run in [n.bench(args.callers // 2, seconds, args.amount) for n in nodes]]
        all_of(1)
        before, broker = server.cpu(), sum(cpu(n.process.pid) for n in nodes)
        got = all_of(args.seconds)
        return spell(got, server.cpu() - before, sum(cpu(n.process.pid) for n in nodes) - broker)


def spell(got, postgres, broker):
    cycles = sum(run["cycles"] for run in got)
    naive = {name: got[0][name] for name in ("naive_per_s", "times_naive") if name in got[0]}
    return {"cycles_per_s": round(sum(run["cycles_per_s"] for run in got)), **naive,
            "postgres_us": round(postgres / cycles * 1e6), "broker_us": round(broker / cycles * 1e6),
            "p99_commit_ms": max(run["phases"]["commit"]["p99_ms"] for run in got)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=os.path.abspath)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--amount", type=int)
    parser.add_argument("--flush-ms", type=float, default=0)
    parser.add_argument("--only", choices=["one", "two"])
    parser.add_argument("--with", dest="settings", action="append", default=[], help="a setting of the server")
    parser.add_argument("--sql", help="ask the server this at the end of each turn")
    parser.add_argument("--naive", action="store_true", help="one node alone, and next to it a naive broker's store")
    parser.add_argument("--other", type=os.path.abspath, help="another build, measured in the same turns")
    args = parser.parse_args()
    all_of = {}
    with Postgres(args.flush_ms, args.settings) as server:
        for turn in range(args.turns):
            for label, program in [("", args.program)] + ([("other ", args.other)] if args.other else []):
                for name, kind in [("one", one), ("two", two)]:
                    if args.only not in (None, name) or (args.naive and name == "two"):
                        continue
                    database = f"b{turn}{name}{label.strip()}"
                    got = kind(program, server, server.database(database), args)
                    print(label + name, json.dumps(got), flush=True)
                    all_of.setdefault(label + name, []).append(got["cycles_per_s"])
                    if args.sql:
                        print(server.sql(args.sql, database))
                    server.sql(f"DROP DATABASE {database}")
    for name, speeds in all_of.items():
        print(f"{name}: median {statistics.median(speeds):.0f} cycles/s of {speeds}")


if __name__ == "__main__":
    main()
