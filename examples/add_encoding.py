"""Check an encoding of one's own and train it beside RoPE: python examples/add_encoding.py [records folder]"""

import sys
from pathlib import Path

import pebench

FILE = Path(__file__).with_name("own_distance.py")
FOLDER = sys.argv[1] if len(sys.argv) > 1 else "records"

checks = pebench.check(f"{FILE}:OwnDistance")
print(f"{sum(check.passed for check in checks)} of {len(checks)} checks hold")
for check in checks:
    if not check.passed:
        print(f"{check.name}: {check.detail}")

# SMOKE takes seconds, and its scores mean nothing. QUICK_2 takes minutes.
records = pebench.run(["rope", f"{FILE}:OwnDistance"], profile="SMOKE", tasks=["copy"], folder=FOLDER)
for record in records:
    scores = [row.score for row in record.rows if row.score is not None]
    print(f"{record.encoding}: {record.outcome}, mean score {sum(scores) / max(1, len(scores)):.2f}")
