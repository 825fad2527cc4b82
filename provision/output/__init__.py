"""What the operator gets: terminal, files, HTML; secrets masked."""
