"""The wanted answer of a sample, held against what its skill can answer at all."""

from collections.abc import Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator

from tools_server.calls.arguments import errors_in, validator_of
from tools_server.calls.caller_schema import check_schema
from tools_server.calls.complaints import complaint_about, nearest, shortened
from tools_server.calls.nullable import widen
from tools_server.calls.redact import joined, located
from tools_server.data.records import canonical
from tools_server.errors import InvalidArguments, SamplesInvalid
from tools_server.skills.labels import is_multi_label, labels_of
from tools_server.skills.schemas import PLACE
from tools_server.skills.types import Skill

__all__ = ["ExpectedCheck"]


class ExpectedCheck:
    """Checks `expected` of many samples of one skill; keeps one validator per schema, one list per label set.

    What a caller's schema leaves optional may be absent in `expected.data`; it is filled in as null, for that is what
    the skill answers; and pieces of one entity are joined, where the skill joins them.
    """

    def __init__(self, skill: Skill) -> None:
        self._skill = skill
        self._validators: dict[str, Draft202012Validator] = {}
        self._labels: dict[str, tuple[str, list[str]]] = {}

    def check(self, arguments: Mapping[str, Any], expected: Mapping[str, Any], place: str) -> dict[str, Any]:
        """Give `expected` as the skill would answer it; the arguments have been checked.

        Raises:
            SamplesInvalid: names file, line, key and rule.
        """
        try:
            if self._skill.manifest.kind == "choose":
                return self._check_labels(arguments, expected, place)
            if self._skill.manifest.generate.schema_from is not None:
                return self._check_data(self._skill.manifest.generate.schema_from, arguments, expected, place)
        except InvalidArguments as error:  # labels or a schema that no call could have
            raise SamplesInvalid(f"{place}: arguments: {error.message}", error.hint) from error
        return self._joined(arguments, self._check_output(expected, place))

    def _check_labels(self, arguments: Mapping[str, Any], expected: Mapping[str, Any], place: str) -> dict[str, Any]:
        own = canonical({name: value for name, value in arguments.items() if name != "text"})
        if own not in self._labels:
            key = "labels" if is_multi_label(self._skill, arguments) else "label"
            self._labels[own] = key, [label.name for label in labels_of(self._skill, arguments)]
        key, names = self._labels[own]
        if set(expected) != {key}:
            given = ", ".join(f"`{name}`" for name in expected)
            raise SamplesInvalid(f"{place}: expected: has {given}.", f'Give {{"{key}": …}} and nothing else.')
        wanted = expected[key]
        if key == "labels" and not isinstance(wanted, list):
            raise SamplesInvalid(f"{place}: expected.labels: is {shortened(wanted)}.", "Give a list; [] means none.")
        chosen: list[Any] = cast("list[Any]", wanted) if key == "labels" else [wanted]
        for name in chosen:
            if name not in names:
                near = nearest(name, names) if isinstance(name, str) else ""
                listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
                raise SamplesInvalid(
                    f"{place}: expected.{key}: {shortened(name)} is not in the label set.", f"{near}Labels: {listed}."
                )
        return dict(expected)

    def _check_data(
        self, argument: str, arguments: Mapping[str, Any], expected: Mapping[str, Any], place: str
    ) -> dict[str, Any]:
        schema = cast("Mapping[str, Any]", arguments[argument])
        if set(expected) != {"data"}:
            given = ", ".join(f"`{name}`" for name in expected)
            raise SamplesInvalid(f"{place}: expected: has {given}.", 'Give {"data": {…}} and nothing else.')
        key = canonical(schema)
        if key not in self._validators:
            check_schema(schema, f"$.{argument}")
            self._validators[key] = validator_of(widen(schema))
        data = _with_nulls(schema, expected["data"])
        self._refuse(data, self._validators[key], f"{place}: expected.data")
        return {"data": data}

    def _check_output(self, expected: Mapping[str, Any], place: str) -> dict[str, Any]:
        # A sample may want only a part of the answer, such as the summary without the key points.
        if "" not in self._validators:
            schema: dict[str, Any] = {**self._skill.output_schema, "required": [], "additionalProperties": False}
            self._validators[""] = validator_of(schema)
        self._refuse(dict(expected), self._validators[""], f"{place}: expected")
        return dict(expected)

    def _joined(self, arguments: Mapping[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
        generate = self._skill.manifest.generate
        if generate.locate is None or not generate.join or generate.locate not in expected:
            return expected
        wanted, text = expected[generate.locate], arguments["text"]
        found = located(wanted, text)
        if len(found) < len(wanted):  # something does not stand in the text, so places are not sure
            return expected
        whole = joined(found, text, generate.join)
        entities = [{key: value for key, value in each.items() if key not in PLACE} for each in whole]
        return {**expected, generate.locate: entities}

    @staticmethod
    def _refuse(value: Any, validator: Draft202012Validator, root: str) -> None:
        if errors := errors_in(value, validator):
            complaint = complaint_about(errors[0], root)
            raise SamplesInvalid(f"{complaint.what}.", complaint.mend)


def _with_nulls(schema: Any, value: Any) -> Any:
    """Fill in null for what plain schemas leave optional; what is composed (`anyOf`, `$ref`) stays as it is."""
    if not isinstance(schema, Mapping):
        return value
    node = cast("Mapping[str, Any]", schema)
    if isinstance(value, list) and "items" in node:
        return [_with_nulls(node["items"], item) for item in cast("list[Any]", value)]
    if not isinstance(value, Mapping) or "properties" not in node:
        return cast("Any", value)
    given = cast("Mapping[str, Any]", value)
    required = cast("list[str]", node.get("required", []))
    known = cast("Mapping[str, Any]", node["properties"])
    full = {
        name: _with_nulls(known[name], given.get(name))
        for name in known
        if name in given or (name not in required and known[name] is not False)
    }
    return {**full, **{name: item for name, item in given.items() if name not in known}}
