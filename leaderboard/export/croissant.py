"""Croissant metadata of a dataset's parquet files, and what the dataset says of itself."""

import hashlib
from pathlib import Path
from typing import Any

from pebench.leaderboard.export.citation import AUTHORS, cited
from pebench.leaderboard.export.tables import BOOLEAN, INTEGER, NUMBER, SCHEMAS, TEXT

LICENCE_URL = "https://www.apache.org/licenses/LICENSE-2.0"
ABOUT = (
    "Results of pebench: positional encodings of causal Transformer language models, each built into the same "
    "small model, trained in the same way and measured on length generalisation, retrieval, language modelling "
    "beyond the training length, and speed."
)
CROISSANT_TYPES = {TEXT: "sc:Text", INTEGER: "sc:Integer", NUMBER: "sc:Float", BOOLEAN: "sc:Boolean"}


def croissant(folder: Path, version: str, day: str) -> dict[str, Any]:
    """Croissant 1.0 metadata (https://docs.mlcommons.org/croissant) of the parquet files in a folder."""
    files, sets = [], []
    for name, schema in SCHEMAS.items():
        if not (folder / "data" / f"{name}.parquet").exists():
            continue
        data = (folder / "data" / f"{name}.parquet").read_bytes()
        files.append(
            {
                "@type": "cr:FileObject",
                "@id": f"{name}.parquet",
                "name": f"{name}.parquet",
                "contentUrl": f"data/{name}.parquet",
                "contentSize": f"{len(data)} B",
                "encodingFormat": "application/x-parquet",
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
        fields = [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{field.name}",
                "name": f"{name}/{field.name}",
                "description": field.metadata[b"about"].decode(),
                "dataType": CROISSANT_TYPES[field.type],
                "source": {"fileObject": {"@id": f"{name}.parquet"}, "extract": {"column": field.name}},
            }
            for field in schema
        ]
        sets.append({"@type": "cr:RecordSet", "@id": name, "name": name, "field": fields})
    return {
        "@context": CROISSANT_CONTEXT,
        "@type": "sc:Dataset",
        "name": "pebench_results",
        "description": ABOUT,
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": LICENCE_URL,
        "version": version,
        "datePublished": day,
        "creator": {"@type": "sc:Organization", "name": AUTHORS},
        "citeAs": cited(version),
        "distribution": files,
        "recordSet": sets,
    }


# The standard's own context, whole: readers compare it.
CROISSANT_NAMES = (
    "citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes "
    "isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace "
    "samplingRate separator source subField transform"
)
CROISSANT_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{name: f"cr:{name}" for name in CROISSANT_NAMES.split()},
}
