"""What a result of each kind answers: three sentences that claim no more than it shows."""
