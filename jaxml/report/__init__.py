"""Pages and records of whatever `finding` knows."""

from jaxml.core.provenance import provenance
from jaxml.report.page import record, write

__all__ = ["provenance", "record", "write"]
