"""Every Eval Ever logs of the records: https://github.com/evaleval/every_eval_ever."""

import hashlib
import json
import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from pebench.leaderboard import table
from pebench.leaderboard.export.tables import encodable, published, text
from pebench.leaderboard.extension import is_pretrained, pretrained, subject_of
from pebench.suite.results.metrics import METRICS
from pebench.suite.results.record import Record, Row, write_whole

EEE_VERSION = "0.3.0"  # of the schema


def write_log(log: dict[str, Any], folder: Path) -> Path:
    """Write a log where the datastore wants it: data/collection/developer/model/uuid.json."""
    name = uuid.uuid5(uuid.NAMESPACE_URL, log["evaluation_id"])
    path = folder / "data" / "pebench" / Path(log["model_info"]["id"]) / f"{name}.json"
    write_whole(path, f"{json.dumps(log, indent=1, allow_nan=False)}\n".encode())
    return path


def eee(records: Iterable[Record]) -> list[dict[str, Any]]:
    """One Every Eval Ever log for each encoding, profile and seed, with every row that counts in the ranking.

    Of methods on pretrained models: one for each model and corpus, too.
    """
    runs: dict[tuple[str, str, int, tuple[str, ...]], list[Record]] = defaultdict(list)
    for record in sorted(map(encodable, records), key=lambda r: r.path):
        subject = subject_of(record) if is_pretrained(record) else ()
        runs[record.profile, record.encoding, record.seed, subject].append(record)
    logs = []
    for (profile, encoding, seed, _), part in runs.items():
        results = [_result(r, row) for r in part for row in r.rows if row.score is not None]
        if not results:
            continue
        first, versions = part[0], part[0].provenance.get("versions")
        pebench = versions.get("pebench", "unknown") if isinstance(versions, dict) else "unknown"
        prints = "".join(r.fingerprint for r in part)
        logs.append(
            {
                "schema_version": EEE_VERSION,
                "evaluation_id": f"pebench/{profile}/{encoding}/{seed}/"
                + hashlib.sha256(prints.encode()).hexdigest()[:16],
                "evaluation_timestamp": text(max(str(r.provenance.get("started", "")) for r in part)),
                "retrieved_timestamp": str(_epoch(part)),
                "source_metadata": {
                    "source_name": "pebench",
                    "source_type": "documentation",
                    "source_organization_name": "pebench",
                    "evaluator_relationship": "other",
                },
                "eval_library": {"name": "pebench", "version": str(pebench)},
                "model_info": {
                    "name": encoding,
                    "id": f"pebench/{encoding}",
                    "developer": "pebench",
                    "additional_details": {
                        "deployment_type": "self_deployed",
                        "model_availability": "unknown",
                        "title": text(first.card.get("title")),
                        "paper": text(first.card.get("paper")),
                        "profile": profile,
                        "seed": str(seed),
                        **({"pretrained_model": model} if (model := pretrained(first)) else {}),
                    },
                },
                "evaluation_results": results,
            }
        )
    return logs


def _result(record: Record, row: Row) -> dict[str, Any]:
    metric = METRICS[row.metric]
    assert row.floor is not None
    assert row.ceiling is not None
    label = table.label(row.condition)
    return {
        "evaluation_result_id": f"{record.task}/{row.metric}/{label}",
        "evaluation_name": f"pebench.{record.task}",
        "source_data": {
            "dataset_name": f"pebench-{record.task}",
            "source_type": "other",
            "additional_details": {"corpus": text(_corpus(record))},
        },
        "metric_config": {
            "evaluation_description": f"{metric.about}; {label}" if label else metric.about,
            "metric_id": f"pebench.{row.metric}",
            "metric_name": metric.title,
            "metric_unit": metric.unit,
            "metric_parameters": dict(row.condition),
            "lower_is_better": metric.better == "lower",
            "score_type": "continuous",
            # Shares are bounded; every other metric may lie beyond its floor or its ceiling.
            "min_score": 0.0 if row.value >= 0 else "-Infinity",
            "max_score": 1.0 if metric.unit == "share" else "Infinity",
        },
        "score_details": {
            "score": row.value,
            "details": {"content_free_floor": repr(row.floor), "oracle": repr(row.ceiling)},
            "uncertainty": {"num_samples": row.n},
        },
    }


def _corpus(record: Record) -> object:
    corpus = record.setup.get("corpus")
    return corpus.get("name") if isinstance(corpus, dict) else ""


def _epoch(records: list[Record]) -> int:
    """Seconds since 1970 of the newest record: the log is made of it, so the same records give the same log."""
    return int(datetime.fromisoformat(f"{published(records)}T00:00:00+00:00").timestamp())
