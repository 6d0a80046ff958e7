"""``python -m tests.fuzz --inputs 10000 [--seed S]``: run damaged inputs, keep what breaks a promise.

``--only N`` runs a single input of a seed again, in this process.
"""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from .campaign import outcome_of, run_campaign
from .mutations import mutant
from .seeds import make_seeds

# A defect is found by many inputs; these many tell enough of it.
MOST_KEPT = 30


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="how many inputs (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="repeat the inputs of an earlier run (default: new ones)")
    parser.add_argument("--only", type=int, metavar="N", help="run input N of the seed alone")
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"), help="folder for them (%(default)s)")
    return parser.parse_args()


def _main() -> int:
    asked = _arguments()
    seed = secrets.randbelow(1 << 31) if asked.seed is None else asked.seed
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        seeds, scratch = make_seeds(Path(folder) / "seeds"), Path(folder) / "scratch"
        if asked.only is not None:
            one = mutant(seeds, seed, asked.only)
            print(f"input {one.number} ({one.kind}): {outcome_of(one, seeds, scratch)}")
            return 0
        campaign = run_campaign(seeds, scratch, seed, asked.inputs)
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(campaign.codes.items()))
    print(f"seed {seed}: {campaign.inputs} inputs, exit codes {codes}; {len(campaign.findings)} broke a promise")
    for finding in campaign.findings[:MOST_KEPT]:
        asked.findings.mkdir(parents=True, exist_ok=True)
        path = asked.findings / f"{seed}-{finding.mutant.number}.{finding.mutant.kind}"
        path.write_bytes(finding.mutant.content)
        print(f"{path}: {finding.what}; again: python -m tests.fuzz --seed {seed} --only {finding.mutant.number}")
    return 1 if campaign.findings else 0


if __name__ == "__main__":
    sys.exit(_main())
