"""What is known about the features of people: their kinds, units, levels and plausible ranges.

A schema is read from a BIDS `participants.json` (`Description`, `Units`, `Levels`, `LongName`), in which
five optional keys of ours say what BIDS cannot: `Kind`, `Group`, `Plausible` ([lowest, highest], in the
units of the column), `Integer` and `ZeroUnless` (`{"smoker": ["yes"]}`: the number is 0 for everybody whose `smoker`
is not `yes`; `{"children": ">0"}`: for everybody whose `children` is 0). What is absent is inferred
(`Schema.from_participants_json`), but for `ZeroUnless`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from csegsynth_core.data.feature import Feature, ZeroUnless, feature_from_sidecar, number_of, suggestion
from csegsynth_core.data.tables import ID, LINE, cell_text, is_near_id, normalise_ids, place
from csegsynth_core.errors import PackError, TableError

Extra = Literal["error", "numeric", "ignore"]

_FORMAT: Final = "csegsynth-schema"
_VERSION: Final = 1


@dataclass(frozen=True, eq=False)
class Parsed:
    """A table whose every cell is known to be a value of its feature, or missing.

    The three frames have shape (people, features), columns in the order of the schema, and the ids of
    the people as index (named `participant_id`).
    """

    schema: Schema
    data: pd.DataFrame
    """float64 for numeric features (NaN: missing or implausible), keys of levels for others (None)."""
    flags: pd.DataFrame
    """`""`, `"missing"` or `"implausible"`."""
    raw: pd.DataFrame
    """The text that was in the table, None where there was none."""
    source: str
    """Name of the table, for messages."""

    @property
    def ids(self) -> list[str]:
        """Ids of the people, in order."""
        return [str(i) for i in self.data.index]

    def __len__(self) -> int:
        """Number of people."""
        return len(self.data)

    def implausible(self) -> list[str]:
        """Cells whose numbers cannot be, in words: `height of sub-02: 1.70 (expected 120 to 220 cm)`."""
        out = []
        for one in self.schema.features:
            if one.plausible is None:
                continue
            wanted = f"{one.plausible[0]:g} to {one.plausible[1]:g} {one.units}".strip()
            for who in self.flags.index[(self.flags[one.name] == "implausible").to_numpy()]:
                out.append(f"{one.name} of {who}: {self.raw.loc[who, one.name]} (expected {wanted})")
        return out

    def refuse_implausible(self, fix: str) -> None:
        """Refuse a table in which some number cannot be, where it must not be taken for unknown.

        Raises:
            TableError: names the cells.
        """
        odd = self.implausible()
        if odd:
            more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
            raise TableError(f"{self.source}: not plausible: {'; '.join(odd[:3])}{more}", fix=fix)

    def select(self, ids: Iterable[str]) -> Parsed:
        """The same for `ids` only, in their order (a training split, for instance).

        Raises:
            TableError: an id is not in the table.
        """
        wanted = list(ids)
        known = set(self.ids)
        absent = [i for i in wanted if i not in known]
        if absent:
            raise TableError(
                f"{self.source}: no person {absent[0]!r}",
                expected="ids of the table",
                got=", ".join(absent[:5]),
                fix=suggestion(absent[0], self.ids),
            )
        return replace(
            self, data=self.data.loc[wanted], flags=self.flags.loc[wanted], raw=self.raw.loc[wanted]
        )


@dataclass(frozen=True)
class Schema:
    """The features of a table, in order."""

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        """Check the names, and what features that are 0 for some people depend on.

        Raises:
            TableError: there are no features, two have the same name, or a `zero_unless` names an unknown feature or
                level, or in the end its own feature.
        """
        if not self.features:
            raise TableError("a schema without features", expected="at least one feature")
        twice = [n for n, count in Counter(f.name for f in self.features).items() if count > 1]
        if twice:
            raise TableError("features with the same name", got=", ".join(twice))
        for one in self.features:
            self._check_zero_unless(one)
        _ = self.dependent  # refuses circles

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(f.name for f in self.features)

    @cached_property
    def _by_name(self) -> dict[str, Feature]:
        return {one.name: one for one in self.features}

    @cached_property
    def dependent(self) -> tuple[tuple[Feature, ZeroUnless], ...]:
        """Features that are 0 for some people, and unless what; each after the one that it depends on."""
        left = [(f, f.zero_unless) for f in self.features if f.zero_unless is not None]
        out: list[tuple[Feature, ZeroUnless]] = []
        while left:
            waiting = {f.name for f, _ in left}
            free = [(f, rule) for f, rule in left if rule.feature not in waiting]
            if not free:
                raise TableError(
                    "features that depend on each other in a circle",
                    expected="a ZeroUnless that does not lead back to its own feature",
                    got=", ".join(f.name for f, _ in left),
                )
            out += free
            left = [pair for pair in left if pair not in free]
        return tuple(out)

    @property
    def age(self) -> Feature | None:
        """The numeric feature named `age` (in any case), if there is one."""
        return next((f for f in self.features if f.name.casefold() == "age" and f.is_numeric), None)

    @property
    def sex(self) -> Feature | None:
        """The feature with levels named `sex` (in any case), if there is one."""
        return next((f for f in self.features if f.name.casefold() == "sex" and not f.is_numeric), None)

    def describe(self, person: Mapping[str, Any]) -> str:
        """`female, 48 years`; what is unknown is left out."""
        parts = []
        if self.sex and person.get(self.sex.name) is not None:
            parts.append(self.sex.levels[str(person[self.sex.name])])
        if self.age and person.get(self.age.name) is not None:
            parts.append(f"{person[self.age.name]:.4g} {self.age.units}")
        return ", ".join(parts)

    def feature(self, name: str) -> Feature:
        """Feature `name`.

        Raises:
            TableError: there is none.
        """
        found = self._by_name.get(name)
        if found is None:
            raise TableError(
                f"unknown feature {name!r}",
                expected=f"one of {', '.join(self.names)}",
                fix=suggestion(name, self.names),
            )
        return found

    def at_odds(self, person: Mapping[str, Any]) -> list[Feature]:
        """Features that are not 0 although their `zero_unless` is not met; in the order of `dependent`.

        Args:
            person: natural value of every feature.
        """
        return [
            one
            for one, rule in self.dependent
            if float(person[one.name]) != 0 and not rule.met(person[rule.feature])
        ]

    def agreed(self, person: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
        """The same person with 0 in features that are at odds with others, except those of `keep`.

        Args:
            person: natural value of every feature.
        """
        out = dict(person)
        for one, rule in self.dependent:
            if one.name not in keep and not rule.met(out[rule.feature]):
                out[one.name] = 0.0
        return out

    def _check_zero_unless(self, one: Feature) -> None:
        """Refuse a `zero_unless` that names what is not there."""
        rule = one.zero_unless
        if rule is None:
            return
        about = f"feature {one.name!r}: ZeroUnless"
        if rule.feature not in self.names:
            raise TableError(
                f"{about} names an unknown feature",
                expected=f"one of {', '.join(self.names)}",
                got=repr(rule.feature),
                fix=suggestion(rule.feature, self.names),
            )
        other = self.feature(rule.feature)
        wrong = [level for level in rule.levels if level not in other.levels]
        if other.levels and not rule.levels:
            wrong = [">0"]
        if wrong:
            raise TableError(
                f"{about} names an unknown level of {other.name}",
                expected='">0", as it is numeric'
                if other.is_numeric
                else f"levels of {', '.join(other.levels)}",
                got=repr(wrong[0]),
                fix=suggestion(wrong[0], other.levels),
            )

    def known_of(self, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """A table without the columns that the schema does not know, and what these are called."""
        unknown = [str(c) for c in table if c != ID and c not in self.names]
        return table.drop(columns=unknown), list(dict.fromkeys(unknown))

    def left_out(self, columns: Sequence[str], whose: str) -> str:
        """`Columns that ixi does not know, left out: heigth (perhaps 'height' was meant), group.`

        Args:
            columns: some, as from `known_of`.
            whose: what has this schema.
        """
        near = {name: suggestion(name, self.names) for name in columns[:10]}
        said = ", ".join(f"{name} ({hint})" if hint else name for name, hint in near.items())
        more = f" and {len(columns) - 10} more" if len(columns) > 10 else ""
        return f"Columns that {whose} does not know, left out: {said}{more}."

    @classmethod
    def from_participants_json(
        cls,
        path_or_dict: str | Path | Mapping[str, Any],
        table: pd.DataFrame | None = None,
        *,
        extra: Extra = "error",
    ) -> Schema:
        """Read a schema from a BIDS `participants.json`.

        What the file does not say is inferred. Kind: two `Levels` binary; more nominal, but ordinal when
        the name speaks of qualification or education; none numeric. Group: from well-known names, else
        `interview`. Plausible: for age (18–100 years), height (130–220 cm), weight (35–200 kg) and BMI
        (12–60 kg/m²) of adults, when the units do not say otherwise. Integer: when every value in `table`
        is a whole number. Keys that occur twice with the same content are taken once. A `ZeroUnless` that names a
        feature which is described, but no column of `table`, does not count.

        Args:
            path_or_dict: the file, or its content.
            table: as from `read_table`. When given, the schema holds the columns of the table only.
            extra: what to do with a column of `table` that is not described: `error`, take it as `numeric`
                (an error where it is not), or `ignore` it.

        Raises:
            TableError: the file cannot be read or contradicts itself; a column is not described, or holds
                text although no levels are given; a `ZeroUnless` names an unknown feature or level.
        """
        described, source = _read_sidecar(path_or_dict)
        described.pop(ID, None)
        features = []
        table_source = "table"
        columns: dict[str, list[str | None]] | None = None
        rows: list[int] = []
        if table is not None:
            table_source = str(table.attrs.get("source", "table"))
            rows = _rows(table)
            columns = {str(c): [cell_text(v) for v in table[c]] for c in table.columns if c != ID}
        for name, entry in described.items():
            if columns is None or name in columns:
                texts = None if columns is None else columns[name]
                features.append(feature_from_sidecar(name, entry, texts, source))
        for name in columns or {}:
            if name in described or extra == "ignore":
                continue
            if extra == "error":
                raise _unknown_column(name, table_source, list(described), rows)
            features.append(feature_from_sidecar(name, {}, (columns or {})[name], source))
        absent = set(described) - {one.name for one in features}
        schema = cls(
            tuple(
                replace(one, zero_unless=None)
                if one.zero_unless and one.zero_unless.feature in absent
                else one
                for one in features
            )
        )
        if columns is not None:
            for one in schema.features:
                if one.is_numeric:
                    _numbers(one, columns[one.name], rows, table_source, described_in=source)
        return schema

    def to_participants_json(self) -> dict[str, Any]:
        """Content of a BIDS `participants.json`, our five keys included; read back, it gives this schema."""
        out: dict[str, Any] = {ID: {"Description": "identifier of the participant"}}
        for one in self.features:
            entry: dict[str, Any] = {"LongName": one.label, "Description": one.description}
            if one.units:
                entry["Units"] = one.units
            if one.levels:
                entry["Levels"] = dict(one.levels)
            entry |= {"Kind": one.kind, "Group": one.group}
            if one.is_numeric:
                entry |= {"Plausible": None if one.plausible is None else list(one.plausible)}
                entry |= {"Integer": one.integer}
            if one.zero_unless is not None:
                entry |= {"ZeroUnless": one.zero_unless.to_json()}
            out[one.name] = entry
        return out

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form with a version."""
        return {"format": _FORMAT, "version": _VERSION, "features": [f.to_dict() for f in self.features]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schema:
        """Inverse of `to_dict`.

        Raises:
            PackError: not a schema, or of another version.
        """
        check_format(data, _FORMAT, _VERSION)
        try:
            return cls(tuple(Feature.from_dict(f) for f in data["features"]))
        except (KeyError, TypeError, ValueError, TableError) as error:
            raise PackError(
                "the feature schema is damaged", got=f"{type(error).__name__}: {error}"
            ) from error

    def hash(self) -> str:
        """SHA-256 of the JSON form, 64 hexadecimal digits. The order of features and levels counts."""
        text = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def validate(
        self, df: pd.DataFrame, *, source: str | None = None, extra: Literal["error", "ignore"] = "error"
    ) -> Parsed:
        """Check every cell of a table and give it its type.

        Levels may be written as their key or label, in any case; see `Feature.level_of`. Columns of the
        schema that the table lacks are missing for everybody.

        Args:
            df: strings as from `read_table`, or numbers and strings made in Python. With an index named
                `line` messages give lines of the file; otherwise rows are counted from 1. Ids are the
                column or the index `participant_id`; without, they are `row-1`, `row-2`, …
            source: name of the table for messages; by default that under which it was read.
            extra: whether a column that the schema does not know is an error or ignored.

        Raises:
            TableError: no rows; an unknown column; no known column; a duplicate or unusable id; a cell that
                is not a number or not a level. The message names file, row and column.
        """
        source = source or str(df.attrs.get("source", "table"))
        rows = _rows(df)
        columns = [str(c) for c in df.columns]
        twice = [c for c, count in Counter(columns).items() if count > 1]
        if twice:
            raise TableError(
                f"{place(source, None, twice[0])}: duplicate column", expected="every column once"
            )
        if not rows:
            raise TableError(f"{source}: the table is empty", expected="at least one person")
        given = [str(c) for c in columns if c != ID]
        for column in given:
            if column not in self.names and extra == "error":
                raise _unknown_column(column, source, self.names, rows)
        if not set(given) & set(self.names):
            raise TableError(
                f"{source}: none of the features is in the table",
                expected=f"at least one of {', '.join(self.names)}",
                got=", ".join(given) or f"{ID} only",
            )
        if ID in columns:
            ids = normalise_ids(list(df[ID]), rows, source=source)
        elif df.index.name == ID:
            ids = normalise_ids(list(df.index), rows, source=source)
        else:
            ids = [f"row-{i + 1}" for i in range(len(rows))]
        index = pd.Index(ids, name=ID, dtype=object)
        values: dict[str, pd.Series] = {}
        flags = np.empty((len(rows), len(self.features)), dtype=object)
        raw = np.empty_like(flags)
        for k, one in enumerate(self.features):
            texts = [cell_text(v) for v in df[one.name]] if one.name in columns else [None] * len(rows)
            flag = ["missing" if t is None else "" for t in texts]
            if one.is_numeric:
                numbers = _numbers(one, texts, rows, source)
                if one.plausible is not None:
                    low, high = one.plausible
                    for i in np.flatnonzero((numbers < low) | (numbers > high)):
                        flag[i], numbers[i] = "implausible", np.nan
                values[one.name] = pd.Series(numbers, index=index)
            else:
                values[one.name] = pd.Series(_levels(one, texts, rows, source), index=index, dtype=object)
            flags[:, k], raw[:, k] = flag, texts
        shape: dict[str, Any] = {"index": index, "columns": list(self.names), "dtype": object}
        return Parsed(
            self, pd.DataFrame(values), pd.DataFrame(flags, **shape), pd.DataFrame(raw, **shape), source
        )


def check_format(data: Mapping[str, Any], name: str, version: int) -> None:
    """Check `format` and `version` of a JSON form of ours.

    Raises:
        PackError: it is something else, or of a version that this software does not know.
    """
    if not isinstance(data, Mapping) or data.get("format") != name:
        got = data.get("format") if isinstance(data, Mapping) else type(data).__name__
        raise PackError("not the expected part of a model pack", expected=f"format {name!r}", got=repr(got))
    if data.get("version") != version:
        raise PackError(
            f"{name} is of another version",
            expected=f"version {version}",
            got=f"version {data.get('version')!r}",
            fix="use the software version that wrote it, or train again",
        )


def _rows(df: pd.DataFrame) -> list[int]:
    """1-based line in the file of each row, or 1, 2, … for a table made in Python."""
    if df.index.name == LINE:
        return [int(i) for i in df.index]
    return list(range(1, len(df) + 1))


def _others(rows: Sequence[int]) -> str:
    """` (and 2 more rows of this column)` after the first of several bad rows."""
    more = len(rows) - 1
    return f" (and {more} more row{'s' if more > 1 else ''} of this column)" if more else ""


def _unknown_column(name: str, source: str, known: Sequence[str], rows: Sequence[int]) -> TableError:
    """Error for a column that nobody described."""
    fix = suggestion(name, known)
    if is_near_id(name):
        fix = f"rename the column to {ID} when it holds ids"
    return TableError(
        f"{place(source, 1, name)}: Unknown column {name!r}",
        expected=f"{ID} and any of {', '.join(known)}",
        fix=fix
        or "remove the column, or describe it in the cohort's participants.json; commands that take a pack leave "
        "it out with --ignore-unknown",
    )


def _numbers(
    one: Feature, texts: Sequence[str | None], rows: Sequence[int], source: str, described_in: str = ""
) -> np.ndarray:
    """float64 values of a numeric column, NaN where missing."""
    out = np.full(len(texts), np.nan)
    bad = []
    for i, text in enumerate(texts):
        if text is None:
            continue
        number = number_of(text)
        if number is None:
            bad.append(i)
        else:
            out[i] = number
    if not bad:
        return out
    text = str(texts[bad[0]])
    fix = "correct the cell, or write n/a when the value is unknown"
    leading = re.match(r"[+-]?[0-9]+([.,][0-9]+)?", text)
    if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", text):
        fix = f"write {text.replace(',', '.')}, with a decimal point"
    elif leading and re.fullmatch(r"\s*[a-zA-Z²%/]+", text[leading.end() :]):
        fix = f"write {leading.group().replace(',', '.')}, without the unit"
    elif described_in and len(bad) == sum(t is not None for t in texts):
        fix = f'if these are levels, list them under "Levels" of {one.name!r} in {described_in}'
    raise TableError(
        f"{place(source, rows[bad[0]], one.name)}: not a number{_others(bad)}",
        expected=one.expected,
        got=repr(text),
        fix=fix,
    )


def _levels(one: Feature, texts: Sequence[str | None], rows: Sequence[int], source: str) -> list[str | None]:
    """Keys of levels of a categorical column, None where missing."""
    known = {t: one.level_of(t) for t in {t for t in texts if t is not None}}
    bad = [i for i, t in enumerate(texts) if t is not None and known[t] is None]
    if bad:
        text = str(texts[bad[0]])
        near = suggestion(text, [*one.levels, *one.levels.values()])
        raise TableError(
            f"{place(source, rows[bad[0]], one.name)}: unknown level{_others(bad)}",
            expected=one.expected,
            got=repr(text),
            fix=near or "write one of the levels, or n/a when the value is unknown",
        )
    return [None if t is None else known[t] for t in texts]


def _read_sidecar(path_or_dict: str | Path | Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Content and name of a participants.json."""
    if isinstance(path_or_dict, Mapping):
        return dict(path_or_dict), "participants.json"
    path = Path(path_or_dict)
    if not path.is_file():
        raise TableError(
            f"{path}: file not found",
            expected="a BIDS participants.json",
            fix="check the path and its spelling",
        )

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in pairs:
            if key in out and out[key] != value:
                raise TableError(
                    f"{path.name}: {key!r} is described twice, and differently",
                    expected="every key once",
                    fix=f"remove the wrong one of the two entries {key!r}",
                )
            out[key] = value
        return out

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise TableError(
            f"{place(path.name, error.lineno)}: not valid JSON",
            got=f"{error.msg} at character {error.colno}",
            fix="look for a missing comma, bracket or quotation mark near this place",
        ) from error
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path.name}: the text is not UTF-8",
            expected="UTF-8 text",
            got=f"byte 0x{error.object[error.start]:02x}",
        ) from error
    if not isinstance(content, dict):
        raise TableError(
            f"{path.name}: not a description of columns",
            expected="an object with one entry for each column",
            got=type(content).__name__,
        )
    return content, path.name
