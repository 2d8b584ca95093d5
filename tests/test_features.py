"""From participants.json and a table to encoded features, age regressions and volume centiles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from csegsynth_core.data.age_regression import AgeRegressions
from csegsynth_core.data.encoder import NOMINAL_FLOOR, Encoder
from csegsynth_core.data.feature import Feature
from csegsynth_core.data.schema import Parsed, Schema
from csegsynth_core.data.tables import read_table, write_participants
from csegsynth_core.data.volume_centiles import CENTILES, KINDS, TOTAL, VolumeCentiles
from csegsynth_core.errors import PackError, TableError

REAL = Path(__file__).parents[2] / "shared" / "data"

SIDECAR: dict[str, Any] = {
    "participant_id": {"Description": "id"},
    "age": {"Description": "age at scan", "Units": "Years, with one quantile precision"},
    "sex": {"Description": "sex", "Levels": {"M": "male", "F": "female"}},
    "height": {"Description": "standing height", "Units": "cm"},
    "smoker": {"Description": "smokes now", "Levels": {"no": "No, not now", "yes": "Yes, daily"}},
    "occupation": {
        "Description": "work",
        "Levels": {"full_time": "Full-time", "student": "Student", "retired": "Retired", "other": "Other"},
    },
    "qualification": {
        "Description": "highest",
        "Levels": {"none": "None", "school": "School", "uni": "Degree"},
    },
    "raven_score": {"Description": "Raven", "Units": "points"},
}


def people(n: int = 90, seed: int = 3) -> pd.DataFrame:
    """Invented people: height depends on sex, occupation on age, qualification falls with age."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        age = float(np.round(rng.uniform(19, 80), 2))
        sex = "MF"[int(rng.integers(2))]
        work = "student" if age < 30 else "retired" if age > 62 else "full_time"
        rows.append(
            {
                "participant_id": f"sub-{i:03d}",
                "age": str(age),
                "sex": sex,
                "height": f"{rng.normal(177 if sex == 'M' else 164, 6):.0f}",
                "smoker": str(rng.choice(["no", "yes"], p=[0.7, 0.3])),
                "occupation": "other" if i < 2 else work,
                "qualification": "none" if age > 60 else str(rng.choice(["school", "uni"])),
                "raven_score": f"{rng.normal(32 - 0.15 * age, 3):.0f}",
            }
        )
    frame = pd.DataFrame(rows, dtype=object)
    frame.loc[5, ["height", "occupation", "raven_score"]] = None
    frame.loc[6, "height"] = "110"
    frame.loc[7, ["age", "sex"]] = None
    frame.loc[8, [c for c in frame if c != "participant_id"]] = "n/a"
    return frame


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return people()


@pytest.fixture(scope="module")
def schema(table: pd.DataFrame) -> Schema:
    return Schema.from_participants_json(SIDECAR, table)


@pytest.fixture(scope="module")
def parsed(schema: Schema, table: pd.DataFrame) -> Parsed:
    return schema.validate(table, source="people.tsv")


@pytest.fixture(scope="module")
def encoder(schema: Schema, parsed: Parsed) -> Encoder:
    return Encoder.fit(schema, parsed)


def one(schema: Schema, **values: object) -> Parsed:
    return schema.validate(pd.DataFrame([values]), source="form")


def through_json(data: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(data))


# --- schema ---------------------------------------------------------------------------------------------


def test_what_is_inferred(schema: Schema) -> None:
    kinds = {f.name: (f.kind, f.group) for f in schema.features}
    assert kinds == {
        "age": ("numeric", "demographic"),
        "sex": ("binary", "demographic"),
        "height": ("numeric", "demographic"),
        "smoker": ("binary", "lifestyle"),
        "occupation": ("nominal", "interview"),
        "qualification": ("ordinal", "demographic"),
        "raven_score": ("numeric", "cognitive"),
    }
    assert schema.feature("age").units == "years"
    assert schema.feature("age").plausible == (18, 100)
    assert schema.feature("height").plausible == (130, 220)
    assert [f.name for f in schema.features if f.integer] == ["height", "raven_score"]
    assert schema.feature("raven_score").label == "Raven score"
    assert list(schema.feature("qualification").levels) == ["none", "school", "uni"]


@pytest.mark.parametrize(
    ("name", "entry", "expected"),
    [
        ("language", {}, ("numeric", "interview", "", None)),
        ("BMI", {"Units": "kilograms per squared meters"}, ("numeric", "demographic", "kg/m²", (12, 60))),
        ("height", {"Units": "inches"}, ("numeric", "demographic", "inches", None)),
        ("age", {"Units": "years", "Plausible": [6, 18]}, ("numeric", "demographic", "years", (6, 18))),
        ("age", {"Plausible": None}, ("numeric", "demographic", "years", None)),
        ("NEO_A", {"Units": "sum"}, ("numeric", "cognitive", "sum", None)),
        ("drinksPerWeek", {"Group": "cognitive"}, ("numeric", "cognitive", "", None)),
        ("alcoholUse", {}, ("numeric", "lifestyle", "", None)),
        (
            "mood",
            {"Kind": "ordinal", "Levels": {"0": "low", "1": "so", "2": "hi"}},
            ("ordinal", "interview"),
        ),
        ("mood", {"Kind": "numeric", "Levels": {"0": "low", "9": "high"}}, ("numeric", "interview")),
        ("education_level", {"Levels": ["low", "mid", "high"]}, ("ordinal", "demographic")),
        ("hand", {"Levels": {"l": {"Description": "Left"}, "r": {"Description": "Right"}}}, ("binary",)),
    ],
)
def test_inference_for_one_column(name: str, entry: dict[str, Any], expected: tuple[object, ...]) -> None:
    found = Schema.from_participants_json({name: entry}).features[0]
    assert (found.kind, found.group, found.units, found.plausible)[: len(expected)] == expected


def test_names_for_people() -> None:
    entry = {"LongName": "Body mass index (rounded to nearest integer", "Units": "kg/m2"}
    bmi = Schema.from_participants_json({"BMI": entry}).features[0]
    assert bmi.label == "Body mass index"
    assert bmi.description == entry["LongName"]
    assert Feature("marital_status", "numeric").label == "Marital status"


def test_round_trips(schema: Schema) -> None:
    again = Schema.from_dict(through_json(schema.to_dict()))
    assert again == schema
    assert again.hash() == schema.hash()
    assert len(schema.hash()) == 64
    assert Schema.from_participants_json(schema.to_participants_json()) == schema
    turned = Schema.from_dict(
        through_json(schema.to_dict()) | {"features": [f.to_dict() for f in schema.features[::-1]]}
    )
    assert turned.hash() != schema.hash()


def test_order_of_levels_counts_in_the_hash() -> None:
    hashes = {
        Schema((Feature("q", "ordinal", levels=dict(pairs)),)).hash()
        for pairs in ([("a", "A"), ("b", "B")], [("b", "B"), ("a", "A")])
    }
    assert len(hashes) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"age": {"Units": "years"},}', r"p\.json, row 1: not valid JSON"),
        ("[1]", r"p\.json: not a description of columns.*Got: list"),
        ('{"a": {"Units": "x"}, "a": {"Units": "y"}}', r"p\.json: 'a' is described twice, and differently"),
        ('{"a": 3}', r"p\.json, 'a': not a description.*Got: int"),
        ('{"a": {"Levels": {"x": "X"}}}', "feature 'a': nominal features need at least two levels"),
        ('{"a": {"Kind": "binary"}}', "feature 'a': a binary feature has two levels"),
        ('{"a": {"Kind": "odd"}}', r"unknown Kind.*one of numeric, binary, ordinal, nominal.*Got: 'odd'"),
        ('{"a": {"Group": "odd"}}', r"unknown Group.*one of demographic, interview, cognitive, lifestyle"),
        ('{"a": {"Plausible": [3]}}', r"'a': Plausible cannot be read.*Got: \[3\]"),
        ('{"a": {"Plausible": [3, 1]}}', "the plausible range is empty"),
        ("{}", "a schema without features"),
    ],
)
def test_unusable_sidecars(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match=message):
        Schema.from_participants_json(path)


def test_sidecar_with_equal_duplicates_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": {"Units": "x"}, "a": {"Units": "x"}}')
    assert Schema.from_participants_json(path).names == ("a",)
    with pytest.raises(TableError, match="file not found"):
        Schema.from_participants_json(tmp_path / "none.json")


def test_columns_that_are_not_described() -> None:
    data = read_table(b"participant_id,age,iq\n1,30,100\n2,40,n/a\n", name="t.csv")
    described = {"age": {}, "weight": {}}
    with pytest.raises(TableError, match=r"t\.csv, row 1, column iq: Unknown column 'iq'.*describe it"):
        Schema.from_participants_json(described, data)
    assert Schema.from_participants_json(described, data, extra="ignore").names == ("age",)
    both = Schema.from_participants_json(described, data, extra="numeric")
    assert both.names == ("age", "iq")
    assert both.feature("iq").group == "cognitive"
    words = read_table(b"participant_id,age,job\n1,30,n/a\n2,40,baker\n", name="t.csv")
    for sidecar in ({"age": {}}, {"age": {}, "job": {}}):
        with pytest.raises(TableError, match=r"t\.csv, row 3, column job: not a number.*\"Levels\" of 'job'"):
            Schema.from_participants_json(sidecar, words, extra="numeric")


SMOKERS: dict[str, Any] = {
    "age": {"Units": "years"},
    "pack_years": {"Plausible": [0, 150], "ZeroUnless": {"cigarettes": ">0"}},
    "cigarettes": {"Integer": True, "ZeroUnless": {"smoking": ["former", "current"]}},
    "smoking": {"Levels": {"never": "never", "former": "gave up", "current": "smokes"}},
}
"""What depends on something stands before it."""


def smokers() -> tuple[Schema, pd.DataFrame]:
    """59 people: half never smoked; the others smoke 5 to 25 cigarettes a day, the more the older they are."""
    rows = [{"age": 20 + i, "smoking": "never", "cigarettes": 0, "pack_years": 0.0} for i in range(30)]
    for i in range(29):
        number = 5 + round(20 * i / 28)
        who = ("former", "current")[i % 2]
        rows.append({"age": 20 + i, "smoking": who, "cigarettes": number, "pack_years": number / 2})
    return Schema.from_participants_json(SMOKERS), pd.DataFrame(rows)


def test_what_is_0_unless_survives_json_and_old_schemas_keep_their_hash(
    schema: Schema, tmp_path: Path
) -> None:
    smoking, frame = smokers()
    assert [one.name for one, _ in smoking.dependent] == ["cigarettes", "pack_years"]  # causes first
    assert Schema.from_dict(through_json(smoking.to_dict())) == smoking
    assert Schema.from_participants_json(through_json(smoking.to_participants_json())) == smoking
    assert smoking.to_participants_json()["pack_years"]["ZeroUnless"] == {"cigarettes": ">0"}
    assert "zero_unless" not in json.dumps(schema.to_dict()) and schema.dependent == ()
    part = Schema.from_participants_json(SMOKERS, frame.drop(columns="smoking").assign(participant_id="a"))
    assert [one.name for one, _ in part.dependent] == ["pack_years"]  # a table without what it depends on
    written = frame.set_index(pd.Index([f"sub-{i}" for i in range(len(frame))], name="participant_id"))
    _, sidecar = write_participants(written, smoking, tmp_path)
    assert Schema.from_participants_json(sidecar) == smoking
    _, sidecar = write_participants(written.drop(columns="smoking"), smoking, tmp_path)
    assert [one.name for one, _ in Schema.from_participants_json(sidecar).dependent] == ["pack_years"]


@pytest.mark.parametrize(
    ("name", "rule", "words"),
    [
        ("cigarettes", {"smokin": ["never"]}, r"unknown feature.*'smokin'.*perhaps 'smoking'"),
        ("cigarettes", {"smoking": ["formr"]}, r"unknown level of smoking.*never, former.*perhaps 'former'"),
        ("cigarettes", {"smoking": ">0"}, "unknown level of smoking.*never, former"),
        ("cigarettes", {"age": ["18"]}, 'unknown level of age.*">0", as it is numeric'),
        ("cigarettes", {"pack_years": ">0"}, "depend on each other in a circle.*pack_years, cigarettes"),
        ("cigarettes", ["smoking"], r"'cigarettes': ZeroUnless cannot be read.*\['smoking'\]"),
        ("cigarettes", {"smoking": []}, "ZeroUnless cannot be read"),
        ("cigarettes", {"smoking": "former"}, "ZeroUnless cannot be read"),
        ("cigarettes", {"smoking": ["former"], "age": ">0"}, "ZeroUnless cannot be read"),
        ("smoking", {"age": ">0"}, "ZeroUnless does not apply.*numeric feature for which 0.*nominal"),
        ("age", {"cigarettes": ">0"}, "ZeroUnless does not apply.*numeric, 18 to 100"),
    ],
)
def test_what_cannot_be_0_unless_is_refused(name: str, rule: Any, words: str) -> None:
    described = {**SMOKERS, name: {**SMOKERS[name], "ZeroUnless": rule}}
    with pytest.raises(TableError, match=words):
        Schema.from_participants_json(described)


def test_a_stored_schema_with_an_impossible_rule_is_damaged() -> None:
    stored = smokers()[0].to_dict()
    stored["features"][2]["zero_unless"] = {"smoking": ["sometimes"]}
    with pytest.raises(PackError, match=r"the feature schema is damaged.*unknown level of smoking"):
        Schema.from_dict(stored)


# --- validation -----------------------------------------------------------------------------------------


def test_types_and_flags(parsed: Parsed) -> None:
    assert parsed.data["age"].dtype == np.float64
    assert parsed.flags.loc["sub-006", "height"] == "implausible"
    assert np.isnan(parsed.data.loc["sub-006", "height"])
    assert parsed.raw.loc["sub-006", "height"] == "110"
    assert (parsed.flags.loc["sub-008"] == "missing").all()
    assert parsed.data.loc["sub-008", "sex"] is None
    assert (parsed.flags.loc["sub-020"] == "").all()
    assert parsed.data.shape == parsed.flags.shape == parsed.raw.shape == (90, 7)


@pytest.mark.parametrize(
    ("column", "text", "level"),
    [
        ("sex", "M", "M"),
        ("sex", "f", "F"),
        ("sex", "Female", "F"),
        ("smoker", "YES", "yes"),
        ("smoker", "0", "no"),
        ("smoker", 1.0, "yes"),
        ("smoker", True, "yes"),
        ("occupation", "full time", "full_time"),
        ("occupation", "FULL-TIME", "full_time"),
        ("qualification", "degree", "uni"),
        ("qualification", "none", "none"),
    ],
)
def test_ways_to_write_a_level(schema: Schema, column: str, text: object, level: str) -> None:
    assert one(schema, **{column: text}).data[column].tolist() == [level]


@pytest.mark.parametrize(
    ("levels", "text", "level"),
    [
        ({"0": "never", "1": "ever"}, "no", "0"),
        ({"0": "never", "1": "ever"}, "1.0", "1"),
        ({"0": "0", "1": "1"}, "true", "1"),
        ({"1": "Yes", "2": "No"}, "no", "2"),
        ({"1": "Yes", "2": "No"}, "0", "2"),
        ({"0": "female", "1": "male"}, "yes", None),
        ({"M": "male", "F": "female"}, "1", None),
        ({"a": "X", "A": "Y"}, "A", "A"),
        ({"ab": "X", "AB": "Y"}, "Ab", None),
        ({"absent": "Absent", "present": "Present"}, "yes", "present"),
    ],
)
def test_yes_and_no_only_when_unambiguous(levels: dict[str, str], text: str, level: str | None) -> None:
    assert Feature("x", "binary", levels=levels).level_of(text) == level


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,M,tall", r"t\.csv, row 2, column height: not a number\. Expected: a number in cm\. Got: 'tall'"),
        ('1,M,"175,5"', r"row 2, column height.*write 175\.5, with a decimal point"),
        ("1,M,175cm", r"row 2, column height.*write 175, without the unit"),
        ("1,M,1_0", "row 2, column height: not a number"),
        ("1,M,inf", "row 2, column height: not a number"),
        ("1,M,1e999", "row 2, column height: not a number"),
        ("1,M,170\n2,F,x\n3,F,y\n4,F,z", r"row 3, column height: not a number \(and 2 more rows"),
        (
            "1,M,170\n\n2,femal,160",
            r"t\.csv, row 4, column sex: unknown level.*one of M \(male\), F \(female\).*'femal'.*'female'",
        ),
        ("1,1,170", "row 2, column sex: unknown level"),
    ],
)
def test_cells_that_cannot_be_understood(schema: Schema, rows: str, message: str) -> None:
    data = read_table(f"participant_id,sex,height\n{rows}\n".encode(), name="t.csv")
    with pytest.raises(TableError, match=message):
        schema.validate(data)


def test_columns_at_prediction(schema: Schema) -> None:
    few = one(schema, height=180)
    assert (few.flags.drop(columns="height") == "missing").all(axis=None)
    assert few.ids == ["row-1"]
    with pytest.raises(TableError, match=r"form, row 1, column heigth: Unknown.*perhaps 'height' was"):
        one(schema, heigth=180)
    with pytest.raises(TableError, match="rename the column to participant_id"):
        one(schema, age=30, subject="x")
    with pytest.raises(TableError, match="none of the features is in the table"):
        schema.validate(pd.DataFrame({"x": [1]}), source="t", extra="ignore")
    with pytest.raises(TableError, match="t: the table is empty"):
        schema.validate(pd.DataFrame({"age": []}), source="t")
    with pytest.raises(TableError, match="row 2, column participant_id: duplicate id"):
        schema.validate(pd.DataFrame({"participant_id": ["1", "sub-1"], "age": [30, 40]}), source="t")
    with pytest.raises(TableError, match="column age: duplicate column"):
        schema.validate(pd.DataFrame([[1, 2]], columns=["age", "age"]), source="t")
    by_index = pd.DataFrame({"age": [30]}, index=pd.Index(["07"], name="participant_id"))
    assert schema.validate(by_index).ids == ["sub-07"]
    assert one(schema, age=30).data.loc["row-1", "age"] == 30.0


def test_select(parsed: Parsed) -> None:
    some = parsed.select(["sub-010", "sub-002"])
    assert some.ids == ["sub-010", "sub-002"]
    assert len(some.flags) == len(some.raw) == len(some) == 2
    with pytest.raises(TableError, match=r"people\.tsv: no person 'sub-999'"):
        parsed.select(["sub-999"])


# --- encoding -------------------------------------------------------------------------------------------


def test_standardised_on_the_training_people(encoder: Encoder, parsed: Parsed) -> None:
    encoded = encoder.encode(parsed)
    assert encoded.x.dtype == np.float32
    assert encoded.x.shape == (90, encoder.width)
    assert len(encoded.columns) == len(encoded.owners) == encoder.width
    assert encoded.owners.count("occupation") == 3
    assert "occupation=other" not in encoded.columns
    for name in ("age", "sex", "height", "smoker", "qualification", "raven_score"):
        known = (parsed.flags[name] == "").to_numpy()
        column = encoded.x[known, encoded.columns.index(name)].astype(float)
        assert column.mean() == pytest.approx(0, abs=1e-6)
        assert column.std() == pytest.approx(1, abs=1e-6)
    shares = np.array(encoder.levels["occupation"].shares)
    assert shares.sum() == pytest.approx(1)
    block = encoded.x[:, [i for i, o in enumerate(encoded.owners) if o == "occupation"]]
    kept = parsed.data["occupation"].isin(["full_time", "student", "retired"]).to_numpy()
    assert block[kept].mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-6)
    assert np.abs(block).max() <= 1 / NOMINAL_FLOOR


def test_rare_levels_are_the_mean(encoder: Encoder, parsed: Parsed) -> None:
    encoded = encoder.encode(parsed.select(["sub-000"]))
    assert encoded.flags.loc["sub-000", "occupation"] == "rare level"
    assert encoded.natural.loc["sub-000", "occupation"] == "other"
    assert not encoded.x[0, [i for i, o in enumerate(encoded.owners) if o == "occupation"]].any()


def test_filling_in(schema: Schema, encoder: Encoder, parsed: Parsed) -> None:
    encoded = encoder.encode(parsed)
    assert encoded.flags.loc["sub-005", "height"] == "imputed (missing)"
    assert encoded.flags.loc["sub-006", "height"] == "imputed (implausible: 110 cm)"
    assert encoded.natural.loc["sub-007", "age"] == encoder.numeric["age"].median
    assert encoded.natural.loc["sub-007", "sex"] == encoder.levels["sex"].mode
    assert encoder.encode(one(schema, age=24)).natural["occupation"].tolist() == ["student"]
    assert encoder.encode(one(schema, age=70)).natural["occupation"].tolist() == ["retired"]
    man, woman = (encoder.encode(one(schema, age=40, sex=s)).natural.iloc[0] for s in "MF")
    assert man["height"] - woman["height"] == pytest.approx(13, abs=4)
    old, older = (encoder.encode(one(schema, age=a, sex="M")).natural.iloc[0] for a in (85, 99))
    assert older["height"] == old["height"]
    assert np.isfinite(encoded.x).all()


def test_regression_for_missing_numbers_matches_least_squares(encoder: Encoder, parsed: Parsed) -> None:
    data = parsed.data[["age", "sex", "raven_score"]].dropna()
    age = data["age"].to_numpy(float)
    design = np.stack([np.ones(len(data)), age, (data["sex"] == "F").to_numpy(float)], axis=1)
    weights = np.linalg.lstsq(design, data["raven_score"].to_numpy(float), rcond=None)[0]
    guess = encoder.encode(one(parsed.schema, age=50, sex="F")).natural["raven_score"].iloc[0]
    assert guess == pytest.approx(weights @ [1, 50, 1])


def test_outside_the_training_range(schema: Schema, encoder: Encoder) -> None:
    stats = encoder.numeric["age"]
    encoded = encoder.encode(one(schema, age=95, height=165))
    flag = encoded.flags["age"].iloc[0]
    assert flag == f"outside training range ({stats.minimum:.1f}–{stats.maximum:.1f} years)"
    assert encoded.flags["height"].iloc[0] == ""
    assert encoded.x[0, encoder.columns.index("age")] == pytest.approx((95 - stats.mean) / stats.sd)
    low = encoder.numeric["height"]
    assert encoder.encode(one(schema, height=219)).flags["height"].iloc[0] == (
        f"outside training range ({low.minimum:.0f}–{low.maximum:.0f} cm)"
    )
    assert encoder.encode(one(schema, age=stats.maximum)).flags["age"].iloc[0] == ""


def test_json_gives_the_same_bits(encoder: Encoder, parsed: Parsed) -> None:
    again = Encoder.from_dict(through_json(encoder.to_dict()))
    first, second = encoder.encode(parsed), again.encode(parsed)
    assert first.x.tobytes() == second.x.tobytes()
    pd.testing.assert_frame_equal(first.flags, second.flags)
    pd.testing.assert_frame_equal(first.natural, second.natural, check_exact=True)
    assert json.dumps(again.to_dict()) == json.dumps(encoder.to_dict())


def test_encoding_does_not_depend_on_company(encoder: Encoder, parsed: Parsed) -> None:
    together = encoder.encode(parsed).x[:12]
    alone = np.concatenate([encoder.encode(parsed.select([i])).x for i in parsed.ids[:12]])
    np.testing.assert_array_equal(together, alone)


def test_natural_units(encoder: Encoder, schema: Schema) -> None:
    assert set(encoder.scales()) == {"age", "height", "raven_score"}
    a, b = (encoder.encode(one(schema, age=x)).x[0, encoder.columns.index("age")] for x in (40, 50))
    assert (b - a) * encoder.d_natural("age") == pytest.approx(10, rel=1e-5)
    a, b = (
        encoder.encode(one(schema, qualification=x)).x[0, encoder.columns.index("qualification")]
        for x in ("none", "uni")
    )
    assert (b - a) * encoder.d_natural("qualification") == pytest.approx(2, rel=1e-5)
    with pytest.raises(TableError, match="'occupation' has no natural unit"):
        encoder.d_natural("occupation")
    with pytest.raises(TableError, match=r"unknown feature 'agee'.*perhaps 'age'"):
        encoder.d_natural("agee")


def test_default_person_and_controls(encoder: Encoder, schema: Schema) -> None:
    typical = encoder.default_person()
    assert set(typical) == set(schema.names)
    assert typical["age"] == encoder.numeric["age"].median
    woman = encoder.default_person("female", 70)
    assert (woman["sex"], woman["age"], woman["occupation"]) == ("F", 70.0, "retired")
    assert float(woman["height"]).is_integer()
    assert (encoder.encode(one(schema, **woman)).flags == "").all(axis=None)
    controls = encoder.ranges()
    assert list(controls) == list(schema.names)
    assert controls["height"].step == 1.0
    assert controls["age"].step == 0.1
    assert controls["age"].minimum == encoder.numeric["age"].minimum
    assert controls["occupation"].rare == ("other",)
    assert controls["occupation"].levels["full_time"] == "Full-time"
    with pytest.raises(TableError, match=r"unknown level of sex.*one of M"):
        encoder.default_person("x")
    with pytest.raises(TableError, match="age is not a number"):
        encoder.default_person(age=float("nan"))


def test_unknown_numbers_are_0_where_they_are_0_for_such_people() -> None:
    smoking, frame = smokers()
    encoder = Encoder.fit(smoking, smoking.validate(frame))
    who = ["never", "never", "former", None, "never"]
    asked = pd.DataFrame(
        {"age": [40, 40, 40, 40, 30], "smoking": who, "cigarettes": [None, 7, None, None, 0]}
    )
    encoded = encoder.encode(smoking.validate(asked))
    filled = encoder._guess(encoder.numeric["cigarettes"], np.array([40.0]), None, 1)[0]
    assert encoded.natural["smoking"].tolist() == ["never", "never", "former", "never", "never"]
    assert encoded.natural["cigarettes"].tolist() == [
        0,
        7,
        pytest.approx(filled),
        0,
        0,
    ]  # what is given stays
    assert (encoded.natural["pack_years"] > 0).tolist() == [False, True, True, False, False]
    unknown = [True, False, True, True, False]
    assert (encoded.flags["cigarettes"] == "imputed (missing)").tolist() == unknown
    assert (encoded.flags["pack_years"] == "imputed (missing)").all()
    assert (encoded.flags.loc[~np.array(unknown), "cigarettes"] == "").all()


def test_a_known_person_is_encoded_as_without_the_rule() -> None:
    smoking, frame = smokers()
    plain = Schema(tuple(replace(one, zero_unless=None) for one in smoking.features))
    frame.loc[len(frame)] = [40, "never", 8, 3.5]  # at odds, and told by others
    found, wanted = (
        Encoder.fit(s, s.validate(frame[:59])).encode(s.validate(frame)) for s in (smoking, plain)
    )
    np.testing.assert_array_equal(found.x, wanted.x)
    pd.testing.assert_frame_equal(found.natural, wanted.natural)
    pd.testing.assert_frame_equal(found.flags, wanted.flags)


def test_the_typical_person_is_possible() -> None:
    smoking, frame = smokers()
    frame = frame[5:].assign(smoking=["never"] * 25 + ["current"] * 14 + ["former"] * 15)
    encoder = Encoder.fit(smoking, smoking.validate(frame))
    assert encoder.numeric["cigarettes"].median > 0
    typical = encoder.default_person()
    assert typical["smoking"] == "never" and list(typical) == list(smoking.names)
    assert typical["cigarettes"] == typical["pack_years"] == 0
    assert smoking.at_odds(typical) == []
    aged = encoder.default_person(age=40.0)
    assert (aged["smoking"] == "never") == (aged["cigarettes"] == 0)
    odd = typical | {"cigarettes": 8.0}
    assert [one.name for one in smoking.at_odds(odd)] == ["cigarettes"]
    assert smoking.agreed(odd) == typical and smoking.agreed(odd, keep=["cigarettes"]) == odd


def test_without_age_and_sex() -> None:
    schema = Schema((Feature("iq", "numeric"), Feature("job", "nominal", levels={"a": "A", "b": "B"})))
    frame = pd.DataFrame({"iq": [90, 100, 110, None], "job": ["a", "a", None, "b"]})
    encoder = Encoder.fit(schema, schema.validate(frame))
    encoded = encoder.encode(schema.validate(frame))
    assert encoded.natural["iq"].tolist() == [90, 100, 110, 100]
    assert encoded.natural["job"].tolist() == ["a", "a", "a", "b"]
    assert encoded.owners == ["iq", "job"]
    assert not encoded.x[:, 1].any()
    assert encoder.default_person() == {"iq": 100, "job": "a"}
    with pytest.raises(TableError, match="no feature 'sex' with levels"):
        encoder.default_person(sex="M")
    with pytest.raises(TableError, match="no numeric feature 'age'"):
        encoder.default_person(age=30)
    assert "age" in AgeRegressions.unavailable(schema)
    with pytest.raises(TableError, match=r"age regressions are unavailable.*no numeric feature 'age'"):
        AgeRegressions.fit(schema, schema.validate(frame))


def test_constant_features_are_zero() -> None:
    schema = Schema((Feature("a", "numeric"), Feature("b", "binary", levels={"0": "no", "1": "yes"})))
    encoder = Encoder.fit(schema, schema.validate(pd.DataFrame({"a": [0.1] * 7, "b": [1] * 7})))
    assert not encoder.encode(schema.validate(pd.DataFrame({"a": [3, 0.1], "b": [0, 1]}))).x.any()
    assert encoder.d_natural("a") == 0.0


def test_what_an_encoder_refuses(
    schema: Schema, encoder: Encoder, parsed: Parsed, table: pd.DataFrame
) -> None:
    with pytest.raises(TableError, match=r"people\.tsv, column age: no usable value.*Got: 1 missing"):
        Encoder.fit(schema, parsed.select(["sub-008"]))
    with pytest.raises(TableError, match=r"column height: no usable value.*1 outside 130–220 cm.*Plausible"):
        Encoder.fit(schema, parsed.select(["sub-006"]))
    other = Schema(schema.features[:2])
    with pytest.raises(TableError, match="validated with another schema"):
        encoder.encode(other.validate(table, extra="ignore"))


@pytest.mark.parametrize("kind", [Schema, Encoder, AgeRegressions, VolumeCentiles])
def test_damaged_or_newer_packs(
    kind: Any, encoder: Encoder, parsed: Parsed, centiles: VolumeCentiles
) -> None:
    good = {
        Schema: parsed.schema.to_dict,
        Encoder: encoder.to_dict,
        AgeRegressions: AgeRegressions.fit(parsed.schema, parsed).to_dict,
        VolumeCentiles: centiles.to_dict,
    }[kind]()
    with pytest.raises(PackError, match=r"another version.*Expected: version 1. Got: version 99"):
        kind.from_dict(good | {"version": 99})
    with pytest.raises(PackError, match="not the expected part"):
        kind.from_dict({"format": "x"})
    for key in set(good) - {"format", "version"}:
        with pytest.raises(PackError):
            kind.from_dict({k: v for k, v in good.items() if k != key})


# --- regressions on age ---------------------------------------------------------------------------------


def test_age_regressions(schema: Schema, parsed: Parsed) -> None:
    fits = AgeRegressions.fit(schema, parsed)
    assert AgeRegressions.unavailable(schema) == ""
    young, old = fits.predict(24, "F"), fits.predict(72, "female")
    assert set(young) == {"height", "smoker", "occupation", "qualification", "raven_score"}
    assert (young["occupation"], old["occupation"]) == ("student", "retired")
    assert old["qualification"] == "none"
    assert float(young["raven_score"]) > float(old["raven_score"])
    assert float(fits.predict(40, "M")["height"]) > float(fits.predict(40, "F")["height"]) + 5
    assert not fits.is_pooled("height", "M")
    for chances in fits.probabilities(50, "M").values():
        assert sum(chances.values()) == pytest.approx(1)
        assert all(0 <= p <= 1 for p in chances.values())
    ends = fits.curves("raven_score", "F")[0].ages
    assert fits.predict(ends[1] + 30, "F") == fits.predict(ends[1], "F")
    known = parsed.data["height"].dropna()
    for age in (10, 30, 90):
        assert known.min() <= float(fits.predict(age, None)["height"]) <= known.max()
    again = AgeRegressions.from_dict(through_json(fits.to_dict()))
    assert all(again.predict(a, s) == fits.predict(a, s) for a in (20, 55, 79) for s in ("M", "F", None))
    with pytest.raises(TableError, match=r"unknown level of sex.*one of M"):
        fits.predict(40, "X")
    with pytest.raises(TableError, match="age is not a number"):
        fits.predict(float("nan"), "F")
    with pytest.raises(TableError, match="'age' is not regressed on age"):
        fits.curves("age")


def test_a_cubic_is_recovered() -> None:
    schema = Schema((Feature("age", "numeric"), Feature("y", "numeric")))
    ages = np.linspace(20, 80, 40)

    def truth(age: Any) -> Any:
        return 5 + 0.3 * age - 0.02 * age**2 + 1.5e-4 * age**3

    fits = AgeRegressions.fit(schema, schema.validate(pd.DataFrame({"age": ages, "y": truth(ages)})))
    for age in (21.0, 47.3, 79.0):
        assert fits.predict(age)["y"] == pytest.approx(truth(age), rel=1e-9)
    curve = fits.curves("y")[0]
    assert curve.residual_sd == pytest.approx(0, abs=1e-9)
    assert (curve.n, curve.ages) == (40, (20, 80))
    with pytest.raises(TableError, match="no feature 'sex' with levels"):
        fits.predict(40, "F")


def test_few_people_fall_back_to_all(schema: Schema, parsed: Parsed) -> None:
    sex = parsed.data["sex"]
    men, women = list(sex[sex == "M"].index), list(sex[sex == "F"].index)
    fits = AgeRegressions.fit(schema, parsed.select(men[:25] + women[:6]))
    assert fits.is_pooled("height", "F")
    assert not fits.is_pooled("height", "M")
    assert fits.predict(40, "F") == fits.predict(40, None)
    tiny = AgeRegressions.fit(schema, parsed.select([i for i in women if i > "sub-008"][:2]))
    assert len(tiny.curves("raven_score")[0].coefficients) == 2


# --- centiles of volumes --------------------------------------------------------------------------------


def reference_people(n: int, seed: int = 5) -> tuple[np.ndarray, list[str], dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    ages = rng.uniform(20, 80, n)
    sexes = ["MF"[i % 2] for i in range(n)]
    big = np.array([1.1 if s == "M" else 1.0 for s in sexes])
    volumes = {
        "gm": big * (700 - 2.5 * (ages - 20)) + rng.normal(0, 30, n),
        "wm": big * 500 + rng.normal(0, 25, n),
        "csf": big * (220 + 2 * (ages - 20)) + rng.normal(0, 20, n),
    }
    return ages, sexes, volumes


@pytest.fixture(scope="module")
def centiles() -> VolumeCentiles:
    return VolumeCentiles.fit(*reference_people(240))


def test_curves_are_ordered_and_near_the_truth(centiles: VolumeCentiles) -> None:
    ages = np.linspace(15, 90, 76)
    for kind in KINDS:
        for sex in ("M", "F", None):
            frame = centiles.curve(kind, sex, ages)
            assert list(frame) == ["age", "c5", "c25", "c50", "c75", "c95", "inside"]
            volumes = frame[[f"c{c}" for c in CENTILES]].to_numpy()
            assert (np.diff(volumes, axis=1) > 0).all()
    assert centiles.sexes == ("F", "M")
    assert centiles.people("F") == 120
    row = centiles.curve("gm", "F", [50.0]).iloc[0]
    assert row["c50"] == pytest.approx(625, abs=12)
    assert row["c95"] - row["c5"] == pytest.approx(2 * 1.645 * 30, rel=0.25)
    assert centiles.curve(TOTAL, "F", [50.0])["c50"][0] == pytest.approx(625 + 500 + 280, abs=20)
    inside = centiles.curve("gm", "F", [10.0, 50.0, 99.0])["inside"].tolist()
    assert inside == [False, True, False]


def test_curves_of_few_people_do_not_close_at_the_ends() -> None:
    """Sixty people of whom few are old: the range of volumes stays a range at every age, and the median is smooth."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        ages = np.concatenate([rng.uniform(20, 70, 56), rng.uniform(70, 82, 4)])
        gm = 800 - 3 * (ages - 20) + rng.normal(0, 40, 60)
        fitted = VolumeCentiles.fit(ages, None, {"wm": gm - 200, "gm": gm, "csf": 900 - gm})
        curve = fitted.curve("gm", None, np.linspace(ages.min(), ages.max(), 30))
        width = (curve["c95"] - curve["c5"]).to_numpy()
        assert width.min() > 60 and width.max() < 260
        for name in (f"c{c}" for c in CENTILES):
            assert np.abs(np.diff(curve[name], n=3)).max() < 1e-3, "quadratics, nowhere cut by another"


def test_centile_of_a_person(centiles: VolumeCentiles) -> None:
    row = centiles.curve("gm", "F", [50.0]).iloc[0]
    for c in CENTILES:
        assert centiles.centile_of("gm", 50, "F", row[f"c{c}"]) == pytest.approx(c, abs=1e-6)
    grid = [centiles.centile_of("gm", 50, "F", ml) for ml in np.linspace(300, 900, 61)]
    assert (np.diff(grid) >= 0).all()
    assert (grid[0], grid[-1]) == (0.5, 99.5)
    assert centiles.centile_of("gm", 50, "F", 650) > centiles.centile_of("gm", 50, "M", 650)
    assert centiles.centile_of("gm", 50, "unknown", 650) == centiles.centile_of("gm", 50, None, 650)
    with pytest.raises(TableError, match=r"no centiles of 'gmm'.*wm, gm, csf, wm.gm.csf.*perhaps 'gm'"):
        centiles.centile_of("gmm", 50, "F", 650)
    with pytest.raises(TableError, match=r"no centile.*an age in years and a volume in mL"):
        centiles.centile_of("gm", float("nan"), "F", 650)


def test_calibrated_on_new_people(centiles: VolumeCentiles) -> None:
    ages, sexes, volumes = reference_people(2000, seed=9)
    found = [
        centiles.centile_of("csf", a, s, ml) for a, s, ml in zip(ages, sexes, volumes["csf"], strict=True)
    ]
    for c in CENTILES:
        assert np.mean(np.array(found) <= c) == pytest.approx(c / 100, abs=0.06)


def test_centiles_through_json(centiles: VolumeCentiles) -> None:
    again = VolumeCentiles.from_dict(through_json(centiles.to_dict()))
    ages = np.linspace(20, 80, 31)
    for sex in ("M", "F", None):
        pd.testing.assert_frame_equal(
            again.curve("csf", sex, ages), centiles.curve("csf", sex, ages), check_exact=True
        )


def test_regions_have_centiles_beside_the_tissues() -> None:
    ages, sexes, volumes = reference_people(120)
    fitted = VolumeCentiles.fit(ages, sexes, volumes | {"ventricles": 0.1 * volumes["csf"]})
    assert fitted.kinds == (*KINDS, "ventricles")
    own, whole = (
        fitted.curve(k, "F", [40.0, 70.0]).filter(like="c").to_numpy() for k in ("ventricles", "csf")
    )
    assert np.allclose(own, 0.1 * whole, rtol=1e-3)
    again = VolumeCentiles.from_dict(through_json(fitted.to_dict()))
    assert again.kinds == fitted.kinds
    assert again.centile_of("ventricles", 60, "M", 30.0) == fitted.centile_of("ventricles", 60, "M", 30.0)
    damaged = through_json(fitted.to_dict())
    del damaged["pooled"]["coefficients"]["gm"]
    with pytest.raises(PackError, match=r"centiles are damaged.*no curves of gm"):
        VolumeCentiles.from_dict(damaged)


def test_centiles_of_small_or_incomplete_references() -> None:
    ages, sexes, volumes = reference_people(40)
    few: list[str | None] = ["F" if i < 5 else "M" for i in range(40)]
    few[9] = None
    fitted = VolumeCentiles.fit(ages, few, volumes)
    assert fitted.sexes == ("M",)
    assert fitted.people("F") == 40
    assert VolumeCentiles.fit(ages, None, volumes).sexes == ()
    holes = volumes | {"csf": np.where(np.arange(40) < 3, np.nan, volumes["csf"])}
    assert VolumeCentiles.fit(ages, None, holes).people() == 37
    with pytest.raises(TableError, match=r"centiles are unavailable.*an age \(years\).*Got: no ages"):
        VolumeCentiles.fit(None, sexes, volumes)
    with pytest.raises(TableError, match=r"volumes of wm, gm, csf. Got: gm, wm"):
        VolumeCentiles.fit(ages, sexes, {k: volumes[k] for k in ("gm", "wm")})
    with pytest.raises(TableError, match=r"lengths differ.*39 ages"):
        VolumeCentiles.fit(ages[1:], sexes, volumes)
    with pytest.raises(TableError, match=r"at least 20 people.*Got: 10 people"):
        VolumeCentiles.fit(ages[:10], sexes[:10], {k: v[:10] for k, v in volumes.items()})


# --- real tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cohort", "binary", "rare"),
    [
        ("ixi", {"sex"}, {"ethnicity", "occupation"}),
        ("aomic", {"sex", "education_category"}, {"handedness"}),
    ],
)
def test_real_cohorts(cohort: str, binary: set[str], rare: set[str]) -> None:
    folder = REAL / cohort
    if not (folder / "participants.tsv").exists():
        pytest.skip(f"{folder} is not on this machine")
    table = read_table(folder / "participants.tsv")
    schema = Schema.from_participants_json(folder / "participants.json", table)
    assert set(schema.names) == set(table.columns) - {"participant_id"}
    assert {f.name for f in schema.features if f.kind == "binary"} == binary
    parsed = schema.validate(table)
    encoder = Encoder.fit(schema, parsed)
    encoded = encoder.encode(parsed)
    assert np.isfinite(encoded.x).all()
    assert np.abs(encoded.x).max() < 8
    assert set(encoded.flags.columns[(encoded.flags == "rare level").any()]) == rare
    filled = encoded.flags.apply(lambda c: c.str.startswith("imputed")).any(axis=1).to_numpy()
    assert (filled == table.isna().any(axis=1).to_numpy()).all()
    assert (
        Encoder.from_dict(through_json(encoder.to_dict())).encode(parsed).x.tobytes() == encoded.x.tobytes()
    )
    fits = AgeRegressions.fit(schema, parsed)
    for sex in ("M", "F", None):
        regressed = schema.validate(pd.DataFrame([fits.predict(30.0, sex)]), source="regressed")
        assert encoder.encode(regressed).x.shape == (1, encoder.width)
