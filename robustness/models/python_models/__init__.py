"""Models called through Python: functions, networks of other frameworks, remote services."""
