"""Files that several rigs need: fetched once by this machine, and handed to each over SSH."""
