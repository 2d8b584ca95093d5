"""Reading and writing tables of people."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from openpyxl import Workbook

from csegsynth_core.data.feature import Feature
from csegsynth_core.data.schema import Schema
from csegsynth_core.data.tables import cell_text, read_table, write_participants
from csegsynth_core.errors import TableError

REAL = Path(__file__).parents[2] / "shared" / "data"

TSV = b"participant_id\tage\tsex\nsub-01\t38.78\tM\n02\tn/a\tF\n"


def workbook(rows: list[list[object]], title: str = "Sheet1") -> bytes:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = title
    for row in rows:
        sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


EXPECTED = {"participant_id": ["sub-01", "sub-02"], "age": ["38.78", None], "sex": ["M", "F"]}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.tsv", TSV),
        ("t.tsv", b"\xef\xbb\xbf" + TSV),
        ("t.tsv", TSV.replace(b"\n", b"\r\n")),
        ("t.tsv", TSV.decode().encode("utf-16")),
        ("t.csv", TSV.replace(b"\t", b",")),
        ("t.csv", TSV.replace(b"\t", b";")),
        ("t.csv", TSV.replace(b"\t", b";").replace(b"38.78", b"38,78")),
        ("t.csv", TSV.replace(b"\t", b",").replace(b"n/a", b"")),
        ("t.csv", b'"participant_id","age","sex"\n"01","38.78","M"\n"02","NaN","F"\n,,\n'),
        ("t.xlsx", workbook([["participant_id", "age", "sex"], ["01", 38.78, "M"], ["sub-02", None, "F"]])),
        (None, TSV),
        (None, workbook([["participant_id", "age", "sex"], ["01", 38.78, "M"], ["sub-02", "#N/A", "F"]])),
    ],
)
def test_every_format_gives_the_same_strings(name: str | None, data: bytes) -> None:
    table = read_table(io.BytesIO(data), name=name)
    assert {c: table[c].tolist() for c in table} == EXPECTED
    assert table.index.name == "line"
    assert table.index.tolist() == [2, 3]
    assert table.attrs["source"] == (name or "table")


def test_path_text_buffer_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "people.tsv"
    path.write_bytes(TSV)
    with path.open("rb") as file:
        file.read()
        tables = [
            read_table(path),
            read_table(str(path)),
            read_table(file),
            read_table(TSV, name="people.tsv"),
        ]
    tables.append(read_table(io.StringIO(TSV.decode()), name="people.tsv"))
    for table in tables:
        pd.testing.assert_frame_equal(table, tables[0])
        assert table.attrs["source"] == "people.tsv"


def test_lines_count_blank_rows_and_quoted_line_breaks() -> None:
    data = b'participant_id,note\n01,"two\nlines"\n\n,\n02,x\n'
    assert read_table(data, name="t.csv").index.tolist() == [2, 6]


def test_excel_keeps_numbers_and_the_none_level() -> None:
    table = read_table(
        workbook([["participant_id", "BMI", "qualification"], [7, 21.0, "none"], [8, 21.5, True]]),
        name="t.xlsx",
    )
    assert table["participant_id"].tolist() == ["sub-7", "sub-8"]
    assert table["BMI"].tolist() == ["21", "21.5"]
    assert table["qualification"].tolist() == ["none", "true"]


def test_excel_prefers_the_participants_sheet() -> None:
    book = Workbook()
    assert book.active is not None
    book.active.append(["notes"])
    book.create_sheet("participants").append(["participant_id", "age"])
    book["participants"].append(["01", 40])
    buffer = io.BytesIO()
    book.save(buffer)
    assert read_table(buffer, name="t.xlsx")["age"].tolist() == ["40"]


def test_made_up_ids() -> None:
    table = read_table(b"age\n30\n40\n", name="t.csv", require_id=False)
    assert table["participant_id"].tolist() == ["row-1", "row-2"]
    again = read_table(table.to_csv(index=False).encode(), name="t.csv")
    assert again["participant_id"].tolist() == ["row-1", "row-2"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.tsv", TSV + b"sub-01\t3\tM\n", r"t\.tsv, row 4, column participant_id: duplicate id.*in row 2"),
        (
            "t.tsv",
            TSV + b"01\t3\tM\n",
            r"row 4, column participant_id: dup.*sub-01, already in row 2",
        ),
        ("t.tsv", b"participant_id\nab\nAB\n", r"row 3, column participant_id: duplicate id"),
        (
            "t.tsv",
            TSV + b"a/b\t3\tM\n",
            r"row 4, column participant_id.*names.*Got: 'a/b'.*write sub-ab",
        ),
        ("t.tsv", TSV + b"sub-a_1\t3\tM\n", r"row 4, column participant_id.*write sub-a1"),
        ("t.tsv", TSV + b"../x\t3\tM\n", r"row 4, column participant_id"),
        ("t.tsv", TSV + "é\t3\tM\n".encode(), r"row 4, column participant_id.*letters A–Z"),
        ("t.tsv", TSV + b"n/a\t3\tM\n", r"row 4, column participant_id: the id is missing"),
        ("t.tsv", TSV + b"03\t3\n", r"t\.tsv, row 4: .*as many cells.*Expected: 3 cells.*tabs.*Got: 2"),
        ("t.csv", b"participant_id,age\n1,2,3\n", r"t\.csv, row 2: .*Expected: 2 cells.*commas.*Got: 3"),
        ("t.tsv", b"", r"t\.tsv: the table is empty"),
        ("t.tsv", b"\n \n", r"t\.tsv: the table is empty"),
        ("t.tsv", b"participant_id\tage\n", r"the table is empty.*Got: a header only"),
        ("t.tsv", b"participant_id\tage\tage\n1\t2\t3\n", r"row 1, column age: duplicate column.*2 and 3"),
        ("t.tsv", b"participant_id\t\tage\n1\t2\t3\n", r"row 1: column number 2 has no name"),
        (
            "t.tsv",
            b"Participant_ID\tage\n1\t2\n",
            r"no column participant_id.*rename the column Part",
        ),
        (
            "t.tsv",
            b"subject\tage\n1\t2\n",
            r"t\.tsv, row 1: no column.*rename the column subject to part",
        ),
        ("t.tsv", b"height\tage\n1\t2\n", r"no column participant_id.*Got: height, age.*add a column"),
        ("t.tsv", b"participant_id,age\n1,2\n", r"row 1: .*Expected: tabs\. Got: commas.*rename.*\.csv"),
        (
            "t.csv",
            b"participant_id,age,job\n1,30,caf\xe9\n",
            r"t\.csv, row 2, column job: .*not UTF-8.*0xe9; as Latin-1 the cell would read 'café'.*CSV UTF-8",
        ),
        ("t.tsv", b"participant_id\tage\n1\t\x00\n", r"t\.tsv, row 2: not a text file"),
        ("t.csv", b'participant_id,age\n1,"2\n3,4\n', r"t\.csv, row 2: the quotation marks"),
        ("t.xls", b"\xd0\xcf\x11\xe0", r"t\.xls: this kind of file.*ending '\.xls'.*save it as \.xlsx"),
        ("t.xlsx", b"\xd0\xcf\x11\xe0", r"t\.xlsx: an old or a password-protected"),
        ("t.xlsx", b"PK\x03\x04nonsense", r"t\.xlsx: the Excel workbook cannot be opened.*BadZipFile"),
        ("t.xlsx", b"text", r"t\.xlsx: the Excel workbook cannot be opened"),
        ("t.csv", workbook([["participant_id"], ["1"]]), r"t\.csv: content and ending do not agree.*\.xlsx"),
        ("t.nii.gz", b"", r"ending '\.gz'"),
        ("people", TSV, r"ending '\(none\)'"),
        ("t.xlsx", workbook([]), r"t\.xlsx: the table is empty"),
        ("t.xlsx", workbook([["participant_id"], ["1", "x"]]), r"row 2: a cell without a column name.*'x'"),
        (
            "t.xlsx",
            workbook([["participant_id", "age"], ["1", "#REF!"]]),
            r"row 2, column age: a formula",
        ),
    ],
)
def test_unusable_tables(name: str, data: bytes, message: str) -> None:
    with pytest.raises(TableError, match=f"(?s){message}"):
        read_table(data, name=name)


def test_files_that_are_not_there_or_too_large(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"nowhere\.tsv: file not found"):
        read_table(tmp_path / "nowhere.tsv")
    with pytest.raises(TableError, match="a folder, not a file"):
        read_table(tmp_path)
    with pytest.raises(TableError, match=r"t\.tsv: the file is too large.*at most 1e-05 MB"):
        read_table(TSV, name="t.tsv", max_mb=1e-5)
    with pytest.raises(TableError, match="unpacks to"):
        big = workbook([["participant_id", *["x" * 30000] * 3]] * 40)
        read_table(big, name="t.xlsx", max_mb=len(big) / 1e6 + 1e-4)


def test_cell_text() -> None:
    values = [None, float("nan"), pd.NA, pd.NaT, " n/a ", "NA", "21.0", 21.0, 0.1, True, "none"]
    assert [cell_text(v) for v in values] == [None] * 6 + ["21.0", "21", "0.1", "true", "none"]


SCHEMA = Schema(
    (
        Feature("age", "numeric", "demographic", "age at scan", "years", plausible=(18, 100)),
        Feature("sex", "binary", "demographic", levels={"M": "male", "F": "female"}),
        Feature("degree", "ordinal", levels={"none": "None", "a": "A-levels", "uni": "University"}),
    )
)


def test_write_and_read_back(tmp_path: Path) -> None:
    people = pd.DataFrame(
        {"degree": ["none", None], "age": [38.78, float("nan")], "participant_id": ["sub-01", "02"]}
    )
    tsv, sidecar = write_participants(people, SCHEMA, tmp_path / "out")
    assert tsv.read_bytes() == b"participant_id\tage\tdegree\nsub-01\t38.78\tnone\nsub-02\tn/a\tn/a\n"
    described = json.loads(sidecar.read_text(encoding="utf-8"))
    assert list(described) == ["participant_id", "age", "degree"]
    assert described["age"]["Units"] == "years"
    assert list(described["degree"]["Levels"]) == ["none", "a", "uni"]
    back = Schema.from_participants_json(sidecar, read_table(tsv))
    assert back.features == (SCHEMA.features[0], SCHEMA.features[2])
    parsed = back.validate(read_table(tsv))
    tsv2, _ = write_participants(parsed.data, back, tmp_path / "again")
    assert tsv2.read_bytes() == tsv.read_bytes()


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ({"participant_id": ["1", "1"], "age": [1, 2]}, r"participants\.tsv, row 3, column participant_id"),
        ({"participant_id": ["a b"], "age": [1]}, "row 2, column participant_id.*file names"),
        ({"age": [1]}, "no ids to write"),
        ({"participant_id": ["1"], "ages": [1]}, "unknown feature 'ages'.*perhaps 'age'"),
        ({"participant_id": ["1"], "sex": ["M\tF"]}, "row 2, column sex: a cell holds a tab"),
    ],
)
def test_what_cannot_be_written(people: dict[str, list[object]], message: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=message):
        write_participants(pd.DataFrame(people), SCHEMA, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("cohort", "people"), [("ixi", 150), ("aomic", 226)])
def test_real_tables(cohort: str, people: int) -> None:
    path = REAL / cohort / "participants.tsv"
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    table = read_table(path)
    assert len(table) == people
    assert table["participant_id"].is_unique
    assert all(re.fullmatch(r"sub-[A-Za-z0-9]+", i) for i in table["participant_id"])
    assert table.index[0] == 2
