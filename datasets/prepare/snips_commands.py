"""Make the file of the recipe `snips_commands` out of what Snips publishes.

    git clone https://github.com/sonos/nlu-benchmark
    python datasets/prepare/snips_commands.py nlu-benchmark/2017-06-custom-intent-engines DATA_DIR

`DATA_DIR/snips/extraction` has the three files of the recipe `snips_extraction` already, which give the schemas and say
what is taken. Written is `train_rest.jsonl` beside them: the commands of the source's full train files that are in none
of the three, be it with other digits, each once. As there, a command in which one slot is filled twice is left out. The
same source gives the same bytes.
"""

import argparse
import json
import re
from collections import Counter
from pathlib import Path

SPLITS = ("train", "dev", "test")

# The source's names of slots by kind, where `snips_extraction` has another; all others are the same in both.
SLOTS = {
    "AddToPlaylist": {"music_item": "music_item_type", "entity_name": "item_name"},
    "BookRestaurant": {
        "restaurant_type": "place_type",
        "party_size_number": "party_size",
        "party_size_description": "party_members",
        "served_dish": "dish",
        "sort": "quality",
        "poi": "near_place",
        "spatial_relation": "distance",
        "timeRange": "time",
    },
    "GetWeather": {
        "timeRange": "time",
        "condition_description": "condition",
        "condition_temperature": "temperature",
        "geographic_poi": "place_name",
        "spatial_relation": "distance",
    },
    "PlayMusic": {"music_item": "music_item_type"},
    "RateBook": {
        "object_name": "title",
        "object_select": "which_one",
        "object_part_of_series_type": "series_part",
        "rating_value": "rating",
    },
    "SearchCreativeWork": {"object_name": "title"},
    "SearchScreeningEvent": {
        "object_type": "event_type",
        "object_location_type": "place_type",
        "location_name": "cinema_name",
        "movie_name": "movie",
        "spatial_relation": "distance",
        "timeRange": "time",
    },
}


def likeness(text: str) -> str:
    """What two texts have in common that differ in case, blanks and digits alone."""
    return re.sub(r"\d", "0", " ".join(text.lower().split()))


def command(kind: str, index: int, chunks: list[dict[str, str]], schema: dict) -> dict | None:
    """The record of a command, or None where the source's text is damaged or a slot is filled twice."""
    text = "".join(chunk["text"] for chunk in chunks)
    fields = dict.fromkeys(schema["properties"])
    spans = {}
    start = len(text) - len(text.lstrip())
    text, at = text.strip(), -start
    for chunk in chunks:
        begin, at = at, at + len(chunk["text"])
        if "entity" not in chunk:
            continue
        value = chunk["text"].strip()
        slot = SLOTS[kind].get(chunk["entity"], chunk["entity"])
        if slot not in fields:
            raise SystemExit(f"{kind}, command {index}: the schema has no slot {slot!r}")
        if fields[slot] is not None or not value:
            return None
        begin += chunk["text"].index(value)
        fields[slot] = value
        spans[slot] = [begin, begin + len(value)]
    if "\N{REPLACEMENT CHARACTER}" in text:
        return None
    return {"id": f"snips-full-{kind}-{index:04}", "text": text, "schema": schema, "fields": fields, "spans": spans}


def main() -> None:
    """Write the file and say how many commands of each kind it has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the folder 2017-06-custom-intent-engines of sonos/nlu-benchmark")
    parser.add_argument("data_dir", type=Path, help="the folder of data sets, as the setting data_dir names it")
    args = parser.parse_args()
    folder = args.data_dir / "snips" / "extraction"
    taken, schemas = set(), {}
    for split in SPLITS:
        for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            taken.add(likeness(record["text"]))
            schemas[record["id"].split("-")[2]] = record["schema"]
    records, found = [], Counter()
    for kind in SLOTS:
        raw = (args.source / kind / f"train_{kind}_full.json").read_text(encoding="utf-8", errors="replace")
        for index, entry in enumerate(json.loads(raw)[kind]):
            record = command(kind, index, entry["data"], schemas[kind])
            if record is None or likeness(record["text"]) in taken:
                continue
            taken.add(likeness(record["text"]))
            records.append(record)
            found[kind] += 1
    target = folder / "train_rest.jsonl"
    lines = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
    target.write_text("".join(lines), encoding="utf-8", newline="\n")
    print(f"{target}: {len(records)} commands ({', '.join(f'{kind} {n}' for kind, n in found.items())})")


if __name__ == "__main__":
    main()
