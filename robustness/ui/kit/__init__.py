"""What pages share: their boundary, what is remembered, long work, controls, panels."""
