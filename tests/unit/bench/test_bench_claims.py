"""What is reported of summaries is counted on their own text and on another one."""

from bench.claims import measure
from tools_server.data.types import Sample


def sample(text: str, summary: str) -> Sample:
    return Sample(skill="summarise", arguments={"text": text}, expected={"summary": summary}, id=summary, place="here")


def test_reports_on_the_own_text_and_sentences_that_rest_on_another_are_counted_apart():
    found = measure(
        "two",
        [
            sample(
                "The committee moved the harbour festival to June.", "The harbour festival moved in June, says Ada."
            ),
            sample("Engineers replaced every pump of the northern station.", "Engineers replaced all 12 pumps there."),
        ],
    )
    assert (found.summaries, found.reported, found.kinds) == (2, 2, {"name": 1, "number": 1})
    assert (found.sentences, found.baseless_own, found.baseless_foreign) == (2, 0, 2)
    assert found.characters == 49 + 54
