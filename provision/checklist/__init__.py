"""`fab checklist`: what is to be set in this board's BIOS and done to this rig's hardware."""
