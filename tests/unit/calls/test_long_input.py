import json
import re
from pathlib import Path

import anyio
import pytest
from jsonschema import Draft202012Validator

from tests.unit.calls.calls_fakes import FakeEngine, extract_skill, runner_for, summarise_skill
from tools_server.engine.types import FinishReason
from tools_server.errors import InputTooLong, OutputTruncated

SPLIT = 'max_input_tokens = 600\nmax_output_tokens = 50\nlong_input = "split"'


def words(count: int) -> str:
    """Sentences of ten distinct words, in paragraphs of fifty."""
    parts: list[str] = []
    for number in range(count):
        parts.append(f"w{number}")
        parts.append(". " if number % 10 == 9 else " ")
        if number % 50 == 49:
            parts.append("\n\n")
    return "".join(parts).strip()


def answer_of(prompt: str) -> str:
    """Answer with the first and last word of the text, as a real model would never do."""
    found = re.findall(r"w\d+", prompt)
    return json.dumps({"summary": f"From {found[0]} to {found[-1]}.", "key_points": [found[0]]})


async def test_every_word_of_a_long_text_reaches_the_engine(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, SPLIT)
    engine = FakeEngine(answer_of, context_tokens=1000)
    reports: list[tuple[float, float | None]] = []

    async def progress(done: float, total: float | None, message: str) -> None:
        if total is not None:
            reports.append((done, total))

    text = words(7000)
    result = await runner_for(engine).run(skill, {"text": text}, progress=progress)
    Draft202012Validator(skill.result_schema).validate(result.data)

    *parts, final = engine.prompts
    read = [word for prompt in parts for word in re.findall(r"w\d+", prompt)]
    assert sorted(read, key=lambda word: int(word[1:])) == [f"w{number}" for number in range(7000)]
    assert all(len(request.prompt) + 50 <= 1000 for request in engine.requests)
    assert all(len(engine.tokenize(prompt)) <= 600 + 3 for prompt in parts)
    # The last request reads the partial answers, in the order of the text.
    seen = [int(number) for number in re.findall(r"From w(\d+) to", final)]
    assert seen == sorted(seen)
    assert len(seen) == len(parts) >= 12
    assert final.count("\n- w") == len(parts)
    assert result.data["summary"].startswith("From w0 to w")
    assert result.data["warnings"] == [
        f"The text (7,000 tokens) was read in {len(parts)} parts; the answer combines theirs."
    ]
    assert reports == [(done, len(parts) + 1) for done in range(1, len(parts) + 2)]
    assert result.usage.prompt == sum(len(request.prompt) for request in engine.requests)


async def test_partial_answers_that_are_still_too_long_are_read_in_parts_again(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, 'max_input_tokens = 60\nmax_output_tokens = 20\nlong_input = "split"')
    engine = FakeEngine(lambda prompt: json.dumps({"summary": " ".join(["s"] * 12), "key_points": []}))
    values: list[float] = []

    async def progress(done: float, total: float | None, message: str) -> None:
        assert total is None or done <= total
        values.append(done)

    result = await runner_for(engine).run(skill, {"text": words(1000)}, progress=progress)
    firsts = [prompt for prompt in engine.prompts if re.search(r"w\d", prompt)]
    seconds = [prompt for prompt in engine.prompts if not re.search(r"w\d", prompt)]
    assert len(firsts) >= 17
    assert len(seconds) >= 4
    assert f"read in {len(firsts)} parts" in result.data["warnings"][0]
    assert values == sorted(values)


async def test_answers_as_long_as_the_text_end_in_an_error_and_not_in_a_loop(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, 'max_input_tokens = 60\nmax_output_tokens = 100\nlong_input = "split"')
    engine = FakeEngine(lambda prompt: json.dumps({"summary": " ".join(["s"] * 60), "key_points": []}))
    with anyio.fail_after(10), pytest.raises(InputTooLong, match="but their answers are"):
        await runner_for(engine).run(skill, {"text": words(300)})


async def test_a_text_within_the_limit_is_read_at_once_without_a_warning(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, SPLIT)
    engine = FakeEngine(answer_of, context_tokens=1000)
    result = await runner_for(engine).run(skill, {"text": words(590)})
    assert len(engine.prompts) == 1
    assert "warnings" not in result.data


async def test_a_skill_that_refuses_long_input_says_the_counts_and_the_way_out(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, "max_input_tokens = 600")
    engine = FakeEngine(answer_of)
    with pytest.raises(InputTooLong, match=r"^The text is 7,000 tokens; `summarise` takes 600") as caught:
        await runner_for(engine).run(skill, {"text": words(7000)})
    assert "as `items`" in caught.value.hint
    assert engine.prompts == []


async def test_a_text_that_fits_the_skill_but_not_the_context_is_refused_with_what_would_fit(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, "max_input_tokens = 6000\nmax_output_tokens = 100")
    engine = FakeEngine(answer_of, context_tokens=512)
    with pytest.raises(InputTooLong, match=r"takes 39\d \(what the context leaves"):
        await runner_for(engine).run(skill, {"text": words(500)})


async def test_a_context_smaller_than_the_skills_limit_makes_smaller_parts(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, 'max_input_tokens = 6000\nmax_output_tokens = 100\nlong_input = "split"')
    engine = FakeEngine(answer_of, context_tokens=512)
    await runner_for(engine).run(skill, {"text": words(2000)})
    assert all(len(request.prompt) + 100 <= 512 for request in engine.requests)
    read = {word for prompt in engine.prompts for word in re.findall(r"w\d+", prompt)}
    assert len(read) == 2000


async def test_arguments_that_leave_no_room_for_the_text_are_named(tmp_path: Path) -> None:
    skill = extract_skill(tmp_path, SPLIT)
    fields = {"type": "object", "properties": {"a": {"type": "string", "description": "word " * 300}}}
    with pytest.raises(InputTooLong, match="leave 0 of the context's 300 tokens") as caught:
        await runner_for(FakeEngine(context_tokens=300)).run(skill, {"fields": fields, "text": words(200)})
    assert "Shorten the arguments" in caught.value.hint


async def test_partial_answers_to_a_callers_schema_keep_their_names(tmp_path: Path) -> None:
    skill = extract_skill(tmp_path, SPLIT)
    fields = {"type": "object", "properties": {"city": {"type": "string"}, "size": {"type": "integer"}}}

    def say(prompt: str) -> str:
        return json.dumps({"city": "Bern" if "w5 " in prompt or "city: Bern" in prompt else None, "size": 3})

    engine = FakeEngine(say)
    result = await runner_for(engine).run(skill, {"fields": fields, "text": words(1500)})
    assert result.data["data"] == {"city": "Bern", "size": 3}
    final = engine.prompts[-1]
    assert final.count("city: Bern") == 1
    assert final.count("size: 3") == len(engine.prompts) - 1
    assert "null" not in final


async def test_one_truncated_part_fails_the_text_and_ends_the_other_parts(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, SPLIT)
    engine = FakeEngine(lambda prompt: '{"summ')
    engine.finish = FinishReason.LENGTH
    with pytest.raises(OutputTruncated):
        await runner_for(engine).run(skill, {"text": words(2000)})
    assert engine.running == 0


async def test_a_long_item_among_short_ones_carries_its_own_warning(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, SPLIT)
    result = await runner_for(FakeEngine(answer_of)).run(skill, {"items": [words(20), words(1500)]})
    Draft202012Validator(skill.result_schema).validate(result.data)
    short, long = result.data["results"]
    assert "warnings" not in short
    assert "parts" in long["warnings"][0]


async def test_claims_are_looked_up_in_the_whole_text_and_not_in_the_parts_answers(tmp_path: Path) -> None:
    skill = summarise_skill(tmp_path, SPLIT + '\n[trust]\nevidence = "claims"')
    text = "Only 94700 of them. " + words(1500) + " Berlin"

    def say(prompt: str) -> str:
        said = "Only 94700 of 94800 are in Berlin, not in Rome." if "Nothing" in prompt else "Nothing is said here."
        return json.dumps({"summary": said, "key_points": []})

    result = await runner_for(FakeEngine(say)).run(skill, {"text": text})
    Draft202012Validator(skill.result_schema).validate(result.data)
    assert [each["claim"] for each in result.data["unsupported"]] == ["94800", "Rome"]
    assert [warning.split()[0] for warning in result.data["warnings"]] == ["The", "Not"]
