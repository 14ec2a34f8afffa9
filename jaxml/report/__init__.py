"""Results as records, tables, figures and one self-contained page."""

from jaxml.report.page import write
from jaxml.report.records import provenance, record

__all__ = ["provenance", "record", "write"]
