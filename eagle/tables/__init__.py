"""Tables with missing entries: read, filled, judged, written.

`completion` is what people call. It asks `checks` whether what is wanted makes sense, `holes` what
is missing, `blocks` to fill rows that miss the same columns from complete rows, `factorisation` to
fill any other pattern, and `intervals` how far to trust either. `frames`, `files` and `csv` bring
tables in and out, `report` draws a page.
"""

from eagle.tables.files import (
    SUFFIXES,
    Table,
    TableError,
    check_output,
    read_table,
    replacing,
    write_table,
)

__all__ = [
    "SUFFIXES",
    "Table",
    "TableError",
    "check_output",
    "read_table",
    "replacing",
    "write_table",
]
