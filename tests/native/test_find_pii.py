"""The bundled skill over the small model: it finds little, but what it gives back is always true of the text."""

from typing import Any

import anyio
from jsonschema import Draft202012Validator

from tools_server.bundled import bundled_dir
from tools_server.calls.engine_gate import EngineGate
from tools_server.calls.run_skill import SkillRunner
from tools_server.engine.local import LocalEngine
from tools_server.settings import Settings
from tools_server.skills.catalog import Catalog

SENTENCE = "Please call Dr. Mira Sato on 020 7946 0018 or write to mira@example.org.\n\n"


async def test_entities_stand_where_it_says_and_the_redacted_text_has_none_of_them(engine: LocalEngine):
    skill = Catalog([bundled_dir("skills")]).get("find_pii")
    gate = EngineGate(lambda: engine)
    texts = [SENTENCE, 'He said "no\\yes" to\tZoë 👩‍🚀.', "Nothing here.", SENTENCE * 30]
    with anyio.fail_after(300):
        result = await SkillRunner(gate, Settings()).run(skill, {"items": texts}, timeout_s=280)
    Draft202012Validator(skill.result_schema).validate(result.data)
    for text, entry in zip(texts, result.data["results"], strict=True):
        entities: list[dict[str, Any]] = entry["entities"]
        assert all(text[entity["start"] : entity["end"]] == entity["value"] for entity in entities)
        assert len({(entity["start"], entity["value"]) for entity in entities}) == len(entities)
        assert (entry["redacted"] != text) == bool(entities)
    assert "parts" in result.data["results"][3]["warnings"][0]
