"""What the server does for every request and session, whatever page it is about."""
