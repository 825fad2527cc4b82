"""Lab rigs: their disks, their boots, their addresses."""
