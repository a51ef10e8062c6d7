"""A verification as a page that opens from the disk, and the same data as JSON.

The page is built as an element tree of the standard library, which escapes every name and every
reason that comes from a graph; nothing but this package's own CSS and script goes in unescaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.lazy_names import lazy_names

if TYPE_CHECKING:
    from graphquant_export.report.chapter import Chapter, Section
    from graphquant_export.report.data import report_data
    from graphquant_export.report.page import render_page
    from graphquant_export.report.write import write_report

__all__ = ["Chapter", "Section", "render_page", "report_data", "write_report"]

__getattr__ = lazy_names(
    __name__,
    {
        "Chapter": ".chapter",
        "Section": ".chapter",
        "render_page": ".page",
        "report_data": ".data",
        "write_report": ".write",
    },
)
