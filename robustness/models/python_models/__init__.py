"""Models that Python code answers for: functions, networks of other frameworks, remote services."""
