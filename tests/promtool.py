"""Runs promtool's rule tests from Python values: series by second, rule files, what is expected."""

import json
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from controller.rules.model import RuleFile
from controller.rules.text import yaml_text

STALE = "stale"


def series(name: str, labels: Mapping[str, str], samples: Mapping[int, float | str]) -> dict[str, str]:
    """Give an input series with one slot per second: a number, STALE, or nothing."""
    inside = ",".join(f'{key}="{value}"' for key, value in labels.items())
    slots = [str(samples.get(second, "_")) for second in range(max(samples, default=0) + 1)]
    return {"series": f"{name}{{{inside}}}", "values": " ".join(slots)}


def expect(expr: str, at_s: float, samples: Mapping[str, float]) -> dict[str, Any]:
    """Expect that an expression gives these samples, by their labels as Prometheus writes them."""
    return {
        "expr": expr,
        "eval_time": f"{round(at_s * 1000)}ms",
        "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()],
    }


def run(tests: Sequence[Mapping[str, Any]], files: Iterable[RuleFile] = (), *, interval_s: float = 1) -> str:
    """Give promtool's complaints, or nothing when every test passes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rules = list(files)
        for file in rules:
            (folder / file.name).write_text(yaml_text(file), encoding="utf-8")
        document = {
            "rule_files": [file.name for file in rules],
            "evaluation_interval": f"{round(interval_s * 1000)}ms",
            "tests": list(tests),
        }
        path = folder / "test.yml"
        path.write_text(json.dumps(document), encoding="utf-8")
        done = subprocess.run(
            ["promtool", "test", "rules", str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
    return "" if done.returncode == 0 else done.stdout + done.stderr
