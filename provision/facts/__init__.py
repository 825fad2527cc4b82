"""`fab facts`."""
