#!/usr/bin/env python3
"""How commits fare as the store grows: a table of commit latency by stored proposals and agents.

    cargo build --release && python3 tests/bench/growth.py target/release/hundi

A server plays a few cycles, its rows are multiplied in bulk (new ids, other agents, older times),
and a new server on that store is measured with `hundi bench`: one caller, then sixteen. Each size
is measured next to the nearly empty store, in turns, because the speed of a disk drifts.
Needs Python's own sqlite3, and about 4 KB of disk per proposal.
"""
import argparse, json, os, re, shutil, signal, sqlite3, subprocess, sys, tempfile, time
from pathlib import Path

CYCLES = 200  # of the template, and so the size of the nearly empty store


class Server:
    """`hundi serve` on a folder, until the block ends."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder

    def __enter__(self):
        env = {"HUNDI_LISTEN": "127.0.0.1:0", "HUNDI_SANDBOX_LISTEN": "127.0.0.1:0", "PATH": os.environ["PATH"]}
        began = time.monotonic()
        self.process = subprocess.Popen(
            [self.program, "serve", "--bootstrap", "keys.json"],
            cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                break
        self.ready_ms = (time.monotonic() - began) * 1000
        self.key = json.loads((self.folder / "keys.json").read_text())["agent_key"]
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def sealed(self):
        """Waits until the audit log has caught up with what was copied into it. Asks the store: the
        gauge of unsealed records is zero until the first look, and counts no more than one batch."""
        db = sqlite3.connect(f"file:{self.folder}/hundi-data/hundi.db?mode=ro", uri=True)
        ask = ("SELECT (SELECT max(seq) FROM records) - "
               "(SELECT json_extract(body_json, '$.after_seq') FROM docs WHERE kind = 'seal' AND id = 'cursor')")
        while db.execute(ask).fetchone()[0] != 0:
            time.sleep(0.5)
        db.close()

    def bench(self, callers, seconds=None, cycles=None):
        much = ["--seconds", str(seconds)] if seconds else ["--cycles", str(cycles)]
        run = subprocess.run(
            [self.program, "bench", "--url", self.url, "--concurrency", str(callers), "--json", *much],
            env={"HUNDI_API_KEY": self.key, "PATH": os.environ["PATH"]}, capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stderr)
        return json.loads(run.stdout)

    def memory_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024


def grow(path, proposals, agents):
    """Copies the template's rows until there are so many proposals, of so many agents."""
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-400000;")
    columns = lambda table: [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    row = lambda table, where, *args: dict(
        zip(columns(table), db.execute(f"SELECT * FROM {table} WHERE {where} LIMIT 1", args).fetchone()))
    proposal = row("proposals", "state = 'executed'")
    about = "proposal = ?", proposal["id"]
    execution = row("executions", *about)
    records = [dict(zip(columns("records"), r)) for r in
               db.execute("SELECT * FROM records WHERE proposal = ? ORDER BY seq", (proposal["id"],))]
    policy = row("docs", "kind = 'policy' AND body_json IS NOT NULL")
    nonce = row("nonces", "1")
    have = db.execute("SELECT count(*) FROM proposals").fetchone()[0]
    first = proposal["created_at"] - proposals
    name = lambda n: f"agent-{n % agents:06}"

    def insert(table, rows):
        names = columns(table)
        marks = ",".join("?" * len(names))
        db.executemany(f"INSERT INTO {table} VALUES ({marks})", ([r[n] for n in names] for r in rows))

    db.execute("BEGIN")
    insert("docs", ({**policy, "id": name(n)} for n in range(agents)))
    for start in range(0, max(0, proposals - have), 20_000):
        batch = range(start, min(start + 20_000, proposals - have))
        ids = {n: (first + n).to_bytes(6, "big") + b"\x70" + os.urandom(1) + b"\x80" + os.urandom(7) for n in batch}
        insert("proposals", ({**proposal, "id": ids[n], "agent": name(n), "caller_key": None,
                              "created_at": first + n} for n in batch))
        insert("executions", ({**execution, "proposal": ids[n], "commit_id": os.urandom(16),
                               "idempotency_key": ids[n].hex(), "claimed_at": first + n} for n in batch))
        # Kept for a day, so that what is measured is a million nonces and not their removal.
        insert("nonces", ({**nonce, "nonce": (first + n).to_bytes(6, "big") + os.urandom(10),
                           "kept_until": nonce["kept_until"] + 86_400} for n in batch))
        insert("records", ({**record, "seq": None, "at": first + n, "agent": name(n), "proposal": ids[n]}
                           for n in batch for record in records))
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def measured(program, folder, seconds):
    with Server(program, folder) as server:
        server.sealed()
        server.bench(16, cycles=200)
        lone, busy = server.bench(1, seconds=seconds), server.bench(16, seconds=seconds)
        return {"ready_ms": round(server.ready_ms), "memory_mib": server.memory_mib(),
                "lone_p50": lone["phases"]["commit"]["p50_ms"], "lone_p99": lone["phases"]["commit"]["p99_ms"],
                "p50": busy["phases"]["commit"]["p50_ms"], "p99": busy["phases"]["commit"]["p99_ms"],
                "cycles_per_s": busy["cycles_per_s"]}


def main():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("hundi", type=Path)
    parse.add_argument("--sizes", default="1000:10,100000:1000,1000000:10000", help="PROPOSALS:AGENTS,...")
    parse.add_argument("--seconds", type=int, default=5, help="of each of the two loads of a row")
    parse.add_argument("--folder", default=".", help="where the stores are made")
    parse.add_argument("--prepare", type=Path, help="make the stores in this folder and stop")
    parse.add_argument("--prepared", type=Path, help="measure the stores made there")
    args = parse.parse_args()
    program = args.hundi.resolve()
    sizes = [tuple(map(int, size.split(":"))) for size in args.sizes.split(",")]
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        home = args.prepared or args.prepare or Path(scratch)
        if not args.prepared:
            empty = home / "empty"
            empty.mkdir(parents=True)
            with Server(program, empty) as server:
                server.bench(16, cycles=CYCLES)
            for proposals, agents in sizes:
                grown = home / str(proposals)
                shutil.copytree(empty, grown)
                grow(grown / "hundi-data" / "hundi.db", proposals, agents)
                with Server(program, grown) as server:
                    server.sealed()
        if args.prepare:
            return
        print(f"{'proposals':>10} {'agents':>7} {'ready':>8} {'RSS':>8} {'1: p50':>8} {'p99':>8} {'16: p50':>8} {'p99':>8}"
              f" {'cycles/s':>9} {'p99 to empty':>13}", flush=True)
        for proposals, agents in sizes:
            # The system's own writing of what was filled in is not to be measured.
            os.sync()
            base = measured(program, home / "empty", args.seconds)
            told = measured(program, home / str(proposals), args.seconds)
            for size, of, row in (CYCLES, 1, base), (proposals, agents, told):
                print(f"{size:>10} {of:>7} {row['ready_ms']:>5} ms {row['memory_mib']:>4} MiB {row['lone_p50']:>8.2f}"
                      f" {row['lone_p99']:>8.2f} {row['p50']:>8.2f} {row['p99']:>8.2f} {row['cycles_per_s']:>9.0f}"
                      f" {row['p99'] / base['p99']:>13.2f}", flush=True)


main()
