"""What was found, written for people and for programs: report.json, heights.csv, levels.csv, figures and report.html.

In: types.Report. Out: files in a folder. Drawing needs matplotlib (the extra [report]).
"""

from healthivert.report.figures import check_can_draw
from healthivert.report.report_files import level_as_dict, report_as_dict, write_report
from healthivert.report.wording import headline

__all__ = ["check_can_draw", "headline", "level_as_dict", "report_as_dict", "write_report"]
