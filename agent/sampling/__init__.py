"""Takes a sample every interval and turns it into metrics."""
