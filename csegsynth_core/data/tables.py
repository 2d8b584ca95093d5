"""Feature tables in and out: TSV, CSV and Excel → strings; typed values → BIDS `participants.tsv`.

Reading knows nothing about features: every cell stays the text that is in the file, or None where it is
missing. What a cell means is decided by `csegsynth_core.data.schema`. The index of a table that was
read is named `line` and holds the 1-based line (Excel: row) of each record in its file, so that every
later message can point at it.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from csegsynth_core.errors import TableError

if TYPE_CHECKING:
    from csegsynth_core.data.schema import Schema

ID: Final = "participant_id"
"""Name of the column that identifies people (BIDS)."""

LINE: Final = "line"
"""Name of the index of a table that was read: 1-based line in its file."""

MISSING: Final[frozenset[str]] = frozenset({"", "n/a", "na", "nan", "#n/a"})
"""Texts that mean "missing", compared without case. `none` is not among them: it can be a level."""

NEAR_IDS: Final[frozenset[str]] = frozenset(
    {"participantid", "participant", "participants", "subject", "subjectid", "subjects", "sub", "subid", "id"}
    | {"person", "personid", "patient", "patientid", "ixiid", "code", "unnamed0"}
)
"""Column names, without case and punctuation, that people use instead of `participant_id`."""

_FORMATS: Final = "a table ending in .tsv, .csv or .xlsx"
_ID_RULE: Final = "sub-X (or X), X made of the letters A–Z, a–z and the digits 0–9 only, as BIDS has it"
_DELIMITER_NAMES: Final = {"\t": "tabs", ",": "commas", ";": "semicolons"}
_UNZIPPED_FACTOR: Final = 20  # an .xlsx may unpack to this many times the allowed size, not more
_Row = tuple[int, list[str]]


def place(source: str, row: int | None = None, column: str | None = None) -> str:
    """`participants.tsv, row 7, column height`: where a message points at."""
    parts = [source]
    if row is not None:
        parts.append(f"row {row}")
    if column is not None:
        parts.append(f"column {column}")
    return ", ".join(parts)


def cell_text(value: object) -> str | None:
    """Text of one cell of any table, stripped; None when the cell is missing.

    Whole numbers lose their `.0` (Excel and pandas turn 21 into 21.0); other numbers keep every digit.
    """
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | float | np.integer | np.floating):
        number = float(value)
        if math.isnan(number):
            return None
        return f"{number:.0f}" if number.is_integer() and abs(number) < 1e15 else repr(number)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    text = str(value).strip()
    return None if text.casefold() in MISSING else text


def normalise_id(value: object, *, source: str = "table", row: int | None = None) -> str:
    """`sub-X` for the id `X` or `sub-X`. The made-up ids `row-1`, `row-2`, … stay as they are.

    Raises:
        TableError: the id is missing, or X holds anything but letters and digits (ids become file names).
    """
    text = cell_text(value)
    if text is None:
        raise TableError(
            f"{place(source, row, ID)}: the id is missing", expected=_ID_RULE, fix="give every person an id"
        )
    if re.fullmatch(r"row-[0-9]+", text):
        return text
    bare = text.removeprefix("sub-")
    if not re.fullmatch(r"[A-Za-z0-9]+", bare):
        tidy = re.sub(r"[^A-Za-z0-9]", "", re.sub(r"^sub-", "", text, flags=re.IGNORECASE))
        raise TableError(
            f"{place(source, row, ID)}: the id cannot be used in file names",
            expected=_ID_RULE,
            got=repr(text),
            fix=f"write sub-{tidy}" if tidy else "give this person an id of letters and digits",
        )
    return f"sub-{bare}"


def normalise_ids(values: Sequence[object], rows: Sequence[int], *, source: str) -> list[str]:
    """`sub-X` for every id of a table; `rows` are their lines in the file.

    Raises:
        TableError: an id cannot be used, or two are equal (or differ in upper and lower case only, which
            some file systems do not tell apart).
    """
    ids = [normalise_id(value, source=source, row=row) for value, row in zip(values, rows, strict=True)]
    seen: dict[str, int] = {}
    for one, row in zip(ids, rows, strict=True):
        first = seen.setdefault(one.casefold(), row)
        if first != row:
            raise TableError(
                f"{place(source, row, ID)}: duplicate id",
                expected="every id once",
                got=f"{one}, already in row {first}",
                fix="keep one row for each person, or give each its own id",
            )
    return ids


def read_table(
    path_or_buffer: str | Path | bytes | IO[Any],
    *,
    name: str | None = None,
    max_mb: float = 50,
    require_id: bool = True,
) -> pd.DataFrame:
    """Read a table of people from TSV, CSV (commas or semicolons) or Excel (.xlsx).

    Text files are UTF-8 (with or without a byte-order mark) or UTF-16 with one. Other encodings are
    refused rather than guessed. In a file with semicolons, `38,78` is read as 38.78. Blank rows are
    skipped. Of a workbook, the sheet `participants` is read, otherwise the first one.

    Args:
        path_or_buffer: a path, the bytes of a file, or an open file (read from its start).
        name: file name for messages and for the format; by default that of the path or open file. When
            there is none at all, the format is recognised from the content.
        max_mb: largest file accepted, MB (10⁶ bytes).
        require_id: whether there must be a column `participant_id`. Otherwise ids `row-1`, `row-2`, … are
            made when there is none.

    Returns:
        Strings, None where missing (`n/a`, `NA`, `NaN` or empty); column `participant_id` as `sub-X`; the
        index `line` holds the 1-based line of each record; `attrs["source"]` the name.

    Raises:
        TableError: the file cannot be found, read or used; the message names file, row and column.
    """
    data, source = _load(path_or_buffer, name, max_mb)
    ending = Path(source).suffix.lower()
    named = name is not None or isinstance(path_or_buffer, str | Path) or ending != ""
    is_zip, is_ole = data.startswith(b"PK\x03\x04"), data.startswith(b"\xd0\xcf\x11\xe0")
    if named and ending not in (".tsv", ".csv", ".xlsx"):
        fix = "open it in Excel or LibreOffice and save it as .xlsx" if ending in (".xls", ".ods") else ""
        raise TableError(
            f"{source}: this kind of file cannot be read as a table",
            expected=_FORMATS,
            got=f"the ending {ending or '(none)'!r}",
            fix=fix or "save the table as .tsv, .csv or .xlsx, with the ending that belongs to it",
        )
    if is_ole:
        raise TableError(
            f"{source}: an old or a password-protected Excel file",
            expected="an .xlsx workbook without a password",
            fix="open it in Excel, remove the password, and save it as .xlsx",
        )
    if is_zip and ending in (".tsv", ".csv"):
        raise TableError(
            f"{source}: content and ending do not agree",
            expected=f"text, as the ending {ending} says",
            got="an Excel workbook or a zip file",
            fix="rename it to .xlsx, or save it as text",
        )
    if is_zip or ending == ".xlsx":
        header, records = _read_excel(data, source, max_mb)
    else:
        header, records = _read_text(data, source, ending)
    return _assemble(header, records, source, require_id)


def write_participants(df: pd.DataFrame, schema: Schema, folder: str | Path) -> tuple[Path, Path]:
    """Write BIDS `participants.tsv` (`n/a` for missing) and `participants.json` into `folder`.

    Args:
        df: one row for each person; `participant_id` as a column or as the index, and columns of `schema`
            with natural values (numbers in their units, keys of levels).
        schema: describes the columns; columns come out in its order.
        folder: made when it is not there.

    Returns:
        The two paths.

    Raises:
        TableError: an id is missing, duplicate or unusable; a column is not in the schema; a text holds
            a tab or a line break.
    """
    source = "participants.tsv"
    columns = [str(c) for c in df.columns]
    if ID in columns:
        ids: list[object] = list(df[ID])
    elif df.index.name == ID:
        ids = list(df.index)
    else:
        raise TableError(
            f"{source}: no ids to write", expected=f"a column or index {ID}", got=", ".join(columns)
        )
    for column in columns:
        if column != ID:
            schema.feature(column)
    names = [n for n in schema.names if n in columns]
    lines = ["\t".join([ID, *names])]
    texts = [[cell_text(v) for v in df[n]] for n in names]
    rows = range(2, len(df) + 2)
    for i, one in enumerate(normalise_ids(ids, rows, source=source)):
        cells = [one]
        for column, text in zip(names, texts, strict=True):
            cell = text[i] if text[i] is not None else "n/a"
            if cell is None or re.search(r"[\t\r\n]", cell):
                raise TableError(
                    f"{place(source, rows[i], column)}: a cell holds a tab or a line break", got=repr(cell)
                )
            cells.append(cell)
        lines.append("\t".join(cells))
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    tsv, sidecar = out / "participants.tsv", out / "participants.json"
    tsv.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    described = schema.to_participants_json()
    described = {ID: described[ID], **{n: described[n] for n in names}}
    for feature, rule in schema.dependent:
        if feature.name in names and rule.feature not in names:
            del described[feature.name]["ZeroUnless"]  # of what the files do not tell
    sidecar.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return tsv, sidecar


def _load(where: str | Path | bytes | IO[Any], name: str | None, max_mb: float) -> tuple[bytes, str]:
    """Bytes and name of a file."""
    limit = int(max_mb * 1e6)
    if isinstance(where, bytes):
        data, source = where, name or "table"
    elif isinstance(where, str | Path):
        path = Path(where)
        source = name or path.name
        if not path.is_file():
            raise TableError(
                f"{path}: {'a folder, not a file' if path.is_dir() else 'file not found'}",
                expected=_FORMATS,
                fix="check the path and its spelling",
            )
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise TableError(f"{path}: the file cannot be opened", got=str(error.strerror)) from error
    else:
        own = getattr(where, "name", None)
        source = name or (Path(own).name if isinstance(own, str) else "table")
        if where.seekable():
            where.seek(0)
        content = where.read(limit + 1)
        data = content.encode("utf-8") if isinstance(content, str) else bytes(content)
    if len(data) > limit:
        raise TableError(
            f"{source}: the file is too large for a table of people",
            expected=f"at most {max_mb:g} MB",
            fix="keep only the columns that the features need, or split the table",
        )
    return data, source


def _decode(data: bytes, source: str) -> str:
    """Text of the file: UTF-8, or UTF-16 with a byte-order mark."""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        row = before.count(b"\n") + 1
        line_start = before.rfind(b"\n") + 1
        line_end = data.find(b"\n", error.start)
        line = data[line_start : line_end if line_end >= 0 else len(data)]
        header = data.split(b"\n", 1)[0]
        counts = {d: header.count(d.encode()) for d in _DELIMITER_NAMES}
        delimiter = max(counts, key=lambda d: counts[d])
        position = data[line_start : error.start].decode("latin-1").count(delimiter)
        titles = header.decode("latin-1").removeprefix("\xef\xbb\xbf").strip().split(delimiter)
        column = titles[position].strip() if row > 1 and position < len(titles) else None
        shown = line.decode("latin-1").strip().split(delimiter)
        cell = shown[position].strip() if position < len(shown) else ""
        raise TableError(
            f"{place(source, row, column)}: the text is not UTF-8",
            expected="UTF-8 text",
            got=f"byte 0x{data[error.start]:02x}; as Latin-1 the cell would read {cell[:60]!r}",
            fix="save the table as UTF-8 (in Excel: 'CSV UTF-8'), or as .xlsx",
        ) from error
    if "\0" in text:
        raise TableError(
            f"{place(source, text[: text.index(chr(0))].count(chr(10)) + 1)}: not a text file",
            expected=_FORMATS,
            got="zero bytes, as in a binary file",
            fix="save the table as .tsv, .csv or .xlsx",
        )
    return text


def _delimiter(first: str, source: str, ending: str) -> str:
    """What separates the columns, judged by the header line."""
    bare = re.sub(r'"[^"]*"', "", first)
    counts = {d: bare.count(d) for d in _DELIMITER_NAMES}
    best = max(counts, key=lambda d: counts[d])
    if counts[best] == 0:
        return "\t" if ending == ".tsv" else ","
    if ending == ".tsv" and counts["\t"] == 0:
        raise TableError(
            f"{place(source, 1)}: the columns of a .tsv file are separated by tabs",
            expected="tabs",
            got=_DELIMITER_NAMES[best],
            fix="rename the file to .csv, or save it with tabs",
        )
    return "\t" if ending == ".tsv" else best


def _read_text(data: bytes, source: str, ending: str) -> tuple[_Row, list[_Row]]:
    """Header and records of a TSV or CSV file, each with its line."""
    text = _decode(data, source)
    first = next((line for line in text.splitlines() if line.strip()), None)
    if first is None:
        raise TableError(f"{source}: the table is empty", expected="a header and at least one person")
    delimiter = _delimiter(first, source, ending)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[_Row] = []
    line = 1
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                rows.append((line, [field.strip() for field in fields]))
            line = reader.line_num + 1
    except csv.Error as error:
        raise TableError(
            f"{place(source, line)}: the quotation marks cannot be understood",
            got=str(error),
            fix='close every quotation mark, and write " inside a quoted cell twice',
        ) from error
    header, records = rows[0], rows[1:]
    for row, fields in records:
        if len(fields) != len(header[1]):
            raise TableError(
                f"{place(source, row)}: the row does not have as many cells as the header",
                expected=f"{len(header[1])} cells separated by {_DELIMITER_NAMES[delimiter]}",
                got=f"{len(fields)}",
                fix="look for a missing or an extra separator in this row; write n/a for a missing value",
            )
    if delimiter == ";":
        decimal = re.compile(r"[+-]?[0-9]+,[0-9]+")
        records = [
            (row, [c.replace(",", ".") if decimal.fullmatch(c) else c for c in fields])
            for row, fields in records
        ]
    return header, records


def _read_excel(data: bytes, source: str, max_mb: float) -> tuple[_Row, list[_Row]]:
    """Header and records of an Excel workbook, each with its row."""
    from openpyxl import load_workbook  # slow to import, needed for workbooks only

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > max_mb * 1e6 * _UNZIPPED_FACTOR:
            raise TableError(
                f"{source}: the workbook unpacks to {unpacked / 1e6:.0f} MB, too large for a table of people",
                expected=f"at most {max_mb * _UNZIPPED_FACTOR:g} MB unpacked",
                fix="keep only the sheet and columns that the features need",
            )
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheet = next((s for s in book.worksheets if s.title.casefold() == "participants"), book.worksheets[0])
        sheet.reset_dimensions()
        cells = [list(values) for values in sheet.iter_rows(values_only=True)]
        book.close()
    except TableError:
        raise
    except Exception as error:  # a damaged workbook can raise almost anything from zip, XML and openpyxl
        raise TableError(
            f"{source}: the Excel workbook cannot be opened",
            expected="an .xlsx workbook without a password",
            got=f"{type(error).__name__}: {error}",
            fix="open it in Excel and save it as .xlsx again, or save it as .csv",
        ) from error
    rows: list[_Row] = []
    for row, values in enumerate(cells, start=1):
        texts = ["" if v is None else (cell_text(v) or "") for v in values]
        while texts and not texts[-1]:
            texts.pop()
        if texts:
            rows.append((row, texts))
    if not rows:
        raise TableError(f"{source}: the table is empty", expected="a header and at least one person")
    header, records = rows[0], rows[1:]
    width = len(header[1])
    for row, texts in records:
        if len(texts) > width:
            raise TableError(
                f"{place(source, row)}: a cell without a column name",
                expected=f"{width} columns, as in the header in row {header[0]}",
                got=f"{texts[-1]!r} in column number {len(texts)}",
                fix="name the column in the header, or clear the cell",
            )
        for column, text in zip(header[1], texts, strict=False):
            if re.fullmatch(r"#[A-Z0-9/]+[!?]", text):
                raise TableError(
                    f"{place(source, row, column)}: a formula that failed",
                    expected="a value",
                    got=text,
                    fix="mend the formula, or clear the cell when the value is unknown",
                )
    return header, [(row, texts + [""] * (width - len(texts))) for row, texts in records]


def _assemble(header: _Row, records: list[_Row], source: str, require_id: bool) -> pd.DataFrame:
    """Check header and ids; make the frame."""
    line, titles = header
    for number, title in enumerate(titles, start=1):
        if not title:
            raise TableError(
                f"{place(source, line)}: column number {number} has no name",
                expected="a name for every column",
                fix="name the column, or delete it when it only counts rows",
            )
    for number, title in enumerate(titles, start=1):
        if titles.index(title) + 1 != number:
            raise TableError(
                f"{place(source, line, title)}: duplicate column",
                expected="every column name once",
                got=f"{title} in columns number {titles.index(title) + 1} and {number}",
                fix="rename or delete one of them",
            )
    if require_id and ID not in titles:
        near = next((t for t in titles if is_near_id(t)), None)
        raise TableError(
            f"{place(source, line)}: no column {ID}",
            expected=f"a column named exactly {ID}",
            got=", ".join(titles[:12]) + (", …" if len(titles) > 12 else ""),
            fix=f"rename the column {near} to {ID}" if near else f"add a column {ID} with everybody's id",
        )
    if not records:
        raise TableError(
            f"{source}: the table is empty",
            expected="at least one person below the header",
            got="a header only",
        )
    rows = [row for row, _ in records]
    columns = {
        title: pd.Series([cell_text(fields[i]) for _, fields in records], dtype=object)
        for i, title in enumerate(titles)
    }
    if ID in columns:
        ids = normalise_ids(list(columns[ID]), rows, source=source)
        columns[ID] = pd.Series(ids, dtype=object)
    else:
        columns = {ID: pd.Series([f"row-{i + 1}" for i in range(len(rows))], dtype=object), **columns}
    frame = pd.DataFrame(columns)
    frame.index = pd.Index(rows, name=LINE)
    frame.attrs["source"] = source
    return frame


def is_near_id(column: str) -> bool:
    """Whether `column` is what people call a column of ids, though it is not `participant_id`."""
    return column != ID and re.sub(r"[^a-z0-9]", "", column.casefold()) in NEAR_IDS
