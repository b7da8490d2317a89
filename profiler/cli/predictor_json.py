"""What models say and how good they are, as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict

from profiler.cli.json_text import Json
from profiler.prediction_stages.evaluate import Evaluation
from profiler.prediction_stages.fit import FitResult
from profiler.prediction_stages.predict import LayerAnswer, Predictions
from profiler.predictor.estimate import Estimate
from profiler.predictor.validation.report_json import plain, to_json


def fit_json(result: FitResult) -> Json:
    """The validation report, and what was saved."""
    return {
        "model": str(result.model),
        "regressor": result.regressor,
        "configs": result.configs,
        "other_conditions": result.other_conditions,
        "notes": list(result.notes),
        "report": to_json(result.report),
    }


def predictions_json(predictions: Predictions) -> Json:
    """One object per layer with an answer per precision, or one per listed kernel; warnings with their counts."""
    origin, network = predictions.origin, predictions.network
    found: Json = {
        "device": origin.device,
        "device_name": origin.device_name,
        "fingerprint": origin.fingerprint,
        "threads": origin.conditions.threads,
        "cache_mode": origin.conditions.cache_mode.value,
        "confidence": predictions.confidence,
    }
    if network is None:
        found["kernels"] = [_estimate_json(estimate) for estimate in predictions.estimates]
        found["configs"] = [
            {"kernel": k.spec.key, "space": k.space, "best": [asdict(e) for e in k.best]} for k in predictions.configs
        ]
    else:
        names = [precision.name for precision in network.precisions]
        found |= {
            "network": network.network,
            "batch": network.batch,
            "precisions": names,
            "layers": [
                {
                    "layers": list(line.layers),
                    "workload": line.workload.text,
                    "answers": {n: _answer_json(a) for n, a in zip(names, line.answers, strict=True)},
                }
                for line in network.lines
            ],
            "totals": {n: asdict(total) for n, total in zip(names, network.totals, strict=True)},
            "skipped": list(network.skipped),
        }
    return found | {
        "warnings": dict(predictions.warnings),
        "notes": list(predictions.notes),
        "lut": None if predictions.out is None else str(predictions.out),
        "written": predictions.written,
    }


def evaluation_json(evaluation: Evaluation) -> Json:
    """Flat where a program asks first, and the rest."""
    inside = evaluation.coverage_inside
    return {
        "lut": str(evaluation.lut),
        "device": evaluation.origin.device,
        "fingerprint": evaluation.fingerprint,
        "model_fingerprint": evaluation.origin.fingerprint,
        "seen_rows": evaluation.seen_rows,
        "only_seen": evaluation.only_seen,
        **asdict(evaluation.accuracy),
        "coverage_percent": evaluation.coverage.percent,
        "coverage_low_percent": evaluation.coverage.low_percent,
        "coverage_high_percent": evaluation.coverage.high_percent,
        "coverage_verdict": evaluation.coverage.verdict,
        "inside_rows": inside.rows if inside else 0,
        "inside_coverage_percent": inside.percent if inside else None,
        "halfwidth_percent": evaluation.halfwidth_percent,
        "ratios": plain(evaluation.ratios),
        "level": evaluation.level,
        "noise_percent": evaluation.noise.percent,
        "noise_origin": evaluation.noise.origin.value,
        "worst": plain(evaluation.worst),
        "notes": list(evaluation.notes),
    }


def _answer_json(answer: LayerAnswer) -> Json:
    return {
        "latency_s": answer.latency_s,
        "low_s": answer.low_s,
        "high_s": answer.high_s,
        "basis": answer.basis.value,
        "variant": answer.variant.value,
        "kernels": [_estimate_json(estimate) for estimate in answer.kernels],
    }


def _estimate_json(estimate: Estimate) -> Json:
    return {
        "spec": estimate.spec.to_dict(),
        "latency_s": estimate.latency_s,
        "low_s": estimate.low_s,
        "high_s": estimate.high_s,
        "basis": estimate.basis.value,
        "warnings": list(estimate.warnings),
    }
