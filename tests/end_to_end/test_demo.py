"""The demo decides every policy as the weather record says, and leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_demo_json_last_line_tells_all_four_ends():
    command = [sys.executable, "-m", "demo", "--json"]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True, timeout=180)
    document = json.loads(done.stdout.splitlines()[-1])
    drought, wet, missing, unserved = document["requests"]
    assert document["ok"]
    assert drought["outcome"] == wet["outcome"] == "COMPLETED"
    assert drought["decision"] == "0.0 mm, dry for 31 days: pays"
    assert wet["decision"] == "284.5 mm, dry for 3 days: does not pay"
    assert missing["outcome"] == "TRAPPED"
    assert "0 of the 30 days" in missing["decision"]
    assert missing["fee_gwei"] < missing["fee_gwei"] + missing["refund_gwei"]  # only the work is paid
    assert unserved["outcome"] == "EXPIRED"
    assert unserved["fee_gwei"] == 0
    assert "Traceback" not in done.stderr
