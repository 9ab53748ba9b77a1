"""Tables as code of before the rooms imports them; they are at home in `everychip.storage.table`."""

from everychip.storage.table import merge_tables, query, read_table, write_table

__all__ = ["merge_tables", "query", "read_table", "write_table"]
