"""From a folder to a `Skill`, or to the first reason why it is none. Nothing in the folder is executed."""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from tools_server.engine.types import Adapter
from tools_server.skills.calibration import FILE as CALIBRATION_FILE
from tools_server.skills.calibration import calibrations_of
from tools_server.skills.folder import Problem, SkillFolder
from tools_server.skills.interface import Common, input_schema, result_schema
from tools_server.skills.manifest import FILE as MANIFEST_FILE
from tools_server.skills.manifest import Manifest, parse_manifest
from tools_server.skills.prose import FILE as PROSE_FILE
from tools_server.skills.prose import parse_prose
from tools_server.skills.schemas import (
    CHOOSE_NAMES,
    INPUT_FILE,
    NO_ARGUMENTS,
    OUTPUT_FILE,
    check_arguments,
    check_output,
)
from tools_server.skills.template import FILE as PROMPT_FILE
from tools_server.skills.template import compile_prompt
from tools_server.skills.types import BrokenSkill, Skill

SHAPING_FILES = (MANIFEST_FILE, INPUT_FILE, OUTPUT_FILE, PROMPT_FILE, CALIBRATION_FILE)
"""What the digest covers. An adapter's bytes are covered by the SHA-256 in the manifest."""

PROMPT_FILES = (INPUT_FILE, OUTPUT_FILE, PROMPT_FILE)
PROMPT_KEYS = {"kind", "choose", "generate"}
"""What of the files, and of the manifest, decides what the model is asked and in which form it answers."""

BESIDE_KEYS = {"generate": {"recognise", "everywhere"}}
"""What of these keys only code reads."""

GGUF_MAGIC = b"GGUF"

T = TypeVar("T")

_log = logging.getLogger(__name__)


def load_skill(path: Path, common: Common) -> Skill | BrokenSkill:
    """Read one folder; a broken one comes back with file, key and reason of its first problem."""
    try:
        return _load(SkillFolder(path), common)
    except Problem as problem:
        return BrokenSkill(path.name, path, problem.file, problem.key, problem.reason)
    except OSError as error:
        file = Path(error.filename).name if isinstance(error.filename, str) else path.name
        return BrokenSkill(path.name, path, file, "", f"cannot be read: {error.strerror or error}")
    except Exception as error:  # one folder that trips over a bug of ours must not take the others with it
        _log.exception("reading the skill folder %s failed in an unforeseen way", path)
        return BrokenSkill(path.name, path, "", "", f"cannot be read: {type(error).__name__}: {error}")


def _load(folder: SkillFolder, common: Common) -> Skill:
    folder.check_links()
    name = folder.path.name
    manifest = parse_manifest(_needed(folder.text(MANIFEST_FILE), MANIFEST_FILE), folder_name=name)
    given = folder.json_object(INPUT_FILE)
    arguments = NO_ARGUMENTS if given is None else given
    check_arguments(arguments, manifest)
    output = _needed(folder.json_object(OUTPUT_FILE), OUTPUT_FILE)
    check_output(output, manifest)
    variables = {"text", *arguments["properties"], *(CHOOSE_NAMES if manifest.kind == "choose" else ())}
    template = compile_prompt(_needed(folder.text(PROMPT_FILE), PROMPT_FILE), variables)
    prose = folder.text(PROSE_FILE)
    return Skill(
        manifest=manifest,
        folder=folder.path,
        digest=folder.digest(SHAPING_FILES),
        prompt_digest=_prompt_digest(folder, manifest),
        arguments_schema=arguments,
        output_schema=output,
        input_schema=input_schema(manifest, arguments, common),
        result_schema=result_schema(manifest, output),
        template=template,
        adapters=_adapters(folder, manifest),
        prose="" if prose is None else parse_prose(prose, folder_name=name),
        card=folder.json_object("card.json"),
        calibrations=calibrations_of(folder),
    )


def _prompt_digest(folder: SkillFolder, manifest: Manifest) -> str:
    # Without what is as by default: a key that a later release adds changes no digest, and warns of no adapter.
    keys = manifest.model_dump_json(include=PROMPT_KEYS, exclude=BESIDE_KEYS, exclude_defaults=True)
    return hashlib.sha256((folder.digest(PROMPT_FILES) + keys).encode()).hexdigest()


def _needed(value: T | None, file: str) -> T:
    if value is None:
        raise Problem(file, "", "is missing; a skill needs skill.toml, prompt.jinja and output.schema.json")
    return value


def _adapters(folder: SkillFolder, manifest: Manifest) -> Mapping[str, Adapter]:
    adapters: dict[str, Adapter] = {}
    for model_id, entry in manifest.adapters.items():
        key = f"adapters.{model_id}.file"
        relative = PurePosixPath(entry.file)
        if relative.parts[:2] != ("adapters", model_id) or ".." in relative.parts or relative.suffix != ".gguf":
            raise Problem(MANIFEST_FILE, key, f"{entry.file!r} must be a .gguf file in adapters/{model_id}/")
        if not folder.has(entry.file):
            raise Problem(MANIFEST_FILE, key, f"{entry.file!r} is not there")
        path = folder.path / entry.file
        with path.open("rb") as file:
            if file.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
                raise Problem(MANIFEST_FILE, key, f"{entry.file!r} is no GGUF file (a Git LFS pointer, perhaps?)")
        name = f"{manifest.name}@{model_id}"
        adapters[model_id] = Adapter(entry.sha256, entry.base_sha256, entry.scale, path, name)
    return adapters
