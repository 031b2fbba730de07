from pathlib import Path

from tests.server.doubles import make_skill, snapshot_of
from tools_server.server.instructions import LIMIT, instructions


def test_the_instructions_say_when_to_hand_over_and_name_every_skill():
    text = instructions(snapshot_of(make_skill("summarise"), make_skill("classify")), model="tiny")
    assert "Hand over when" in text
    assert "Do it yourself when" in text
    assert "confidence" in text
    assert "run_skill" in text
    assert text.index("- classify: Do classify") < text.index("- summarise: Do summarise")


def test_the_folders_that_are_open_to_paths_are_named():
    text = instructions(snapshot_of(), model="tiny", allow_paths=[Path("/data/mail")])
    assert "Open: /data/mail." in text


def test_without_an_open_folder_the_caller_is_told_to_pass_text():
    text = instructions(snapshot_of(), model="tiny")
    assert "No folder is open to `paths`" in text
    assert "--allow-path" in text


def test_the_instructions_stay_below_the_limit_and_say_how_many_skills_were_left_out():
    skills = [make_skill(f"skill-{number:03}", description="Do it. " * 100) for number in range(60)]
    folders = [Path("/") / ("f" * 300)] * 30
    text = instructions(snapshot_of(*skills), model="m" * 500, allow_paths=folders)
    assert len(text) < LIMIT
    shown = text.count("\n- skill-")
    assert 0 < shown < 60
    assert text.endswith(f"- {60 - shown} more: see tools-server://skills")


def test_descriptions_are_whole_while_they_fit_and_get_shorter_before_a_skill_is_left_out():
    long = "Do it. " * 100 + "Not for that."
    few = instructions(snapshot_of(make_skill("a", description=long)), model="m")
    assert few.endswith("Not for that.")
    many = instructions(snapshot_of(*[make_skill(f"skill-{n}", description=long) for n in range(9)]), model="m")
    assert many.count("\n- skill-") == 9
    assert many.count("…\n") == 8
    assert len(many) < LIMIT


def test_a_list_that_just_fits_is_whole():
    for length in range(10, 1200, 7):
        text = instructions(snapshot_of(*[make_skill(f"s{n}", description="d" * length) for n in range(9)]), model="m")
        assert len(text) < LIMIT
        assert ("more: see" in text) != ("- s8: " in text)


def test_a_description_over_several_lines_takes_one_line():
    text = instructions(snapshot_of(make_skill("a", description="First line.\n\nSecond line.")), model="tiny")
    assert "- a: First line. Second line." in text
