"""``python -m benchmarks NAME | all | compare A.json B.json``.

`all` runs every benchmark, each in a process of its own, and with ``--json`` puts their rows into
one file.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import compare
from benchmarks.common import Parser, existing_folder, machine_facts, new_file, whole, write_json
from benchmarks.registry import BENCHMARKS, TAKES_DATA, load


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark or all; the rest of the command line is the benchmark's own."""
    parser = Parser(
        prog="python -m benchmarks",
        usage="%(prog)s NAME [options of the benchmark]",
        description=__doc__,
        add_help=False,
    )
    parser.add_argument("name", choices=[*BENCHMARKS, "all", "compare"], help="what to run")
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] in ([], ["-h"], ["--help"]):  # after a name it is the benchmark's
        parser.print_help()
        return 0 if argv else 2
    arguments, rest = parser.parse_known_args(argv)
    if arguments.name == "compare":
        return compare.main(rest)
    if arguments.name == "all":
        return run_all(rest)
    try:
        return int(load(arguments.name).main(rest))
    except ModuleNotFoundError as error:
        parser.error(f"{arguments.name} needs {error.name}, which is not installed")


def run_all(argv: list[str]) -> int:
    """Every benchmark in turn; 1 if one of them failed."""
    parser = Parser(prog="python -m benchmarks all", description=run_all.__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, a few minutes in all")
    taking = ", ".join(TAKES_DATA)
    parser.add_argument(
        "--data", type=existing_folder, metavar="DIR", help=f"folder of matrices for: {taking}"
    )
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write every row to FILE")
    options = parser.parse_args(argv)
    facts = {"benchmark": "all", "quick": options.quick, **machine_facts()}
    rows: list[dict] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in BENCHMARKS:
            if name == "real" and not options.data:
                print(f"\n# {name}: not run, as it needs --data FOLDER", flush=True)
                continue
            print(f"\n# {name}", flush=True)
            path = Path(folder) / f"{name}.json"
            command = [sys.executable, "-m", "benchmarks", name, "--json", str(path)]
            command += ["--seed", str(options.seed), *(["--quick"] if options.quick else [])]
            if name in TAKES_DATA and options.data:
                command += ["--data", str(options.data)]
            if subprocess.run(command).returncode:
                failed.append(name)
            if path.exists():
                rows += json.loads(path.read_text(encoding="utf-8"))["rows"]
            if options.json:  # so far: hours of work survive an interruption
                write_json(options.json, {"facts": facts, "rows": rows})
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
